//! Conversations with QEMU 7.2, with our client role in place of the recorded client.

use consolegate::proto::Side;
use consolegate::proto::rfb::{AuthScheme, Extras, Negotiation, Progress, VncPassword};

use crate::vectors;

/// What the machine's own bytes are, compared with those of the recorded client.
enum Sent {
    Same,
    /// The recorded client did what ours never does; this is what ours sends.
    Differs(&'static [u8], &'static str),
}

const V3_8: &[u8] = b"RFB 003.008\n";
const V3_8_NONE: &[u8] = b"RFB 003.008\n\x01";

/// `VeNCrypt` as far as its version.
const V3_8_VENCRYPT: &[u8] = b"RFB 003.008\n\x13\0\x02";
/// All that is said before TLS.
const V3_8_X509_NONE: &[u8] = b"RFB 003.008\n\x13\0\x02\0\0\x01\x04";
const V3_8_ABORT: &[u8] = b"RFB 003.008\n\0";

const NO_TYPE: &str = "a security type that is not spoken";
const NO_SUBTYPE: &str = "a sub-type that is not spoken";
const NOT_TLS: &str = "the client went on without TLS";
const ODD_VERSION: &str =
    "the client asked for another version than 3.8, so QEMU's answer is not one to ours";
const SLOPPY_VERSION: &str =
    "QEMU takes sloppy forms of 3.8, then waits for a choice; ours goes on from there";

const CASES: &[(&str, Sent, &str)] = &[
    ("none-38", Sent::Same, "established"),
    ("exclusive-kicks-first", Sent::Same, "established"),
    ("none-pipelined", Sent::Same, "established"),
    ("connections-limit", Sent::Differs(V3_8, "the client sent nothing"), "closed-early"),
    ("idle-before-version", Sent::Differs(V3_8, "the client sent nothing"), "time-out"),
    ("half-close", Sent::Differs(V3_8_NONE, "the client ended its stream before its choice"), "closed-early"),
    ("none-choose-0", Sent::Differs(V3_8_NONE, "the client gave up with type 0"), "auth-failed"),
    (
        "none-choose-unoffered",
        Sent::Differs(V3_8_NONE, "the client chose what was not offered"),
        "auth-failed",
    ),
    ("none-33", Sent::Differs(V3_8, ODD_VERSION), "waiting"),
    ("none-37", Sent::Differs(V3_8_NONE, ODD_VERSION), "auth-failed"),
    ("version-34", Sent::Differs(V3_8, ODD_VERSION), "refused"),
    ("version-35", Sent::Differs(V3_8, ODD_VERSION), "refused"),
    ("version-36", Sent::Differs(V3_8, ODD_VERSION), "refused"),
    ("version-39", Sent::Differs(V3_8, ODD_VERSION), "refused"),
    ("version-3889", Sent::Differs(V3_8, ODD_VERSION), "refused"),
    ("version-4001", Sent::Differs(V3_8, ODD_VERSION), "refused"),
    ("version-5000", Sent::Differs(V3_8, ODD_VERSION), "refused"),
    ("version-http", Sent::Differs(V3_8, ODD_VERSION), "closed-early"),
    ("version-lower", Sent::Differs(V3_8, ODD_VERSION), "closed-early"),
    ("version-cr", Sent::Differs(V3_8_NONE, SLOPPY_VERSION), "time-out"),
    ("version-malformed", Sent::Differs(V3_8_NONE, SLOPPY_VERSION), "time-out"),
    ("version-short", Sent::Differs(V3_8_NONE, SLOPPY_VERSION), "time-out"),
    ("x509none-pipelined", Sent::Same, "established"),
    ("x509none-close-notify", Sent::Same, "established"),
    ("x509none-verifyoff-client", Sent::Same, "established"),
    ("x509none-verifyoff-client-tls12", Sent::Same, "established"),
    ("x509none-verifyoff-nocert", Sent::Same, "established"),
    ("x509none-verifyoff-nocert-tls12", Sent::Same, "established"),
    ("x509none-verifyon-client", Sent::Same, "established"),
    ("x509none-verifyon-client-tls12", Sent::Same, "established"),
    ("x509none-verifyon-expired", Sent::Same, "closed-after-tls"),
    ("x509none-verifyon-expired-tls12", Sent::Same, "closed-after-tls"),
    ("x509none-verifyon-nocert", Sent::Same, "closed-after-tls"),
    ("x509none-verifyon-nocert-tls12", Sent::Same, "closed-after-tls"),
    ("x509none-verifyon-wrongca", Sent::Same, "closed-after-tls"),
    ("x509none-verifyon-wrongca-tls12", Sent::Same, "closed-after-tls"),
    ("x509none-client-distrusts-server", Sent::Same, "tls"),
    ("x509none-idle-before-hello", Sent::Same, "time-out"),
    ("x509none-garbage-hello", Sent::Differs(V3_8_X509_NONE, NOT_TLS), "closed-early"),
    ("x509none-http-hello", Sent::Differs(V3_8_X509_NONE, NOT_TLS), "closed-early"),
    ("x509none-clear-clientinit", Sent::Differs(V3_8_X509_NONE, NOT_TLS), "time-out"),
    (
        "x509none-plaintext-injection",
        Sent::Differs(
            b"RFB 003.008\n\x13\0\x02\0\0\x01\x04\x01",
            "the client sent its ClientInit ahead of TLS",
        ),
        "established",
    ),
    (
        "x509none-wrong-subtype",
        Sent::Differs(V3_8_X509_NONE, "the client chose what was not offered"),
        "ven-subtype",
    ),
    ("x509sasl", Sent::Differs(V3_8_VENCRYPT, NO_SUBTYPE), "ven-subtype"),
    ("tlsnone", Sent::Differs(V3_8_VENCRYPT, NO_SUBTYPE), "ven-subtype"),
    ("x509vnc-bad", Sent::Differs(V3_8_VENCRYPT, NO_SUBTYPE), "ven-subtype"),
    ("x509vnc-ok", Sent::Differs(V3_8_VENCRYPT, NO_SUBTYPE), "ven-subtype"),
    ("x509vnc-choose-x509none", Sent::Differs(V3_8_VENCRYPT, NO_SUBTYPE), "ven-subtype"),
    (
        "vencrypt-choose-none",
        Sent::Differs(b"RFB 003.008\n\x13", "the client chose None, which was not offered"),
        "ven-version",
    ),
    ("vencrypt-version-01", Sent::Differs(V3_8_VENCRYPT, "the client asked for VeNCrypt 0.1"), "ven-version"),
    ("vencrypt-version-03", Sent::Differs(V3_8_VENCRYPT, "the client asked for VeNCrypt 0.3"), "ven-version"),
    ("vencrypt-version-rfb33", Sent::Differs(V3_8, ODD_VERSION), "refused"),
    ("vencrypt-version-rfb37", Sent::Differs(b"RFB 003.008\n\x13", ODD_VERSION), "time-out"),
    ("sasl", Sent::Differs(V3_8_ABORT, NO_TYPE), "no-common-type"),
    ("vncauth-38-ok", Sent::Differs(V3_8_ABORT, NO_TYPE), "no-common-type"),
    ("vncauth-38-bad", Sent::Differs(V3_8_ABORT, NO_TYPE), "no-common-type"),
    ("vncauth-choose-none", Sent::Differs(V3_8_ABORT, NO_TYPE), "no-common-type"),
    ("vncauth-unset", Sent::Differs(V3_8_ABORT, NO_TYPE), "no-common-type"),
    ("vncauth-37-ok", Sent::Differs(V3_8_ABORT, ODD_VERSION), "no-common-type"),
    ("vncauth-37-bad", Sent::Differs(V3_8_ABORT, ODD_VERSION), "no-common-type"),
    ("vncauth-33-ok", Sent::Differs(V3_8, ODD_VERSION), "waiting"),
    ("vncauth-33-bad", Sent::Differs(V3_8, ODD_VERSION), "refused"),
];

#[test]
fn recorded_servers_get_the_recorded_bytes_or_the_listed_ones() {
    for (name, expected, end) in CASES {
        let replay = replay(name, Extras::default(), None);
        assert_eq!(replay.end, *end, "{name}");
        match expected {
            Sent::Same => assert_eq!(replay.sent, replay.recorded, "{name}"),
            Sent::Differs(bytes, why) => {
                assert_eq!(replay.sent, *bytes, "{name}: {why}");
                assert_ne!(replay.sent, replay.recorded, "{name}: no difference to list");
            }
        }
    }
}

fn password(password: &str) -> Extras {
    let password = VncPassword::new(password.as_bytes()).map(std::sync::Arc::new);
    Extras { password, password_in_clear: true, rfb_33: false }
}

#[test]
fn recorded_servers_that_want_a_password_get_the_recorded_bytes() {
    for (name, said, end) in [
        ("vncauth-38-ok", "secretpw", "established"),
        ("vncauth-38-bad", "wrongpwd", "auth-failed"),
        ("x509vnc-ok", "secretpw", "established"),
        ("x509vnc-bad", "wrongpwd", "auth-failed"),
    ] {
        let replay = replay(name, password(said), None);
        assert_eq!((replay.end, replay.sent), (end, replay.recorded), "{name}");
    }
    // Without a password of its own it refuses any.
    assert_eq!(replay("vncauth-unset", password("secretpw"), None).end, "auth-failed");
    // In the clear the password is for those who have allowed that.
    let extras = Extras { password_in_clear: false, ..password("secretpw") };
    let replay = replay("vncauth-38-ok", extras, None);
    assert_eq!((replay.end, replay.sent.as_slice()), ("no-common-type", V3_8_ABORT));
}

/// QEMU offers 3.8 and serves what is asked for. Older servers offer what they have: that one message is replaced, and all
/// that follows is as recorded.
#[test]
fn recorded_conversations_in_3_3_and_3_7_go_on_as_recorded_with_servers_that_offer_no_more() {
    let rfb_33 = |said| Extras { rfb_33: true, ..password(said) };
    for (name, offered, said, end) in [
        ("none-33", b"RFB 003.003\n", "", "established"),
        ("vncauth-33-ok", b"RFB 003.003\n", "secretpw", "established"),
        ("vncauth-33-bad", b"RFB 003.003\n", "wrongpwd", "auth-failed"),
        ("vencrypt-version-rfb33", b"RFB 003.003\n", "", "refused"),
        ("none-37", b"RFB 003.007\n", "", "established"),
        ("vncauth-37-ok", b"RFB 003.007\n", "secretpw", "established"),
        ("vncauth-37-bad", b"RFB 003.007\n", "wrongpwd", "auth-failed"),
    ] {
        let played = replay(name, rfb_33(said), Some(offered));
        assert_eq!(played.end, end, "{name}");
        // Of a refusal the tenant is told at once, and its early byte goes nowhere.
        assert_eq!(played.sent, played.recorded, "{name}");
        let refused = replay(name, Extras { rfb_33: false, ..rfb_33(said) }, Some(offered));
        assert_eq!((refused.end, refused.sent.as_slice()), ("version", b"".as_slice()), "{name}");
    }
    for offered in [b"RFB 003.004\n", b"RFB 003.005\n", b"RFB 003.006\n"] {
        assert_eq!(replay("none-33", rfb_33(""), Some(offered)).end, "established");
    }
    for offered in [b"RFB 003.000\n", b"RFB 003.002\n", b"RFB 002.003\n", b"RFB 000.000\n"] {
        assert_eq!(replay("none-33", rfb_33(""), Some(offered)).end, "version");
    }
}

#[test]
fn every_recorded_conversation_is_replayed() {
    let files = std::fs::read_dir(vectors::folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut recorded: Vec<_> = files
        .filter_map(|file| Some(file.to_str()?.strip_prefix("qemu-")?.strip_suffix(".json")?.to_owned()))
        .collect();
    recorded.sort();
    let mut listed: Vec<_> = CASES.iter().map(|(name, ..)| *name).collect();
    listed.sort();
    assert_eq!(recorded, listed);
}

struct Replay {
    sent: Vec<u8>,
    recorded: Vec<u8>,
    end: &'static str,
}

/// Plays QEMU's bytes and events, with a tenant that has said everything in advance. `offered` is said in place of
/// QEMU's version.
fn replay(name: &str, extras: Extras, mut offered: Option<&[u8; 12]>) -> Replay {
    let capture = vectors::read(&format!("qemu-{name}.json"));
    let mut negotiation = Negotiation::with_extras(&[AuthScheme::VeNCrypt, AuthScheme::None], extras);
    let mut out = Vec::new();
    let mut recorded = Vec::new();
    let mut to_tenant = Vec::new();
    let mut end = None;
    let mut to_compute = Vec::new();
    let early = negotiation.receive(Side::Tenant, b"RFB 003.008\n\x01\x01", &mut out);
    assert!(matches!(early, Ok(Progress::Continue)));
    for step in vectors::array(&capture, "steps") {
        match (step["dir"].as_str().unwrap_or("both"), step["hex"].as_str(), step["event"].as_str()) {
            ("c2s", Some(hex), _) => recorded.extend(vectors::bytes(hex)),
            ("c2s", None, Some("fin" | "close_notify")) => {}
            (_, None, _) if end.is_some() => {}
            ("both", None, Some("handshake-ok")) => negotiation.secured(),
            ("both", None, Some("handshake-failed")) => {
                let why = vectors::string(step, "detail").to_owned();
                end = Some(negotiation.tls_failed(why, &mut out).kind());
            }
            ("s2c", Some(hex), _) if end == Some("established") => to_tenant.extend(vectors::bytes(hex)),
            ("s2c", ..) if end.is_some() => {}
            ("s2c", Some(hex), _) => match negotiation.receive(
                Side::Compute,
                &offered.take().map_or_else(|| vectors::bytes(hex), |offered| offered.to_vec()),
                &mut out,
            ) {
                Ok(Progress::Continue) => {}
                Ok(Progress::StartTls(early)) => {
                    assert!(early.is_empty(), "{name}: QEMU waits for our hello")
                }
                Ok(Progress::Established(residue)) => {
                    end = Some("established");
                    to_tenant = residue.to_tenant;
                    to_compute = residue.to_compute;
                }
                Err(error) => end = Some(error.kind()),
            },
            ("s2c", None, Some("eof" | "rst")) => {
                end = negotiation.ended(Side::Compute, &mut out).err().map(|error| error.kind());
            }
            ("s2c", None, Some("silence")) => end = Some(negotiation.timed_out(&mut out).kind()),
            _ => panic!("{name}: {step}"),
        }
    }
    if end == Some("established") {
        assert!(to_tenant.starts_with(&[0x02, 0x80, 0x01, 0xe0]), "{name}: ServerInit is the tenant's");
    }
    let sent = out.iter().filter(|sent| sent.to == Side::Compute);
    let sent = sent.flat_map(|sent| sent.message.as_bytes().to_vec()).chain(to_compute).collect();
    Replay { sent, recorded, end: end.unwrap_or("waiting") }
}

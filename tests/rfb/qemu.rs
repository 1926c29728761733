//! Conversations with QEMU 7.2, with our client role in place of the recorded client.

use consolegate::proto::Side;
use consolegate::proto::rfb::{AuthScheme, Negotiation, Progress};

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
        let replay = replay(name);
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

/// Plays QEMU's bytes and events, with a tenant that has said everything in advance.
fn replay(name: &str) -> Replay {
    let capture = vectors::read(&format!("qemu-{name}.json"));
    let mut negotiation = Negotiation::new(&[AuthScheme::VeNCrypt, AuthScheme::None]);
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
            ("s2c", Some(hex), _) => match negotiation.receive(Side::Compute, &vectors::bytes(hex), &mut out)
            {
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

//! The invariants of the fuzz targets that have no test program of their own, on their seeds and on damaged seeds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests say what they expect")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

use consolegate::proto::rfb::VncPassword;
use consolegate::session::PHASE_NAMES;

#[path = "../fuzz/invariants/ws_encode.rs"]
mod encode;
#[path = "../fuzz/invariants/proxy_header.rs"]
mod proxy;
#[path = "../fuzz/invariants/ws_reference.rs"]
mod reference;
#[path = "../fuzz/invariants/rfb.rs"]
#[allow(dead_code, reason = "the rest is for tests/rfb")]
mod rfb;
#[path = "../fuzz/invariants/rfb_roles.rs"]
mod roles;
#[path = "../fuzz/invariants/session.rs"]
mod schedule;
#[path = "../fuzz/invariants/split.rs"]
#[allow(dead_code, reason = "the rest is for tests/websocket.rs")]
mod split;
#[path = "../fuzz/invariants/ws.rs"]
#[allow(dead_code, reason = "the rest is for tests/websocket.rs")]
mod ws;

/// A target's seeds: what the vectors give, and what fuzzing found once.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Each seed whole and cut short anywhere.
fn seeds_hold(target: &str, check: fn(&[u8])) {
    for seed in seeds(target) {
        for end in 0..=seed.len() {
            check(&seed[..end]);
        }
    }
}

/// Where a seed is damaged, and how: a byte changed, and another seed's end behind its start.
type Damage = (Index, Index, u8, Option<(Index, Index)>);

fn damage() -> impl Strategy<Value = Damage> {
    (any::<Index>(), any::<Index>(), any::<u8>(), any::<Option<(Index, Index)>>())
}

fn damaged(target: &str, (which, at, byte, joined): Damage) -> Vec<u8> {
    let seeds = seeds(target);
    let mut seed = which.get(&seeds).clone();
    if let Some((other, cut)) = joined {
        let other = other.get(&seeds);
        seed.truncate(at.index(seed.len() + 1));
        seed.extend_from_slice(&other[cut.index(other.len() + 1)..]);
    }
    if !seed.is_empty() {
        let at = at.index(seed.len());
        seed[at] ^= byte;
    }
    seed
}

macro_rules! targets {
    ($($target:ident: $check:path;)*) => {$(
        mod $target {
            use super::*;

            #[test]
            fn seeds_hold_the_invariants_cut_short_anywhere() {
                seeds_hold(stringify!($target), $check);
            }

            proptest! {
                #[test]
                fn damaged_seeds_hold_the_invariants(damage in damage()) {
                    $check(&damaged(stringify!($target), damage));
                }
            }
        }
    )*};
}

targets! {
    encoder: encode::encoder;
    proxy_header: proxy::proxy_header;
    rfb_compute: roles::compute;
    rfb_tenant: roles::tenant;
    session: schedule::session;
}

#[test]
fn seeds_of_the_session_reach_every_phase() {
    let reached: BTreeSet<_> = seeds("session").iter().flat_map(|seed| schedule::phases(seed)).collect();
    let missed: Vec<_> =
        PHASE_NAMES.into_iter().filter(|phase| *phase != "closed" && !reached.contains(phase)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn seeds_of_the_session_reach_a_console_beyond_what_nova_speaks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/session");
    for name in [
        "vnc-password",
        "rfb-3-3",
        "rfb-3-3-vnc-password",
        "rfb-3-7",
        "rfb-3-7-vnc-password",
        "real-tls-x509-vnc",
    ] {
        let mut seed = fs::read(folder.join(name)).unwrap();
        assert!(schedule::phases(&seed).contains("relaying"), "{name}");
        seed[0] &= 0x7f;
        assert!(!schedule::phases(&seed).contains("relaying"), "{name}, and the operator allows nothing");
    }
}

#[test]
fn seeds_of_the_negotiation_reach_passwords_and_old_versions() {
    let mut reached = BTreeSet::new();
    for seed in seeds("negotiation") {
        let (said, established) = roles::said_to_compute(&seed);
        let said: Vec<&[u8]> = said.iter().map(Vec::as_slice).collect();
        reached.insert(match said[..] {
            _ if !established => "none",
            [b"RFB 003.003\n"] => "3.3",
            [b"RFB 003.003\n", [_, ..]] => "3.3 with a password",
            [b"RFB 003.007\n", [1]] => "3.7",
            [b"RFB 003.007\n", [2], _] => "3.7 with a password",
            [b"RFB 003.008\n", [2], _] => "3.8 with a password",
            [b"RFB 003.008\n", [19], _, [0, 0, 1, 5], _] => "X509Vnc",
            _ => "3.8",
        });
    }
    let expected = [
        "3.3",
        "3.3 with a password",
        "3.7",
        "3.7 with a password",
        "3.8",
        "3.8 with a password",
        "X509Vnc",
        "none",
    ];
    assert_eq!(reached, BTreeSet::from(expected));
}

#[test]
fn seeds_under_tls_carry_a_console() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/session");
    let answer = VncPassword::new(schedule::PASSWORD.as_bytes()).unwrap().answer(*b"sixteen bytes---");
    for (name, shown, typed) in [
        ("real-tls-tenant", true, false),
        ("real-tls-compute", false, true),
        ("real-tls-both", true, true),
        ("real-tls-both-in-pieces", true, true),
        ("real-tls-both-serial", true, true),
        ("real-tls-vencrypt", false, true),
        ("real-tls-x509-vnc", false, true),
    ] {
        let carried = schedule::carried(&fs::read(folder.join(name)).unwrap()).unwrap();
        let keys =
            if name == "real-tls-x509-vnc" { [&answer[..], b"keys"].concat() } else { b"keys".to_vec() };
        let expected = [shown.then(|| b"screen".to_vec()), typed.then_some(keys)];
        assert_eq!(carried, expected, "{name}");
    }
}

//! `Sec-WebSocket-Accept` against SHA-1 (RFC 3174) and base64 (RFC 4648) written out a second time.

use consolegate::proto::http::{Upgrade, UpgradePolicy, upgrade};
use proptest::prelude::*;

use crate::get;

fn sha1(message: &[u8]) -> Vec<u8> {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    let mut hash = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks_exact(64) {
        let mut words =
            block.chunks_exact(4).map(|b| u32::from_be_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
        for t in 16..80 {
            words.push((words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16]).rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = hash;
        for (t, word) in words.iter().enumerate() {
            let (f, k) = match t {
                0..20 => ((b & c) | (!b & d), 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(*word).wrapping_add(k);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (sum, word) in hash.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(word);
        }
    }
    hash.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|group| {
            let bits = (0..3).fold(0, |bits, index| bits << 8 | u32::from(*group.get(index).unwrap_or(&0)));
            (0..4).map(move |digit| match digit <= group.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]),
                false => '=',
            })
        })
        .collect()
}

fn accept_of(key: &str) -> String {
    let headers = format!("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n");
    let Upgrade::Accept(accept) = upgrade::decide(&get("/", &headers), &UpgradePolicy::default()) else {
        panic!("{key} was refused");
    };
    let response = String::from_utf8(accept.response(0)).unwrap();
    let (_, after) = response.split_once("\r\nSec-WebSocket-Accept: ").unwrap();
    after.split("\r\n").next().unwrap().to_owned()
}

#[test]
fn example_of_rfc_6455_holds() {
    assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

proptest! {
    #[test]
    fn accept_is_the_digest_of_key_and_guid(nonce: [u8; 16]) {
        let key = base64(&nonce);
        let digest = sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
        prop_assert_eq!(accept_of(&key), base64(&digest));
    }
}

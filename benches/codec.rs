//! `cargo bench --bench codec`: unmasking, taking frames apart, and reading a request head.
//!
//! Each figure is the best of several runs: what disturbs a run only makes it slower. `--quick` shows that
//! the bench works.

#![allow(clippy::unwrap_used, reason = "a bench says what it expects")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use consolegate::proto::http::{HeadLimits, HeadParser};
use consolegate::proto::ws::{Deframer, Mask, TextPolicy};
use consolegate::session::Limits;

/// A head as noVNC in Firefox sends it, cookies included.
const HEAD: &[u8] = b"GET /websockify?token=9f1c2e4a-7c1b-4a52-9d3e-1f0a7b2c3d4e HTTP/1.1\r\n\
Host: console.example.org:6080\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
Sec-WebSocket-Version: 13\r\nOrigin: https://console.example.org\r\nSec-WebSocket-Protocol: binary\r\n\
Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nDNT: 1\r\n\
Connection: keep-alive, Upgrade\r\nCookie: csrftoken=4bW0vYy7pQ; sessionid=1x2y3z\r\nSec-Fetch-Dest: empty\r\n\
Sec-Fetch-Mode: websocket\r\nSec-Fetch-Site: same-origin\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
Upgrade: websocket\r\n\r\n";

fn main() {
    let quick = std::env::args().any(|word| word == "--quick");
    let time = Duration::from_millis(if quick { 2 } else { 200 });
    println!("unmask in place, GB/s");
    for len in [8, 64, 1_024, 16_384, 65_536] {
        let mut bytes = vec![0x5a; len];
        let each = best(time, || Mask::new([1, 2, 3, 4]).apply(black_box(&mut bytes)));
        println!("  {len:>6} bytes {:>8.2}", len as f64 / each.as_secs_f64() / 1e9);
    }
    println!("take masked frames apart, ns for one read's bytes");
    for (frames, len) in [(1, 8), (64, 8), (64, 64), (32, 1_024), (1, 16_384), (3, 16_384), (1, 60_000)] {
        let wire: Vec<u8> = (0..frames).flat_map(|_| masked(len)).collect();
        // Deframing unmasks in place: every run needs the bytes anew, and copying them is taken off.
        let mut copy = wire.clone();
        let copying = best(time, || black_box(&mut copy).copy_from_slice(&wire));
        let both = best(time, || {
            copy.copy_from_slice(&wire);
            deframe(black_box(&mut copy));
        });
        println!("  {frames:>2} x {len:>5} bytes {:>8}", both.saturating_sub(copying).as_nanos());
    }
    println!("read a request head of {} bytes", HEAD.len());
    let limits = Limits::default().head();
    let at_once = best(time, || assert!(head(&limits, HEAD.len())));
    let bytewise = best(time, || assert!(head(&limits, 1)));
    println!("  in one piece {:>8} ns\n  byte by byte {:>8} ns", at_once.as_nanos(), bytewise.as_nanos());
}

fn deframe(wire: &mut [u8]) {
    let mut deframer = Deframer::new(TextPolicy::Accept);
    let mut at = 0;
    while at < wire.len() {
        let (used, event) = deframer.next(&mut wire[at..]).unwrap();
        assert!(used > 0, "the deframer stands still");
        at += used;
        black_box(event);
    }
}

/// Whether the head is complete once all of it is there, a piece at a time.
fn head(limits: &HeadLimits, piece: usize) -> bool {
    let mut parser = HeadParser::new();
    let mut end = 0;
    while end < HEAD.len() {
        end += piece.min(HEAD.len() - end);
        if parser.parse(black_box(&HEAD[..end]), limits).unwrap().is_some() {
            return end == HEAD.len();
        }
    }
    false
}

/// The best time of one call over seven runs, which last `time` together.
fn best(time: Duration, mut call: impl FnMut()) -> Duration {
    let begun = Instant::now();
    call();
    let once = begun.elapsed().max(Duration::from_nanos(20));
    let calls =
        u32::try_from((time / 7).as_nanos() / once.as_nanos()).unwrap_or(u32::MAX).clamp(1, 1_000_000);
    let run = |call: &mut dyn FnMut()| {
        let begun = Instant::now();
        (0..calls).for_each(|_| call());
        begun.elapsed() / calls
    };
    (0..7).map(|_| run(&mut call)).min().unwrap()
}

/// A masked binary frame of `len` bytes (RFC 6455 section 5.2).
fn masked(len: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    if len < 126 {
        frame.push(0x80 | u8::try_from(len).unwrap());
    } else {
        frame.push(0x80 | 126);
        frame.extend(u16::try_from(len).unwrap().to_be_bytes());
    }
    frame.extend([1, 2, 3, 4]);
    frame.extend([1, 2, 3, 4].iter().cycle().take(len).map(|key| 0x5a ^ key));
    frame
}

//! Bytes both ways at once through every session, each compared with what it has to be.
//!
//! A session's streams are cut from one pattern at places of its own, so bytes of another session are found.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Outcome;
use crate::args::Args;
use crate::tenant::Tenant;
use crate::wire::message;

const PATTERN_BYTES: usize = 1 << 20;

/// No read or write may take longer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest message from a tenant.
const MESSAGE_BYTES_MAX: usize = 100_000;

pub(crate) fn run(args: &Args) -> Outcome<Value> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.listen))?;
    let (sessions, bytes) = (args.sessions, args.bytes);
    let node = thread::spawn(move || {
        let serving: Vec<_> = (0..sessions)
            .map(|_| {
                let (stream, _) = listener.accept()?;
                Ok(thread::spawn(move || serve(stream, bytes)))
            })
            .collect::<Outcome<_>>()?;
        serving.into_iter().try_for_each(join)
    });
    // Sessions connect one after the other; each names itself in its first eight bytes.
    let tenants: Vec<_> = (0..sessions)
        .map(|number| {
            let tenant = Tenant::connect(args)?;
            Ok(thread::spawn(move || use_console(tenant, number, bytes)))
        })
        .collect::<Outcome<_>>()?;
    tenants.into_iter().try_for_each(join)?;
    join(node)?;
    Ok(json!({ "sessions": sessions, "bytes_each_way": bytes * sessions }))
}

fn join(thread: JoinHandle<Outcome<()>>) -> Outcome<()> {
    thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))
}

fn serve(mut stream: TcpStream, bytes: usize) -> Outcome<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut number = [0; 8];
    stream.read_exact(&mut number)?;
    let number = usize::try_from(u64::from_le_bytes(number))?;
    let mut writer = stream.try_clone()?;
    let writing = thread::spawn(move || Ok(writer.write_all(&from_compute(number, bytes))?));
    let expected = from_tenant(number, bytes);
    let mut buffer = vec![0; 65_536];
    let mut done = 0;
    while done < bytes {
        let len = stream.read(&mut buffer)?;
        if len == 0 || expected.get(done..done + len) != Some(&buffer[..len]) {
            return Err(format!("session {number}: wrong bytes to the compute node behind {done}").into());
        }
        done += len;
    }
    join(writing)?;
    // Until the tenant has everything and leaves.
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn use_console(mut tenant: Tenant, number: usize, bytes: usize) -> Outcome<()> {
    tenant.stream.set_read_timeout(Some(TIMEOUT))?;
    tenant.stream.set_write_timeout(Some(TIMEOUT))?;
    tenant.send(&message(&u64::try_from(number)?.to_le_bytes(), tenant.framed)?)?;
    let (framed, payload) = (tenant.framed, from_tenant(number, bytes));
    let writing = if tenant.is_plain() {
        let mut writer = tenant.stream.try_clone()?;
        Some(thread::spawn(move || say(&payload, framed, |wire| writer.write_all(wire))))
    } else {
        // One thread has the connection under TLS: the compute node's bytes wait until it has said everything.
        say(&payload, framed, |wire| tenant.send(wire))?;
        None
    };
    let expected = from_compute(number, bytes);
    for (index, piece) in expected.chunks(65_536).enumerate() {
        if tenant.take(piece.len())? != piece {
            let behind = index * 65_536;
            return Err(format!("session {number}: wrong bytes to the tenant behind {behind}").into());
        }
    }
    writing.map_or(Ok(()), join)?;
    tenant.close()
}

/// Messages of many sizes, the same in every run.
fn say(payload: &[u8], framed: bool, mut send: impl FnMut(&[u8]) -> io::Result<()>) -> Outcome<()> {
    let mut left = payload;
    while !left.is_empty() {
        let len = 1 + left.len().wrapping_mul(2_654_435_761) % MESSAGE_BYTES_MAX;
        let (now, later) = left.split_at(len.min(left.len()));
        send(&message(now, framed)?)?;
        left = later;
    }
    Ok(())
}

fn from_tenant(number: usize, bytes: usize) -> Vec<u8> {
    pattern(number * 7_919, bytes)
}

fn from_compute(number: usize, bytes: usize) -> Vec<u8> {
    pattern(500_000 + number * 104_729, bytes)
}

/// `bytes` of a fixed sequence without short periods, from `start` on and around its end.
fn pattern(start: usize, bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut sequence = Vec::with_capacity(PATTERN_BYTES);
    while sequence.len() < PATTERN_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        sequence.extend(state.to_le_bytes());
    }
    sequence.into_iter().cycle().skip(start % PATTERN_BYTES).take(bytes).collect()
}

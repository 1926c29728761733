//! The handover of the tenant's TLS to the kernel, which is played here.

use std::io::Write;

use rustls::{ClientConnection, ConnectionTrafficSecrets, SupportedProtocolVersion, version};

use super::conversation::binary;
use super::tls::{relaying_with, size_of_read, with_certificate_for};
use super::tls_peer::{talk, wire_of};
use super::*;
use crate::proto::kernel_tls::{KernelCipher, KernelCiphers, KernelKey};

/// A console of a process whose kernel has these ciphers.
fn relaying_on(
    versions: &[&'static SupportedProtocolVersion],
    ciphers: &[KernelCipher],
) -> (Driver, ClientConnection) {
    let (mut settings, client) = with_certificate_for(versions);
    settings.tls.kernel = ciphers.iter().copied().collect::<KernelCiphers>();
    relaying_with(settings, client)
}

fn relaying() -> (Driver, ClientConnection) {
    relaying_on(&[&version::TLS13], &KernelCipher::ALL)
}

/// A key of the tenant's, as it is on the wire.
fn key(client: &mut ClientConnection, key: u8) -> Vec<u8> {
    client.writer().write_all(&binary(&[key])).unwrap();
    wire_of(client)
}

/// Presses a key, behind which the kernel is asked to take over.
fn offered(driver: &mut Driver, client: &mut ClientConnection) -> Handover {
    driver.receive(Side::Tenant, &key(client, b'1'));
    driver.flush();
    assert_eq!(driver.take_sent(Side::Compute), b"1");
    driver.handover.take().expect("an offer")
}

fn answer(driver: &mut Driver, outcome: Offloaded) {
    driver.input(Input::Offloaded { side: Side::Tenant, outcome });
}

#[test]
fn the_kernel_gets_the_keys_behind_the_first_message_and_plain_bytes_go_on() {
    let (mut driver, mut client) = relaying();
    assert!(driver.handover.is_none(), "a read was open before the relay began");
    let handover = offered(&mut driver, &mut client);
    let keys = handover.into_keys().unwrap();
    let theirs = client.dangerous_extract_secrets().unwrap();
    for (ours, (sequence, theirs)) in
        [(keys.send().unwrap(), theirs.rx), (keys.receive().unwrap(), theirs.tx)]
    {
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = theirs else { panic!("another cipher") };
        let KernelKey { cipher, key: our_key, iv: our_iv, sequence: our_sequence } = ours;
        assert_eq!((cipher, our_sequence), (KernelCipher::Aes256Gcm, sequence));
        assert_eq!((our_key, our_iv), (key.as_ref(), iv.as_ref()));
    }
    answer(&mut driver, Offloaded::Kernel);
    assert!(driver.session.transport.is_none(), "nothing of TLS is kept");
    assert_eq!(driver.outbox.counters().kernel_tls.get(), 1);
    driver.receive(Side::Tenant, &binary(b"plain"));
    driver.flush();
    assert_eq!(driver.take_sent(Side::Compute), b"plain");
    driver.receive(Side::Compute, b"a screen");
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), b"\x82\x08a screen");
    driver.end(Side::Tenant);
    driver.flush();
    assert!(driver.tenant.shut_down);
}

#[test]
fn bulk_is_spliced_once_the_kernel_does_tls() {
    let (mut driver, mut client) = relaying();
    let full = vec![7; size_of_read(&driver.settings)];
    for _ in 0..3 {
        driver.receive(Side::Compute, &full);
        driver.flush();
        talk(&mut driver, Side::Tenant, &mut client, usize::MAX);
    }
    assert!(!driver.compute.may_pipe);
    offered(&mut driver, &mut client);
    answer(&mut driver, Offloaded::Kernel);
    driver.receive(Side::Compute, &full);
    driver.flush();
    driver.pipe(b"piped");
    driver.flush();
    assert!(driver.take_sent(Side::Tenant).ends_with(b"\x82\x05piped"));
}

#[test]
fn what_is_wished_before_the_answer_waits_for_it() {
    for kernel in [true, false] {
        let (mut driver, mut client) = relaying();
        let handover = offered(&mut driver, &mut client);
        driver.receive(Side::Compute, b"meanwhile");
        assert!(!driver.tenant.writing && !driver.tenant.reading && !driver.compute.reading);
        answer(&mut driver, if kernel { Offloaded::Kernel } else { Offloaded::Not(handover) });
        assert!(driver.tenant.reading, "the read that was wished for");
        let sent = if kernel {
            driver.flush();
            driver.take_sent(Side::Tenant)
        } else {
            talk_flushed(&mut driver, &mut client)
        };
        assert_eq!(sent, b"\x82\x09meanwhile", "by the kernel: {kernel}");
    }
}

fn talk_flushed(driver: &mut Driver, client: &mut ClientConnection) -> Vec<u8> {
    driver.flush();
    talk(driver, Side::Tenant, client, usize::MAX)
}

#[test]
fn a_kernel_that_refuses_is_not_asked_again() {
    let (mut driver, mut client) = relaying();
    let handover = offered(&mut driver, &mut client);
    answer(&mut driver, Offloaded::Not(handover));
    for byte in b'2'..b'9' {
        driver.receive(Side::Tenant, &key(&mut client, byte));
        driver.flush();
        assert_eq!(driver.take_sent(Side::Compute), [byte]);
        assert!(driver.handover.is_none() && driver.tenant.reading);
    }
    driver.receive(Side::Compute, b"a screen");
    assert_eq!(talk_flushed(&mut driver, &mut client), b"\x82\x08a screen");
}

#[test]
fn a_kernel_that_fails_with_the_keys_ends_the_session() {
    let (mut driver, mut client) = relaying();
    offered(&mut driver, &mut client);
    driver.receive(Side::Compute, b"meanwhile");
    answer(&mut driver, Offloaded::Failed(std::io::ErrorKind::OutOfMemory.into()));
    driver.flush();
    driver.compute_leaves();
    assert!(matches!(driver.closed, Some(CloseReason::TenantFailed(_))), "{:?}", driver.closed);
    assert_eq!(driver.take_sent(Side::Tenant), b"", "nothing in the clear");
}

#[test]
fn a_session_that_is_killed_before_the_answer_ends_behind_it() {
    let (mut driver, mut client) = relaying();
    offered(&mut driver, &mut client);
    driver.input(Input::Kill(CloseReason::Killed));
    answer(&mut driver, Offloaded::Kernel);
    driver.flush();
    assert!(driver.tenant.shut_down);
    assert_eq!(driver.take_sent(Side::Tenant)[..4], [0x88, 24, 0x03, 0xe8]);
}

#[test]
fn nothing_is_handed_over_inside_a_record_or_beside_a_write() {
    let (mut driver, mut client) = relaying();
    let (one, two) = (key(&mut client, b'1'), key(&mut client, b'2'));
    driver.receive(Side::Tenant, &[&one, &two[..9]].concat());
    driver.flush();
    assert_eq!(driver.take_sent(Side::Compute), b"1");
    assert!(driver.handover.is_none() && driver.tenant.reading, "rustls has the beginning of a record");
    driver.receive(Side::Compute, b"a screen");
    assert!(driver.tenant.writing);
    driver.receive(Side::Tenant, &two[9..]);
    driver.written(Side::Compute);
    assert_eq!(driver.take_sent(Side::Compute), b"2");
    assert!(driver.handover.is_none() && driver.tenant.reading, "a write is under way");
    driver.written(Side::Tenant);
    driver.receive(Side::Tenant, &key(&mut client, b'3'));
    driver.flush();
    assert!(driver.handover.is_some());
}

#[test]
fn tls_1_2_and_ciphers_that_the_kernel_lacks_stay_with_rustls() {
    let cases: [(&[&'static SupportedProtocolVersion], &[KernelCipher]); 3] = [
        (&[&version::TLS12], &KernelCipher::ALL),
        (&[&version::TLS13], &[KernelCipher::Aes128Gcm, KernelCipher::Chacha20Poly1305]),
        (&[&version::TLS13], &[]),
    ];
    for (versions, ciphers) in cases {
        let (mut driver, mut client) = relaying_on(versions, ciphers);
        for byte in b'1'..b'5' {
            driver.receive(Side::Tenant, &key(&mut client, byte));
            driver.flush();
            assert_eq!(driver.take_sent(Side::Compute), [byte]);
            assert!(driver.handover.is_none() && driver.tenant.reading);
        }
    }
}

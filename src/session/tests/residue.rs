//! Bytes that a phase reads past its own end reach the next one.

use super::conversation::*;
use super::*;

#[test]
fn a_frame_in_the_same_segment_as_the_request_is_delivered() {
    let mut driver = Driver::accept(serial());
    driver.receive(Side::Tenant, &[upgrade(), binary(b"\rroot\r")].concat());
    assert!(!driver.tenant.reading, "one read's worth is held");
    driver.authorized();
    driver.answer(Input::Resolved(vec![COMPUTE.into()]));
    driver.connected();
    assert_eq!(driver.take_sent(Side::Compute), b"\rroot\r");
    driver.flush();
    assert!(driver.tenant.reading && driver.compute.reading);
}

#[test]
fn a_request_a_file_and_an_upgrade_can_share_a_segment() {
    let mut driver = Driver::accept(Settings { web: true, ..serial() });
    let get = b"GET /missing.html HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    driver.receive(Side::Tenant, &[get, upgrade(), binary(b"typed")].concat());
    driver.answer(Input::File(FileEvent::Directory));
    driver.flush();
    assert!(driver.take_sent(Side::Tenant).starts_with(b"HTTP/1.1 301 "));
    driver.authorized();
    driver.answer(Input::Resolved(vec![COMPUTE.into()]));
    driver.connected();
    assert_eq!(driver.take_sent(Side::Compute), b"typed");
}

#[test]
fn early_bytes_of_a_serial_tenant_wait_for_the_connection() {
    for connect_first in [false, true] {
        let mut driver = Driver::authorizing(serial());
        if connect_first {
            driver.authorized();
        }
        driver.receive(Side::Tenant, &binary(b"ls\n"));
        assert!(!driver.tenant.reading, "what follows stays with the kernel");
        if !connect_first {
            driver.authorized();
        }
        driver.answer(Input::Resolved(vec![COMPUTE.into()]));
        assert_eq!(driver.take_sent(Side::Compute), b"");
        driver.connected();
        assert_eq!(driver.take_sent(Side::Compute), b"ls\n");
        assert!(!driver.tenant.reading, "not before the first bytes are written");
        driver.written(Side::Compute);
        assert!(driver.tenant.reading);
    }
}

#[test]
fn a_script_that_sends_and_closes_at_once_gets_its_bytes_delivered() {
    for segments in [1, 2] {
        let wire = [binary(b"reboot\n"), close_frame(1000, "")];
        let mut driver = Driver::authorizing(serial());
        let first = if segments == 1 { wire.concat() } else { wire[0].clone() };
        driver.receive(Side::Tenant, &first);
        driver.authorized();
        driver.answer(Input::Resolved(vec![COMPUTE.into()]));
        driver.connected();
        driver.flush();
        if segments == 2 {
            driver.receive(Side::Tenant, &wire[1]);
        }
        driver.flush();
        assert_eq!(driver.take_sent(Side::Compute), b"reboot\n", "{segments} segments");
        assert!(driver.compute.shut_down);
        assert_eq!(driver.take_sent(Side::Tenant), close_sent(1000, ""), "{segments} segments");
        assert_eq!(driver.finish().name(), "tenant_closed");
    }
}

#[test]
fn a_refusal_answers_what_was_sent_early_and_the_close_behind_it() {
    let mut driver = Driver::authorizing(serial());
    driver.receive(Side::Tenant, &[binary(b"reboot\n"), close_frame(1000, "")].concat());
    driver.answer(Input::Failed(Failure::Authorize(AuthorizeError::TokenInvalid)));
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), EMPTY_CLOSE);
    assert_eq!(driver.finish().name(), "refused");
}

#[test]
fn a_tenant_may_send_its_whole_handshake_in_one_frame() {
    let mut driver = Driver::authorizing(vnc());
    driver.receive(Side::Tenant, &binary(b"RFB 003.008\n\x01\x01"));
    driver.authorized();
    driver.answer(Input::Resolved(vec![COMPUTE.into()]));
    driver.connected();
    for message in [VERSION.as_slice(), b"\x01\x01", &[0; 4]] {
        driver.receive(Side::Compute, message);
        driver.flush();
    }
    assert_eq!(driver.phase(), "relaying");
    assert_eq!(driver.take_sent(Side::Compute), b"RFB 003.008\n\x01\x01", "ClientInit behind the choice");
    let sent = [binary_sent(VERSION), binary_sent(b"\x01\x01"), binary_sent(&[0; 4])];
    assert_eq!(driver.take_sent(Side::Tenant), sent.concat(), "each message in a frame of its own");
}

#[test]
fn client_init_waits_for_the_security_result() {
    let mut driver = Driver::choosing();
    driver.receive(Side::Tenant, &binary(b"\x01\x01"));
    driver.flush();
    assert_eq!(driver.take_sent(Side::Compute), b"\x01", "the choice alone");
    driver.receive(Side::Compute, &[0; 4]);
    assert_eq!(driver.take_sent(Side::Compute), b"\x01", "now ClientInit");
}

#[test]
fn more_than_64_early_bytes_fail_the_handshake() {
    for (len, phase) in [(64, "securing"), (65, "closing")] {
        let mut driver = Driver::choosing();
        driver.receive(Side::Tenant, &binary(&[b"\x01".as_slice(), &vec![0; len]].concat()));
        assert_eq!(driver.phase(), phase, "{len} bytes behind the choice");
    }
}

#[test]
fn server_bytes_behind_the_security_result_are_a_frame_of_their_own() {
    let mut driver = Driver::choosing();
    driver.receive(Side::Tenant, &binary(b"\x01"));
    driver.flush();
    driver.receive(Side::Compute, b"\0\0\0\0server init");
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), [binary_sent(&[0; 4]), binary_sent(b"server init")].concat());
    assert!(driver.tenant.reading && driver.compute.reading);
}

#[test]
fn rfb_bytes_behind_the_connect_answer_are_read() {
    let mut driver = Driver::tunnelling(vnc());
    driver.receive(Side::Compute, b"HTTP/1.1 200 OK\r\n\r\nRFB 003.008\n\x01\x01");
    assert_eq!(driver.phase(), "securing");
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), binary_sent(VERSION));
    let sent = driver.take_sent(Side::Compute);
    assert_eq!(sent, b"CONNECT /console?ref=OpaqueRef:1 HTTP/1.1\r\n\r\nRFB 003.008\n");
    driver.receive(Side::Tenant, &binary(VERSION));
    assert_eq!(driver.take_sent(Side::Tenant), binary_sent(b"\x01\x01"), "the types were read before");
}

#[test]
fn a_choice_that_breaks_the_rules_counts_even_with_a_close_behind_it() {
    let mut driver = Driver::choosing();
    driver.receive(Side::Tenant, &[binary(b"\x02"), close_frame(1000, "")].concat());
    driver.flush();
    assert_eq!(driver.take_sent(Side::Compute), b"\x00", "the abort byte");
    assert_eq!(driver.finish().name(), "rfb");
}

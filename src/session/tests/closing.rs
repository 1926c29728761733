//! One test per row of the table in [`crate::session::closing`], and the drain behind each of them.

use super::conversation::*;
use super::encrypting::encrypting;
use super::*;

/// The last part of every orderly close: our FIN stands behind our last byte, the socket is closed only
/// when the tenant's FIN has come.
fn assert_drains_until_the_tenants_fin(mut driver: Driver, reason: &str) {
    assert_eq!(driver.phase(), "closing");
    driver.flush();
    driver.compute_leaves();
    assert!(driver.tenant.shut_down, "the tenant gets FIN: {:?}", driver.trace);
    assert!(driver.closed.is_none(), "closing before the tenant's FIN could send RST");
    driver.receive(Side::Tenant, &[0xa5; 100]);
    assert!(driver.closed.is_none());
    driver.end(Side::Tenant);
    assert_eq!(driver.closed.expect("closed").name(), reason);
}

#[test]
fn compute_fin_flushes_then_closes_1000_target_closed() {
    for settings in [vnc(), spice(), serial()] {
        let mut driver = Driver::relaying(settings);
        driver.receive(Side::Compute, b"last words");
        assert!(!driver.compute.reading, "read on only when the tenant has taken this");
        driver.written(Side::Tenant);
        driver.end(Side::Compute);
        assert!(driver.compute.shut_down, "both directions end");
        assert!(!driver.tenant.shut_down, "the Close frame comes first");
        let sent = driver.take_sent(Side::Tenant);
        assert_eq!(sent, [binary_sent(b"last words"), close_sent(1000, "Target closed")].concat());
        assert_drains_until_the_tenants_fin(driver, "compute_ended");
    }
}

#[test]
fn compute_fin_leaves_what_was_read_before_it_in_order() {
    // A write to the tenant is under way, more is queued, and then the FIN: a pong keeps the write open.
    let mut driver = Driver::relaying(serial());
    driver.receive(Side::Tenant, &frame(0x89, b"are you there"));
    driver.receive(Side::Compute, b"last words");
    assert!(driver.tenant.writing && !driver.compute.reading);
    driver.written(Side::Tenant);
    driver.written(Side::Tenant);
    driver.receive(Side::Compute, b"more");
    driver.written(Side::Tenant);
    driver.end(Side::Compute);
    driver.flush();
    let (data, control) = unframed(&driver.take_sent(Side::Tenant));
    assert_eq!(data, b"last wordsmore");
    assert_eq!(control, [b"\x8a\x0dare you there".to_vec(), close_sent(1000, "Target closed")]);
    assert_drains_until_the_tenants_fin(driver, "compute_ended");
}

#[test]
fn compute_reset_flushes_then_closes_1011() {
    let mut driver = Driver::relaying(vnc());
    driver.receive(Side::Tenant, &binary(b"typed"));
    driver.receive(Side::Compute, b"last words");
    driver.write_fails(Side::Compute);
    driver.flush();
    assert!(!driver.compute.shut_down, "there is no connection to send FIN on");
    let sent = driver.take_sent(Side::Tenant);
    assert_eq!(sent, [binary_sent(b"last words"), close_sent(1011, "Target failed")].concat());
    assert_drains_until_the_tenants_fin(driver, "compute_failed");

    let mut driver = Driver::relaying(vnc());
    driver.reset(Side::Compute);
    assert_eq!(driver.take_sent(Side::Tenant), close_sent(1011, "Target failed"));
    assert_drains_until_the_tenants_fin(driver, "compute_failed");
}

#[test]
fn tenant_close_frame_is_echoed_and_what_was_typed_is_delivered() {
    for (sent, echoed) in [
        (close_frame(1000, "bye"), close_sent(1000, "bye")),
        (close_frame(1001, ""), close_sent(1001, "")),
        (close_frame(4999, "über"), close_sent(4999, "über")),
        (frame(0x88, b""), EMPTY_CLOSE.to_vec()),
    ] {
        let mut driver = Driver::relaying(serial());
        driver.receive(Side::Compute, b"output");
        let wire = [binary(b"typed"), sent, binary(b"behind the Close")].concat();
        driver.receive(Side::Tenant, &wire);
        assert!(!driver.compute.shut_down, "the typed bytes come first");
        driver.flush();
        assert_eq!(driver.take_sent(Side::Compute), b"typed");
        assert!(driver.compute.shut_down);
        assert_eq!(driver.take_sent(Side::Tenant), [binary_sent(b"output"), echoed].concat());
        assert_drains_until_the_tenants_fin(driver, "tenant_closed");
    }
}

#[test]
fn tenant_fin_without_close_gets_the_rest_and_fin_only() {
    let mut driver = Driver::relaying(serial());
    driver.receive(Side::Compute, b"output");
    driver.receive(Side::Tenant, &binary(b"typed"));
    driver.written(Side::Compute);
    driver.end(Side::Tenant);
    assert!(driver.closed.is_none(), "the output is still being written");
    assert!(driver.compute.shut_down);
    driver.written(Side::Tenant);
    assert_eq!(driver.take_sent(Side::Tenant), binary_sent(b"output"), "no Close frame");
    assert_eq!(driver.take_sent(Side::Compute), b"typed");
    assert!(driver.tenant.shut_down);
    driver.compute_leaves();
    assert_eq!(driver.closed.expect("nothing is left to wait for").name(), "tenant_ended");
}

#[test]
fn tenant_reset_voids_what_was_queued_and_gets_nothing() {
    // CONNECT is being written, so what the tenant sends is queued behind it.
    let mut driver = Driver::tunnelling(serial());
    driver.receive(Side::Tenant, &binary(b"typed"));
    driver.receive(Side::Compute, b"HTTP/1.1 200 OK\r\n\r\nlogin: ");
    let connect = driver.take_sent(Side::Compute);
    assert!(connect.starts_with(b"CONNECT "), "{connect:?}");
    driver.write_fails(Side::Tenant);
    assert!(!driver.compute.shut_down, "the write under way ends first");
    driver.written(Side::Compute);
    assert_eq!(driver.take_sent(Side::Compute), b"", "what the user typed last is void");
    assert!(driver.compute.shut_down && !driver.tenant.shut_down);
    assert_eq!(driver.closed.expect("closed at once").name(), "tenant_failed");

    let mut driver = Driver::relaying(vnc());
    driver.reset(Side::Tenant);
    assert!(driver.compute.shut_down && !driver.tenant.shut_down);
    assert_eq!(driver.take_sent(Side::Tenant), b"");
    assert_eq!(driver.closed.expect("closed at once").name(), "tenant_failed");
}

#[test]
fn tenant_broken_frame_closes_with_its_code_and_delivers_what_stood_before() {
    for (broken, code) in [
        (b"\x82\x01x".to_vec(), 1002),
        (frame(0xc2, b"x"), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0x80, b"x"), 1002),
        (frame(0x81, b"\xff"), 1007),
    ] {
        let mut driver = Driver::relaying(serial());
        driver.receive(Side::Compute, b"output");
        driver.receive(Side::Tenant, &[binary(b"typed"), broken].concat());
        driver.flush();
        assert_eq!(driver.take_sent(Side::Compute), b"typed");
        assert!(driver.compute.shut_down);
        assert_eq!(driver.take_sent(Side::Tenant), [binary_sent(b"output"), close_sent(code, "")].concat());
        assert_drains_until_the_tenants_fin(driver, "violation");
    }
}

#[test]
fn refused_before_the_console_closes_empty_and_tells_compute_nothing() {
    let mut driver = Driver::authorizing(vnc());
    driver.answer(Input::Failed(Failure::Authorize(AuthorizeError::TokenInvalid)));
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), EMPTY_CLOSE);
    assert!(!driver.compute.shut_down);
    assert_drains_until_the_tenants_fin(driver, "refused");
}

#[test]
fn rfb_refusal_is_passed_on_then_close_1000() {
    let mut driver = Driver::securing();
    driver.receive(Side::Compute, VERSION);
    driver.receive(Side::Compute, b"\x00\x00\x00\x00\x09too many!");
    driver.end(Side::Compute);
    assert_eq!(driver.phase(), "securing", "the tenant is still to be told");
    driver.flush();
    driver.receive(Side::Tenant, &binary(VERSION));
    driver.flush();
    let told = [binary_sent(VERSION), binary_sent(b"\x00\x00\x00\x00\x09too many!"), close_sent(1000, "")];
    assert_eq!(driver.take_sent(Side::Tenant), told.concat());
    assert_drains_until_the_tenants_fin(driver, "rfb");
}

#[test]
fn rfb_choice_other_than_none_gets_novas_text_and_compute_the_abort_byte() {
    let mut driver = Driver::choosing();
    driver.receive(Side::Tenant, &binary(b"\x02"));
    assert!(!driver.compute.shut_down, "the abort byte comes first");
    driver.flush();
    assert_eq!(driver.take_sent(Side::Compute), b"\x00");
    assert!(driver.compute.shut_down);
    let text = b"\x00\x00\x00\x01\x00\x00\x00\x2cOnly the security type 1 (NONE) is supported";
    assert_eq!(driver.take_sent(Side::Tenant), [binary_sent(text), close_sent(1000, "")].concat());
    assert_drains_until_the_tenants_fin(driver, "rfb");
}

#[test]
fn rfb_version_that_is_not_proxied_closes_1000_without_a_byte() {
    let mut driver = Driver::securing();
    driver.receive(Side::Compute, b"RFB 003.003\n");
    driver.flush();
    assert_eq!(driver.take_sent(Side::Compute), b"");
    assert_eq!(driver.take_sent(Side::Tenant), close_sent(1000, ""));
    assert_drains_until_the_tenants_fin(driver, "rfb");
}

#[test]
fn rfb_compute_that_leaves_before_its_result_closes_1000_whether_by_fin_or_reset() {
    for reset in [false, true] {
        let mut driver = Driver::choosing();
        driver.receive(Side::Tenant, &binary(b"\x01"));
        driver.flush();
        if reset {
            driver.reset(Side::Compute)
        } else {
            driver.end(Side::Compute)
        }
        driver.flush();
        let text = b"\x00\x00\x00\x01\x00\x00\x00\x28Unable to negotiate security with server";
        assert_eq!(driver.take_sent(Side::Tenant), [binary_sent(text), close_sent(1000, "")].concat());
        assert_drains_until_the_tenants_fin(driver, "rfb");
    }
}

#[test]
fn a_tunnels_answer_counts_although_the_write_to_it_failed() {
    let mut driver = Driver::tunnelling(serial());
    driver.write_fails(Side::Compute);
    assert_eq!(driver.phase(), "tunnelling", "the read that is open will tell");
    driver.receive(Side::Compute, b"HTTP/1.1 403 Forbidden\r\n\r\n");
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), EMPTY_CLOSE);
    assert!(!driver.compute.shut_down, "nothing can be said to it");
    driver.end(Side::Tenant);
    let reason = driver.closed.expect("nothing is left to wait for");
    assert!(matches!(reason, CloseReason::Refused(Refusal::Tunnel(_))), "{reason:?}");
}

#[test]
fn a_step_that_takes_too_long_closes_empty_and_ends_both_sides() {
    let mut driver = Driver::tunnelling(serial());
    driver.flush();
    assert_eq!(driver.waits(), Some(Duration::from_secs(10)));
    driver.expire();
    assert!(driver.compute.shut_down);
    assert_eq!(driver.take_sent(Side::Tenant), EMPTY_CLOSE);
    assert_drains_until_the_tenants_fin(driver, "timed_out");
}

#[test]
fn this_process_ending_closes_1001_in_every_upgraded_phase() {
    for mut driver in [
        Driver::authorizing(vnc()),
        Driver::resolving(vnc()),
        Driver::dialling(vnc()),
        encrypting().0,
        Driver::tunnelling(vnc()),
        Driver::securing(),
        Driver::choosing(),
        Driver::relaying(vnc()),
    ] {
        let phase = driver.phase();
        let is_connected = ["encrypting", "tunnelling", "securing", "relaying"].contains(&phase);
        driver.input(Input::Kill(CloseReason::ShuttingDown));
        driver.flush();
        assert_eq!(driver.take_sent(Side::Tenant), close_sent(1001, "Going away"), "{phase}");
        assert_eq!(driver.compute.shut_down, is_connected, "{phase}");
        assert_drains_until_the_tenants_fin(driver, "shutting_down");
    }
}

#[test]
fn a_tenant_that_leaves_ends_a_connected_compute_node_in_every_phase() {
    type Leave = fn(&mut Driver);
    let leave_by_close: Leave = |driver| driver.receive(Side::Tenant, &close_frame(1000, ""));
    let leave_by_fin: Leave = |driver| driver.end(Side::Tenant);
    let leave_by_reset: Leave = |driver| driver.reset(Side::Tenant);
    for (leave, farewell) in
        [(leave_by_close, close_sent(1000, "")), (leave_by_fin, Vec::new()), (leave_by_reset, Vec::new())]
    {
        for mut driver in
            [encrypting().0, Driver::tunnelling(vnc()), Driver::securing(), Driver::relaying(vnc())]
        {
            let phase = driver.phase();
            driver.flush();
            leave(&mut driver);
            driver.flush();
            assert!(driver.compute.shut_down, "{phase}");
            assert_eq!(driver.take_sent(Side::Tenant), farewell, "{phase}");
        }
    }
}

#[test]
fn a_web_request_is_answered_then_fin() {
    let mut driver = Driver::accept(vnc());
    driver.receive(Side::Tenant, b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(!driver.tenant.shut_down, "the answer comes first");
    driver.flush();
    assert!(driver.take_sent(Side::Tenant).starts_with(b"HTTP/1.1 405 "));
    assert!(driver.tenant.shut_down && !driver.compute.shut_down);
    assert_drains_until_the_tenants_fin(driver, "http");
}

#[test]
fn draining_ends_behind_64_kib() {
    let mut driver = Driver::relaying(vnc());
    driver.end(Side::Compute);
    driver.flush();
    for _ in 0..64 {
        driver.receive(Side::Tenant, &[0xa5; 1024]);
        assert!(driver.closed.is_none());
    }
    driver.receive(Side::Tenant, &[0xa5]);
    assert_eq!(driver.closed.expect("one byte too many").name(), "compute_ended");
}

#[test]
fn draining_ends_five_seconds_after_our_last_byte() {
    let mut driver = Driver::relaying(vnc());
    driver.end(Side::Compute);
    driver.sleep(Duration::from_millis(1_900));
    driver.flush();
    assert!(driver.tenant.shut_down);
    assert_eq!(driver.waits(), Some(Duration::from_secs(5)));
    driver.sleep(Duration::from_secs(4));
    driver.receive(Side::Tenant, &[0xa5; 9]);
    assert_eq!(driver.waits(), Some(Duration::from_secs(1)), "input does not prolong it");
    driver.expire();
    assert!(driver.closed.is_some());
}

#[test]
fn a_compute_node_that_takes_nothing_has_two_seconds() {
    let mut driver = Driver::relaying(serial());
    driver.receive(Side::Tenant, &[binary(b"typed"), close_frame(1000, "")].concat());
    driver.written(Side::Tenant);
    driver.end(Side::Tenant);
    assert!(driver.closed.is_none(), "what was typed is still being written");
    assert_eq!(driver.waits(), Some(Duration::from_secs(2)));
    driver.expire();
    assert_eq!(driver.closed.expect("two seconds are over").name(), "tenant_closed");
    assert!(!driver.compute.shut_down);
}

#[test]
fn a_tenant_that_takes_nothing_has_two_seconds() {
    let mut driver = Driver::relaying(serial());
    driver.receive(Side::Compute, b"output");
    driver.receive(Side::Tenant, &frame(0x88, b""));
    assert!(driver.compute.shut_down && !driver.tenant.shut_down);
    assert_eq!(driver.waits(), Some(Duration::from_secs(2)));
    driver.expire();
    assert_eq!(driver.closed.expect("two seconds are over").name(), "tenant_closed");
}

#[test]
fn a_deadline_never_lies_in_the_past_while_something_is_awaited() {
    let mut settings = serial();
    assert!(settings.limits.set("flush_timeout_ms", 60_000) && settings.limits.set("close_timeout_ms", 100));
    let mut driver = Driver::relaying(settings);
    driver.receive(Side::Tenant, &[binary(b"typed"), close_frame(1000, "")].concat());
    driver.written(Side::Tenant);
    driver.expire();
    assert!(driver.closed.is_none(), "the compute node still has time");
    assert_eq!(driver.waits(), Some(Duration::from_millis(59_900)));
    driver.written(Side::Compute);
    driver.compute_leaves();
    assert!(driver.closed.is_some());
}

#[test]
fn a_session_that_is_closing_is_not_cut_short_by_the_end_of_the_process() {
    let mut driver = Driver::authorizing(vnc());
    driver.answer(Input::Failed(Failure::Authorize(AuthorizeError::TokenInvalid)));
    driver.input(Input::Kill(CloseReason::ShuttingDown));
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), EMPTY_CLOSE, "one Close frame");
    assert_drains_until_the_tenants_fin(driver, "refused");
}

#[test]
fn answers_to_what_was_asked_before_the_end_change_nothing() {
    let mut driver = Driver::authorizing(vnc());
    driver.receive(Side::Tenant, &close_frame(1000, ""));
    driver.authorized();
    assert_eq!(driver.phase(), "closing");
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), close_sent(1000, ""));

    let mut driver = Driver::dialling(vnc());
    driver.receive(Side::Tenant, &close_frame(1000, ""));
    driver.connected();
    assert!(!driver.compute.reading && !driver.compute.writing);
    assert_eq!(driver.finish().name(), "tenant_closed");
}

#[test]
fn what_the_compute_node_says_behind_the_end_is_dropped() {
    let mut driver = Driver::relaying(vnc());
    driver.receive(Side::Tenant, &close_frame(1000, ""));
    driver.receive(Side::Compute, b"late");
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), close_sent(1000, ""), "no data behind a Close");
    assert!(
        driver.compute.reading,
        "closing a socket with unread bytes would reset it, and void what was typed"
    );
    driver.receive(Side::Compute, b"later still");
    assert_eq!(driver.take_sent(Side::Tenant), b"");
    assert_eq!(driver.finish().name(), "tenant_closed");
}

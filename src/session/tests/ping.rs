//! Our pings, and the tenant's.

use super::conversation::*;
use super::*;

const PING: &[u8] = b"\x89\x00";
const INTERVAL: Duration = Duration::from_secs(25);

#[test]
fn an_idle_relay_sends_an_empty_ping_every_25_seconds_and_nothing_else() {
    for settings in [vnc(), spice(), serial()] {
        let mut driver = Driver::relaying(settings);
        for _ in 0..3 {
            assert_eq!(driver.waits(), Some(INTERVAL));
            driver.expire();
            assert_eq!(driver.take_sent(Side::Tenant), PING);
            driver.flush();
        }
        assert_eq!(driver.phase(), "relaying", "a relay has no limit");
    }
}

#[test]
fn missing_pongs_are_tolerated_and_pongs_reach_nobody() {
    let mut driver = Driver::relaying(serial());
    driver.expire();
    driver.flush();
    driver.expire();
    driver.flush();
    driver.receive(Side::Tenant, &frame(0x8a, b""));
    driver.receive(Side::Tenant, &frame(0x8a, b"unasked for"));
    assert_eq!(driver.take_sent(Side::Compute), b"");
    assert_eq!(driver.phase(), "relaying");
}

#[test]
fn no_ping_is_sent_while_a_write_is_under_way() {
    let mut driver = Driver::relaying(serial());
    driver.receive(Side::Compute, b"output");
    driver.expire();
    driver.written(Side::Tenant);
    assert_eq!(driver.take_sent(Side::Tenant), binary_sent(b"output"), "no ping follows either");
    assert_eq!(driver.waits(), Some(INTERVAL));
    driver.expire();
    assert_eq!(driver.take_sent(Side::Tenant), PING);
}

#[test]
fn an_interval_of_zero_sends_no_pings() {
    let mut settings = serial();
    assert!(settings.limits.set("ping_interval_ms", 0));
    assert_eq!(Driver::relaying(settings).waits(), None);
}

#[test]
fn output_behind_our_ping_waits_for_it_and_is_not_lost() {
    let mut driver = Driver::relaying(serial());
    driver.expire();
    driver.receive(Side::Compute, b"output");
    driver.flush();
    assert_eq!(driver.take_sent(Side::Tenant), [PING, &binary_sent(b"output")].concat());
    assert!(driver.compute.reading);
}

#[test]
fn a_ping_of_the_tenant_is_answered_in_every_phase_behind_the_upgrade() {
    for mut driver in [
        Driver::authorizing(vnc()),
        Driver::resolving(vnc()),
        Driver::dialling(vnc()),
        Driver::tunnelling(vnc()),
        Driver::securing(),
        Driver::choosing(),
        Driver::relaying(vnc()),
    ] {
        let phase = driver.phase();
        driver.receive(Side::Tenant, &frame(0x89, b"there?"));
        assert_eq!(driver.take_sent(Side::Tenant), b"\x8a\x06there?", "{phase}");
        assert_eq!(driver.phase(), phase);
        assert!(driver.tenant.reading, "{phase}");
    }
}

#[test]
fn the_compute_node_is_not_read_while_anything_waits_for_the_tenant() {
    let mut driver = Driver::relaying(serial());
    driver.receive(Side::Tenant, &frame(0x89, b"first"));
    driver.receive(Side::Compute, b"output");
    driver.receive(Side::Tenant, &frame(0x89, b"second"));
    for waiting in ["output", "the second pong"] {
        driver.written(Side::Tenant);
        assert!(driver.tenant.writing && !driver.compute.reading, "{waiting} is being written");
    }
    driver.written(Side::Tenant);
    assert!(driver.compute.reading && !driver.tenant.writing);
}

#[test]
fn a_flood_of_pings_holds_one_pong_while_the_tenant_reads_nothing() {
    let mut driver = Driver::relaying(vnc());
    driver.receive(Side::Compute, b"output");
    for number in 0..1_000_u16 {
        driver.receive(Side::Tenant, &frame(0x89, &number.to_be_bytes()));
    }
    driver.flush();
    let latest = [b"\x8a\x02".as_slice(), &999_u16.to_be_bytes()].concat();
    assert_eq!(driver.take_sent(Side::Tenant), [binary_sent(b"output"), latest].concat());
}

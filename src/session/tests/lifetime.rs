//! What ends a relay by the clock. Pings themselves are in `ping`.

use super::conversation::*;
use super::*;
use crate::console::ConnectInfo;

const TOKEN_LEFT: Duration = Duration::from_secs(600);

/// Sleeps until the session ends by itself, answering every ping if `answering`; says how long that took.
fn until_it_ends(driver: &mut Driver, answering: bool) -> Duration {
    let start = driver.now;
    while driver.phase() == "relaying" {
        driver.expire();
        if driver.phase() == "relaying" {
            let pings = driver.take_sent(Side::Tenant);
            driver.flush();
            if answering && !pings.is_empty() {
                driver.receive(Side::Tenant, &frame(0x8a, b""));
            }
        }
    }
    driver.now - start
}

fn limited(name: &str, value: u64) -> Settings {
    let mut settings = serial();
    assert!(settings.limits.set(name, value));
    settings
}

#[test]
fn an_enforced_token_ends_its_session_as_if_the_target_had() {
    for mut settings in [vnc(), spice(), serial()] {
        settings.enforce_session_timeout = true;
        let mut driver = Driver::relaying(settings);
        assert_eq!(until_it_ends(&mut driver, true), TOKEN_LEFT);
        assert!(driver.take_sent(Side::Tenant).ends_with(&close_sent(1000, "Target closed")));
        assert_eq!(driver.finish().name(), "token_expired");
    }
}

#[test]
fn a_token_that_expired_on_the_way_ends_its_session_at_once() {
    let mut settings = serial();
    settings.enforce_session_timeout = true;
    let mut driver = Driver::dialling(settings);
    // The clock on the wall went on while the compute node was dialled.
    driver.unix_s += 601;
    driver.connected();
    assert_eq!(driver.waits(), Some(Duration::ZERO));
    driver.expire();
    assert_eq!(driver.finish().name(), "token_expired");
}

#[test]
fn without_the_option_a_session_outlives_its_token() {
    let mut driver = Driver::relaying(serial());
    for _ in 0..100 {
        driver.expire();
        driver.flush();
    }
    assert_eq!(driver.phase(), "relaying");
}

#[test]
fn an_idle_relay_ends_and_pings_do_not_count_as_use() {
    let mut driver = Driver::relaying(limited("idle_timeout_ms", 60_000));
    driver.sleep(Duration::from_secs(20));
    driver.receive(Side::Compute, b"output");
    driver.flush();
    assert_eq!(until_it_ends(&mut driver, true), Duration::from_secs(60));
    assert!(driver.take_sent(Side::Tenant).ends_with(&close_sent(1000, "Idle for too long")));
    assert_eq!(driver.finish().name(), "idle");
}

#[test]
fn a_relay_in_use_is_not_idle() {
    let mut settings = limited("idle_timeout_ms", 20_000);
    assert!(settings.limits.set("ping_interval_ms", 0));
    let mut driver = Driver::relaying(settings);
    for _ in 0..20 {
        // In between two looks at the clock.
        driver.sleep(driver.waits().unwrap() / 2);
        driver.receive(Side::Tenant, &binary(b"key"));
        driver.flush();
        driver.expire();
        driver.flush();
        assert_eq!(driver.phase(), "relaying");
    }
}

#[test]
fn a_side_that_takes_nothing_ends_its_relay_whatever_it_says_meanwhile() {
    for side in [Side::Tenant, Side::Compute] {
        let mut driver = Driver::relaying(limited("stall_timeout_ms", 60_000));
        driver.sleep(Duration::from_secs(7));
        match side {
            Side::Tenant => driver.receive(Side::Compute, b"output"),
            Side::Compute => driver.receive(Side::Tenant, &binary(b"key")),
        }
        let start = driver.now;
        while driver.phase() == "relaying" {
            driver.expire();
            // The other direction is none of its business.
            if side == Side::Compute && driver.phase() == "relaying" && driver.tenant.writing {
                driver.written(Side::Tenant);
            }
        }
        let took = driver.now - start;
        assert!((60..=75).contains(&took.as_secs()), "{side}: {took:?}");
        driver.flush();
        assert_eq!(driver.finish().name(), "stalled");
    }
}

#[test]
fn a_side_that_takes_little_at_a_time_is_not_stuck() {
    let mut driver = Driver::relaying(limited("stall_timeout_ms", 60_000));
    for _ in 0..20 {
        driver.receive(Side::Compute, b"output");
        for _ in 0..3 {
            driver.expire();
        }
        driver.flush();
        assert_eq!(driver.phase(), "relaying");
    }
}

#[test]
fn the_longest_session_ends_however_busy_it_is() {
    let mut driver = Driver::relaying(limited("session_timeout_ms", 90_000));
    assert_eq!(until_it_ends(&mut driver, true), Duration::from_secs(90));
    assert_eq!(driver.finish().name(), "too_long");
}

#[test]
fn a_strict_relay_lets_go_of_a_tenant_that_answers_nothing() {
    let mut settings = serial();
    settings.ping_strict = true;
    let mut driver = Driver::relaying(settings);
    // Two pings go unanswered, and the third would be due.
    assert_eq!(until_it_ends(&mut driver, false), Duration::from_secs(75));
    assert!(driver.take_sent(Side::Tenant).ends_with(&close_sent(1008, "Pings not answered")));
    assert_eq!(driver.finish().name(), "unanswered");
}

#[test]
fn a_strict_relay_keeps_a_tenant_that_answers() {
    let mut settings = limited("session_timeout_ms", 3_600_000);
    settings.ping_strict = true;
    let mut driver = Driver::relaying(settings);
    assert_eq!(until_it_ends(&mut driver, true), Duration::from_secs(3_600));
}

#[test]
fn a_strict_relay_keeps_a_tenant_whose_answers_it_does_not_read() {
    let mut settings = serial();
    settings.ping_strict = true;
    let mut driver = Driver::relaying(settings);
    // A guest that is paused takes nothing.
    driver.receive(Side::Tenant, &frame(0x82, b"typed"));
    for _ in 0..20 {
        driver.expire();
        assert_eq!(driver.take_sent(Side::Tenant), b"\x89\x00");
        driver.written(Side::Tenant);
    }
    // It goes on, and the tenant is heard again, which answers nothing still.
    driver.written(Side::Compute);
    assert_eq!(until_it_ends(&mut driver, false), Duration::from_secs(75));
    assert_eq!(driver.finish().name(), "unanswered");
}

#[test]
fn nothing_is_lost_when_the_counters_of_milliseconds_turn() {
    // Sixty days, of which the counter holds not quite fifty.
    let mut settings = limited("ping_interval_ms", 3_600_000);
    assert!(settings.limits.set("idle_timeout_ms", 2_592_000_000));
    let mut driver = Driver::relaying(settings);
    for _ in 0..60 * 24 {
        assert_eq!(driver.waits(), Some(Duration::from_secs(3_600)));
        driver.expire();
        assert_eq!(driver.take_sent(Side::Tenant), b"\x89\x00");
        driver.flush();
        driver.receive(Side::Compute, b"x");
        driver.flush();
        let _ = driver.take_sent(Side::Tenant);
    }
    assert_eq!(driver.phase(), "relaying");
}

#[test]
fn a_relay_is_announced_and_its_end_too() {
    let mut driver = Driver::relaying(serial());
    let told = std::mem::take(&mut driver.told);
    let [Notice::Relaying { number: 1, info, .. }] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(info.instance_uuid, "2f4d3a55-0000-4000-8000-000000000001");
    driver.input(Input::Kill(CloseReason::Killed));
    assert!(matches!(driver.told.as_slice(), [Notice::Ended { number: 1 }]), "{:?}", driver.told);
    assert!(driver.take_sent(Side::Tenant).ends_with(&close_sent(1000, "Closed by the operator")));
    assert_eq!(driver.finish().name(), "killed");
}

#[test]
fn addresses_share_the_time_of_the_connect() {
    let mut driver = Driver::resolving(serial());
    let addresses = (1..=4).map(|last| SocketAddr::from(([198, 51, 100, last], 5900))).collect();
    driver.answer(Input::Resolved(addresses));
    let mut left = Duration::from_secs(10);
    for shares in (1..=4).rev() {
        let within = driver.within.take().expect("a connect is open");
        assert_eq!(within, left / shares);
        driver.sleep(within.min(left - Duration::from_millis(1)));
        left = left.saturating_sub(within);
        driver.connect_fails();
    }
    assert_eq!(driver.phase(), "closing");
}

#[test]
fn an_address_in_the_token_needs_no_resolver() {
    for (host, expected) in [("198.51.100.7", "198.51.100.7:5900"), ("2001:db8::7", "[2001:db8::7]:5900")] {
        let mut driver = Driver::authorizing(serial());
        let info = ConnectInfo { host: host.to_owned(), ..connect_info(ConsoleType::Serial) };
        driver.answer(Input::Authorized(Admitted::boxed(info)));
        assert!(driver.question.is_none(), "a resolver was asked");
        assert_eq!(driver.connecting, Some(expected.parse().unwrap()));
        // One address has all the time there is.
        assert_eq!(driver.within, Some(Duration::from_secs(10)));
    }
}

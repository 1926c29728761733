//! However the streams are cut and interleaved, the same bytes come out.

use crate::console::ConnectInfo;
use proptest::prelude::*;

use super::conversation::*;
use super::*;

/// Both ends of a session and the control thread, moving as the schedule says.
struct Scheduled<'a> {
    driver: Driver,
    /// What each side has still to send
    from_tenant: &'a [u8],
    from_compute: &'a [u8],
    internal_access_path: Option<&'a str>,
    schedule: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

/// A thing that can happen next.
#[derive(Clone, Copy, Debug)]
enum Move {
    Tenant,
    Compute,
    TenantWritten,
    ComputeWritten,
    Answer,
    Connected,
}

impl Scheduled<'_> {
    /// Runs until nothing can happen any more without a FIN or a deadline.
    fn run(mut self) -> Driver {
        loop {
            let driver = &self.driver;
            let moves: Vec<_> = [
                (Move::Tenant, driver.tenant.reading && !self.from_tenant.is_empty()),
                (Move::Compute, driver.compute.reading && !self.from_compute.is_empty()),
                (Move::TenantWritten, driver.tenant.writing),
                (Move::ComputeWritten, driver.compute.writing),
                (Move::Answer, driver.question.is_some()),
                (Move::Connected, driver.connecting.is_some()),
            ]
            .into_iter()
            .filter_map(|(next, possible)| possible.then_some(next))
            .collect();
            if moves.is_empty() || driver.closed.is_some() {
                return self.driver;
            }
            let next = moves[self.number() % moves.len()];
            self.go(next);
        }
    }

    fn go(&mut self, next: Move) {
        match next {
            Move::Tenant => {
                let (piece, rest) = self.from_tenant.split_at(self.piece_len(self.from_tenant.len()));
                self.from_tenant = rest;
                self.driver.receive(Side::Tenant, piece);
            }
            Move::Compute => {
                let (piece, rest) = self.from_compute.split_at(self.piece_len(self.from_compute.len()));
                self.from_compute = rest;
                self.driver.receive(Side::Compute, piece);
            }
            Move::TenantWritten => self.driver.written(Side::Tenant),
            Move::ComputeWritten => self.driver.written(Side::Compute),
            Move::Answer => match self.driver.question {
                Some(Question::Authorize { .. }) => {
                    let internal_access_path = self.internal_access_path.map(str::to_owned);
                    let info = connect_info(self.driver.settings.console_type);
                    self.driver.answer(Input::Authorized(Admitted::boxed(ConnectInfo {
                        internal_access_path,
                        ..info
                    })));
                }
                _ => self.driver.answer(Input::Resolved(vec![COMPUTE.into()])),
            },
            Move::Connected => self.driver.connected(),
        }
    }

    fn number(&mut self) -> usize {
        self.schedule.next().map_or(0, |number| usize::from(*number))
    }

    /// Mostly short pieces, sometimes all there is.
    fn piece_len(&mut self, available: usize) -> usize {
        match self.number() {
            250.. => available,
            number => available.min(1 + number),
        }
    }
}

/// Cuts `payload` into masked frames as long as `cuts` says, with pings between them.
fn frames(payload: &[u8], cuts: &[u8]) -> Vec<u8> {
    let (mut wire, mut rest) = (Vec::new(), payload);
    for (number, cut) in cuts.iter().cycle().enumerate() {
        let (piece, behind) = rest.split_at(rest.len().min(1 + usize::from(*cut)));
        wire.extend(binary(piece));
        if number % 3 == 0 {
            wire.extend(frame(0x89, b"p"));
        }
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    wire
}

/// Both ends of the session have the bytes that were sent; what else the tenant got are pongs and `close`.
fn check(mut driver: Driver, to_compute: &[u8], to_tenant: &[u8], close: Option<Vec<u8>>) -> Driver {
    driver.take_101();
    let (data, mut control) = unframed(&driver.take_sent(Side::Tenant));
    assert_eq!(data, to_tenant);
    assert_eq!(driver.take_sent(Side::Compute), to_compute);
    if let Some(close) = close {
        assert_eq!(control.pop(), Some(close), "the last frame");
    }
    assert!(control.iter().all(|frame| frame == b"\x8a\x01p"), "{control:?}");
    driver
}

fn schedule() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..64)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_raw_console_relays_every_byte_once_and_in_order(
        typed in proptest::collection::vec(any::<u8>(), 1..3_000),
        output in proptest::collection::vec(any::<u8>(), 0..3_000),
        cuts in schedule(),
        schedule in schedule(),
    ) {
        let wire = [upgrade(), frames(&typed, &cuts)].concat();
        let driver = Scheduled {
            driver: Driver::accept(serial()),
            from_tenant: &wire,
            from_compute: &output,
            internal_access_path: None,
            schedule: schedule.iter().cycle(),
        }
        .run();
        assert_eq!(driver.phase(), "relaying");
        let mut driver = check(driver, &typed, &output, None);
        driver.end(Side::Compute);
        assert_eq!(driver.take_sent(Side::Tenant), close_sent(1000, "Target closed"));
    }

    #[test]
    fn a_tenant_that_closes_has_everything_delivered(
        typed in proptest::collection::vec(any::<u8>(), 1..3_000),
        broken in any::<bool>(),
        cuts in schedule(),
        schedule in schedule(),
    ) {
        let (end, farewell) = if broken {
            (b"\x82\x01x".to_vec(), close_sent(1002, ""))
        } else {
            (close_frame(1000, "done"), close_sent(1000, "done"))
        };
        let wire = [upgrade(), frames(&typed, &cuts), end].concat();
        let driver = Scheduled {
            driver: Driver::accept(serial()),
            from_tenant: &wire,
            from_compute: b"",
            internal_access_path: None,
            schedule: schedule.iter().cycle(),
        }
        .run();
        assert!(driver.compute.shut_down && driver.tenant.shut_down);
        check(driver, &typed, b"", Some(farewell));
    }

    #[test]
    fn a_vnc_handshake_and_what_lies_behind_it_do_not_depend_on_the_split(
        early in proptest::collection::vec(any::<u8>(), 0..=64),
        behind in proptest::collection::vec(any::<u8>(), 0..800),
        tunnel in any::<bool>(),
        cuts in schedule(),
        schedule in schedule(),
    ) {
        let typed = [VERSION.as_slice(), b"\x01", &early].concat();
        let said = [VERSION.as_slice(), b"\x02\x01\x02", &[0; 4], &behind].concat();
        let answer = if tunnel { b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n".as_slice() } else { b"" };
        let wire = [upgrade(), frames(&typed, &cuts)].concat();
        let driver = Scheduled {
            driver: Driver::accept(vnc()),
            from_tenant: &wire,
            from_compute: &[answer, &said].concat(),
            internal_access_path: tunnel.then_some("/console"),
            schedule: schedule.iter().cycle(),
        }
        .run();
        assert_eq!(driver.phase(), "relaying");
        let connect = if tunnel { b"CONNECT /console HTTP/1.1\r\n\r\n".as_slice() } else { b"" };
        let to_tenant = [VERSION.as_slice(), b"\x01\x01", &[0; 4], &behind].concat();
        check(driver, &[connect, &typed].concat(), &to_tenant, None);
    }
}

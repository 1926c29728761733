//! Bulk: every byte is right while relays turn from copying to splicing and back, tenants stall, and pipes run
//! out; copied, spliced, at random, and under TLS. `CONSOLEGATE_BULK_SECONDS` says how long each of the random
//! conversations lasts (10; `scripts/soak` takes 120).

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::client::{Client, End, masked, tcp};
use super::compute;
use super::duplex::{Duplex, OpenSsl};
use super::pair::Pair;
use super::program::{Options, Program};
use super::pump::{Stream, pattern};

on_both_engines! {
    bytes_are_right_however_often_the_relay_turns_to_splicing_and_back,
    bytes_are_right_when_all_is_copied,
    bytes_are_right_when_nearly_all_is_spliced,
    bytes_are_right_under_tls,
    most_of_a_bulk_phase_is_spliced,
    sessions_without_a_pipe_copy_and_deliver_everything,
    splicing_can_be_switched_off,
    a_session_killed_with_bytes_in_its_pipe_leaves_nothing_behind,
}

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(pattern);

/// More than any socket's buffers hold.
const BULK: usize = 32 << 20;

/// A busy machine takes longer than the default for two reads.
const OWN: &str = "port_check = off\nsplice_window_ms = 500";

fn seconds() -> u64 {
    std::env::var("CONSOLEGATE_BULK_SECONDS").map_or(10, |value| value.parse().unwrap())
}

/// Marsaglia's xorshift64: chance that a number repeats.
struct Chance(u64);

impl Chance {
    fn new(seed: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (seed as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }

    fn sleep(&mut self, ms_max: usize) {
        thread::sleep(Duration::from_millis(self.below(ms_max + 1) as u64));
    }
}

/// What the log says at the end of a relay.
#[derive(Debug, Default)]
struct RelayEnd {
    from_tenant: usize,
    from_compute: usize,
    spliced: usize,
    switches: usize,
}

/// The ends of the first `count` relays, once they have come.
fn relay_ends(program: &Program, count: usize) -> Vec<RelayEnd> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let log = program.log();
        let ends: Vec<_> =
            log.lines().filter(|line| line.contains("console relay ended")).map(relay_end).collect();
        if ends.len() >= count {
            return ends;
        }
        assert!(Instant::now() < until, "{} of {count} relays have ended", ends.len());
        thread::sleep(Duration::from_millis(20));
    }
}

fn relay_end(line: &str) -> RelayEnd {
    let (_, counts) = line.rsplit_once("; ").unwrap();
    let mut numbers = counts.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
    let mut next = || numbers.next().unwrap_or_else(|| panic!("{line}"));
    RelayEnd { from_tenant: next(), from_compute: next(), spliced: next(), switches: next() }
}

/// What a compute node sends.
#[derive(Clone, Copy)]
enum Sends {
    /// Bulk, small updates and pauses, as they come
    Mixed { until: Instant },
    /// So many bytes as fast as they go
    Bulk(usize),
}

/// One session's bytes both ways; sessions begin at other places of the pattern, so a byte of another session
/// is found.
fn streams(number: usize) -> (Stream, Stream) {
    (Stream::new(number * 7_919, usize::MAX), Stream::new(500_000 + number * 104_729, usize::MAX))
}

/// Runs sessions side by side to the orderly end of each. Everything is compared on the way.
fn converse(program: &Program, numbers: std::ops::Range<usize>, sends: Sends) {
    converse_over(program, numbers, sends, |number| plain(program, number));
}

fn plain(program: &Program, number: usize) -> Client {
    let stream = tcp(program.address);
    if number % 2 == 1 {
        // Small enough that what is spliced often leaves in pieces.
        setsockopt(&stream, sockopt::RcvBuf, &32_768).unwrap();
    }
    Client::over(stream)
}

/// The same over connections that `connect` makes.
fn converse_over<S: Duplex>(
    program: &Program,
    numbers: std::ops::Range<usize>,
    sends: Sends,
    connect: impl Fn(usize) -> Client<S>,
) {
    let sessions: Vec<_> = numbers
        .map(|number| {
            let (told, totals) = mpsc::channel();
            let (port, compute) = compute::serve(move |stream| serve(stream, number, sends, totals));
            let token = program.token("novnc", port, 600);
            let client = connect(number).upgraded(&format!("/?token={token}"), &[]);
            (number, thread::spawn(move || tenant(client, number, sends, &told)), compute)
        })
        .collect();
    for (number, tenant, compute) in sessions {
        let (sent, received) = (compute.join().unwrap(), tenant.join().unwrap());
        assert_eq!(sent, received, "bytes of session {number} to its tenant");
    }
}

/// The compute node's end. Returns how many bytes it sent.
fn serve(mut stream: TcpStream, number: usize, sends: Sends, totals: Receiver<usize>) -> usize {
    compute::rfb_handshake(&mut stream);
    let (expected, mut bytes) = streams(number);
    let reader = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || read_all(reader, expected, &totals));
        let mut sent = 0;
        let mut send = |len: usize| {
            let mut left = len;
            while left > 0 {
                let piece = bytes.next(&PATTERN, left.min(200_000));
                stream.write_all(piece).unwrap();
                left -= piece.len();
            }
            sent += len;
        };
        match sends {
            Sends::Bulk(len) => send(len),
            Sends::Mixed { until } => {
                let mut chance = Chance::new(number);
                while Instant::now() < until {
                    match chance.below(4) {
                        0 => send(200_000 + chance.below(2_000_000)),
                        1 => send(1 + chance.below(100_000)),
                        2 => {
                            for _ in 0..1 + chance.below(8) {
                                send(1 + chance.below(8_000));
                                chance.sleep(3);
                            }
                        }
                        _ => chance.sleep(60),
                    }
                }
            }
        }
        sent
    })
}

/// Compares what the tenant says until all of it is there, as the tenant itself tells beside the proxy.
fn read_all(mut stream: TcpStream, mut expected: Stream, totals: &Receiver<usize>) {
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (mut buffer, mut received, mut total) = (vec![0; 1 << 16], 0, None);
    while total != Some(received) {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("the proxy ended after {received} bytes"),
            Ok(len) => {
                expected.check(&PATTERN, &buffer[..len]);
                received += len;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
        total = total.or_else(|| totals.try_recv().ok());
    }
}

/// The browser's end. Returns how many console bytes it received.
fn tenant<S: Duplex>(mut client: Client<S>, number: usize, sends: Sends, told: &Sender<usize>) -> usize {
    client.rfb_handshake();
    let (said, mut expected) = streams(number);
    let writer = client.stream.writer();
    thread::scope(|scope| {
        scope.spawn(move || say(writer, said, number, sends, told));
        let (mut received, mut chance) = (0, Chance::new(1_000 + number));
        loop {
            match client.read_frame() {
                (0x82, payload) => {
                    expected.check(&PATTERN, &payload);
                    received += payload.len();
                }
                (0x89 | 0x8a, _) => {}
                (0x88, payload) => {
                    assert_eq!(payload, [&[0x03, 0xe8], b"Target closed".as_slice()].concat());
                    break;
                }
                (first, _) => panic!("a frame begins with {first:#x}"),
            }
            if chance.below(100) == 0 {
                chance.sleep(300);
            }
        }
        // OpenSSL's client leaves when the other end has said its last, answered or not.
        let _ = client.stream.write_all(&masked(0x88, &[0x03, 0xe8]));
        assert_eq!(client.rest(), (vec![], End::Fin));
        received
    })
}

/// Says frames of many sizes while the conversation lasts, with pings between them.
fn say(mut stream: impl Write, mut bytes: Stream, number: usize, sends: Sends, told: &Sender<usize>) {
    let (mut chance, mut total) = (Chance::new(2_000 + number), 0);
    let until = match sends {
        Sends::Mixed { until } => until,
        Sends::Bulk(_) => Instant::now() + Duration::from_millis(200),
    };
    while Instant::now() < until {
        let payload = bytes.next(&PATTERN, 1 + chance.below(20_000));
        total += payload.len();
        stream.write_all(&masked(0x82, payload)).unwrap();
        for _ in 0..chance.below(4) {
            stream.write_all(&masked(0x89, b"still there?")).unwrap();
        }
        chance.sleep(10);
    }
    told.send(total).unwrap();
}

/// Sessions whose random conversations last for [`seconds`].
const SESSIONS: usize = 6;

/// What the relays of some random conversations came to, altogether.
fn mixed<S: Duplex>(program: &Program, what: &str, connect: impl Fn(usize) -> Client<S>) -> RelayEnd {
    let until = Instant::now() + Duration::from_secs(seconds());
    converse_over(program, 0..SESSIONS, Sends::Mixed { until }, connect);
    let ends = relay_ends(program, SESSIONS);
    let sum = |of: fn(&RelayEnd) -> usize| ends.iter().map(of).sum::<usize>();
    let all = RelayEnd {
        from_tenant: sum(|end| end.from_tenant),
        from_compute: sum(|end| end.from_compute),
        spliced: sum(|end| end.spliced),
        switches: sum(|end| end.switches),
    };
    println!(
        "{what}, {} s: {} switches, {} bytes to tenants ({} spliced), {} bytes from them",
        seconds(),
        all.switches,
        all.from_compute,
        all.spliced,
        all.from_tenant,
    );
    assert!(all.from_compute > 0 && all.from_tenant > 0);
    all
}

fn bytes_are_right_however_often_the_relay_turns_to_splicing_and_back(engine: &str) {
    let own = format!("{OWN}\nping_interval_ms = 100");
    let program = Program::start(&Options { own: &own, ..Options::on(engine) });
    let all = mixed(&program, &format!("{engine}, at random"), |number| plain(&program, number));
    assert!(all.switches > 100, "only {} switches", all.switches);
    assert!(all.spliced > 0 && all.spliced < all.from_compute, "{all:?}");
}

fn bytes_are_right_when_all_is_copied(engine: &str) {
    let own = format!("{OWN}\nsplice_from_bytes = 0\nping_interval_ms = 100");
    let program = Program::start(&Options { own: &own, ..Options::on(engine) });
    let all = mixed(&program, &format!("{engine}, copied"), |number| plain(&program, number));
    assert_eq!((all.spliced, all.switches), (0, 0));
}

fn bytes_are_right_when_nearly_all_is_spliced(engine: &str) {
    // Bulk from the second read on, and for as long as there are no pauses.
    let own = format!("{OWN}\nsplice_from_bytes = 1\nsplice_until_bytes = 0\nping_interval_ms = 100");
    let program = Program::start(&Options { own: &own, ..Options::on(engine) });
    let all = mixed(&program, &format!("{engine}, spliced"), |number| plain(&program, number));
    assert!(all.spliced > all.from_compute / 2, "{all:?}");
}

fn bytes_are_right_under_tls(engine: &str) {
    let pair = Pair::new();
    let own = format!("{OWN}\nping_interval_ms = 100");
    let default = pair.options();
    let program = Program::start(&Options { default: &default, own: &own, ..Options::on(engine) });
    let trusted = pair.directory.join("cert.pem");
    let _ = mixed(&program, &format!("{engine}, under TLS"), |_| {
        Client::over(OpenSsl::connect(program.address, &trusted))
    });
}

fn most_of_a_bulk_phase_is_spliced(engine: &str) {
    let program = Program::start(&Options { own: OWN, ..Options::on(engine) });
    converse(&program, 0..1, Sends::Bulk(BULK));
    let end = &relay_ends(&program, 1)[0];
    assert!(end.spliced > end.from_compute / 2, "{end:?}");
}

fn sessions_without_a_pipe_copy_and_deliver_everything(engine: &str) {
    let own = format!("{OWN}\npipes_max = 1");
    let program = Program::start(&Options { own: &own, ..Options::on(engine) });
    converse(&program, 0..6, Sends::Bulk(BULK / 2));
    let ends = relay_ends(&program, 6);
    assert!(ends.iter().any(|end| end.spliced > 0), "nobody had the pipe: {ends:?}");
    assert!(ends.iter().any(|end| end.spliced < end.from_compute / 2), "nobody went without it: {ends:?}");
}

fn splicing_can_be_switched_off(engine: &str) {
    let own = format!("{OWN}\nsplice_from_bytes = 0");
    let program = Program::start(&Options { own: &own, ..Options::on(engine) });
    converse(&program, 0..2, Sends::Bulk(BULK / 2));
    for end in relay_ends(&program, 2) {
        assert_eq!((end.spliced, end.switches), (0, 0));
    }
}

/// Pipe ends that the program holds.
fn pipe_ends(program: &Program) -> usize {
    fs::read_dir(format!("/proc/{}/fd", program.pid()))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("pipe:"))
        .count()
}

/// Sockets and pipe ends of a program that has served somebody and is idle: the control thread makes its own
/// when it starts, and the first connection was a probe.
fn at_rest(program: &Program) -> (usize, usize) {
    assert_eq!(Client::upgrade(program.address, "/?token=unknown", &[]).rest().0, [0x88, 0]);
    let (mut before, mut same) = ((0, 0), 0);
    while same < 20 {
        let now = (program.sockets(), pipe_ends(program));
        same = if now == before { same + 1 } else { 0 };
        before = now;
        thread::sleep(Duration::from_millis(20));
    }
    before
}

fn a_session_killed_with_bytes_in_its_pipe_leaves_nothing_behind(engine: &str) {
    const PIPES: usize = 2;
    const KILLED: usize = 8;
    let own = format!("{OWN}\npipes_max = {PIPES}\nworkers = 1");
    let program = Program::start(&Options { own: &own, ..Options::on(engine) });
    let (sockets, pipes) = at_rest(&program);
    for number in 0..KILLED {
        let hangs_up = Arc::new(std::sync::Barrier::new(2));
        let stuck = Arc::clone(&hangs_up);
        let (port, compute) = compute::serve(move |mut stream| {
            compute::rfb_handshake(&mut stream);
            let (_, mut bytes) = streams(100 + number);
            // Until nobody takes any more: the tenant's buffers, the pipe and ours are full.
            stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            while stream.write_all(bytes.next(&PATTERN, 200_000)).is_ok() {}
            stuck.wait();
            if number % 2 == 0 {
                // Waits for the proxy's end.
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        let token = program.token("novnc", port, 600);
        let mut client = Client::upgrade(program.address, &format!("/?token={token}"), &[]);
        client.rfb_handshake();
        hangs_up.wait();
        if number % 2 == 0 {
            // RST instead of FIN.
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&client.stream, sockopt::Linger, &linger).unwrap();
        } else {
            client.stream.shutdown(Shutdown::Write).unwrap();
            compute.join().unwrap();
            thread::sleep(Duration::from_millis(50));
            drop(client);
            continue;
        }
        drop(client);
        compute.join().unwrap();
    }
    let ends = relay_ends(&program, KILLED);
    assert!(ends.iter().all(|end| end.spliced > 0), "a session was killed before it was bulk: {ends:?}");
    // Those that come after splice, too, and see nothing of those before.
    converse(&program, 0..2, Sends::Bulk(BULK / 2));
    let ends = relay_ends(&program, KILLED + 2);
    assert!(ends[KILLED..].iter().any(|end| end.spliced > end.from_compute / 4), "{ends:?}");
    let until = Instant::now() + Duration::from_secs(10);
    while program.sockets() != sockets || pipe_ends(&program) > pipes + 2 * PIPES {
        let (now, pipe_ends) = (program.sockets(), pipe_ends(&program));
        assert!(Instant::now() < until, "{now} sockets instead of {sockets}, {pipe_ends} pipe ends");
        thread::sleep(Duration::from_millis(20));
    }
}

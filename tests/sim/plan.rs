//! From a seed to what will happen: settings, tenants, compute nodes, answers, and one fault for each.

use std::time::Duration;

use consolegate::console::ConsoleType;
use consolegate::session::Settings;

use crate::compute::{Compute, Nature};
use crate::control::{Answer, COOKIE, Known, token};
use crate::coverage::{FAULTS, Fault, PHASES, PLAIN_PHASES, meaningless};
use crate::frames::Frame;
use crate::prng::Prng;
use crate::script::{Act, Until};
use crate::tenant::{self, Manners, Tenant};
use crate::tls::{Sides, Tls};

/// What becomes of one connect(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    Accepted(Duration),
    Refused(Duration),
    Hangs,
}

/// Everything about one tenant.
pub(crate) struct Plan {
    pub(crate) start_at: Duration,
    pub(crate) tenant: Tenant,
    pub(crate) compute: Compute,
    pub(crate) tunnel: bool,
    pub(crate) dials: Vec<Dial>,
    pub(crate) fault: Option<(&'static str, Fault)>,
    /// Lengths of the files it asks for, in order
    pub(crate) files: Vec<usize>,
    pub(crate) chooses_none: bool,
}

/// What all sessions of a schedule share.
pub(crate) fn settings(console_type: ConsoleType, rng: &mut Prng) -> Settings {
    let mut settings = Settings::for_console(console_type);
    settings.explain_refusals = rng.one_in(4);
    let limits = &mut settings.limits;
    limits.read_bytes = rng.pick(&[1_024, 1_024, 2_048, 8_192]);
    // Small, so that many schedules switch between copying and splicing.
    limits.splice_from_bytes = rng.pick(&[0, 256, 512, 1_024]);
    limits.splice_until_bytes = rng.pick(&[64, 256, 600]);
    limits.flush_timeout_ms = rng.pick(&[1_000, 2_000]);
    limits.close_timeout_ms = rng.pick(&[1_500, 5_000]);
    limits.close_drain_bytes = rng.pick(&[1_024, 65_536, 65_536]);
    limits.ping_interval_ms = rng.pick(&[0, 400, 25_000]);
    settings
}

/// One that is possible in plain schedules, or also in those under TLS.
pub(crate) fn fault(tls: bool, rng: &mut Prng) -> (&'static str, Fault) {
    let phases = if tls { PHASES } else { &PHASES[..PLAIN_PHASES] };
    loop {
        let (phase, fault) = (rng.pick(phases), rng.pick(&FAULTS));
        if meaningless(phase, fault).is_none() {
            return (phase, fault);
        }
    }
}

/// A console type in which `phase` can be reached.
pub(crate) fn console_type(phase: &str, rng: &mut Prng) -> ConsoleType {
    match phase {
        "securing" | "VeNCrypt" => ConsoleType::NoVnc,
        "encrypting" => rng.pick(&[ConsoleType::SpiceHtml5, ConsoleType::Serial]),
        "responding" => rng.pick(&[ConsoleType::NoVnc, ConsoleType::SpiceHtml5]),
        _ => {
            rng.pick(&[ConsoleType::NoVnc, ConsoleType::NoVnc, ConsoleType::SpiceHtml5, ConsoleType::Serial])
        }
    }
}

/// Which connections are under TLS: at least one, and those in which `phase` can be reached.
pub(crate) fn sides(phase: &str, rng: &mut Prng) -> Sides {
    match phase {
        "encrypting" | "VeNCrypt" => Sides { tenant: rng.one_in(2), compute: true },
        "TLS" => Sides { tenant: true, compute: rng.one_in(2) },
        _ => {
            let (tenant, compute) = rng.pick(&[(true, false), (false, true), (true, true)]);
            Sides { tenant, compute }
        }
    }
}

impl Plan {
    pub(crate) fn new(
        index: usize,
        fault: Option<(&'static str, Fault)>,
        settings: &Settings,
        sides: Sides,
        rng: &mut Prng,
    ) -> (Self, Known) {
        let console_type = settings.console_type;
        let rfb = console_type == ConsoleType::NoVnc;
        let phase = fault.map_or("", |(phase, _)| phase);
        let tunnel = phase == "tunnelling" || (phase != "connecting" && rng.one_in(8));
        let natures: &[Nature] = match (rfb, tunnel) {
            (true, _) => &[
                Nature::NotRfb,
                Nature::OldVersion,
                Nature::NoCommonType,
                Nature::Refuses,
                Nature::AuthFails,
            ],
            (false, true) => &[Nature::TunnelRefused],
            (false, false) => &[Nature::Good],
        };
        let compute_tls = sides.compute && (!rfb || index == 0 || !rng.one_in(4));
        let nature = match () {
            () if compute_tls && rng.one_in(12) => Nature::Untrusted,
            () if rng.one_in(6) => rng.pick(natures),
            () => Nature::Good,
        };
        let chooses_none = !rng.one_in(30);
        let compute_ends = rng.one_in(3);
        let mut tenant_acts = Vec::new();
        let mut files = Vec::new();
        if settings.web && (phase == "responding" || rng.one_in(8)) {
            request_files(&mut tenant_acts, &mut files, index, rng);
        }
        if files.is_empty() || rng.one_in(2) {
            open_console(&mut tenant_acts, index, rfb, chooses_none, rng);
            let text = console_type == ConsoleType::Serial;
            use_console(&mut tenant_acts, text, compute_ends, rng);
        } else {
            tenant_acts.push(Act::Await(Until::Ended));
        }
        let manners = rng.pick(&[
            Manners::Polite,
            Manners::Polite,
            Manners::Polite,
            Manners::Polite,
            Manners::Polite,
            Manners::Talkative,
            Manners::Talkative,
            Manners::Deaf,
        ]);
        let console = console(compute_ends, rng);
        let mut known = Known {
            authorize: Answer::After(rng.millis(0..=100)),
            resolve: Answer::After(rng.millis(0..=100)),
            file: Answer::After(rng.millis(0..=100)),
            console_type: if rng.one_in(40) { ConsoleType::RdpHtml5 } else { console_type },
            tunnel,
            addresses: rng.between(1..=3),
        };
        let mut dials = vec![Dial::Accepted(rng.millis(0..=50))];
        if known.addresses > 1 && rng.one_in(4) {
            dials.insert(0, Dial::Refused(rng.millis(0..=50)));
        }
        if let Some((phase, fault)) = fault {
            let answer = match phase {
                "authorizing" => &mut known.authorize,
                "connecting" => &mut known.resolve,
                _ => &mut known.file,
            };
            match fault {
                Fault::ControlFails => *answer = Answer::Fails(rng.millis(0..=100)),
                Fault::ControlSilent => *answer = Answer::Never,
                Fault::ControlLate => *answer = Answer::After(rng.millis(1_000..=8_000)),
                Fault::ControlOverloaded => *answer = Answer::Overloaded,
                Fault::ConnectRefused => dials = vec![Dial::Refused(rng.millis(0..=50)); known.addresses],
                Fault::ConnectHangs => dials = vec![Dial::Hangs],
                _ => {}
            }
        }
        let mut tenant = Tenant::new(tenant_acts, manners);
        if sides.tenant && (index == 0 || !rng.one_in(4)) {
            tenant.actor.start_tls(Tls::tenant(rng));
        }
        let plan = Self {
            start_at: rng.millis(0..=300),
            tenant,
            compute: Compute::new(nature, rfb, tunnel, compute_tls, console, rng),
            tunnel,
            dials,
            fault,
            files,
            chooses_none,
        };
        (plan, known)
    }
}

fn request_files(acts: &mut Vec<Act>, files: &mut Vec<usize>, index: usize, rng: &mut Prng) {
    for _ in 0..rng.between(1..=3) {
        let len = rng.pick(&[0, 10, 699, 700, 701, 3_000]);
        files.push(len);
        let head = format!("GET /file-{index}-{len}.html HTTP/1.1\r\nHost: h\r\n\r\n");
        acts.push(Act::Send(head.into_bytes()));
        if rng.one_in(3) {
            acts.push(Act::Sleep(rng.millis(1..=300)));
        }
    }
}

/// The opening handshake and, for VNC, the tenant's part of the RFB handshake.
fn open_console(acts: &mut Vec<Act>, index: usize, rfb: bool, chooses_none: bool, rng: &mut Prng) {
    let head = format!(
        "GET /?token={} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Cookie: sessionid={COOKIE}\r\n\r\n",
        token(index)
    );
    acts.push(Act::Send(head.into_bytes()));
    let eager = rng.one_in(2);
    if !eager {
        acts.push(Act::Await(Until::Upgraded));
    }
    if !rfb {
        return;
    }
    let mut step = |acts: &mut Vec<Act>, seen: usize, payload: &[u8]| {
        if !eager {
            acts.push(Act::Await(Until::Received(seen)));
            if rng.one_in(24) {
                acts.push(Act::Sleep(rng.millis(4_000..=14_000)));
            }
        }
        frames(acts, payload, false, rng);
    };
    step(acts, 12, crate::compute::VERSION);
    step(acts, 14, &[if chooses_none { 1 } else { 2 }]);
    if eager && rng.one_in(2) {
        let early = rng.bytes(40);
        frames(acts, &early, false, rng);
    }
    acts.push(Act::Await(Until::Received(18)));
}

fn use_console(acts: &mut Vec<Act>, text: bool, compute_ends: bool, rng: &mut Prng) {
    for _ in 0..rng.below(5) {
        let len = rng.pick(&[1, 10, 125, 126, 1_000, 3_000]);
        // In text too, a byte that is lost or doubled must show.
        let letters = (b'a'..=b'z').cycle().skip(rng.below(26));
        let payload: Vec<u8> = if text { letters.take(len).collect() } else { rng.bytes(len) };
        let text = text && rng.one_in(2);
        frames(acts, &payload, text, rng);
        if rng.one_in(3) {
            acts.push(Act::Sleep(rng.millis(1..=900)));
        }
    }
    if compute_ends {
        acts.push(Act::Await(Until::Ended));
        return;
    }
    if rng.one_in(2) {
        acts.push(Act::Sleep(rng.millis(1..=900)));
    }
    match rng.below(4) {
        0 => acts.push(Act::Fin),
        1 if rng.one_in(2) => acts.push(Act::Reset),
        _ => {
            acts.push(Act::Frame(tenant::close(rng)));
            acts.push(Act::Await(Until::Ended));
        }
    }
}

/// `payload` in messages and fragments as they come, with pings and pongs between them.
fn frames(acts: &mut Vec<Act>, payload: &[u8], text: bool, rng: &mut Prng) {
    let mut rest = payload;
    let mut continuation = false;
    while !rest.is_empty() {
        let len = if rng.one_in(2) { rest.len() } else { rng.between(1..=rest.len()) };
        let (now, later) = rest.split_at(len);
        let fin = later.is_empty() || rng.one_in(2);
        acts.push(Act::Frame(Frame::Data { text, continuation, fin, payload: now.to_vec() }));
        continuation = !fin;
        rest = later;
        if rng.one_in(6) {
            let len = rng.pick(&[0, 4, 125]);
            let payload = rng.bytes(len);
            acts.push(Act::Frame(if rng.one_in(3) { Frame::Pong(payload) } else { Frame::Ping(payload) }));
        }
    }
}

/// What a compute node does once its console is there.
fn console(compute_ends: bool, rng: &mut Prng) -> Vec<Act> {
    let mut acts = Vec::new();
    for _ in 0..rng.below(6) {
        let len = rng.pick(&[1, 20, 125, 126, 1_000, 1_024, 1_025, 3_000]);
        acts.push(Act::Send(rng.bytes(len)));
        if rng.one_in(4) {
            // Bulk: as fast as it goes, with less than a full read at the end.
            let len = rng.between(2_000..=9_000);
            acts.push(Act::Send(rng.bytes(len)));
        }
        if rng.one_in(3) {
            acts.push(Act::Sleep(rng.millis(1..=900)));
        }
    }
    if compute_ends {
        acts.push(Act::Sleep(rng.millis(0..=1_500)));
        acts.push(if rng.one_in(4) { Act::Reset } else { Act::Fin });
    } else {
        acts.push(Act::Await(Until::Ended));
        acts.push(Act::Fin);
    }
    acts
}

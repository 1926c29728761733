//! What must hold, at each step and at the end, whatever the world does.
//!
//! | name | invariant |
//! | --- | --- |
//! | contract | what [`consolegate::session`] promises of its outputs |
//! | L1 | every byte that was read is delivered once and in order, both ways |
//! | L2 | what a session holds is bounded, and reading goes on when there is room again |
//! | L3 | every phase ends in time; at the end no session, slot or operation is left |
//! | L4 | each end is a row of the table in `session/closing.rs` |
//! | S1 | nothing that is traced shows a token, a cookie or where a console is behind its proxy |
//! | panic | nothing panics |
//! | R1 | nothing of the tenant's reaches a VNC compute node before its `SecurityResult` 0 |

use std::time::Duration;

use consolegate::proto::Side;
use consolegate::proto::rfb::{RfbError, Step};
use consolegate::session::limits::{duration, size};
use consolegate::session::{CloseReason, Refusal, Security, Settings};

use crate::compute::{CONNECT_REQUEST, Nature, VENCRYPT, VERSION};
use crate::conn::{Conn, Read, State};
use crate::control::file_bytes;
use crate::coverage::Fault;
use crate::frames::End;
use crate::script::Actor;

#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) text: String,
}

fn holds(invariant: &'static str, holds: bool, text: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { invariant, text: text() }) }
}

/// What a tenant is sent before the console of a VNC compute node.
const HANDSHAKE: &[u8] = b"RFB 003.008\n\x01\x01\0\0\0\0";

/// What it says itself.
const ANSWER_LEN: usize = VERSION.len() + 1;

/// Deadlines are kept on a wheel of 50 ms, and the simulated kernel is up to 30 ms late.
const SLACK: Duration = Duration::from_millis(200);

fn is_rfb(settings: &Settings) -> bool {
    matches!(settings.security, Security::Rfb(_))
}

/// What the compute node gets before the tenant's console bytes.
fn preamble(conn: &Conn, rfb: bool) -> Vec<u8> {
    let mut preamble = if conn.tunnel { CONNECT_REQUEST.to_vec() } else { Vec::new() };
    if rfb {
        preamble.extend(VERSION);
        preamble.extend(if conn.compute.is_under_tls() { VENCRYPT } else { &[1] });
    }
    preamble
}

/// The most that a session may hold of what one side said: what is being written, one read behind it, and control
/// frames, of which one read may bring sixteen that are answered one by one. A record of TLS is opened when it has come whole, so there may be one more.
pub(crate) fn held_bytes_max(conn: &Conn, from: Side, settings: &Settings) -> usize {
    let actor = if from == Side::Tenant { &conn.tenant.actor } else { &conn.compute.actor };
    let read_bytes = size(settings.limits.read_bytes);
    2 * read_bytes + read_bytes.min(16 * 127) + 512 + longest_record(actor)
}

fn longest_record(actor: &Actor) -> usize {
    actor.tls.as_ref().map_or(0, |tls| tls.longest_record())
}

/// After each step: L1 and R1 as far as bytes have come, L2.
pub(crate) fn check_bytes(conn: &mut Conn, settings: &Settings) -> Result<(), Violation> {
    if let Some(fault) = conn.tenant.seen.fault {
        return Err(Violation { invariant: "L4", text: fault.to_owned() });
    }
    let rfb = is_rfb(settings);
    check_tenant_data(conn, rfb)?;
    let preamble_len = check_compute_data(conn, rfb)?;

    let facts = &conn.facts;
    let from = conn.compute.console_from.unwrap_or(usize::MAX);
    let read = conn.read_from(Side::Compute);
    let to_compute = if conn.compute.is_under_tls() { conn.compute.received.len() } else { facts.to_compute };
    holds("R1", !rfb || to_compute <= preamble_len || read >= from, || {
        "tenant bytes for the compute node before its result 0".to_owned()
    })?;
    let (shown, said) = if rfb { (HANDSHAKE.len(), ANSWER_LEN) } else { (0, 0) };
    let read_for_tenant = read.saturating_sub(from.saturating_add(conn.piped()));
    let read_for_compute = conn.tenant.sent.payload_within(conn.read_from(Side::Tenant)).saturating_sub(said);
    let to_tenant = read_for_tenant.saturating_sub(gone(conn, Side::Tenant, shown));
    let to_compute = read_for_compute.saturating_sub(gone(conn, Side::Compute, preamble_len));
    for (from, held) in [(Side::Compute, to_tenant), (Side::Tenant, to_compute)] {
        let most = held_bytes_max(conn, from, settings);
        holds("L2", conn.state != State::Live || held <= most, || {
            format!("{held} bytes of the {from} are held, {most} allowed")
        })?;
    }
    Ok(())
}

/// How many of the console's bytes for a side the session has no longer, `before` being what comes before them.
/// Under TLS what is written cannot be looked into, and counts whole.
fn gone(conn: &Conn, side: Side, before: usize) -> usize {
    let (actor, socket) = match side {
        Side::Tenant => (&conn.tenant.actor, Some(&conn.tenant_socket)),
        Side::Compute => (&conn.compute.actor, conn.compute_socket.as_ref()),
    };
    let Some(tls) = &actor.tls else {
        let writes = conn.operations[side as usize].writes.iter();
        let waiting: usize = writes.filter(|write| !write.spliced).map(|write| write.chunk.len()).sum();
        let given = if side == Side::Tenant { conn.facts.to_tenant } else { conn.facts.to_compute };
        return given.saturating_sub(before).saturating_sub(waiting);
    };
    if tls.error.is_some() || socket.is_none_or(|socket| socket.peer_reset || socket.proxy_reset) {
        return usize::MAX;
    }
    let (seen, unfinished) = match side {
        Side::Tenant => (conn.tenant.seen.data.len(), conn.tenant.seen.unfinished()),
        Side::Compute => (conn.compute.received.len(), 0),
    };
    let under_way = socket.map_or(0, |socket| socket.to_peer.held());
    seen.saturating_sub(before) + unfinished + tls.partial_len() + under_way
}

fn check_tenant_data(conn: &mut Conn, rfb: bool) -> Result<(), Violation> {
    let data = &conn.tenant.seen.data;
    let shown = if rfb { HANDSHAKE.len() } else { 0 };
    let log = &conn.compute.actor.log;
    while let Some(got) = data.get(conn.facts.tenant_checked) {
        let at = conn.facts.tenant_checked;
        let expected = if at < shown {
            Some(&HANDSHAKE[at])
        } else {
            conn.compute.console_from.and_then(|from| log.get(from + at - shown))
        };
        if expected == Some(got) {
            conn.facts.tenant_checked += 1;
        } else if at < shown && is_refusal(data) {
            return Ok(());
        } else {
            return Err(Violation {
                invariant: "L1",
                text: format!("byte {at} for the tenant is another one"),
            });
        }
    }
    Ok(())
}

/// A version, then no types and a reason, or the types, a result and a reason (RFC 6143 section 7.1).
fn is_refusal(data: &[u8]) -> bool {
    let Some(rest) = data.strip_prefix(VERSION) else { return false };
    let rest = match rest {
        [0, rest @ ..] => rest,
        [1, 1, 0, 0, 0, 0, ..] => return false,
        [1, 1, _, _, _, _, rest @ ..] => rest,
        _ => return false,
    };
    rest.first_chunk().is_some_and(|len| usize::try_from(u32::from_be_bytes(*len)).unwrap() == rest.len() - 4)
}

/// Returns the length of what comes before the console.
fn check_compute_data(conn: &mut Conn, rfb: bool) -> Result<usize, Violation> {
    let preamble = preamble(conn, rfb);
    let chosen_at = if conn.tunnel { CONNECT_REQUEST.len() } else { 0 } + VERSION.len();
    let said = if rfb { ANSWER_LEN } else { 0 };
    let received = &conn.compute.received;
    while let Some(got) = received.get(conn.facts.compute_checked) {
        let at = conn.facts.compute_checked;
        let expected = match at.checked_sub(preamble.len()) {
            None => preamble.get(at),
            Some(at) => conn.tenant.sent.payload.get(said + at),
        };
        // The abort byte of Nova stands in place of the choice.
        let aborts = rfb && at == chosen_at && *got == 0 && received.len() == at + 1;
        holds(if rfb && at < preamble.len() { "R1" } else { "L1" }, expected == Some(got) || aborts, || {
            format!("byte {at} for the compute node is another one")
        })?;
        conn.facts.compute_checked += 1;
    }
    Ok(preamble.len())
}

/// After each turn: no phase lasts longer than its limits, and dead tenants are let go.
pub(crate) fn check_time(conn: &Conn, now: Duration, settings: &Settings) -> Result<(), Violation> {
    let limits = &settings.limits;
    let most_ms = match conn.phase {
        "request" => {
            limits.first_byte_timeout_ms.max(limits.keep_alive_timeout_ms)
                + limits.tls_handshake_timeout_ms
                + limits.head_timeout_ms
        }
        "responding" => 6 * limits.response_timeout_ms,
        "authorizing" => limits.authorize_timeout_ms,
        "connecting" => limits.connect_timeout_ms,
        "encrypting" => limits.compute_tls_timeout_ms,
        "tunnelling" => limits.tunnel_timeout_ms,
        "securing" => limits.compute_security_timeout_ms + 2 * limits.tenant_step_timeout_ms,
        "closing" => limits.flush_timeout_ms + limits.close_timeout_ms,
        _ => u64::MAX / 2,
    };
    holds("L3", now - conn.phase_since <= duration(most_ms) + SLACK, || {
        format!("{} lasts {:?}", conn.phase, now - conn.phase_since)
    })?;
    let gone = conn.facts.tenant_failed.map_or(Duration::ZERO, |at| now - at);
    holds("L3", gone <= duration(limits.flush_timeout_ms) + SLACK, || {
        format!("the tenant's connection broke {gone:?} ago and is still held")
    })
}

/// When nothing can happen: a relay that is not writing to one side is reading from the other.
pub(crate) fn check_rest(conn: &Conn, now: Duration) -> Result<(), Violation> {
    if conn.state != State::Live || conn.phase != "relaying" {
        return Ok(());
    }
    for side in [Side::Tenant, Side::Compute] {
        let stuck = !conn.operations[side as usize].write_open
            && conn.operations[side.other() as usize].read == Read::None;
        holds("L2", !stuck, || format!("at {now:?} nobody reads from the {} any more", side.other()))?;
    }
    Ok(())
}

/// At the end, when everything was delivered that ever will be.
pub(crate) fn check_end(conn: &Conn, settings: &Settings) -> Result<(), Violation> {
    let facts = &conn.facts;
    let seen = &conn.tenant.seen;
    // The process ended before the session.
    let Some(reason) = &facts.reason else { return Ok(()) };
    holds("L4", is_plausible(conn, reason), || format!("the end is called \"{reason}\""))?;
    check_pongs(conn)?;
    check_web(conn)?;

    let rfb = is_rfb(settings);
    if facts.relayed && rfb && seen.data.len() >= HANDSHAKE.len() {
        holds("L4", seen.frames.starts_with(&[12, 2, 4]), || {
            format!("the handshake came in frames of {:?}", &seen.frames[..3])
        })?;
    }
    check_compute_end(conn, reason, settings)?;
    check_alerts(conn)?;

    let tenant_excused = conn.tenant.actor.has_stalled
        || conn.tenant_socket.peer_reset
        || facts.tenant_failed.is_some()
        || facts.drained + longest_record(&conn.tenant.actor) > size(settings.limits.close_drain_bytes);
    if tenant_excused {
        return Ok(());
    }
    if conn.tenant.actor.breaks_tls_within(facts.tenant_read + facts.drained) {
        // Nothing follows the alert. Where a web request or an opening handshake was awaited, there is time for its FIN.
        let told = !seen.reset && (seen.fin || matches!(reason, CloseReason::Http(_)));
        return if told { check_tls_end(&conn.tenant.actor, facts.tenant_read, reason) } else { Ok(()) };
    }
    holds("L4", !seen.reset, || format!("\"{reason}\" ended with RST for the tenant"))?;
    holds("L4", seen.fin, || format!("\"{reason}\" ended without FIN"))?;
    check_tls_end(&conn.tenant.actor, facts.tenant_read, reason)?;
    if matches!(reason, CloseReason::Http(_)) {
        return holds("L4", seen.close.is_none(), || "a Close frame without an upgrade".to_owned());
    }
    holds("L1", seen.unfinished() == 0, || {
        format!("\"{reason}\" cut a frame off, {} bytes are left", seen.unfinished())
    })?;
    let expected = close_payload(conn, reason, settings);
    holds("L4", seen.close == expected, || {
        format!("\"{reason}\": the Close is {:02x?} and should be {expected:02x?}", seen.close)
    })?;
    if facts.relayed {
        let shown = if rfb { HANDSHAKE.len() } else { 0 };
        let read = conn.read_from(Side::Compute);
        let read = shown + read - conn.compute.console_from.unwrap_or(read);
        holds("L1", seen.data.len() == read, || {
            format!("\"{reason}\": {} bytes of {read} reached the tenant", seen.data.len())
        })?;
    }
    Ok(())
}

/// The table's right column, as far as bytes are concerned.
fn check_compute_end(conn: &Conn, reason: &CloseReason, settings: &Settings) -> Result<(), Violation> {
    let facts = &conn.facts;
    let flushed =
        matches!(reason, CloseReason::TenantClosed(_) | CloseReason::TenantEnded | CloseReason::Violation(_));
    let Some(socket) = &conn.compute_socket else { return Ok(()) };
    let lasted = match (facts.closing_since, facts.closed_at) {
        (Some(since), Some(at)) => at - since,
        _ => Duration::ZERO,
    };
    let excused = conn.compute.actor.has_stalled
        || conn.compute_failed()
        || socket.peer_reset
        || lasted >= duration(settings.limits.flush_timeout_ms);
    if !flushed || !facts.relayed || excused {
        return Ok(());
    }
    let rfb = is_rfb(settings);
    let said = if rfb { ANSWER_LEN } else { 0 };
    let read =
        preamble(conn, rfb).len() + conn.tenant.sent.payload_within(conn.read_from(Side::Tenant)) - said;
    holds("L1", conn.compute.received.len() == read, || {
        format!("\"{reason}\": {} bytes of {read} reached the compute node", conn.compute.received.len())
    })?;
    check_tls_end(&conn.compute.actor, facts.compute_read, reason)
}

/// Where there was TLS its end is said before the FIN: by `close_notify`, or by an alert.
fn check_tls_end(actor: &Actor, read: usize, reason: &CloseReason) -> Result<(), Violation> {
    let Some(tls) = &actor.tls else { return Ok(()) };
    let said = tls.notified || tls.error.is_some();
    let owed = actor.ends_handshake_within(read) || actor.breaks_tls_within(read);
    holds("L4", said || !owed, || format!("\"{reason}\" ended TLS without a word"))
}

/// Nobody gets an alert, or TLS that is none, for nothing.
fn check_alerts(conn: &Conn) -> Result<(), Violation> {
    let compute_at_fault = conn.compute.nature != Nature::Good || conn.compute.went_astray;
    for (actor, at_fault) in [(&conn.tenant.actor, false), (&conn.compute.actor, compute_at_fault)] {
        let Some(tls) = &actor.tls else { continue };
        let error = tls.error.as_ref().filter(|_| !at_fault && !tls.is_at_fault());
        holds("L4", error.is_none(), || format!("{error:?} for a peer that kept to TLS"))?;
    }
    Ok(())
}

/// The table's middle column.
fn close_payload(conn: &Conn, reason: &CloseReason, settings: &Settings) -> Option<Vec<u8>> {
    let payload = |code: u16, text: &str| Some([&code.to_be_bytes(), text.as_bytes()].concat());
    let refused = "console session refused";
    match reason {
        CloseReason::ComputeEnded => payload(1000, "Target closed"),
        CloseReason::ComputeFailed(_) => payload(1011, "Target failed"),
        CloseReason::ShuttingDown => payload(1001, "Going away"),
        CloseReason::Rfb(_) => payload(1000, ""),
        CloseReason::Refused(_) | CloseReason::TimedOut(_) if !settings.explain_refusals => Some(Vec::new()),
        CloseReason::Refused(Refusal::Overloaded(_)) => payload(1013, refused),
        CloseReason::Refused(_) | CloseReason::TimedOut(_) => payload(1008, refused),
        CloseReason::TenantClosed(_) => match &conn.tenant.sent.end {
            Some(End::Close { payload, .. }) => Some(payload.clone()),
            _ => None,
        },
        CloseReason::Violation(_) => match conn.tenant.sent.end {
            Some(End::Violation { code, .. }) => payload(code, ""),
            _ => None,
        },
        CloseReason::TokenExpired => payload(1000, "Target closed"),
        CloseReason::Idle => payload(1000, "Idle for too long"),
        CloseReason::TooLong => payload(1000, "Session too long"),
        CloseReason::Unanswered => payload(1008, "Pings not answered"),
        CloseReason::Stalled(_) => payload(1008, "Nothing was taken"),
        CloseReason::Killed => payload(1000, "Closed by the operator"),
        CloseReason::TenantEnded | CloseReason::TenantFailed(_) | CloseReason::Http(_) => None,
    }
}

/// Whether the world did what the session says.
fn is_plausible(conn: &Conn, reason: &CloseReason) -> bool {
    let facts = &conn.facts;
    let compute = &conn.compute;
    let had = |fault: Fault| facts.faults.contains(&fault);
    let astray = compute.nature != Nature::Good || compute.went_astray || !conn.chooses_none;
    match reason {
        CloseReason::Http(_) => !conn.tenant.seen.upgraded,
        CloseReason::ComputeEnded => conn.compute_ended(),
        CloseReason::ComputeFailed(_) => conn.compute_failed(),
        CloseReason::TenantEnded => conn.tenant_ended(),
        CloseReason::TenantFailed(_) => conn.tenant_failed(),
        CloseReason::TenantClosed(code) => match &conn.tenant.sent.end {
            Some(End::Close { wire_end, payload }) => {
                let sent = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                conn.read_from(Side::Tenant) >= *wire_end
                    && sent == code.map(consolegate::proto::ws::StatusCode::as_u16)
            }
            _ => false,
        },
        CloseReason::Violation(_) => match &conn.tenant.sent.end {
            Some(End::Violation { wire_start, .. }) => conn.read_from(Side::Tenant) > *wire_start,
            _ => false,
        },
        CloseReason::Refused(refusal) => match refusal {
            Refusal::Authorize(_) => had(Fault::ControlFails) || had(Fault::ControlSilent),
            Refusal::ConsoleType { .. } => true,
            Refusal::Origin(_) | Refusal::NoPort { .. } => false,
            Refusal::Resolve(_) => had(Fault::ControlFails),
            Refusal::Unreachable(_) => {
                had(Fault::ControlSilent) || had(Fault::ConnectRefused) || had(Fault::ConnectHangs)
            }
            Refusal::ComputeTls(_) => {
                astray || compute.actor.has_stalled || conn.compute_ended() || conn.compute_failed()
            }
            Refusal::Tunnel(_) => astray || conn.compute_ended() || conn.compute_failed(),
            Refusal::Overloaded(_) => had(Fault::ControlOverloaded),
        },
        CloseReason::Rfb(RfbError::TimedOut { step }) => is_to_blame(conn, *step),
        CloseReason::Rfb(RfbError::Closed { side: Side::Tenant, .. }) => conn.tenant_ended(),
        CloseReason::Rfb(
            RfbError::Closed { side: Side::Compute, .. } | RfbError::ClosedAfterTls | RfbError::Tls { .. },
        ) => astray || conn.compute_ended() || conn.compute_failed(),
        CloseReason::Rfb(_) => astray,
        CloseReason::TimedOut(_) => compute.actor.has_stalled || compute.went_astray,
        // Off unless configured, and nobody asks for it here.
        CloseReason::TokenExpired
        | CloseReason::Idle
        | CloseReason::Stalled(_)
        | CloseReason::TooLong
        | CloseReason::Unanswered
        | CloseReason::Killed => false,
        CloseReason::ShuttingDown => facts.killed,
    }
}

/// Only a side that kept silent may be blamed for the time that ran out.
fn is_to_blame(conn: &Conn, step: Step) -> bool {
    match step.side() {
        // Both wait for each other's bytes, so a stalled tenant alone cannot stop a compute node.
        Side::Compute => conn.compute.actor.has_stalled || conn.compute.went_astray,
        Side::Tenant => {
            conn.tenant.actor.has_stalled || conn.compute.nature != Nature::Good || conn.compute.went_astray
        }
    }
}

/// Pongs answer pings, in their order; some may be left out.
fn check_pongs(conn: &Conn) -> Result<(), Violation> {
    let mut pings = conn.tenant.sent.pings.iter();
    let answered = conn.tenant.seen.pongs.iter().all(|pong| pings.any(|ping| ping == pong));
    holds("L1", answered, || "a pong that answers no ping".to_owned())
}

/// Files come whole, as asked for and in order; an error ends the connection.
fn check_web(conn: &Conn) -> Result<(), Violation> {
    let responses = &conn.tenant.seen.responses;
    for (position, (status, body)) in responses.iter().enumerate() {
        let right = match status {
            200 => conn.files.get(position).is_some_and(|len| *body == file_bytes(0, *len)),
            _ => position + 1 == responses.len() && matches!(status, 400 | 404 | 500 | 503),
        };
        holds("L1", right, || format!("answer {position} has status {status} and {} bytes", body.len()))?;
    }
    let unfaulted = conn.facts.faults.is_empty() && !conn.facts.killed;
    if unfaulted && !conn.tenant_socket.peer_reset {
        holds("L1", responses.len() == conn.files.len(), || {
            format!("{} answers to {} requests", responses.len(), conn.files.len())
        })?;
    }
    Ok(())
}

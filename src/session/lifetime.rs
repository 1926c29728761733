//! How long a relay may last, and when it must show a sign of life: ping, idle time, writes that get stuck,
//! token, longest session.
//!
//! All of it is one deadline to the session. Every relay pays for this structure while it rests, so times are
//! kept as milliseconds since the relay began; those of pings and of activity less whole turns of the counter,
//! since all that is asked of them is how long ago they were.

use std::time::{Duration, Instant};

use super::error::CloseReason;
use super::limits::Limits;
use super::{Context, Side};

/// No deadline.
const NEVER: u64 = u64::MAX;

/// In which the end is kept: a smaller number than milliseconds are, and good for thirteen years.
const END_UNIT_MS: u64 = 100;

/// Looks within `stall_timeout_ms`. The first may come right after a write began, so one more has to see it.
const LOOKS: u64 = 4;

/// No end.
const NO_END: u32 = u32::MAX;

/// The clock of one relay.
#[derive(Debug)]
pub(super) struct Lifetime {
    started: Instant,
    /// When something may be due, or [`NEVER`]
    wake_ms: u64,
    /// When the token expires or the session is too long, in [`END_UNIT_MS`], or [`NO_END`]
    end: u32,
    pinged_ms: u32,
    active_ms: u32,
    unanswered: u8,
    ends_by_token: bool,
    /// Looks in a row at which the same write was under way, to each side
    stuck: [u8; 2],
}

/// What is due.
#[derive(Debug)]
pub(super) enum Due {
    /// Nothing: it was a look in between
    Nothing,
    /// A ping
    Ping,
    /// The end
    End(CloseReason),
}

impl Lifetime {
    /// A relay that begins now; `expires` is its token's, in seconds since 1970.
    pub(super) fn start(cx: &Context, expires: i64) -> Self {
        let limits = &cx.settings.limits;
        let mut end =
            if limits.session_timeout_ms > 0 { end_units(limits.session_timeout_ms) } else { NO_END };
        let mut ends_by_token = false;
        if cx.settings.enforce_session_timeout {
            let seconds = expires.saturating_sub(i64::try_from(cx.unix_s).unwrap_or(i64::MAX));
            // The text of nova/console/websocketproxy.py, `new_websocket_client`.
            tracing::info!(target: super::LOG_TARGET, request = cx.number, "{seconds} seconds to terminate connection.");
            // A token that has expired meanwhile ends its session at once.
            let token = end_units(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
            ends_by_token = token < end;
            end = end.min(token);
        }
        let mut lifetime = Self {
            started: cx.now,
            wake_ms: NEVER,
            end,
            pinged_ms: 0,
            active_ms: 0,
            unanswered: 0,
            ends_by_token,
            stuck: [0; 2],
        };
        lifetime.sleep(0, limits);
        lifetime
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        // A time beyond what the clock can say never comes.
        (self.wake_ms != NEVER).then(|| self.started.checked_add(Duration::from_millis(self.wake_ms)))?
    }

    /// How long the relay has lasted.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Bytes came from either side.
    pub(super) fn active(&mut self, now: Instant, limits: &Limits) {
        if limits.idle_timeout_ms > 0 {
            self.active_ms = turned(millis(self.age(now)));
        }
    }

    /// A write to `side` is done.
    pub(super) fn written(&mut self, side: Side) {
        self.stuck[side as usize] = 0;
    }

    /// The tenant said something, be it a pong.
    pub(super) fn answered(&mut self) {
        self.unanswered = 0;
    }

    /// A ping was sent.
    pub(super) fn pinged(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// The deadline has come: what is due? Says so once, and sets the next. `is_writing` to which sides, by
    /// [`Side`].
    pub(super) fn due(&mut self, cx: &Context, is_writing: [bool; 2]) -> Due {
        let limits = &cx.settings.limits;
        let now_ms = millis(self.age(cx.now));
        if now_ms >= self.end_ms() {
            return Due::End(if self.ends_by_token {
                CloseReason::TokenExpired
            } else {
                CloseReason::TooLong
            });
        }
        if limits.idle_timeout_ms > 0 && since(self.active_ms, now_ms) >= limits.idle_timeout_ms {
            return Due::End(CloseReason::Idle);
        }
        if let Some(side) = self.stalled(look_ms(limits), now_ms, is_writing) {
            return Due::End(CloseReason::Stalled(side));
        }
        let ping_due =
            limits.ping_interval_ms > 0 && since(self.pinged_ms, now_ms) >= limits.ping_interval_ms;
        // While a write to the compute node waits nothing is read from the tenant, its answers included.
        let is_heard = !is_writing[Side::Compute as usize];
        let unanswered = u64::from(self.unanswered) >= limits.pings_unanswered_max;
        if ping_due && cx.settings.ping_strict && is_heard && unanswered {
            return Due::End(CloseReason::Unanswered);
        }
        if ping_due {
            self.pinged_ms = turned(now_ms);
        }
        self.sleep(now_ms, limits);
        if ping_due { Due::Ping } else { Due::Nothing }
    }

    /// The side to which a write has been under way for [`LOOKS`] whole intervals.
    fn stalled(&mut self, look_ms: u64, now_ms: u64, is_writing: [bool; 2]) -> Option<Side> {
        // Looks are at the multiples of their interval, so none has to be remembered.
        if look_ms == 0 || self.wake_ms > now_ms || !self.wake_ms.is_multiple_of(look_ms) {
            return None;
        }
        for (stuck, is_writing) in self.stuck.iter_mut().zip(is_writing) {
            *stuck = if is_writing { stuck.saturating_add(1) } else { 0 };
        }
        [Side::Tenant, Side::Compute].into_iter().find(|side| u64::from(self.stuck[*side as usize]) > LOOKS)
    }

    fn end_ms(&self) -> u64 {
        if self.end == NO_END { NEVER } else { u64::from(self.end) * END_UNIT_MS }
    }

    /// Sets the deadline to the first thing that can be due.
    fn sleep(&mut self, now_ms: u64, limits: &Limits) {
        let next = |last_ms: u32, interval_ms: u64| match interval_ms {
            0 => NEVER,
            interval_ms => now_ms + interval_ms.saturating_sub(since(last_ms, now_ms)),
        };
        self.wake_ms = self
            .end_ms()
            .min(next(self.pinged_ms, limits.ping_interval_ms))
            .min(next(self.active_ms, limits.idle_timeout_ms))
            .min(now_ms.checked_div(look_ms(limits)).map_or(NEVER, |looks| (looks + 1) * look_ms(limits)));
    }
}

/// Between two looks at the writes that are under way; 0 for none.
fn look_ms(limits: &Limits) -> u64 {
    limits.stall_timeout_ms.div_ceil(LOOKS)
}

/// Rounded up: nothing ends early. What is too far away never comes.
fn end_units(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(END_UNIT_MS)).unwrap_or(NO_END)
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(NEVER)
}

#[allow(clippy::cast_possible_truncation, reason = "that is what is meant")]
fn turned(ms: u64) -> u32 {
    ms as u32
}

/// Milliseconds from `last_ms`, a turned time, to now.
fn since(last_ms: u32, now_ms: u64) -> u64 {
    turned(now_ms).wrapping_sub(last_ms).into()
}

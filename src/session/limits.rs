//! Every bound in one place: one row each, with unit, default, option name and reason.
//!
//! A row's name is also its option in `[consolegate]`; `control::config` declares the options from
//! [`ROWS`], so a bound cannot exist without its option and its reason.

use std::time::Duration;

use crate::proto::bytes::storage_bytes;
use crate::proto::http::HeadLimits;

/// What a bound counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds
    Milliseconds,
    /// Bytes
    Bytes,
    /// A number of things
    Count,
}

/// One bound, as documentation and configuration see it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Field of [`Limits`] and option of `[consolegate]`; ends with its unit
    pub name: &'static str,
    /// What it counts
    pub unit: Unit,
    /// Value when nothing is configured
    pub default: u64,
    /// Smallest value that makes sense
    pub min: u64,
    /// Largest value that makes sense
    pub max: u64,
    /// Why there is a bound, and why this one
    pub reason: &'static str,
}

macro_rules! limits {
    ($($name:ident: $unit:ident = $default:literal in $min:literal..=$max:literal, $reason:literal;)*) => {
        /// The bounds of one process.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $reason] pub $name: u64,)*
        }

        /// All bounds, in the order a session meets them.
        pub const ROWS: &[Row] = &[
            $(Row {
                name: stringify!($name), unit: Unit::$unit, default: $default, min: $min, max: $max, reason: $reason,
            },)*
        ];

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// Sets the bound of that name. False when there is none, or `value` is outside its row.
            #[must_use]
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($name) if (($min as u64)..=$max).contains(&value) => {
                        self.$name = value;
                        true
                    })*
                    _ => false,
                }
            }
        }
    };
}

limits! {
    sessions_max: Count = 0 in 0..=1_000_000,
        "Connections held by one worker at a time; further ones go to other workers, or wait in the listen queue. 0 takes what the descriptor limit allows, two descriptors each.";
    accepts_per_second_max: Count = 0 in 0..=1_000_000,
        "Connections that one worker accepts in a second, in the long run, those for others included; further ones wait in the listen queue. 0 for any number.";
    relay_buffers_bytes: Bytes = 0 in 0..=1_099_511_627_776,
        "What the buffers of all relays in the process may hold together: no worker has more connections than keep within that when each of them is stuck in both directions. TLS keeps as much again. 0 leaves it to sessions_max.";
    first_byte_timeout_ms: Milliseconds = 3_000 in 1..=3_600_000,
        "From accept to the first byte: Nova waits three seconds, and load balancer probes never send one.";
    tls_handshake_timeout_ms: Milliseconds = 10_000 in 1..=3_600_000,
        "From the first byte of TLS to the end of its handshake: a silent peer would hold its state for ever.";
    head_timeout_ms: Milliseconds = 10_000 in 1..=3_600_000,
        "From the first byte of a request to its blank line: a slow sender would hold a descriptor for ever.";
    keep_alive_timeout_ms: Milliseconds = 15_000 in 1..=3_600_000,
        "Between two requests on one connection.";
    request_line_bytes: Bytes = 16_384 in 256..=65_536,
        "Longest request line, answered with 414; tokens are about fifty bytes.";
    header_line_bytes: Bytes = 16_384 in 256..=65_536,
        "Longest header line, answered with 431; cookies of a shared domain can be large.";
    headers_max: Count = 100 in 8..=1_000,
        "Header lines in one head, answered with 431; the number Nova's HTTP library has.";
    head_bytes: Bytes = 65_536 in 1_024..=1_048_576,
        "Whole request head, answered with 431.";
    response_timeout_ms: Milliseconds = 30_000 in 1..=3_600_000,
        "For each piece of a web file: a reader that stopped reading would hold its buffer for ever.";
    authorize_timeout_ms: Milliseconds = 60_000 in 1..=3_600_000,
        "Token lookup and port check together; rpc_response_timeout unless it is set here.";
    database_timeout_ms: Milliseconds = 10_000 in 1..=3_600_000,
        "Looking one token up, with waiting for a connection and for a database that went away; Nova's proxies wait up to 100 s. At most authorize_timeout_ms.";
    database_connections_max: Count = 4 in 1..=256,
        "Open connections to the database: look-ups are short, and every proxy of a cloud asks the same server.";
    unknown_token_ms: Milliseconds = 1_000 in 0..=60_000,
        "How long a token that opened nothing is refused without asking the database: noVNC can retry a dead one for ever. A token made in between works after that. 0 always asks.";
    unknown_tokens_max: Count = 4_096 in 0..=1_000_000,
        "Tokens remembered for that; the oldest is forgotten first.";
    consoles_max: Count = 0 in 0..=1_000_000,
        "Consoles open at a time in the process, counted from the token on; further ones are refused. 0 for any number, as in Nova.";
    consoles_per_source_max: Count = 0 in 0..=1_000_000,
        "The same of one source: an IPv4 address, or the first 64 bits of an IPv6 one. Behind a load balancer that says nothing of its clients all are one source. 0 for any number.";
    consoles_per_instance_max: Count = 0 in 0..=1_000_000,
        "The same of one instance. 0 for any number.";
    connect_timeout_ms: Milliseconds = 10_000 in 1..=3_600_000,
        "Name resolution and TCP connect, over all addresses of the compute node.";
    addresses_max: Count = 8 in 1..=64,
        "Addresses of one compute node that are tried.";
    compute_tls_timeout_ms: Milliseconds = 10_000 in 1..=3_600_000,
        "The TLS handshake with a compute node where serial_tls or spice_tls is set; VeNCrypt's is part of compute_security_timeout_ms.";
    tunnel_timeout_ms: Milliseconds = 10_000 in 1..=3_600_000,
        "The CONNECT preamble for internal_access_path.";
    compute_security_timeout_ms: Milliseconds = 10_000 in 1..=3_600_000,
        "The hypervisor's part of the RFB handshake, all steps together.";
    tenant_step_timeout_ms: Milliseconds = 15_000 in 1..=3_600_000,
        "Each step of the browser's part of the RFB handshake.";
    ping_interval_ms: Milliseconds = 25_000 in 0..=3_600_000,
        "Between our empty pings while relaying: load balancers cut connections idle for 60 s. 0 sends none.";
    pings_unanswered_max: Count = 2 in 1..=100,
        "With ping_strict: pings that a silent tenant may leave unanswered before its session ends.";
    idle_timeout_ms: Milliseconds = 0 in 0..=2_592_000_000,
        "A relay in which neither side sends anything ends after this; 0 for never, as in Nova.";
    stall_timeout_ms: Milliseconds = 0 in 0..=86_400_000,
        "A relay ends when one write to either side takes longer than this, by a quarter at most: its peer lives, but reads nothing. 0 for never, as in Nova. A write is at most read_bytes, or bulk_read_bytes in a busy session, or pipe_bytes where bytes are spliced.";
    session_timeout_ms: Milliseconds = 0 in 0..=31_536_000_000,
        "A relay ends after this, busy or not; 0 for never, as in Nova.";
    record_session_bytes: Bytes = 4_194_304 in 65_536..=1_073_741_824,
        "Of one session's recording, what may wait for the disk; a message that does not fit is left out of the recording.";
    record_queue_bytes: Bytes = 67_108_864 in 65_536..=17_179_869_184,
        "Of all recordings, what may wait for the disk.";
    flush_timeout_ms: Milliseconds = 2_000 in 1..=600_000,
        "For bytes already read to reach the other side once one side has ended.";
    close_timeout_ms: Milliseconds = 5_000 in 1..=600_000,
        "From our last byte to the tenant's FIN: closing earlier with unread input would send RST and destroy the Close frame.";
    close_drain_bytes: Bytes = 65_536 in 0..=16_777_216,
        "Input discarded while waiting for the tenant's FIN.";
    read_bytes: Bytes = 65_536 in 1_024..=1_048_576,
        "Most bytes one read takes, and so the longest frame sent to the tenant, unless a session is busy.";
    bulk_read_bytes: Bytes = 1_048_576 in 0..=1_048_576,
        "Most bytes that a read takes behind one that filled read_bytes: fewer and larger steps cost less. None that is not larger than read_bytes.";
    bulk_buffers_max: Count = 4 in 0..=1_024,
        "Buffers of that size that a worker lends at a time, since a peer that stops reading keeps one; further busy sessions go on with read_bytes.";
    splice_from_bytes: Bytes = 65_536 in 0..=1_048_576,
        "Two reads in a row of at least this much make the compute node's direction bulk: spliced, not copied. 0 never splices. At most read_bytes.";
    splice_window_ms: Milliseconds = 20 in 1..=1_000,
        "How soon after the first of them the second has to come.";
    splice_until_bytes: Bytes = 32_768 in 0..=65_536,
        "Two spliced steps in a row below this end it: a small step is cheaper to copy.";
    pipe_bytes: Bytes = 1_048_576 in 65_536..=1_048_576,
        "Size of a pipe, and so the longest frame of a spliced direction. Less where the kernel's quota of pipe pages is used up.";
    pipes_max: Count = 48 in 0..=4_096,
        "Pipes of that size in the process; a pipe is held only while bytes are in it. An unprivileged user has 16,384 pages in all.";
    pool_bytes: Bytes = 2_097_152 in 0..=1_073_741_824,
        "Idle buffers a worker keeps for reuse.";
    admin_connections_max: Count = 16 in 1..=1_024,
        "Connections to the admin listener at a time; further ones wait.";
    admin_timeout_ms: Milliseconds = 10_000 in 100..=600_000,
        "For one request to the admin listener and its answer.";
    admin_page_max: Count = 1_000 in 1..=100_000,
        "Sessions in one answer of the admin listener; the rest is on further pages.";
    readiness_age_ms: Milliseconds = 30_000 in 100..=3_600_000,
        "How long an answer of the database or the message bus counts for /readyz before they are asked again.";
    control_queue_max: Count = 4_096 in 16..=1_000_000,
        "Questions waiting for the control thread; further sessions are refused. Web files have as many places of their own.";
}

impl Limits {
    /// What the head parser needs of them.
    #[must_use]
    pub fn head(&self) -> HeadLimits {
        HeadLimits {
            request_line_bytes_max: size(self.request_line_bytes),
            header_line_bytes_max: size(self.header_line_bytes),
            headers_max: size(self.headers_max),
            head_bytes_max: size(self.head_bytes),
        }
    }

    /// Connections of each of `workers` that keep within `relay_buffers_bytes`. At least one.
    #[must_use]
    pub fn sessions_within_buffers(&self, workers: u64) -> u64 {
        if self.relay_buffers_bytes == 0 {
            return u64::MAX;
        }
        let (shared, one) = (self.shared_buffer_bytes_max(), self.session_buffer_bytes_max());
        (self.relay_buffers_bytes / workers.max(1)).saturating_sub(shared).div_euclid(one).max(1)
    }

    /// Most bytes of buffers that `sessions` relaying sessions of one worker can hold, all of them stalled in both
    /// directions. The kernel's socket buffers and the program itself come on top.
    #[must_use]
    pub fn buffer_bytes_max(&self, sessions: u64) -> u64 {
        sessions
            .saturating_mul(self.session_buffer_bytes_max())
            .saturating_add(self.shared_buffer_bytes_max())
    }

    /// One buffer per direction.
    fn session_buffer_bytes_max(&self) -> u64 {
        (storage_bytes(size(self.read_bytes)) as u64).saturating_mul(2)
    }

    /// What a worker's pool keeps and the large buffers that it lends.
    fn shared_buffer_bytes_max(&self) -> u64 {
        self.bulk_read_bytes.saturating_mul(self.bulk_buffers_max).saturating_add(self.pool_bytes)
    }
}

/// A time bound as a duration.
#[must_use]
pub fn duration(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A size bound as a length in memory.
#[must_use]
pub fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_ends_with_its_unit_and_holds_its_default() {
        for row in ROWS {
            let suffix = match row.unit {
                Unit::Milliseconds => "_ms",
                Unit::Bytes => "_bytes",
                Unit::Count => "_max",
            };
            assert!(row.name.ends_with(suffix), "{} lacks {suffix}", row.name);
            assert!((row.min..=row.max).contains(&row.default), "{} is outside its own range", row.name);
            assert!(row.reason.len() > 20, "{} needs a reason", row.name);
        }
    }

    #[test]
    fn set_takes_values_inside_the_row_only() {
        let mut limits = Limits::default();
        assert!(limits.set("headers_max", 50));
        assert_eq!(limits.headers_max, 50);
        assert!(!limits.set("headers_max", 1));
        assert!(!limits.set("no_such_limit", 50));
        assert_eq!(limits.headers_max, 50);
    }
}

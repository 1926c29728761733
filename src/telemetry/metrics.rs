//! The metrics of the process: every name there is, and what is behind it.
//!
//! [`metrics`] is the process's one set, as its log is one. Workers do not write to it: each has its own
//! [`WorkerCounters`], which [`Metrics::add_worker`] puts under the sums. What happens seldom, on the control
//! thread, is counted here directly:
//!
//! ```
//! use std::time::Duration;
//! use consolegate::telemetry::labels::Verdict;
//! use consolegate::telemetry::metrics::metrics;
//!
//! metrics().token_lookup.of(Verdict::Accepted).observe(Duration::from_millis(3));
//! ```
//!
//! [`ROWS`] is the one list of names; the exposition and `docs/METRICS.md` are made of it. Labels take values
//! of closed sets only ([`labels`](super::labels)): never an address, a UUID or a token.

use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::counters::{
    Count, Counters, Gauge, Histogram, Histograms, STEP_BOUNDS_MS, Totals, WorkerCounters, accept_pauses,
    handed_over,
};
use super::labels::{AcceptPause, Label, Outcome, RecorderError, Verdict};
use crate::console::ConsoleType;

/// What stands before every name.
pub const PREFIX: &str = "consolegate";

/// The media type of [`Metrics::exposition`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the process counts outside its workers.
#[derive(Debug)]
pub struct Metrics {
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
    /// What the program serves and on which engine, once that is known
    program: OnceLock<(ConsoleType, &'static str)>,
    started: Gauge,
    /// Token lookups in the cell database
    pub token_lookup: Histograms<Verdict>,
    /// Port checks over the message bus
    pub rpc_call: Histograms<Verdict>,
    /// 1 while the message bus is connected
    pub broker_connected: Gauge,
    /// When the certificate for browsers expires, in seconds since 1970; 0 without one
    pub cert_not_after: Gauge,
    /// Certificates read anew
    pub cert_reload: Counters<Outcome>,
    /// Configurations read anew
    pub config_reload: Counters<Outcome>,
    /// Log lines that were lost
    pub log_lines_lost: Count,
    /// Recordings' trouble
    pub recorder_errors: Counters<RecorderError>,
    /// Bytes written to recordings
    pub recorded: Count,
    /// 1 once the process takes no new session
    pub draining: Gauge,
    /// 1 while an operator wants no new session here
    pub out_of_service: Gauge,
}

/// The process's metrics.
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

impl Metrics {
    fn new() -> Self {
        let started = Gauge::default();
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
        Self {
            workers: Mutex::default(),
            program: OnceLock::new(),
            started,
            token_lookup: Histograms::new(STEP_BOUNDS_MS),
            rpc_call: Histograms::new(STEP_BOUNDS_MS),
            broker_connected: Gauge::default(),
            cert_not_after: Gauge::default(),
            cert_reload: Counters::default(),
            config_reload: Counters::default(),
            log_lines_lost: Count::default(),
            recorder_errors: Counters::default(),
            recorded: Count::default(),
            draining: Gauge::default(),
            out_of_service: Gauge::default(),
        }
    }

    /// Says what the program serves, and on which engine. The first call counts.
    pub fn set_program(&self, console_type: ConsoleType, engine: &'static str) {
        let _ = self.program.set((console_type, engine));
    }

    /// Puts a worker's counters under the sums. They stay when the worker ends: a sum never falls.
    pub fn add_worker(&self, counters: Arc<WorkerCounters>) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(counters);
    }

    /// Everything in the OpenMetrics text format.
    #[must_use]
    pub fn exposition(&'static self) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // A String takes whatever is written.
        let _ = encode(&mut text, &registry);
        text
    }

    fn console_type(&self) -> &'static str {
        self.program.get().map_or("none", |(console_type, _)| console_type.as_str())
    }

    /// Sums `part` over the workers.
    fn sum(&self, part: impl Fn(&WorkerCounters) -> u64) -> u64 {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().fold(0, |sum: u64, worker| sum.wrapping_add(part(worker)))
    }

    /// Adds up one histogram of each worker.
    fn totals(&self, part: impl Fn(&WorkerCounters) -> &Histogram) -> Totals {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a worker: the bounds, and nothing in them.
        let mut totals = part(&WorkerCounters::default()).totals();
        for worker in workers.iter() {
            totals.merge(&part(worker).totals());
        }
        totals
    }

    /// Whether new sessions are to go elsewhere.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.get() != 0 || self.out_of_service.get() != 0
    }

    /// Sessions that have not ended.
    #[must_use]
    pub fn sessions_active(&self) -> u64 {
        self.sessions_of_workers().iter().sum()
    }

    /// The same for each worker, in the order of their threads' names.
    #[must_use]
    pub fn sessions_of_workers(&self) -> Vec<u64> {
        let active = |worker: &Arc<WorkerCounters>| {
            // A worker may count an end between the two looks at it, so its ends are looked at first.
            let ends = super::labels::End::ALL.iter().map(|end| worker.sessions_ended.of(*end).get());
            let ended = ends.sum();
            worker.sessions_opened.get().saturating_sub(ended)
        };
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).iter().map(active).collect()
    }

    /// Connections that are open, probes and web requests included.
    #[must_use]
    pub fn connections_current(&self) -> u64 {
        let closed = self.sum(|worker| worker.connections_closed.get());
        self.sum(|worker| worker.connections_opened.get()).saturating_sub(closed)
    }
}

impl Collector for &'static Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for row in ROWS {
            let unit = match row.unit {
                "" => None,
                "seconds" => Some(Unit::Seconds),
                "bytes" => Some(Unit::Bytes),
                other => Some(Unit::Other(other.to_owned())),
            };
            let encoder =
                encoder.encode_descriptor(row.name, row.help, unit.as_ref(), row.kind.metric_type())?;
            (row.read)(self, &mut Series { encoder })?;
        }
        Ok(())
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; the name ends with `_total`
    Counter,
    /// Goes up and down
    Gauge,
    /// Durations in buckets
    Histogram,
    /// A fact in labels, with the value 1; the name ends with `_info`
    Info,
}

impl Kind {
    fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
            Self::Info => MetricType::Info,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// One metric.
pub struct Row {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Metrics, &mut Series<'_>) -> fmt::Result,
}

impl Row {
    /// The name of the metric's samples, complete (a histogram's samples add to it).
    #[must_use]
    pub fn full_name(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!("_{}", self.unit) };
        format!("{PREFIX}_{}{unit}{}", self.name, self.kind.suffix())
    }
}

const fn row(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Metrics, &mut Series<'_>) -> fmt::Result,
) -> Row {
    Row { name, kind, unit, labels, help, read }
}

/// All metrics.
pub const ROWS: &[Row] = &[
    row("build", Kind::Info, "", &["version"], "The program", |_, to| {
        to.info(&[("version", env!("CARGO_PKG_VERSION"))])
    }),
    row("engine", Kind::Info, "", &["engine"], "The kernel interface that moves bytes", |metrics, to| {
        to.info(&[("engine", metrics.program.get().map_or("none", |(_, engine)| engine))])
    }),
    row("start_time", Kind::Gauge, "seconds", &[], "When the process started, since 1970", |metrics, to| {
        to.gauge(metrics.started.get())
    }),
    row("draining", Kind::Gauge, "", &[], "1 while new sessions are to go elsewhere", |metrics, to| {
        to.gauge(metrics.is_draining().into())
    }),
    row(
        "connections_current",
        Kind::Gauge,
        "",
        &[],
        "Open connections, probes and web requests too",
        |metrics, to| to.gauge(metrics.connections_current()),
    ),
    row("connections", Kind::Counter, "", &[], "Connections accepted", |metrics, to| {
        to.counter(&[], metrics.sum(|worker| worker.connections_opened.get()))
    }),
    row(
        "sessions_active",
        Kind::Gauge,
        "",
        &[],
        "Upgraded connections that have not ended",
        |metrics, to| to.gauge(metrics.sessions_active()),
    ),
    row(
        "worker_sessions_active",
        Kind::Gauge,
        "",
        &["worker"],
        "The same for each worker, by the number in its thread's name",
        |metrics, to| {
            let mut workers = metrics.sessions_of_workers();
            // Worker 0 is there before it is started.
            workers.resize(workers.len().max(1), 0);
            (0..).zip(workers).try_for_each(|(number, active): (u64, _)| to.gauge_of_worker(number, active))
        },
    ),
    row(
        "sessions",
        Kind::Counter,
        "",
        &["console_type", "reason"],
        "Upgraded connections that have ended; the type is the one the program serves",
        |metrics, to| {
            to.counters(&[("console_type", metrics.console_type())], |end| {
                metrics.sum(|worker| worker.sessions_ended.of(end).get())
            })
        },
    ),
    row(
        "session_duration",
        Kind::Histogram,
        "seconds",
        &[],
        "From the start of a relay to its end",
        |metrics, to| to.histogram(&[], &metrics.totals(|worker| &worker.session_duration)),
    ),
    row(
        "relayed",
        Kind::Counter,
        "bytes",
        &["from", "path"],
        "Console bytes, without WebSocket framing",
        |metrics, to| {
            let path = |from, path| vec![("from", from), ("path", path)];
            to.counter(&path("tenant", "copy"), metrics.sum(|worker| worker.from_tenant.get()))?;
            to.counter(&path("compute", "copy"), metrics.sum(|worker| worker.from_compute.get()))?;
            to.counter(&path("compute", "splice"), metrics.sum(|worker| worker.spliced.get()))
        },
    ),
    row("path_switches", Kind::Counter, "", &[], "Changes between copying and splicing", |metrics, to| {
        to.counter(&[], metrics.sum(|worker| worker.path_switches.get()))
    }),
    row(
        "kernel_tls",
        Kind::Counter,
        "",
        &[],
        "Consoles whose TLS towards the browser the kernel took over",
        |metrics, to| to.counter(&[], metrics.sum(|worker| worker.kernel_tls.get())),
    ),
    row(
        "rejected",
        Kind::Counter,
        "",
        &["reason"],
        "Sessions refused before the console was shown",
        |metrics, to| to.counters(&[], |reason| metrics.sum(|worker| worker.rejected.of(reason).get())),
    ),
    row(
        "rfb_failed",
        Kind::Counter,
        "",
        &["kind"],
        "RFB negotiations that failed, VeNCrypt's among them",
        |metrics, to| to.counters(&[], |kind| metrics.sum(|worker| worker.rfb_failed.of(kind).get())),
    ),
    row(
        "compute_tls_failed",
        Kind::Counter,
        "",
        &["kind"],
        "TLS with computes from the first byte on (serial_tls, spice_tls) that failed",
        |metrics, to| to.counters(&[], |kind| metrics.sum(|worker| worker.compute_tls_failed.of(kind).get())),
    ),
    row(
        "handshake",
        Kind::Histogram,
        "seconds",
        &["phase"],
        "Phases between the upgrade and the relay, however they ended",
        |metrics, to| to.histograms(|phase| metrics.totals(|worker| worker.handshake.of(phase))),
    ),
    row(
        "backend_connect",
        Kind::Histogram,
        "seconds",
        &[],
        "TCP connects to compute nodes that were made, all addresses together",
        |metrics, to| to.histogram(&[], &metrics.totals(|worker| &worker.backend_connect)),
    ),
    row(
        "token_lookup",
        Kind::Histogram,
        "seconds",
        &["result"],
        "Token lookups in the cell database",
        |metrics, to| to.histograms(|verdict: Verdict| metrics.token_lookup.of(verdict).totals()),
    ),
    row(
        "rpc_call",
        Kind::Histogram,
        "seconds",
        &["result"],
        "Port checks over the message bus",
        |metrics, to| to.histograms(|verdict: Verdict| metrics.rpc_call.of(verdict).totals()),
    ),
    row("broker_connected", Kind::Gauge, "", &[], "1 while the message bus is connected", |metrics, to| {
        to.gauge(metrics.broker_connected.get())
    }),
    row(
        "cert_not_after",
        Kind::Gauge,
        "seconds",
        &[],
        "When the certificate for browsers expires, since 1970; 0 without one",
        |metrics, to| to.gauge(metrics.cert_not_after.get()),
    ),
    row(
        "cert_reload",
        Kind::Counter,
        "",
        &["result"],
        "Certificates and the VNC password read anew",
        |metrics, to| to.counters(&[], |outcome: Outcome| metrics.cert_reload.of(outcome).get()),
    ),
    row(
        "accept_pauses",
        Kind::Counter,
        "",
        &["reason"],
        "Times that a worker left new connections waiting for a while",
        |_, to| to.counters(&[], |reason: AcceptPause| accept_pauses().of(reason).get()),
    ),
    row(
        "handed_over",
        Kind::Counter,
        "",
        &[],
        "Connections that a worker with more than its share left to another",
        |_, to| to.counter(&[], handed_over().get()),
    ),
    row("config_reload", Kind::Counter, "", &["result"], "Configurations read anew", |metrics, to| {
        to.counters(&[], |outcome: Outcome| metrics.config_reload.of(outcome).get())
    }),
    row(
        "log_lines_lost",
        Kind::Counter,
        "",
        &[],
        "Log lines lost because the log could not keep up",
        |metrics, to| to.counter(&[], metrics.log_lines_lost.get()),
    ),
    row("recorded", Kind::Counter, "bytes", &[], "Bytes written to recordings", |metrics, to| {
        to.counter(&[], metrics.recorded.get())
    }),
    row(
        "recorder_errors",
        Kind::Counter,
        "",
        &["reason"],
        "What went wrong with recordings",
        |metrics, to| to.counters(&[], |reason: RecorderError| metrics.recorder_errors.of(reason).get()),
    ),
];

/// Where a row's samples go.
pub struct Series<'a> {
    encoder: MetricEncoder<'a>,
}

type Labels<'a> = [(&'a str, &'a str)];

/// The labels of exemplars, of which there are none.
type NoExemplar = [(&'static str, &'static str); 0];

impl Series<'_> {
    fn counter(&mut self, labels: &Labels<'_>, value: u64) -> fmt::Result {
        if labels.is_empty() {
            self.encoder.encode_counter::<NoExemplar, _, u64>(&value, None)
        } else {
            self.encoder.encode_family(&labels.to_vec())?.encode_counter::<NoExemplar, _, u64>(&value, None)
        }
    }

    /// One counter per value of the label `L`, beside `labels`.
    fn counters<L: Label>(&mut self, labels: &Labels<'_>, value: impl Fn(L) -> u64) -> fmt::Result {
        for label in L::ALL {
            self.counter(&[labels, &[(L::NAME, label.as_str())]].concat(), value(*label))?;
        }
        Ok(())
    }

    fn gauge(&mut self, value: u64) -> fmt::Result {
        self.encoder.encode_gauge(&value)
    }

    /// One worker's value.
    fn gauge_of_worker(&mut self, number: u64, value: u64) -> fmt::Result {
        self.encoder.encode_family(&[("worker", number.to_string())])?.encode_gauge(&value)
    }

    fn info(&mut self, labels: &Labels<'_>) -> fmt::Result {
        self.encoder.encode_info(&labels.to_vec())
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum may be off in its sixteenth digit")]
    fn histogram(&mut self, labels: &Labels<'_>, totals: &Totals) -> fmt::Result {
        let bounds = totals.bounds_ms.iter().map(|ms| *ms as f64 / 1e3).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(totals.buckets.iter().copied()).collect();
        let (sum, count) = (totals.sum_us as f64 / 1e6, totals.buckets.iter().sum());
        if labels.is_empty() {
            self.encoder.encode_histogram::<NoExemplar>(sum, count, &buckets, None)
        } else {
            self.encoder
                .encode_family(&labels.to_vec())?
                .encode_histogram::<NoExemplar>(sum, count, &buckets, None)
        }
    }

    /// One histogram per value of the label `L`.
    fn histograms<L: Label>(&mut self, totals: impl Fn(L) -> Totals) -> fmt::Result {
        for label in L::ALL {
            self.histogram(&[(L::NAME, label.as_str())], &totals(*label))?;
        }
        Ok(())
    }
}

/// `docs/METRICS.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\nServed in the OpenMetrics text format as `/metrics` on the admin listener (`[consolegate] admin_socket`,\n\
         `admin_listen`). Labels take the values of closed sets only. This page is made of `src/telemetry/metrics.rs`; a\n\
         test compares them, and writes the page with `UPDATE_DOCS=1 cargo test --test metrics`.\n\n\
         | Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n",
    );
    for row in ROWS {
        let labels: Vec<_> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (row.full_name(), row.kind.as_str());
        // A String takes whatever is written.
        let _ = writeln!(text, "| `{name}` | {kind} | {} | {} |", labels.join(", "), row.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_the_exposition_with_its_labels() {
        let text = metrics().exposition();
        assert!(text.ends_with("# EOF\n"), "{text}");
        for row in ROWS {
            let name = row.full_name();
            let sample = if row.kind == Kind::Histogram { format!("{name}_count") } else { name };
            let line = text.lines().find(|line| line.split(['{', ' ']).next() == Some(sample.as_str()));
            let line = line.unwrap_or_else(|| panic!("{sample} is not in\n{text}"));
            for label in row.labels {
                assert!(line.contains(&format!("{label}=\"")), "{line} lacks {label}");
            }
            assert_eq!(line.matches("=\"").count(), row.labels.len(), "{line}");
        }
    }

    #[test]
    fn a_worker_counts_into_the_sums() {
        let metrics: &'static Metrics = Box::leak(Box::new(Metrics::new()));
        let workers = [Arc::new(WorkerCounters::default()), Arc::new(WorkerCounters::default())];
        for worker in &workers {
            metrics.add_worker(Arc::clone(worker));
            worker.from_tenant.add_alone(21);
            worker.sessions_opened.add_alone(3);
            worker.sessions_ended.of(super::super::labels::End::Idle).add_alone(1);
        }
        let text = metrics.exposition();
        let line = "consolegate_relayed_bytes_total{from=\"tenant\",path=\"copy\"} 42\n";
        assert!(text.contains(line), "{text}");
        assert_eq!(metrics.sessions_active(), 4);
    }
}

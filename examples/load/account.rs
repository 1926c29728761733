//! What the proxy used: CPU, context switches and memory of its whole process tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::args::Args;

/// Nanoseconds in a clock tick of `/proc/PID/stat`: Linux shows a hundred ticks a second to programs.
const TICK_NS: u64 = 10_000_000;

/// The books on one proxy.
pub(crate) struct Account {
    root: Option<u32>,
    cgroup: Option<PathBuf>,
}

/// What had been used up to one moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) cpu_ns: u64,
    /// Of the processes that are alive
    pub(crate) switches: u64,
}

impl Used {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }

    pub(crate) fn and(self, more: Self) -> Self {
        Self { cpu_ns: self.cpu_ns + more.cpu_ns, switches: self.switches + more.switches }
    }

    pub(crate) fn cpu_s(self) -> f64 {
        self.cpu_ns as f64 / 1e9
    }
}

impl Account {
    pub(crate) fn new(args: &Args) -> Self {
        Self { root: args.pid, cgroup: args.cgroup.clone() }
    }

    pub(crate) fn used(&self) -> Used {
        let processes = self.processes();
        let mut used = Used::default();
        for pid in &processes {
            for (status, schedstat) in tasks(*pid) {
                used.switches += numbers_after(&status, "ctxt_switches:").sum::<u64>();
                used.cpu_ns += first_number(&schedstat);
            }
        }
        match &self.cgroup {
            // Counts everybody who ever was in it, the dead included.
            Some(cgroup) => {
                let stat = fs::read_to_string(cgroup.join("cpu.stat")).unwrap_or_default();
                used.cpu_ns = numbers_after(&stat, "usage_usec ").next().unwrap_or(0) * 1_000;
            }
            None => used.cpu_ns += processes.iter().map(|pid| waited_for_ns(*pid)).sum::<u64>(),
        }
        used
    }

    /// Memory of the processes in bytes, shared pages by their share (PSS). Socket buffers are the kernel's
    /// and not in it.
    pub(crate) fn memory(&self) -> u64 {
        let pss = |pid: &u32| {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            numbers_after(&rollup, "\nPss:").next().unwrap_or(0) * 1_024
        };
        self.processes().iter().map(pss).sum()
    }

    pub(crate) fn process_count(&self) -> usize {
        self.processes().len()
    }

    fn processes(&self) -> BTreeSet<u32> {
        if let Some(cgroup) = &self.cgroup {
            let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            return procs.lines().filter_map(|line| line.parse().ok()).collect();
        }
        let mut found = BTreeSet::new();
        let mut left: Vec<u32> = self.root.into_iter().collect();
        while let Some(pid) = left.pop() {
            if found.insert(pid) {
                for task in task_directories(pid) {
                    let children = fs::read_to_string(task.join("children")).unwrap_or_default();
                    left.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
                }
            }
        }
        found
    }
}

fn task_directories(pid: u32) -> impl Iterator<Item = PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    tasks.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

/// `status` and `schedstat` of each thread.
fn tasks(pid: u32) -> impl Iterator<Item = (String, String)> {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    task_directories(pid).map(move |task| (read(task.join("status")), read(task.join("schedstat"))))
}

/// CPU of the children that exited and were waited for.
fn waited_for_ns(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold spaces; what follows its parenthesis starts with field 3. Fields 16 and 17 are cutime
    // and cstime (proc(5)).
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(13).take(2).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>() * TICK_NS
}

fn numbers_after<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = u64> + 'a {
    text.match_indices(key).map(move |(at, _)| first_number(&text[at + key.len()..]))
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

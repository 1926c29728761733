//! Which faults were injected in which phases.

use consolegate::session::PHASE_NAMES;

use crate::splice::Splices;

/// What the world does to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    TenantFin,
    TenantReset,
    TenantStall,
    TenantClose,
    TenantBreach,
    ComputeFin,
    ComputeReset,
    ComputeStall,
    ComputeGarbage,
    ControlFails,
    ControlSilent,
    ControlLate,
    ControlOverloaded,
    ConnectRefused,
    ConnectHangs,
    ShortIo,
    LateCompletions,
    SpuriousWake,
    ShutDown,
}

use Fault::{
    ComputeFin, ComputeGarbage, ComputeReset, ComputeStall, ConnectHangs, ConnectRefused, ControlFails,
    ControlLate, ControlOverloaded, ControlSilent, LateCompletions, ShortIo, ShutDown, SpuriousWake,
    TenantBreach, TenantClose, TenantFin, TenantReset, TenantStall,
};

pub(crate) const FAULTS: [Fault; 19] = [
    TenantFin,
    TenantReset,
    TenantStall,
    TenantClose,
    TenantBreach,
    ComputeFin,
    ComputeReset,
    ComputeStall,
    ComputeGarbage,
    ControlFails,
    ControlSilent,
    ControlLate,
    ControlOverloaded,
    ConnectRefused,
    ConnectHangs,
    ShortIo,
    LateCompletions,
    SpuriousWake,
    ShutDown,
];

/// The phases in which something can happen here: in the last one of all, `closed`, nothing can. The last three are in
/// schedules under TLS only: TLS handshakes with the tenant (of the phase `request`), with the compute node from the
/// first byte on, and with it in the middle of `securing`.
pub(crate) const PHASES: &[&str] = &[
    "request",
    "responding",
    "authorizing",
    "connecting",
    "tunnelling",
    "securing",
    "relaying",
    "closing",
    "TLS",
    "encrypting",
    "VeNCrypt",
];

/// How many of them are in plain schedules.
pub(crate) const PLAIN_PHASES: usize = 8;

#[test]
fn every_phase_is_simulated() {
    let phases = |name: &&&str| !matches!(**name, "TLS" | "VeNCrypt");
    let mut simulated: Vec<_> = PHASES.iter().filter(phases).copied().chain(["closed"]).collect();
    let mut named = PHASE_NAMES.to_vec();
    simulated.sort_unstable();
    named.sort_unstable();
    assert_eq!(simulated, named);
}

/// Why a fault cannot be injected in a phase.
pub(crate) fn meaningless(phase: &str, fault: Fault) -> Option<&'static str> {
    match fault {
        TenantClose if matches!(phase, "request" | "responding" | "TLS") => {
            Some("there are no frames before the upgrade")
        }
        ComputeFin | ComputeReset | ComputeStall | ComputeGarbage
            if matches!(phase, "request" | "responding" | "authorizing" | "connecting" | "TLS") =>
        {
            Some("there is no compute node yet")
        }
        ControlFails | ControlSilent | ControlLate | ControlOverloaded
            if !matches!(phase, "authorizing" | "connecting" | "responding") =>
        {
            Some("nothing is asked of the control thread in this phase")
        }
        ConnectRefused | ConnectHangs if phase != "connecting" => Some("nothing is connected in this phase"),
        _ => None,
    }
}

/// How often each fault was injected in each phase.
#[derive(Default)]
pub(crate) struct Coverage {
    counts: [[u32; FAULTS.len()]; PHASES.len()],
    pub(crate) splices: Splices,
}

impl Coverage {
    pub(crate) fn count(&mut self, phase: &str, fault: Fault) {
        if let Some(row) = PHASES.iter().position(|name| *name == phase) {
            self.counts[row][fault as usize] += 1;
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (row, other) in self.counts.iter_mut().zip(&other.counts) {
            for (count, other) in row.iter_mut().zip(other) {
                *count += other;
            }
        }
        self.splices.add(&other.splices);
    }

    /// Meaningful cells that no schedule has reached.
    pub(crate) fn missing(&self) -> Vec<(&'static str, Fault)> {
        let cells =
            PHASES.iter().enumerate().flat_map(|(row, phase)| FAULTS.map(|fault| (row, *phase, fault)));
        cells
            .filter(|(row, phase, fault)| {
                self.counts[*row][*fault as usize] == 0 && meaningless(phase, *fault).is_none()
            })
            .map(|(_, phase, fault)| (phase, fault))
            .collect()
    }

    /// Phases across, faults down; a dot is a cell without meaning, and the reasons stand below.
    pub(crate) fn table(&self) -> String {
        let mut table = format!("{:18}", "fault \\ phase");
        for phase in PHASES {
            table += &format!("{phase:>12}");
        }
        let mut reasons: Vec<&str> = Vec::new();
        for fault in FAULTS {
            table += &format!("\n{:18}", format!("{fault:?}"));
            for (row, phase) in PHASES.iter().enumerate() {
                match meaningless(phase, fault) {
                    Some(reason) => {
                        table += &format!("{:>12}", ".");
                        if !reasons.contains(&reason) {
                            reasons.push(reason);
                        }
                    }
                    None => table += &format!("{:>12}", self.counts[row][fault as usize]),
                }
            }
        }
        table + "\n.: " + &reasons.join("; ") + "\n" + &self.splices.line()
    }
}

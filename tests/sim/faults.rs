//! Faults: when one can be injected, and what it does.

use std::time::Duration;

use consolegate::engine::Event;
use consolegate::proto::ws::TextPolicy;

use crate::conn::Conn;
use crate::control::{Answer, phase_of};
use crate::coverage::Fault;
use crate::engine::{PATIENCE, SimEngine};
use crate::script::Act;

impl SimEngine {
    /// Takes what was asked of the control thread, and counts what will go wrong with it.
    pub(crate) fn take_questions(&mut self) {
        for (tenant, phase) in self.authorizer.take_overloaded() {
            self.count(tenant, phase, Fault::ControlOverloaded);
        }
        for asked in self.authorizer.take_asked() {
            let phase = phase_of(&asked.question);
            let delay = match asked.answer {
                Answer::After(delay) => {
                    if delay >= Duration::from_secs(1) {
                        self.count(asked.tenant, phase, Fault::ControlLate);
                    }
                    delay
                }
                Answer::Fails(delay) => {
                    self.count(asked.tenant, phase, Fault::ControlFails);
                    delay
                }
                Answer::Never | Answer::Overloaded => {
                    self.count(asked.tenant, phase, Fault::ControlSilent);
                    continue;
                }
            };
            self.questions.push((self.now + delay, asked));
        }
    }

    pub(crate) fn count(&mut self, index: usize, phase: &'static str, fault: Fault) {
        self.coverage.count(phase, fault);
        self.conns[index].facts.faults.push(fault);
        self.note(|| format!("#{index} {phase}: fault {fault:?}"));
    }

    /// Injects the fault that was planned for this connection.
    pub(crate) fn inject(&mut self, index: usize, events: &mut Vec<Event>) {
        let Some((phase, fault)) = self.conns[index].fault.take() else { return };
        self.count(index, phase, fault);
        let rng = &mut self.rng;
        let conn = &mut self.conns[index];
        let forever = self.now + PATIENCE * 2;
        match fault {
            Fault::TenantFin => conn.tenant.leave(Act::Fin),
            Fault::TenantReset => conn.tenant.leave(Act::Reset),
            Fault::TenantStall if conn.tenant.seen.upgraded && rng.one_in(2) => {
                conn.tenant.flood(self.now + Duration::from_secs(2), rng);
            }
            Fault::TenantStall => conn.tenant.actor.stall(forever),
            Fault::TenantClose => conn.tenant.close(rng),
            Fault::TenantBreach => {
                let text_refused = self.settings.text == TextPolicy::Refuse;
                let upgrading = !matches!(conn.phase, "request" | "responding");
                if conn.step() == "TLS" {
                    conn.tenant.actor.first(Act::BreakTls);
                    return;
                }
                conn.tenant.breach(text_refused, upgrading, rng);
            }
            Fault::ComputeFin => conn.compute.leave(Act::Fin),
            Fault::ComputeReset => conn.compute.leave(Act::Reset),
            Fault::ComputeStall => conn.compute.actor.stall(forever),
            Fault::ComputeGarbage => conn.compute.go_astray(rng),
            Fault::ShortIo => conn.short_io = 64,
            Fault::LateCompletions => conn.late = 8,
            Fault::SpuriousWake => events.push(Event::Woken),
            Fault::ShutDown => self.shut_down = true,
            // Settled when the schedule was made, and counted when they show.
            Fault::ControlFails
            | Fault::ControlSilent
            | Fault::ControlLate
            | Fault::ControlOverloaded
            | Fault::ConnectRefused
            | Fault::ConnectHangs => {}
        }
    }
}

/// Whether the connection is in the phase that its fault was planned for, and the fault means something.
pub(crate) fn can_fault(conn: &Conn) -> bool {
    let Some((phase, fault)) = conn.fault else { return false };
    let compute = conn.compute_socket.as_ref().is_some_and(|socket| !socket.peer_reset);
    conn.step() == phase
        && match fault {
            Fault::ComputeFin | Fault::ComputeReset | Fault::ComputeStall | Fault::ComputeGarbage => compute,
            Fault::ControlFails
            | Fault::ControlSilent
            | Fault::ControlLate
            | Fault::ControlOverloaded
            | Fault::ConnectRefused
            | Fault::ConnectHangs => false,
            Fault::TenantFin | Fault::TenantReset | Fault::TenantClose | Fault::TenantBreach => {
                !conn.tenant_socket.peer_reset && !conn.tenant_socket.to_proxy.is_finished()
            }
            _ => true,
        }
}

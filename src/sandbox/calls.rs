//! The system calls that are refused: filters of seccomp(2).
//!
//! For the process a list of what is denied, not of what is allowed. The C library, its resolver's modules, SQLite and the async
//! runtime choose their calls by version and by machine, and a call that is missing from a list of allowed ones ends
//! somebody's consoles after an upgrade of something else. What is denied here are whole kinds that no part of the
//! process has a use for: new programs and processes, other processes' memory, mounts, namespaces, modules, keys,
//! clocks, and what exploits like to begin with. They fail with EPERM, so that a library that tries goes on.
//!
//! For the workers, which are the threads that strangers speak to, a list of what is allowed: they run this program's
//! own code, rustls, and of the C library memory and locks, and call little.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter, apply_filter_all_threads,
};

use super::SandboxError;

const DENIED: &[i64] = &[
    // Programs, and what they could be started in
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_personality,
    // Other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Other users
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    // File systems, and files behind landlock's back
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_mknodat,
    libc::SYS_fanotify_init,
    // The kernel itself
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    // The machine
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
];

/// What workers call once they serve.
const OF_WORKERS: &[i64] = &[
    // Their connections
    libc::SYS_accept4,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pipe2,
    libc::SYS_splice,
    libc::SYS_shutdown,
    libc::SYS_close,
    // Waiting for them
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_timerfd_settime,
    libc::SYS_restart_syscall,
    // Memory; a heap looks at the machine's rules for it, and at its processors
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_sched_getaffinity,
    libc::SYS_openat,
    // Locks, clocks where they are no plain reads, and what is drawn; the TLS library looks for a device that tells
    // copies of a machine apart
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    // Signals, and the end
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Families of sockets that are used: consoles, logs and databases, and the resolver's look at the interfaces.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// `TIOCSTI` and `TIOCLINUX` of `asm-generic/ioctls.h`: typing into the terminal that the program was started at.
const TERMINAL_INPUT: [u64; 2] = [0x5412, 0x541C];

/// What `ERRNO` filters of the C library's expect of a kernel that is older than clone3(2).
const NO_SUCH_CALL: u32 = libc::ENOSYS.cast_unsigned();
const NOT_PERMITTED: u32 = libc::EPERM.cast_unsigned();

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refuses what is never needed, on this thread and those it starts. Returns how many calls that concerns.
pub(super) fn deny() -> Result<usize, SandboxError> {
    let rules = rules()?;
    let count = rules.len();
    apply_filter(&program(with_other_numbers(rules), NOT_PERMITTED)?)?;
    // Its flags lie in memory, where no filter can look. The C library goes on with clone(2).
    let clone3: Rules = [(libc::SYS_clone3, Vec::new())].into();
    apply_filter(&program(clone3, NO_SUCH_CALL)?)?;
    Ok(count + 1)
}

/// Refuses further rings, whose operations no filter sees, on every thread.
pub(super) fn deny_new_rings() -> Result<(), SandboxError> {
    let rules: Rules = [(libc::SYS_io_uring_setup, Vec::new())].into();
    Ok(apply_filter_all_threads(&program(with_other_numbers(rules), NOT_PERMITTED)?)?)
}

/// Leaves a worker's thread what it calls.
#[derive(Clone, Debug)]
pub struct WorkerFilter(Arc<BpfProgram>);

impl WorkerFilter {
    /// The filter, if the kernel takes it: a thread has tried.
    pub(super) fn new() -> Result<Self, SandboxError> {
        let rules: Rules = OF_WORKERS.iter().map(|call| (*call, Vec::new())).collect();
        let (refuse, allow) = (SeccompAction::Errno(NOT_PERMITTED), SeccompAction::Allow);
        let filter = SeccompFilter::new(rules, refuse, allow, std::env::consts::ARCH.try_into()?)?;
        let filter = Self(Arc::new(filter.try_into()?));
        thread::scope(|scope| scope.spawn(|| filter.apply()).join()).unwrap_or(Err(SandboxError::Trial))?;
        Ok(filter)
    }

    /// Calls that it leaves.
    pub(super) fn calls() -> usize {
        OF_WORKERS.len()
    }

    /// Puts it on this thread, for good. No filter can be put on all threads afterwards.
    ///
    /// # Errors
    ///
    /// The kernel refused it.
    pub fn apply(&self) -> Result<(), SandboxError> {
        Ok(apply_filter(&self.0)?)
    }
}

fn rules() -> Result<Rules, SandboxError> {
    let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    rules.insert(libc::SYS_clone, vec![rule([(0, SeccompCmpOp::MaskedEq(thread), 0)])?]);
    let others = FAMILIES.map(|family| (0, SeccompCmpOp::Ne, u64::from(family.cast_unsigned())));
    rules.insert(libc::SYS_socket, vec![rule(others)?]);
    let typing = TERMINAL_INPUT.map(|request| rule([(1, SeccompCmpOp::Eq, request)]));
    rules.insert(libc::SYS_ioctl, typing.into_iter().collect::<Result<_, _>>()?);
    Ok(rules)
}

/// A rule for calls of which all conditions hold: argument, comparison, value. The kernel looks at the lower half
/// of these arguments only, and so do these.
fn rule<const N: usize>(conditions: [(u8, SeccompCmpOp, u64); N]) -> Result<SeccompRule, SandboxError> {
    let conditions = conditions
        .into_iter()
        .map(|(index, operator, value)| {
            SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(SeccompRule::new(conditions)?)
}

/// The same calls once more by their numbers of x32, which a kernel for x86-64 may know.
#[cfg(target_arch = "x86_64")]
fn with_other_numbers(rules: Rules) -> Rules {
    const X32: i64 = 0x4000_0000;
    // Those of its own, execve and ptrace among them.
    const ONLY_X32: std::ops::RangeInclusive<i64> = 512..=547;
    let others: Vec<i64> = rules.keys().copied().chain(ONLY_X32).map(|call| call | X32).collect();
    rules.into_iter().chain(others.into_iter().map(|call| (call, Vec::new()))).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn with_other_numbers(rules: Rules) -> Rules {
    rules
}

fn program(rules: Rules, errno: u32) -> Result<BpfProgram, SandboxError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), architecture)?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_fit_the_kernel() {
        // `BPF_MAXINSNS` of `linux/bpf_common.h`.
        let filter = program(with_other_numbers(rules().unwrap()), NOT_PERMITTED).unwrap();
        assert!(filter.len() < 4_096, "{}", filter.len());
    }
}

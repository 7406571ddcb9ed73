//! Which system calls are left.
//!
//! In: nothing. Out: a filter (seccomp) in all threads and in all programs that will be started, and no new privileges for those.
//! What is left is what the agent and a recording that it starts make use of, and what the C library may use instead in another
//! release: everything that reads. What is not: stopping or writing to other processes, mounting, namespaces, modules, changing the
//! user, other kinds of sockets, memory that can be written and executed. A call that is not left fails (EPERM) and kills nobody.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is,
    SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule, TargetArch,
};

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the filter can't be made: {0}")]
    Made(#[from] BackendError),
    #[error("the kernel does not take the filter: {0}")]
    Taken(#[from] seccompiler::Error),
}

/// Files, and what describes them.
const FILES: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_splice,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_umask,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
];

/// Names that newer machines have no calls for.
#[cfg(target_arch = "x86_64")]
const OLD: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_unlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_pause,
    libc::SYS_time,
    libc::SYS_getpgrp,
    libc::SYS_arch_prctl,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[libc::c_long] = &[];

/// Memory of its own, threads, time, signals, and what it is.
const SELF: &[libc::c_long] = &[
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    // Its flags can't be seen: a filter of its own makes C libraries use clone(2).
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setscheduler,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrandom,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_prctl,
    libc::SYS_setpgid,
    libc::SYS_seccomp,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
];

/// Waiting, and what is waited for.
const WAITING: &[libc::c_long] = &[
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
];

/// Talking, through sockets that were opened.
const TALKING: &[libc::c_long] = &[
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
];

/// What heaptap is for.
const TAPPING: &[libc::c_long] =
    &[libc::SYS_process_vm_readv, libc::SYS_bpf, libc::SYS_perf_event_open];

/// Flags of clone(2) that make something other than a thread or a child.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Puts the filters into force in all threads.
///
/// # Errors
/// The kernel refuses them.
pub fn give_up() -> Result<(), Error> {
    for program in programs()? {
        seccompiler::apply_filter_all_threads(&program)?;
    }
    Ok(())
}

/// Two, of which the kernel takes the stricter answer.
fn programs() -> Result<[BpfProgram; 2], Error> {
    let refuse = |errno: libc::c_int| SeccompAction::Errno(errno.unsigned_abs());
    let (left, no_clone3) = (left()?, BTreeMap::from([(libc::SYS_clone3, Vec::new())]));
    let left = SeccompFilter::new(left, refuse(libc::EPERM), SeccompAction::Allow, ARCH)?;
    let no_clone3 =
        SeccompFilter::new(no_clone3, SeccompAction::Allow, refuse(libc::ENOSYS), ARCH)?;
    Ok([no_clone3.try_into()?, left.try_into()?])
}

/// Calls with what their arguments must be; no rule: anything.
fn left() -> Result<BTreeMap<libc::c_long, Vec<Rule>>, BackendError> {
    let always = [FILES, OLD, SELF, WAITING, TALKING, TAPPING].concat();
    let mut left: BTreeMap<_, _> = always.into_iter().map(|call| (call, Vec::new())).collect();
    let rules = |argument: u8, wanted: &[(Is, libc::c_int)]| {
        let rule = |(is, value): &(Is, libc::c_int)| {
            let value = u64::from(value.cast_unsigned());
            Rule::new(vec![Condition::new(argument, Length::Dword, is.clone(), value)?])
        };
        wanted.iter().map(rule).collect::<Result<Vec<Rule>, _>>()
    };
    let masked = |mask: libc::c_int| Is::MaskedEq(u64::from(mask.cast_unsigned()));
    let (write, execute) = (libc::PROT_WRITE, libc::PROT_EXEC);
    // Written or executed, not both, and nothing that was written is made executable.
    let either = masked(write | execute);
    left.insert(
        libc::SYS_mmap,
        rules(2, &[(either.clone(), 0), (either.clone(), write), (either, execute)])?,
    );
    left.insert(libc::SYS_mprotect, rules(2, &[(masked(execute), 0)])?);
    left.insert(libc::SYS_clone, rules(0, &[(masked(NAMESPACES), 0)])?);
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
    left.insert(libc::SYS_socket, rules(0, &families.map(|family| (Is::Eq, family)))?);
    // Its own recordings are asked to end; whether somebody is there is asked with 0.
    let signals = [0, libc::SIGINT, libc::SIGTERM, libc::SIGKILL];
    left.insert(libc::SYS_kill, rules(1, &signals.map(|signal| (Is::Eq, signal)))?);
    // Nothing is put into anybody's terminal.
    let into_terminals = [libc::TIOCSTI, libc::TIOCLINUX];
    let conditions = into_terminals
        .map(|request| Condition::new(1, Length::Dword, Is::Ne, request))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    left.insert(libc::SYS_ioctl, vec![Rule::new(conditions)?]);
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use nix::errno::Errno;

    use super::*;

    /// In a thread of its own, which alone has the filters.
    fn confined<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(|| {
            for program in programs().unwrap() {
                seccompiler::apply_filter(&program).unwrap();
            }
            act()
        });
        thread.join().unwrap()
    }

    fn call(number: libc::c_long, arguments: [libc::c_long; 4]) -> Result<libc::c_long, Errno> {
        let [a, b, c, d] = arguments;
        // SAFETY: calls that take integers, or that are refused before they look.
        Errno::result(unsafe { libc::syscall(number, a, b, c, d, -1, 0) })
    }

    #[test]
    fn what_is_not_left_fails_and_kills_nobody() {
        let refused = confined(|| {
            let map = |protection: libc::c_int| {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                call(libc::SYS_mmap, [0, 4096, protection.into(), flags.into()]).err()
            };
            let none = |number| call(number, [0; 4]).err();
            let socket = |family: libc::c_int| {
                call(libc::SYS_socket, [family.into(), libc::SOCK_DGRAM.into(), 0, 0]).err()
            };
            let own = libc::c_long::from(std::process::id());
            [
                none(libc::SYS_ptrace),
                none(libc::SYS_process_vm_writev),
                none(libc::SYS_mount),
                none(libc::SYS_unshare),
                none(libc::SYS_setns),
                none(libc::SYS_init_module),
                none(libc::SYS_setuid),
                none(libc::SYS_io_uring_setup),
                none(libc::SYS_open_by_handle_at),
                socket(libc::AF_NETLINK),
                socket(libc::AF_PACKET),
                map(libc::PROT_WRITE | libc::PROT_EXEC),
                call(libc::SYS_clone, [libc::CLONE_NEWUSER.into(), 0, 0, 0]).err(),
                call(libc::SYS_kill, [own, libc::SIGSTOP.into(), 0, 0]).err(),
            ]
        });
        assert_eq!(refused, [Some(Errno::EPERM); 14]);
        assert_eq!(confined(|| call(libc::SYS_clone3, [0; 4])), Err(Errno::ENOSYS));
    }

    #[test]
    fn what_is_needed_is_left() {
        let done = confined(|| {
            let read = std::fs::read("/proc/self/stat").is_ok();
            let listened = std::net::TcpListener::bind("127.0.0.1:0").is_ok();
            let threaded = thread::spawn(|| true).join().is_ok();
            let started = Command::new("/bin/true").status().is_ok_and(|status| status.success());
            [read, listened, threaded, started]
        });
        assert_eq!(done, [true; 4]);
    }
}

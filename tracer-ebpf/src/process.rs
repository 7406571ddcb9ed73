//! Execs and exits, where they happen: the process table must not outlive what it speaks of.
//!
//! After an exec the same pid has other addresses, after an exit the pid can be anybody's. Both are
//! handled here at once, so that no event is ever counted under the wrong program; the loader is
//! told and decides what comes next. Where new processes are followed, each exec is told, and until
//! the loader has looked its events are known to be missing.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use tracer_common::{
    Counter, ProcEntry,
    record::{NO_CODE, NOTICE_EXEC, NOTICE_EXIT, Notice, PROC_STALE},
};

use crate::{
    count::count,
    maps::{FOLLOW, NOTICES, PROCESSES},
};

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(ctx: RawTracePointContext) -> i32 {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if let Some(entry) = PROCESSES.get_ptr_mut(pid) {
        // SAFETY: a value of the map; only this process's own exec writes here.
        let image = unsafe {
            (*entry).state = PROC_STALE;
            (*entry).image
        };
        debug!(&ctx, "pid {} has exec'd", pid);
        notify(NOTICE_EXEC, pid, image);
    } else if FOLLOW.load() != 0 {
        // Image 0 is none: the loader has not looked at it yet.
        let unknown = ProcEntry { state: PROC_STALE, ..ProcEntry::default() };
        if PROCESSES.insert(pid, unknown, 0).is_err() {
            count(Counter::ProcessesFull);
        }
        notify(NOTICE_EXEC, pid, 0);
    }
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit(ctx: RawTracePointContext) -> i32 {
    let id = bpf_get_current_pid_tgid();
    let (pid, tid) = ((id >> 32) as u32, id as u32);
    // Threads come and go; the process ends with its leader (Go never lets the main thread exit
    // earlier: runtime/proc.go, mexit).
    if pid != tid {
        return 0;
    }
    if let Some(entry) = PROCESSES.get_ptr(pid) {
        // SAFETY: a value of the map.
        let image = unsafe { (*entry).image };
        let _ = PROCESSES.remove(pid);
        debug!(&ctx, "pid {} exits", pid);
        if image != 0 {
            notify(NOTICE_EXIT, pid, image);
        }
    }
    0
}

/// Tells the loader; what finds no room is counted.
#[inline(always)]
pub fn notify(kind: u32, pid: u32, image: u32) {
    tell(kind, pid, image, NO_CODE);
}

/// As [`notify`], with how it ended.
#[inline(always)]
pub fn tell(kind: u32, pid: u32, image: u32, code: u32) {
    // SAFETY: a helper without arguments.
    let at = unsafe { bpf_ktime_get_ns() };
    let notice = Notice { kind, pid, image, code, at };
    if NOTICES.output::<Notice>(&notice, 0).is_err() {
        count(Counter::NotifyFull);
    }
}

//! How processes end, for who keeps their last words: of each process of the table its exit code, and whom the
//! kernel has chosen to kill because memory has run out, whoever that is.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_kernel},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_common::record::{NO_CODE, NOTICE_END, NOTICE_VICTIM};

use crate::{
    maps::{PROCESSES, TASK_EXIT_CODE, TASK_TGID},
    process::tell,
};

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_ends(_ctx: RawTracePointContext) -> i32 {
    let id = bpf_get_current_pid_tgid();
    let (pid, tid) = ((id >> 32) as u32, id as u32);
    // As in `process_exit`: the process ends with its leader.
    if pid != tid || PROCESSES.get_ptr(pid).is_none() {
        return 0;
    }
    let _ = PROCESSES.remove(pid);
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    tell(NOTICE_END, pid, 0, field(task, TASK_EXIT_CODE.load()).unwrap_or(NO_CODE));
    0
}

/// Argument 0 is the task since Linux 6.10, before that its number.
#[raw_tracepoint(tracepoint = "mark_victim")]
pub fn oom_victim(ctx: RawTracePointContext) -> i32 {
    let victim: u64 = ctx.arg(0);
    let pid = match u32::try_from(victim) {
        Ok(pid) => Some(pid),
        Err(_) => field(victim, TASK_TGID.load()),
    };
    tell(NOTICE_VICTIM, pid.unwrap_or(0), 0, NO_CODE);
    0
}

/// A field of a task; nothing where it is not known where that lies.
#[inline(always)]
fn field(task: u64, offset: u32) -> Option<u32> {
    if offset == 0 {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(task.wrapping_add(u64::from(offset)) as *const u32) }.ok()
}

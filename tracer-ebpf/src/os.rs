//! Probe `os`: what the kernel does for a process that is traced, under the stack of its own that was
//! the reason. Raw tracepoints, which every process of the host passes: who is not traced costs a look
//! at the number of a system call, or one or two into a hash table.

mod calls;
mod pages;
mod resident;
mod slow;
mod stack;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use tracer_common::{ProcEntry, record::PROC_LIVE};

use crate::maps::PROCESSES;

/// What is known of a process, if it is traced.
#[inline(always)]
fn traced(tgid: u32) -> Option<&'static ProcEntry> {
    let entry = PROCESSES.get_ptr(tgid)?;
    // SAFETY: a value of the map, valid for this program run.
    let process = unsafe { &*entry };
    (process.state == PROC_LIVE).then_some(process)
}

#[inline(always)]
fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Reads a word of the kernel's.
#[inline(always)]
fn kernel_word(at: u64) -> Option<u64> {
    // SAFETY: the helper checks the address.
    unsafe { aya_ebpf::helpers::bpf_probe_read_kernel(at as *const u64) }.ok()
}

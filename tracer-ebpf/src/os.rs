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

use crate::{
    gate::{self, Passed},
    maps::PROCESSES,
};

/// What is known of a process, if it is traced and its budget is not used up.
#[inline(always)]
fn traced(tgid: u32) -> Option<&'static ProcEntry> {
    live(tgid).filter(|process| gate::is_open(process))
}

/// The same, whether its budget is used up or not.
#[inline(always)]
fn live(tgid: u32) -> Option<&'static ProcEntry> {
    let entry = PROCESSES.get_ptr(tgid)?;
    // SAFETY: a value of the map, valid for this program run.
    let process = unsafe { &*entry };
    (process.state == PROC_LIVE).then_some(process)
}

/// The current process passes tracepoints, whatever comes of it.
#[inline(always)]
fn passes(tgid: u32, more: u64) {
    if let Some(process) = live(tgid) {
        gate::passes(process, more);
    }
}

/// Something is to be kept of the current process: takes a token for it.
#[inline(always)]
fn pass(tgid: u32, process: &ProcEntry) -> Option<Passed> {
    gate::pass_at_tracepoint(tgid, process)
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

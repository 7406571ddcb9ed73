//! The gate of the budget: each trap of a process takes a token, and without one the program leaves.
//!
//! Whoever takes the last one tells the loader, which then takes the probes off; until they are off a
//! trap costs no more than the look at the gate. It can have a time too at which it is shut, of which the
//! first one that comes late tells: where events are scaled by time, they may not choose how long that is.
//! One event in `TIMED` is timed from here to the end of its program.
//!
//! Programs at the kernel's tracepoints take tokens where they have something to keep; how often a process
//! passes them at all is counted beside that.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tracer_common::{
    Counter, ProcEntry,
    record::{Closes, DENSE, NOTICE_DRY, NOTICE_LATE, TIMED, TIMED_AT_MOST},
};

use crate::{
    atomic,
    count::count,
    maps::{ALLOWED, BUDGET, CLOSES, TAKEN, USAGE},
    process::notify,
};

/// Passed the gate; when it is dropped, the time since is added where it is measured.
pub struct Passed {
    slot: u32,
    /// 0: not measured.
    began: u64,
}

/// What takes no token.
#[inline(always)]
pub fn free() -> Passed {
    Passed { slot: 0, began: 0 }
}

/// Takes a token for a process; nothing when there is none left.
#[inline(always)]
pub fn pass(pid: u32, process: &ProcEntry) -> Option<Passed> {
    if BUDGET.load() == 0 || process.slot == 0 {
        return Some(free());
    }
    let slot = process.slot;
    let (Some(taken), Some(allowance)) = (TAKEN.get_ptr_mut(slot), ALLOWED.get_ptr_mut(slot))
    else {
        return Some(free());
    };
    // SAFETY: words of the maps; this one is only ever added to.
    let before = unsafe { atomic::fetch_add(taken, 1) };
    // SAFETY: as above.
    let allowed = unsafe { allowance.read_volatile() };
    if before >= allowed {
        count(Counter::OverBudget);
        return None;
    }
    if is_late(slot, before) {
        count(Counter::OverBudget);
        // SAFETY: as above.
        unsafe { allowance.write_volatile(0) };
        notify(NOTICE_LATE, pid, process.image);
        return None;
    }
    if before + 1 == allowed {
        notify(NOTICE_DRY, pid, process.image);
    }
    if before & (TIMED - 1) != 0 {
        return Some(free());
    }
    // SAFETY: a helper without arguments.
    let began = unsafe { bpf_ktime_get_ns() };
    tell_dense(slot, began);
    Some(Passed { slot, began })
}

/// Tells an event that is timed as dense, if it is. Of threads that take turns on a CPU some are missed.
#[inline(always)]
fn tell_dense(slot: u32, now: u64) {
    let (Some(usage), Some(closes)) = (USAGE.get_ptr_mut(slot), CLOSES.get_ptr(slot)) else {
        return;
    };
    // SAFETY: words of the maps; nobody else writes this CPU's.
    unsafe {
        let event = (&raw const (*closes).event).read_volatile();
        let before = (&raw const (*usage).timed_at).read_volatile();
        (&raw mut (*usage).timed_at).write_volatile(now);
        if now.wrapping_sub(before) < event * DENSE {
            atomic::add(&raw mut (*usage).dense, 1);
        }
    }
}

/// The same for a program at a tracepoint, which is not a trap.
#[inline(always)]
pub fn pass_at_tracepoint(pid: u32, process: &ProcEntry) -> Option<Passed> {
    if BUDGET.load() != 0
        && let Some(usage) = USAGE.get_ptr_mut(process.slot)
    {
        // SAFETY: a word of the map, only ever added to.
        unsafe { atomic::add(&raw mut (*usage).tokens, 1) };
    }
    pass(pid, process)
}

/// So many more passes of a tracepoint.
#[inline(always)]
pub fn passes(process: &ProcEntry, more: u64) {
    if BUDGET.load() != 0
        && let Some(usage) = USAGE.get_ptr_mut(process.slot)
    {
        // SAFETY: a word of the map, only ever added to.
        unsafe { atomic::add(&raw mut (*usage).passes, more) };
    }
}

/// Whether there are tokens left; none is taken.
#[inline(always)]
pub fn is_open(process: &ProcEntry) -> bool {
    if BUDGET.load() == 0 || process.slot == 0 {
        return true;
    }
    let (Some(taken), Some(allowance)) =
        (TAKEN.get_ptr(process.slot), ALLOWED.get_ptr(process.slot))
    else {
        return true;
    };
    // SAFETY: words of the maps.
    unsafe { taken.read_volatile() < allowance.read_volatile() }
}

/// Whether the gate is shut by now.
#[inline(always)]
fn is_late(slot: u32, before: u64) -> bool {
    let Some(closes) = CLOSES.get_ptr(slot) else { return false };
    // SAFETY: a value of the map; it is written while nothing is allowed.
    let Closes { until, traps, each, .. } = unsafe { closes.read_volatile() };
    if until == 0 {
        return false;
    }
    let cost = before.wrapping_sub(traps).wrapping_mul(each);
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    now >= until.wrapping_add(cost)
}

impl Drop for Passed {
    #[inline(always)]
    fn drop(&mut self) {
        if self.began == 0 {
            return;
        }
        // SAFETY: a helper without arguments.
        let took = unsafe { bpf_ktime_get_ns() }.wrapping_sub(self.began).min(TIMED_AT_MOST);
        if let Some(usage) = USAGE.get_ptr_mut(self.slot) {
            // SAFETY: words of the map, only ever added to.
            unsafe {
                atomic::add(&raw mut (*usage).handler_ns, took);
                atomic::add(&raw mut (*usage).timed, 1);
            }
        }
    }
}

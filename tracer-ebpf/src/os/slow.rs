//! Slow allocations: how long the runtime takes to get a span from its page heap, and how much of that it
//! is in the kernel. `os_span_begin` sits at P of `(*mheap).alloc`, `os_span_end` at where it returns; the
//! thread stays the same between them (its caller holds `m.locks`). What heaptap's programs take in
//! between is taken out.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::{raw_tracepoint, uprobe},
    programs::{ProbeContext, RawTracePointContext},
};
use tracer_common::os::{Happening, IN_CALLS, IN_FAULTS, Slow};

use super::{current_tgid, live, stack};
use crate::{
    gate,
    maps::{OS_SLOW, OS_TRAP, SLOW},
    target::selected,
};

/// A program of this thread while it allocates slowly. When it is dropped, the time that it took is noted.
pub struct Under {
    /// Null when it does not. An `Option` is not initialised in full, which the verifier refuses.
    slow: *mut Slow,
    began: u64,
}

impl Under {
    /// Of the current thread.
    #[inline(always)]
    pub fn current() -> Self {
        let mut slow = core::ptr::null_mut();
        if OS_SLOW.load() != 0
            && let Some(known) = SLOW.get_ptr_mut(bpf_get_current_pid_tgid())
        {
            slow = known;
        }
        Self { slow, began: if slow.is_null() { 0 } else { now() } }
    }

    #[inline(always)]
    pub fn is_some(&self) -> bool {
        !self.slow.is_null()
    }

    /// The kernel begins to work for the thread.
    #[inline(always)]
    pub fn begins(&self) {
        if self.is_some() {
            let slow = self.slow;
            // SAFETY: a value of the map, which this thread alone writes.
            unsafe { ((*slow).since, (*slow).since_handled) = (self.began, (*slow).handled) };
        }
    }

    /// It has worked up to now, since it began or since it was last asked.
    #[inline(always)]
    pub fn works(&self, is_fault: bool) {
        if !self.is_some() {
            return;
        }
        // SAFETY: as above.
        let slow = unsafe { &mut *self.slow };
        if slow.since == 0 {
            return;
        }
        let handled = slow.handled.wrapping_sub(slow.since_handled);
        let worked = self.began.wrapping_sub(slow.since).saturating_sub(handled);
        if is_fault {
            slow.faults = slow.faults.wrapping_add(worked);
        } else {
            slow.calls = slow.calls.wrapping_add(worked);
        }
        (slow.since, slow.since_handled) = (self.began, slow.handled);
    }

    /// It does so no more.
    #[inline(always)]
    pub fn ends(&self) {
        if self.is_some() {
            // SAFETY: as above.
            unsafe { (*self.slow).since = 0 };
        }
    }
}

impl Drop for Under {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_some() {
            let took = now().wrapping_sub(self.began);
            // SAFETY: as above.
            unsafe { (*self.slow).handled = (*self.slow).handled.wrapping_add(took) };
        }
    }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

#[uprobe]
pub fn os_span_begin(ctx: ProbeContext) -> u32 {
    if selected(&ctx).is_none() {
        return 0;
    }
    let slow = Slow { began: now(), ..Slow::default() };
    // One that finds no room displaces another one (LRU).
    let _ = SLOW.insert(bpf_get_current_pid_tgid(), slow, 0);
    0
}

#[uprobe]
pub fn os_span_end(ctx: ProbeContext) -> u32 {
    let end = now();
    let Some(hit) = selected(&ctx) else { return 0 };
    let id = bpf_get_current_pid_tgid();
    let Some(slow) = SLOW.get_ptr(id) else { return 0 };
    // SAFETY: a value of the map, which this thread alone writes.
    let slow = unsafe { *slow };
    let _ = SLOW.remove(id);
    let spent = slow.handled.wrapping_add(OS_TRAP.load() as u64);
    let total = end.wrapping_sub(slow.began).saturating_sub(spent);
    let span = (Happening::Span, 0, total);
    let calls = (Happening::SpanKernel, IN_CALLS, slow.calls);
    let faults = (Happening::SpanKernel, IN_FAULTS, slow.faults);
    stack::keep_all(hit.process, [span, calls, faults]);
    0
}

/// A page fault begins.
#[raw_tracepoint(tracepoint = "page_fault_user")]
pub fn os_fault(_: RawTracePointContext) -> i32 {
    if let Some(process) = live(current_tgid()) {
        gate::passes(process, 1);
        Under::current().begins();
    }
    0
}

//! Probe `goroutine`: `goroutine_new` sits in `runtime.newproc1` at the call that turns a dead `g` into
//! one that can run, which each new goroutine passes once; `goroutine_end` sits at P of the function that
//! every ending one passes once (`gdestroy`, up to Go 1.21 `goexit0`). Both run on the thread's own
//! stack, from which the frame pointers lead to whoever said `go`.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{Counter, record::ObjectKey};

use crate::{
    count::count,
    lives::{self, Ending},
    maps::LIVING,
    regs,
    target::{Amount, Hit, keep, read_word, selected},
};

/// Argument 0 is the new `g`; the frame pointer is that of the function that the probe is in.
#[uprobe]
pub fn goroutine_new(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let mut regs = regs::read(&ctx);
    let new = regs.arg0;
    // As at P.
    let Some(called) = regs.as_called() else {
        count(Counter::StackUnread);
        return 0;
    };
    regs = called;
    // It has its creator's profiler labels already.
    regs.g = new;
    let start = read_word(new.wrapping_add(hit.process.g_startpc as u64));
    if start.is_none() {
        count(Counter::StartUnread);
    }
    let amount = Amount { weight: 1, bytes: 0 };
    let Some(stack) = keep(&ctx, &hit, &regs, start.unwrap_or(0), &amount) else { return 0 };
    if !lives::begin(&LIVING, key(&hit, new), stack) {
        count(Counter::LivingFull);
    }
    0
}

/// Argument 0 is the `g`.
#[uprobe]
pub fn goroutine_end(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    match lives::end(&LIVING, key(&hit, regs.arg0)) {
        Ending::Counted => count(Counter::GoroutineEnded),
        Ending::Unknown => count(Counter::GoroutineEndedUnknown),
        Ending::Full => count(Counter::FreedFull),
    }
    0
}

#[inline(always)]
fn key(hit: &Hit, g: u64) -> ObjectKey {
    ObjectKey { image: hit.image, _pad: 0, address: g }
}

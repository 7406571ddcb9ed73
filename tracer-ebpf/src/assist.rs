//! Probe `assist`: goroutines that mark for the collector before they may allocate. `assist_begin` sits at P
//! of `runtime.gcAssistAlloc` and `assist_end` where that returns, perhaps on another thread: between them
//! a goroutine is known by its `g`. It marks on the thread's own stack, from which nothing takes it:
//! `assist_mark` and `assist_marked` know it by the `g` of that stack. A stack's hits are the assists, its
//! bytes their nanoseconds, its objects those in which they marked.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::uprobe, programs::ProbeContext};
use tracer_common::{Counter, assist::Assist, iteration::GoroutineKey};

use crate::{
    count::count,
    maps::ASSISTS,
    regs,
    target::{Amount, Hit, keep, selected},
};

/// Argument 0 is the goroutine that allocates. On a thread's own stack it is not the one that runs, and the
/// call does nothing.
#[uprobe]
pub fn assist_begin(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let key = key(&hit, regs.g);
    if let Some(under_way) = ASSISTS.get_ptr_mut(key) {
        // SAFETY: a value of the map, of a goroutine that is here.
        unsafe { (*under_way).nested = (*under_way).nested.wrapping_add(1) };
        count(Counter::AssistNone);
        return 0;
    }
    let began = if regs.g == regs.arg0 { now() } else { 0 };
    // One that finds no room displaces another one (LRU).
    let _ = ASSISTS.insert(key, Assist { began, ..Assist::default() }, 0);
    0
}

#[uprobe]
pub fn assist_end(ctx: ProbeContext) -> u32 {
    let end = now();
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let key = key(&hit, regs.g);
    if let Some(under_way) = ASSISTS.get_ptr_mut(key) {
        // SAFETY: as above.
        let nested = unsafe { &mut (*under_way).nested };
        if *nested > 0 {
            *nested = nested.wrapping_sub(1);
            return 0;
        }
    }
    let Some(assist) = take(key) else {
        count(Counter::AssistUnknown);
        return 0;
    };
    if assist.began == 0 {
        count(Counter::AssistNone);
        return 0;
    }
    let amount = Amount { weight: assist.marking, bytes: end.wrapping_sub(assist.began) };
    // As at P: the word at the stack pointer is who called, the frame pointer is theirs.
    let _ = keep(&ctx, &hit, &regs, 0, &amount);
    0
}

/// Argument 0 is the goroutine that is marked for.
#[uprobe]
pub fn assist_mark(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let marking = Assist { began: now(), goroutine: regs.arg0, ..Assist::default() };
    let _ = ASSISTS.insert(key(&hit, regs.g), marking, 0);
    0
}

#[uprobe]
pub fn assist_marked(ctx: ProbeContext) -> u32 {
    let end = now();
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    // One that is not known is counted when it ends.
    let Some(marking) = take(key(&hit, regs.g)) else { return 0 };
    if let Some(assist) = ASSISTS.get_ptr_mut(key(&hit, marking.goroutine)) {
        let marked = end.wrapping_sub(marking.began);
        // SAFETY: a value of the map, of a goroutine that waits for this one.
        unsafe { (*assist).marking = (*assist).marking.wrapping_add(marked) };
    }
    0
}

#[inline(always)]
fn take(key: GoroutineKey) -> Option<Assist> {
    let assist = ASSISTS.get_ptr(key)?;
    // SAFETY: a value of the map; nobody else ends this one.
    let assist = unsafe { *assist };
    let _ = ASSISTS.remove(key);
    Some(assist)
}

#[inline(always)]
fn key(hit: &Hit, g: u64) -> GoroutineKey {
    GoroutineKey { image: hit.image, _pad: 0, g }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

//! Probe `map`: iterations over maps. `map_count` and `map_start` sit where they begin, `map_next` at
//! each step and `map_end` where a step finds the end.
//!
//! A goroutine runs on one thread at a time: nobody else touches what is kept of it. What is nested
//! in an iteration lies above it there, and is over when that one steps. One that was left (by `break`
//! or a panic) is known to be over when its place on the stack is somebody else's, or one below it
//! steps. Which were nested in which can only be told later, so that each is told for itself.

use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::uprobe, programs::ProbeContext};
use tracer_common::{
    Counter,
    iteration::{COMPLETE, Goroutine, GoroutineKey, Iteration, MAP_CLASSIC, NEST, OFF_STACK, Open},
};

use crate::{
    count::count,
    maps::{GOROUTINES, ITERATIONS, NO_GOROUTINE},
    regs::{self, Regs},
    target::{Amount, Hit, keep, read_word, selected},
};

/// Nobody is woken for each iteration: the loader looks often enough (BPF_RB_NO_WAKEUP).
const NO_WAKEUP: u64 = 1;

/// Counts iterations by stack, with the elements that their maps have.
#[uprobe]
pub fn map_count(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let (_, map) = arguments(&hit, &regs);
    let elements = elements(map);
    let _ = keep(&ctx, &hit, &regs, 0, &Amount { weight: elements, bytes: 0 });
    0
}

/// The same, and follows it.
#[uprobe]
pub fn map_start(ctx: ProbeContext) -> u32 {
    let now = time();
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let (iterator, map) = arguments(&hit, &regs);
    let elements = elements(map);
    let amount = Amount { weight: elements, bytes: 0 };
    let Some(stack) = keep(&ctx, &hit, &regs, 0, &amount) else { return 0 };
    let (Some(goroutine), Some(high)) = (find_or_insert(&hit, &regs), stack_high(&hit, &regs))
    else {
        return 0;
    };
    let Some(goid) = read_word(regs.g.wrapping_add(hit.process.g_goid as u64)) else {
        count(Counter::GoroutineUnread);
        return 0;
    };
    // SAFETY: a value of the map, of a goroutine that is here.
    let of = unsafe { &mut *goroutine };
    let id = identity(iterator, &regs, high);
    let others = of.goid != goid;
    // Frames below the stack pointer are gone.
    let alive = high.wrapping_sub(regs.sp);
    let mut k = 0;
    while k < NEST as u64 {
        if k >= of.top.wrapping_sub(of.bottom) {
            break;
        }
        let at = of.top.wrapping_sub(1).wrapping_sub(k);
        let open = of.open[place(at)].iterator;
        if open != 0 && (others || open == id || (open & OFF_STACK == 0 && open > alive)) {
            finish(of, at, 0);
        }
        k += 1;
    }
    of.goid = goid;
    trim(of);
    if of.top.wrapping_sub(of.bottom) >= NEST as u64 {
        let oldest = of.bottom;
        if of.open[place(oldest)].iterator != 0 {
            finish(of, oldest, 0);
            count(Counter::NestFull);
        }
        of.bottom = oldest.wrapping_add(1);
    }
    let at = of.top;
    of.open[place(at)] = Open {
        iterator: id,
        stack,
        began: now,
        last: now,
        calls: 0,
        traps: [of.traps; 2],
        handled: [of.handled; 2],
    };
    of.top = at.wrapping_add(1);
    // Of an empty map the old function does not look for the first element.
    if elements == 0 && hit.cookie.kind == MAP_CLASSIC {
        finish(of, at, COMPLETE);
        of.top = at;
        if forget_if_idle(of, &hit, &regs) {
            return 0;
        }
    }
    spent(of, now);
    0
}

/// Argument 0 is the iterator.
#[uprobe]
pub fn map_next(ctx: ProbeContext) -> u32 {
    let now = time();
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let Some((of, at)) = find(&hit, &regs) else {
        count(Counter::StepUnknown);
        return 0;
    };
    let open = &mut of.open[place(at)];
    if open.iterator & OFF_STACK == 0 {
        over_above(of, at);
    }
    let (traps, handled) = (of.traps, of.handled);
    let open = &mut of.open[place(at)];
    open.calls = open.calls.wrapping_add(1);
    open.last = now;
    open.traps[1] = traps;
    open.handled[1] = handled;
    spent(of, now);
    0
}

/// Argument 0 is the iterator still: the store that this is in front of needs it.
#[uprobe]
pub fn map_end(ctx: ProbeContext) -> u32 {
    let now = time();
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    // Its step was counted as unknown.
    let Some((of, at)) = find(&hit, &regs) else { return 0 };
    finish(of, at, COMPLETE);
    trim(of);
    if !forget_if_idle(of, &hit, &regs) {
        spent(of, now);
    }
    0
}

#[inline(always)]
fn time() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Iterator and map.
#[inline(always)]
fn arguments(hit: &Hit, regs: &Regs) -> (u64, u64) {
    if hit.cookie.kind == MAP_CLASSIC { (regs.arg2, regs.arg1) } else { (regs.arg0, regs.arg2) }
}

/// How many elements a map has: its first word (runtime/map.go, hmap; internal/runtime/maps, Map).
#[inline(always)]
fn elements(map: u64) -> u64 {
    if map == 0 {
        return 0;
    }
    let elements = read_word(map);
    if elements.is_none() {
        count(Counter::MapUnread);
    }
    elements.unwrap_or(0)
}

/// The upper end of the goroutine's stack.
#[inline(always)]
fn stack_high(hit: &Hit, regs: &Regs) -> Option<u64> {
    let high = read_word(regs.g.wrapping_add(hit.process.g_stack_hi as u64));
    if high.is_none() {
        count(Counter::GoroutineUnread);
    }
    high
}

/// What an iterator is told by; never 0.
#[inline(always)]
fn identity(iterator: u64, regs: &Regs, high: u64) -> u64 {
    if iterator >= regs.sp && iterator < high {
        high.wrapping_sub(iterator)
    } else {
        iterator | OFF_STACK
    }
}

#[inline(always)]
fn place(at: u64) -> usize {
    at as usize & (NEST - 1)
}

#[inline(always)]
#[allow(
    clippy::needless_borrows_for_generic_args,
    reason = "given by value it would be copied to the kernel's stack of 512 bytes"
)]
fn find_or_insert(hit: &Hit, regs: &Regs) -> Option<*mut Goroutine> {
    let key = GoroutineKey { image: hit.image, _pad: 0, g: regs.g };
    if let Some(known) = GOROUTINES.get_ptr_mut(key) {
        return Some(known);
    }
    let empty = NO_GOROUTINE.get_ptr(0)?;
    const NOEXIST: u64 = 1;
    // SAFETY: a value of the map, which nobody writes.
    let _ = GOROUTINES.insert(key, unsafe { &*empty }, NOEXIST);
    let known = GOROUTINES.get_ptr_mut(key);
    if known.is_none() {
        count(Counter::GoroutinesFull);
    }
    known
}

/// The iteration whose iterator is argument 0.
#[inline(always)]
fn find(hit: &Hit, regs: &Regs) -> Option<(&'static mut Goroutine, u64)> {
    let key = GoroutineKey { image: hit.image, _pad: 0, g: regs.g };
    let goroutine = GOROUTINES.get_ptr_mut(key)?;
    let id = identity(regs.arg0, regs, stack_high(hit, regs)?);
    // SAFETY: a value of the map, of a goroutine that is here.
    let of = unsafe { &mut *goroutine };
    let mut k = 0;
    while k < NEST as u64 {
        if k >= of.top.wrapping_sub(of.bottom) {
            return None;
        }
        let at = of.top.wrapping_sub(1).wrapping_sub(k);
        if of.open[place(at)].iterator == id {
            return Some((of, at));
        }
        k += 1;
    }
    None
}

/// What began after `at` is over.
#[inline(always)]
fn over_above(of: &mut Goroutine, at: u64) {
    let mut k = 0;
    while k < NEST as u64 {
        let youngest = of.top.wrapping_sub(1);
        if youngest == at {
            return;
        }
        if of.open[place(youngest)].iterator != 0 {
            finish(of, youngest, 0);
        }
        of.top = youngest;
        k += 1;
    }
}

/// Tells of an iteration that is over.
#[inline(always)]
fn finish(of: &mut Goroutine, at: u64, flags: u64) {
    let (mut parent, mut parent_calls) = (0, 0);
    let mut k = 1;
    while k < NEST as u64 {
        if k > at.wrapping_sub(of.bottom) {
            break;
        }
        let below = &of.open[place(at.wrapping_sub(k))];
        if below.iterator != 0 {
            (parent, parent_calls) = (below.began, below.calls);
            break;
        }
        k += 1;
    }
    let goid = of.goid;
    let open = &mut of.open[place(at)];
    match ITERATIONS.reserve::<Iteration>(0) {
        Some(mut entry) => {
            entry.write(Iteration { of: *open, goid, parent, parent_calls, flags });
            entry.submit(NO_WAKEUP);
            count(Counter::IterationsFollowed);
        }
        None => count(Counter::IterationsFull),
    }
    open.iterator = 0;
}

/// Forgets what is over at the young end.
#[inline(always)]
fn trim(of: &mut Goroutine) {
    let mut k = 0;
    while k < NEST as u64 {
        if of.top == of.bottom || of.open[place(of.top.wrapping_sub(1))].iterator != 0 {
            return;
        }
        of.top = of.top.wrapping_sub(1);
        k += 1;
    }
}

/// Makes room for other goroutines when nothing of this one is under way.
#[inline(always)]
fn forget_if_idle(of: &Goroutine, hit: &Hit, regs: &Regs) -> bool {
    let is_idle = of.top == of.bottom;
    if is_idle {
        let _ = GOROUTINES.remove(GoroutineKey { image: hit.image, _pad: 0, g: regs.g });
    }
    is_idle
}

/// Adds what this event has cost.
#[inline(always)]
fn spent(of: &mut Goroutine, began: u64) {
    of.traps = of.traps.wrapping_add(1);
    of.handled = of.handled.wrapping_add(time().wrapping_sub(began));
}

//! Probe `span`: the allocator's slow path. One program for three kinds of site, so that one link
//! attaches them all. P of `(*mcache).refill`: the span that is being given up tells how many objects
//! were allocated from it, which is this event's weight. P of `(*mcache).releaseAll`, by which each
//! collection takes back the spans of a P before they are used up: what was allocated from them is
//! counted by class, without a stack. P of `(*mcache).allocLarge`, where each event is one object.

use aya_ebpf::{helpers::generated::bpf_probe_read_user, macros::uprobe, programs::ProbeContext};
use tracer_common::{Cookie, Counter, ProcEntry, walk::WINDOW};

use crate::{
    count::count,
    regs::{self, Regs},
    scratch::Owned,
    target::{Amount, Hit, keep, keep_without_stack, read_word, selected},
};

#[uprobe]
pub fn span(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let (class, amount) = match hit.cookie.kind {
        Cookie::SPAN_RELEASE => {
            release(&hit, &regs);
            return 0;
        }
        // Large objects have class 0; each one is seen, so its weight has no spread.
        // Argument 0 is the mcache, argument 1 the size, argument 2 noscan.
        Cookie::SPAN_LARGE => (0, Amount { weight: 1, bytes: regs.arg1 }),
        _ => {
            let Some(refill) = refill(&hit, &regs) else {
                count(Counter::SpanUnread);
                return 0;
            };
            refill
        }
    };
    let _ = keep(&ctx, &hit, &regs, class, &amount);
    0
}

/// Argument 0 is the mcache, the low byte of argument 1 the span class.
#[inline(always)]
fn refill(hit: &Hit, regs: &Regs) -> Option<(u64, Amount)> {
    let class = regs.arg1 & 0xff;
    let at = regs.arg0.wrapping_add(hit.process.mcache_alloc as u64).wrapping_add(class * 8);
    let (objects, slot) = used(hit.process, read_word(at)?)?;
    Some((class, Amount { weight: objects, bytes: objects * slot }))
}

/// Span classes: two for each size class.
const CLASSES: usize = 136;

/// Argument 0 is the mcache.
#[inline(always)]
fn release(hit: &Hit, regs: &Regs) {
    let Some(mut owned) = Owned::take() else { return };
    let scratch = owned.get();
    let at = regs.arg0.wrapping_add(hit.process.mcache_alloc as u64);
    // SAFETY: the helper checks the source and writes what fits the window (asserted below).
    let read = unsafe {
        bpf_probe_read_user(scratch.window.as_mut_ptr().cast(), CLASSES as u32 * 8, at as *const _)
    };
    if read != 0 {
        count(Counter::SpanUnread);
        return;
    }
    let mut class = 0;
    while class < CLASSES {
        // SAFETY: class < CLASSES <= WINDOW; a slice access could panic.
        let span = unsafe { *scratch.window.as_ptr().add(class) };
        match used(hit.process, span) {
            None => count(Counter::SpanUnread),
            Some((0, _)) => {}
            Some((objects, slot)) => {
                let amount = Amount { weight: objects, bytes: objects * slot };
                keep_without_stack(hit, class as u64, &amount, &mut scratch.value);
            }
        }
        class += 1;
    }
}

const _: () = assert!(CLASSES <= WINDOW);

/// Objects allocated from a span since its P took it, and the size of their slots.
#[inline(always)]
fn used(p: &ProcEntry, span: u64) -> Option<(u64, u64)> {
    // Both counts are u16 in every release.
    let now = read_word(span.wrapping_add(p.span_alloc_count as u64))? & 0xffff;
    let before = read_word(span.wrapping_add(p.span_alloc_count_before as u64))? & 0xffff;
    let slot = read_word(span.wrapping_add(p.span_elemsize as u64))?;
    let objects = now.wrapping_sub(before);
    // A span holds at most 8,192 objects of 8 bytes; anything else is no span.
    (objects <= 8192 && slot <= 32768).then_some((objects, slot))
}

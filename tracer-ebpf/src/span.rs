//! Probe `span`: the allocator's slow path. `span_refill` sits at P of `(*mcache).refill`: the span
//! that is being given up tells how many objects were allocated from it, which is this event's
//! weight. `span_large` sits at P of `(*mcache).allocLarge`, where each event is one object.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::Counter;

use crate::{
    count::count,
    regs,
    target::{Amount, keep, read_word, selected},
};

/// Argument 0 is the mcache, the low byte of argument 1 the span class.
#[uprobe]
pub fn span_refill(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let class = regs.arg1 & 0xff;
    let p = &hit.process;
    let weight = || {
        let span =
            read_word(regs.arg0.wrapping_add(p.mcache_alloc as u64).wrapping_add(class * 8))?;
        // Both counts are u16 in every release.
        let now = read_word(span.wrapping_add(p.span_alloc_count as u64))? & 0xffff;
        let before = read_word(span.wrapping_add(p.span_alloc_count_before as u64))? & 0xffff;
        let slot = read_word(span.wrapping_add(p.span_elemsize as u64))?;
        Some((now.wrapping_sub(before), slot))
    };
    // A span holds at most 8,192 objects of 8 bytes; anything else is no span.
    let Some((objects, slot)) = weight().filter(|(n, slot)| *n <= 8192 && *slot <= 32768) else {
        count(Counter::SpanUnread);
        return 0;
    };
    keep(&ctx, &hit, &regs, class, &Amount { weight: objects, bytes: objects * slot });
    0
}

/// Argument 0 is the mcache, argument 1 the size, argument 2 noscan.
#[uprobe]
pub fn span_large(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    // Large objects have class 0; each one is seen, so its weight has no spread.
    keep(&ctx, &hit, &regs, 0, &Amount { weight: 1, bytes: regs.arg1 });
    0
}

//! Probe `sample`: the runtime's own sampler. `sample_alloc` sits at P of `profilealloc`, which is
//! called once for each object that the runtime samples (about one in 512 KiB); `sample_free` sits at
//! P of `freeSpecial`, which is called when the sweeper frees an object that has a record, sampled
//! ones among them. Between the two an object is alive.

use aya_ebpf::{helpers::generated::bpf_probe_read_user, macros::uprobe, programs::ProbeContext};
use tracer_common::{Counter, record::ObjectKey};

use crate::{
    count::count,
    lives::{self, Ending},
    maps::OBJECTS,
    regs,
    target::{Amount, keep, selected},
};

/// Argument 1 is the object, argument 2 the size of its slot.
#[uprobe]
pub fn sample_alloc(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let (address, size) = (regs.arg1, regs.arg2);
    // How many objects a sample stands for depends on its size: stacks are split by it.
    let amount = Amount { weight: 1, bytes: size };
    let Some(stack) = keep(&ctx, &hit, &regs, size, &amount) else { return 0 };
    let key = ObjectKey { image: hit.image, _pad: 0, address };
    if !lives::begin(&OBJECTS, key, stack) {
        count(Counter::ObjectsFull);
    }
    0
}

/// Argument 0 is the record, argument 1 the object.
#[uprobe]
pub fn sample_free(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let mut kind = 0u8;
    let at = regs.arg0.wrapping_add(hit.process.special_kind as u64);
    // SAFETY: the helper checks the address and writes one byte.
    if unsafe { bpf_probe_read_user((&raw mut kind).cast(), 1, at as *const _) } != 0 {
        count(Counter::SpecialUnread);
        return 0;
    }
    if kind as u32 != hit.process.special_is_profile {
        count(Counter::OtherSpecial);
        return 0;
    }
    let key = ObjectKey { image: hit.image, _pad: 0, address: regs.arg1 };
    match lives::end(&OBJECTS, key) {
        Ending::Counted => count(Counter::Freed),
        Ending::Unknown => count(Counter::FreedUnknown),
        Ending::Full => count(Counter::FreedFull),
    }
    0
}

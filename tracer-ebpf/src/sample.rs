//! Probe `sample`: the runtime's own sampler. `sample_alloc` sits at P of `profilealloc`, which is
//! called once for each object that the runtime samples (about one in 512 KiB); `sample_free` sits at
//! P of `freeSpecial`, which is called when the sweeper frees an object that has a record, sampled
//! ones among them. Between the two an object is alive.

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_user},
    macros::uprobe,
    programs::ProbeContext,
};
use tracer_common::{
    Counter, StackKey,
    record::{AGES, FreedValue, ObjectKey, ObjectValue, age_class},
};

use crate::{
    atomic,
    count::count,
    maps::{FREED, OBJECTS},
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
    // SAFETY: a helper without arguments.
    let born = unsafe { bpf_ktime_get_ns() };
    if OBJECTS.insert(key, ObjectValue { stack, born }, 0).is_err() {
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
    let Some(object) = OBJECTS.get_ptr(key) else {
        count(Counter::FreedUnknown);
        return 0;
    };
    // SAFETY: a value of the map; nobody else frees this object.
    let object = unsafe { *object };
    let _ = OBJECTS.remove(key);
    // SAFETY: a helper without arguments.
    let age = unsafe { bpf_ktime_get_ns() }.saturating_sub(object.born);
    let Some(freed) = freed_of(&object.stack) else {
        count(Counter::FreedFull);
        return 0;
    };
    count(Counter::Freed);
    let class = age_class(age);
    if class < AGES {
        // SAFETY: a word of the value, as just checked; the words are only ever added to.
        unsafe { atomic::add((&raw mut (*freed).by_age).cast::<u64>().add(class), 1) };
    }
    0
}

/// The counts of a stack's freed objects, made when there are none.
#[inline(always)]
fn freed_of(stack: &StackKey) -> Option<*mut FreedValue> {
    if let Some(freed) = FREED.get_ptr_mut(stack) {
        return Some(freed);
    }
    const NOEXIST: u64 = 1;
    // Another CPU may have inserted it meanwhile; either way it is there now, or the map is full.
    let _ = FREED.insert(stack, FreedValue { by_age: [0; AGES] }, NOEXIST);
    FREED.get_ptr_mut(stack)
}

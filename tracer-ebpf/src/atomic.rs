//! The atomic operations that the programs need, as BPF instructions.
//!
//! Rust gives the BPF target no read-modify-write atomics (it has no compare-and-swap before v3).

use core::arch::asm;

/// Adds to a word that other CPUs and preempted tasks may be adding to.
///
/// # Safety
/// `slot` points to an 8-byte aligned word of a live map value.
#[inline(always)]
pub unsafe fn add(slot: *mut u64, value: u64) {
    // SAFETY: the caller's promise; one instruction, no other memory.
    unsafe {
        asm!("lock *(u64 *)({slot} + 0) += {value}", slot = in(reg) slot, value = in(reg) value,
            options(nostack, preserves_flags));
    }
}

/// Stores `value` and returns what was there.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub unsafe fn swap(slot: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: the caller's promise; one instruction, no other memory.
    unsafe {
        asm!("{value} = xchg_64({slot} + 0, {value})", slot = in(reg) slot,
            value = inout(reg) value, options(nostack, preserves_flags));
    }
    value
}

/// Adds to a word and returns what was there.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub unsafe fn fetch_add(slot: *mut u64, value: u64) -> u64 {
    let mut value = value;
    // SAFETY: the caller's promise; one instruction, no other memory.
    unsafe {
        asm!("{value} = atomic_fetch_add((u64 *)({slot} + 0), {value})", slot = in(reg) slot,
            value = inout(reg) value, options(nostack, preserves_flags));
    }
    value
}

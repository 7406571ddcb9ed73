//! What the verifier knows of a number.
//!
//! A compiler may compare one copy of a number and use another one; verifiers up to that of Linux 6.1 at least then know
//! nothing of the second.

use core::arch::asm;

/// The number, or the most that it may be.
#[inline(always)]
pub fn at_most<const MOST: u32>(number: u64) -> u64 {
    let mut number = number;
    // SAFETY: instructions on one register; they touch no memory.
    unsafe {
        asm!("if {number} > {most} goto +1", "goto +1", "{number} = {most}",
            number = inout(reg) number, most = const MOST, options(nomem, nostack, pure));
    }
    number
}

/// The number, as one of which the verifier knows nothing. What it knows to differ it follows apart: it would walk the
/// stack for each number that can be behind the walk. `unknown` is one that it knows nothing of.
#[inline(always)]
pub fn forgotten(number: u64, unknown: u64) -> u64 {
    let mut number = number;
    // SAFETY: instructions on one register; they touch no memory.
    unsafe {
        asm!("{number} ^= {unknown}", "{number} ^= {unknown}",
            number = inout(reg) number, unknown = in(reg) unknown, options(nomem, nostack, pure));
    }
    number
}

//! What one trap costs on this host: a uprobe with an empty program on functions of heaptap's own.
//!
//! In: where those functions lie in heaptap's file. Out: time for one hit, for the two ways in which
//! the kernel goes on after a hit. An instruction that it can emulate costs about a tenth of one
//! that it has to single-step.

use std::fs::File;
use std::time::{Duration, Instant};

use super::{Error, Kernel, ready::attach_empty};
use crate::address::FileOffset;

/// A function made to be trapped, by what stands at its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trapped {
    /// On amd64 `push %rbp`, what stands at P since Go 1.21; jumps cost the same. On arm64 a jump.
    Emulated,
    /// A subtraction from the stack pointer: for what is single-stepped, as returns are on amd64.
    SingleStepped,
}

#[cfg(target_arch = "x86_64")]
mod functions {
    use super::Trapped;

    std::arch::global_asm!(
        ".pushsection .text.heaptap_trap,\"ax\",@progbits",
        ".hidden heaptap_trap_emulated",
        ".globl heaptap_trap_emulated",
        ".type heaptap_trap_emulated,@function",
        ".p2align 4",
        "heaptap_trap_emulated:",
        "push rbp",
        "pop rbp",
        "ret",
        ".size heaptap_trap_emulated, . - heaptap_trap_emulated",
        ".hidden heaptap_trap_stepped",
        ".globl heaptap_trap_stepped",
        ".type heaptap_trap_stepped,@function",
        ".p2align 4",
        "heaptap_trap_stepped:",
        "sub rsp, 8",
        "add rsp, 8",
        "ret",
        ".size heaptap_trap_stepped, . - heaptap_trap_stepped",
        ".popsection",
    );

    impl Trapped {
        /// The bytes of the first instruction.
        pub(in crate::probe) fn instruction(self) -> &'static [u8] {
            match self {
                Trapped::Emulated => &[0x55],
                Trapped::SingleStepped => &[0x48, 0x83, 0xec, 0x08],
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod functions {
    use super::Trapped;

    std::arch::global_asm!(
        ".pushsection .text.heaptap_trap,\"ax\",@progbits",
        ".hidden heaptap_trap_emulated",
        ".globl heaptap_trap_emulated",
        ".type heaptap_trap_emulated,@function",
        ".p2align 4",
        "heaptap_trap_emulated:",
        "b .+4",
        "ret",
        ".size heaptap_trap_emulated, . - heaptap_trap_emulated",
        ".hidden heaptap_trap_stepped",
        ".globl heaptap_trap_stepped",
        ".type heaptap_trap_stepped,@function",
        ".p2align 4",
        "heaptap_trap_stepped:",
        "sub sp, sp, #16",
        "add sp, sp, #16",
        "ret",
        ".size heaptap_trap_stepped, . - heaptap_trap_stepped",
        ".popsection",
    );

    impl Trapped {
        /// The bytes of the first instruction.
        pub(in crate::probe) fn instruction(self) -> &'static [u8] {
            match self {
                Trapped::Emulated => &[0x01, 0, 0, 0x14],
                Trapped::SingleStepped => &[0xff, 0x43, 0, 0xd1],
            }
        }
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod known {
    use super::Trapped;
    use crate::address::RuntimeAddr;

    unsafe extern "C" {
        fn heaptap_trap_emulated();
        fn heaptap_trap_stepped();
    }

    impl Trapped {
        /// Where the function is in heaptap's memory.
        pub fn address(self) -> Option<RuntimeAddr> {
            let function = match self {
                Trapped::Emulated => heaptap_trap_emulated as *const (),
                Trapped::SingleStepped => heaptap_trap_stepped as *const (),
            };
            Some(RuntimeAddr(function as u64))
        }

        pub(super) fn call(self) {
            // SAFETY: both leave every register and the stack as they were, and need nothing.
            unsafe {
                match self {
                    Trapped::Emulated => heaptap_trap_emulated(),
                    Trapped::SingleStepped => heaptap_trap_stepped(),
                }
            }
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod functions {
    use super::Trapped;
    use crate::address::RuntimeAddr;

    impl Trapped {
        pub(in crate::probe) fn instruction(self) -> &'static [u8] {
            &[]
        }

        /// Nowhere: which instructions the kernel emulates was established for x86-64 and arm64 only.
        pub fn address(self) -> Option<RuntimeAddr> {
            None
        }

        pub(super) fn call(self) {}
    }
}

/// Hits in one go, and how often: about 40 ms with 9 µs a hit.
const BATCH: u32 = 200;
const BATCHES: usize = 21;

/// Measures what one hit takes.
///
/// `file` is heaptap's own executable and `offset` where the function lies in it. The result is the
/// median over several batches. The call itself, 1 or 2 ns, is in it: measured alone it could be more than
/// with the trap, while a probe that was there before is still being taken off. Taking the probe off
/// again takes the kernel about 0.1 s.
///
/// # Errors
/// The kernel did not load the empty program or did not attach it.
pub fn cost(
    kernel: &mut Kernel,
    function: Trapped,
    file: &File,
    offset: FileOffset,
) -> Result<Duration, Error> {
    attach_empty(kernel, function, file, offset)?;
    let cost = median(function);
    kernel.detach_all();
    Ok(cost)
}

/// Median time of one call, in batches.
fn median(function: Trapped) -> Duration {
    let mut batches = [Duration::ZERO; BATCHES];
    for batch in &mut batches {
        let start = Instant::now();
        for _ in 0..BATCH {
            function.call();
        }
        *batch = start.elapsed() / BATCH;
    }
    batches.sort_unstable();
    batches[BATCHES / 2]
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    #[test]
    fn the_functions_begin_with_the_instruction_that_is_trapped() {
        for function in [Trapped::Emulated, Trapped::SingleStepped] {
            let expected = function.instruction();
            let start = function.address().unwrap().0 as *const u8;
            // SAFETY: the function is longer than its first instruction.
            let found = unsafe { std::slice::from_raw_parts(start, expected.len()) };
            assert_eq!(found, expected, "{function:?}");
            function.call();
        }
    }
}

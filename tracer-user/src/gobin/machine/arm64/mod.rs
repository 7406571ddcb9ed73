//! arm64: Go's register ABI (arguments in R0, R1 …, the goroutine in R28, where a function returns to in R30), as
//! the compiler of Go 1.18 to 1.27 uses it. The assembler takes R27 for itself.
//!
//! What the kernel does with a probe's instruction (arch/arm64/kernel/probes/decode-insn.c): jumps,
//! calls, returns and `adr` are emulated, other instructions single-stepped. What stands at P (`str x30,
//! [sp, #-n]!`) is not emulated, so that the site is the jump of the stack check in every release.

mod code;
mod data;
mod instruction;

pub use code::{find_p, goroutine_made, map_ends, only_call, pool_miss, returns};
pub use data::{operands, steps};

//! What depends on the machine that a program was built for: one module for each.
//!
//! In: bytes of code. Out: where a function's stack check ends, where it returns and calls, which
//! variables it uses, and the places that a probe needs inside of a few functions of the runtime. Knows
//! instructions and Go's calling convention, and neither files nor releases.

use object::elf::{EM_AARCH64, EM_X86_64, R_AARCH64_RELATIVE, R_X86_64_RELATIVE};

use super::decode::Step;
use crate::address::VAddr;

mod amd64;
mod arm64;

/// A machine that heaptap knows, by Go's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    Amd64,
    Arm64,
}

/// P within a function's code, or the jump before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct P {
    pub offset: usize,
    pub length: usize,
    pub emulated: bool,
    pub at_check: bool,
}

/// Offset and length of an instruction.
pub type Place = (usize, usize);

/// The stack check's conditional jump is among the first instructions.
const CHECK_INSTRUCTIONS: usize = 10;

impl Machine {
    /// All of them.
    pub const ALL: [Machine; 2] = [Machine::Amd64, Machine::Arm64];

    /// The one that heaptap itself runs on; programs of others can be read, not traced.
    pub const HOST: Option<Machine> = if cfg!(target_arch = "x86_64") {
        Some(Machine::Amd64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Machine::Arm64)
    } else {
        None
    };

    /// By its number in ELF files.
    pub fn of_elf(number: u16) -> Option<Self> {
        match number {
            n if n == EM_X86_64.0 => Some(Machine::Amd64),
            n if n == EM_AARCH64.0 => Some(Machine::Arm64),
            _ => None,
        }
    }

    /// As Go calls it (`GOARCH`).
    pub fn name(self) -> &'static str {
        match self {
            Machine::Amd64 => "amd64",
            Machine::Arm64 => "arm64",
        }
    }

    /// Type of relocations by which the loader adds the load bias to a pointer.
    pub fn relative_relocation(self) -> u32 {
        match self {
            Machine::Amd64 => R_X86_64_RELATIVE.0,
            Machine::Arm64 => R_AARCH64_RELATIVE.0,
        }
    }

    /// Whether the kernel emulates returns; otherwise it single-steps them.
    pub fn emulates_returns(self) -> bool {
        self == Machine::Arm64
    }

    /// P of a function, or the jump before it where that is the cheaper one; its first instruction when it
    /// has no stack check.
    pub fn find_p(self, code: &[u8]) -> Result<P, &'static str> {
        match self {
            Machine::Amd64 => amd64::find_p(code),
            Machine::Arm64 => arm64::find_p(code),
        }
    }

    /// The returns of a function that no jump leaves (facts 7.3).
    pub fn returns(self, code: &[u8]) -> Result<Vec<Place>, &'static str> {
        match self {
            Machine::Amd64 => amd64::returns(code),
            Machine::Arm64 => arm64::returns(code),
        }
    }

    /// The only call of a target in code that lies at `entry`.
    pub fn only_call(self, code: &[u8], entry: VAddr, targets: &[VAddr]) -> Option<Place> {
        match self {
            Machine::Amd64 => amd64::only_call(code, entry, targets),
            Machine::Arm64 => arm64::only_call(code, entry, targets),
        }
    }

    /// The one call of `status`, which is `casgstatus`, that finds a dead goroutine.
    pub fn goroutine_made(
        self,
        code: &[u8],
        entry: VAddr,
        status: VAddr,
    ) -> Result<Place, &'static str> {
        match self {
            Machine::Amd64 => amd64::goroutine_made(code, entry, status),
            Machine::Arm64 => arm64::goroutine_made(code, entry, status),
        }
    }

    /// The jumps over the write barrier of the store that ends an iteration over a map.
    pub fn map_ends(self, code: &[u8]) -> Result<Vec<Place>, &'static str> {
        match self {
            Machine::Amd64 => amd64::map_ends(code),
            Machine::Arm64 => arm64::map_ends(code),
        }
    }

    /// The jump that asks whether there is a `New`, in `(*Pool).Get`.
    pub fn pool_miss(self, code: &[u8]) -> Result<Place, &'static str> {
        match self {
            Machine::Amd64 => amd64::pool_miss(code),
            Machine::Arm64 => arm64::pool_miss(code),
        }
    }

    /// What code that lies at `entry` does with variables, in order.
    pub fn steps(self, code: &[u8], entry: VAddr) -> Vec<Step> {
        match self {
            Machine::Amd64 => amd64::steps(code, entry),
            Machine::Arm64 => arm64::steps(code, entry),
        }
    }

    /// Every variable that code at `entry` has as an operand.
    pub fn operands(self, code: &[u8], entry: VAddr) -> Vec<VAddr> {
        match self {
            Machine::Amd64 => amd64::operands(code, entry),
            Machine::Arm64 => arm64::operands(code, entry),
        }
    }
}

/// Status of a `g` that is nobody's (runtime2.go, `_Gdead`; Go 1.18 to 1.27).
const DEAD: u64 = 6;
/// Byte offset of `New` in `sync.Pool`: behind two pointers and two lengths.
const POOL_NEW: u64 = 32;
/// Instructions that may stand between the jump of a Get that finds nothing and the call of `New`.
const TO_CALL: usize = 3;
/// Instructions that may stand between the end's store of an iteration and the return.
const EPILOGUE: usize = 4;

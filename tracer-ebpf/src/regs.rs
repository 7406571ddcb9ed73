//! Registers at a probe site, and what of the machine else matters: one file for each. Go's register ABI, not
//! C's.

#[cfg(bpf_target_arch = "x86_64")]
#[path = "regs/amd64.rs"]
mod machine;
#[cfg(bpf_target_arch = "aarch64")]
#[path = "regs/arm64.rs"]
mod machine;

pub use machine::*;

use crate::target::read_word;

/// What the programs read of the registers, in Go's words.
#[derive(Clone, Copy)]
pub struct Regs {
    /// On amd64 it points at the return address.
    pub sp: u64,
    /// The caller's frame pointer, at P.
    pub fp: u64,
    /// The return address at P, where the machine has a register for it; 0: it is on the stack.
    pub link: u64,
    /// Integer arguments in order.
    pub arg0: u64,
    pub arg1: u64,
    pub arg2: u64,
    pub arg3: u64,
    pub arg4: u64,
    pub arg5: u64,
    pub arg6: u64,
    /// What a closure is called by.
    pub closure: u64,
    /// The goroutine.
    pub g: u64,
}

/// Where a thread was when the kernel took over.
pub struct Interrupted {
    pub ip: u64,
    pub sp: u64,
    pub fp: u64,
    /// It wanted something of the kernel, and goes on behind that instruction.
    pub is_call: bool,
}

impl Regs {
    /// In a function that has its frame: sp and fp as they were when it was called. A frame is the caller's
    /// frame pointer and the return address, on both machines.
    #[inline(always)]
    pub fn as_called(&self) -> Option<Regs> {
        let fp = read_word(self.fp)?;
        Some(Regs { sp: self.fp.wrapping_add(8), fp, link: 0, ..*self })
    }

    /// Where a function returns to, at P.
    #[inline(always)]
    pub fn returns_to(&self) -> Option<u64> {
        if self.link != 0 { Some(self.link) } else { read_word(self.sp) }
    }
}

/// Whether registers in the kernel are those of a system call.
#[inline(always)]
pub fn is_call(regs: u64) -> Option<bool> {
    call_of(regs).map(|call| call as i64 >= 0)
}

//! Registers at a probe site, per architecture. Go's register ABI, not C's.

use aya_ebpf::programs::ProbeContext;

/// What the programs read of the registers, in Go's words.
#[derive(Clone, Copy)]
pub struct Regs {
    /// Points at the return address (amd64).
    pub sp: u64,
    /// The caller's frame pointer, at P.
    pub fp: u64,
    /// Integer arguments in order: RAX, RBX, RCX, RDI, RSI, R8, R9 on amd64.
    pub arg0: u64,
    pub arg1: u64,
    pub arg2: u64,
    pub arg3: u64,
    pub arg4: u64,
    pub arg5: u64,
    pub arg6: u64,
    /// What a closure is called by: RDX.
    pub closure: u64,
    /// The goroutine: R14.
    pub g: u64,
}

/// Whether the unsigned jump of a stack check (`jbe`) is about to be taken: carry or zero is set.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub fn check_fails(ctx: &ProbeContext) -> bool {
    const CARRY: u64 = 1;
    const ZERO: u64 = 1 << 6;
    // SAFETY: the kernel hands the program a valid pt_regs; the verifier checks each access.
    let regs = unsafe { &*ctx.regs };
    regs.eflags & (CARRY | ZERO) != 0
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub fn read(ctx: &ProbeContext) -> Regs {
    // SAFETY: the kernel hands the program a valid pt_regs; the verifier checks each access.
    let regs = unsafe { &*ctx.regs };
    Regs {
        sp: regs.rsp,
        fp: regs.rbp,
        arg0: regs.rax,
        arg1: regs.rbx,
        arg2: regs.rcx,
        arg3: regs.rdi,
        arg4: regs.rsi,
        arg5: regs.r8,
        arg6: regs.r9,
        closure: regs.rdx,
        g: regs.r14,
    }
}

//! amd64: arguments in RAX, RBX, RCX, RDI, RSI, R8, R9; the goroutine in R14, a closure in RDX.

use aya_ebpf::{helpers::generated::bpf_probe_read_kernel, programs::ProbeContext};
use tracer_common::walk::WINDOW;

use super::{Interrupted, Regs};

/// Whether the unsigned jump of a stack check (`jbe`) is about to be taken: carry or zero is set.
#[inline(always)]
pub fn check_fails(ctx: &ProbeContext) -> bool {
    const CARRY: u64 = 1;
    const ZERO: u64 = 1 << 6;
    // SAFETY: the kernel hands the program a valid pt_regs; the verifier checks each access.
    let regs = unsafe { &*ctx.regs };
    regs.eflags & (CARRY | ZERO) != 0
}

#[inline(always)]
pub fn read(ctx: &ProbeContext) -> Regs {
    // SAFETY: the kernel hands the program a valid pt_regs; the verifier checks each access.
    let regs = unsafe { &*ctx.regs };
    Regs {
        sp: regs.rsp,
        fp: regs.rbp,
        link: 0,
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

/// Bytes of a call, and what one before a return address calls; nothing when there is none.
pub const CALL: usize = 5;

#[inline(always)]
pub fn called(code: &[u8; CALL], returns_to: u64) -> Option<u64> {
    let away = i32::from_le_bytes([code[1], code[2], code[3], code[4]]);
    (code[0] == 0xe8).then(|| returns_to.wrapping_add(away as i64 as u64))
}

/// Numbers of system calls (arch/x86/entry/syscalls/syscall_64.tbl).
pub const MMAP: u64 = 9;
pub const MUNMAP: u64 = 11;
pub const BRK: u64 = 12;
pub const MREMAP: u64 = 25;
pub const MADVISE: u64 = 28;

/// Byte offset of the number of the system call in `struct pt_regs`.
const ORIG_AX: u64 = 120;

/// Which system call the registers at `regs`, in the kernel, are of.
#[inline(always)]
pub fn call_of(regs: u64) -> Option<u64> {
    // SAFETY: the helper checks the address.
    unsafe { aya_ebpf::helpers::bpf_probe_read_kernel(regs.wrapping_add(ORIG_AX) as *const u64) }
        .ok()
}

/// What the call was given: its first four arguments. They outlast it.
#[inline(always)]
pub fn given(regs: u64, call: u64) -> Option<[u64; 4]> {
    // From r10 to orig_ax.
    let mut words = [0u64; 9];
    // SAFETY: the helper checks the source and writes nine words.
    let read = unsafe {
        let from = regs.wrapping_add(56) as *const _;
        bpf_probe_read_kernel((&raw mut words).cast(), size_of_val(&words) as u32, from)
    };
    let [r10, _, _, _, _, dx, si, di, orig_ax] = words;
    (read == 0 && orig_ax == call).then_some([di, si, dx, r10])
}

/// Words of `struct pt_regs` that [`interrupted`] wants.
pub const REGS: usize = 21;

/// Of `struct pt_regs`, which begins the window.
#[inline(always)]
pub fn interrupted(window: &[u64; WINDOW]) -> Interrupted {
    let [fp, call, ip, sp] = [window[4], window[15], window[16], window[19]];
    Interrupted { ip, sp, fp, is_call: call as i64 >= 0 }
}

//! arm64: arguments in R0, R1 …; the goroutine in R28, a closure in R26, the return address in R30.

use aya_ebpf::{helpers::generated::bpf_probe_read_kernel, programs::ProbeContext};
use tracer_common::walk::WINDOW;

use super::{Interrupted, Regs};

/// Whether the unsigned jump of a stack check (`b.ls`) is about to be taken: carry is clear or zero is set.
#[inline(always)]
pub fn check_fails(ctx: &ProbeContext) -> bool {
    const CARRY: u64 = 1 << 29;
    const ZERO: u64 = 1 << 30;
    // SAFETY: the kernel hands the program valid registers; the verifier checks each access.
    let regs = unsafe { &*ctx.regs };
    regs.pstate & CARRY == 0 || regs.pstate & ZERO != 0
}

#[inline(always)]
pub fn read(ctx: &ProbeContext) -> Regs {
    // SAFETY: the kernel hands the program valid registers; the verifier checks each access.
    let all = unsafe { &*ctx.regs };
    let regs = &all.regs;
    Regs {
        sp: all.sp,
        fp: regs[29],
        link: regs[30],
        arg0: regs[0],
        arg1: regs[1],
        arg2: regs[2],
        arg3: regs[3],
        arg4: regs[4],
        arg5: regs[5],
        arg6: regs[6],
        closure: regs[26],
        g: regs[28],
    }
}

/// Bytes of a call, and what one before a return address calls; nothing when there is none.
pub const CALL: usize = 4;

#[inline(always)]
pub fn called(code: &[u8; CALL], returns_to: u64) -> Option<u64> {
    let word = u32::from_le_bytes(*code);
    // bl: 26 bits, signed, of words from the call itself.
    let away = ((word << 6) as i32 >> 4) as i64 as u64;
    (word >> 26 == 0b10_0101).then(|| returns_to.wrapping_sub(4).wrapping_add(away))
}

/// Numbers of system calls (include/uapi/asm-generic/unistd.h).
pub const BRK: u64 = 214;
pub const MUNMAP: u64 = 215;
pub const MREMAP: u64 = 216;
pub const MMAP: u64 = 222;
pub const MADVISE: u64 = 233;

/// Byte offsets in `struct pt_regs` (arch/arm64/include/asm/ptrace.h): the first argument as it was given, and
/// the number of the system call, an i32 that is -1 outside of one.
const ORIG_X0: u64 = 272;
const SYSCALLNO: u64 = 280;

/// Which system call the registers at `regs`, in the kernel, are of.
#[inline(always)]
pub fn call_of(regs: u64) -> Option<u64> {
    // SAFETY: the helper checks the address.
    let number = unsafe {
        aya_ebpf::helpers::bpf_probe_read_kernel(regs.wrapping_add(SYSCALLNO) as *const i32)
    };
    number.ok().map(|number| number as i64 as u64)
}

/// What the call was given: its first four arguments. The result takes the place of the first one, which is
/// kept elsewhere; the others outlast it.
#[inline(always)]
pub fn given(regs: u64, call: u64) -> Option<[u64; 4]> {
    let mut words = [0u64; 3];
    // SAFETY: the helper checks the source and writes three words.
    let (read, first) = unsafe {
        let from = regs.wrapping_add(8) as *const _;
        let read = bpf_probe_read_kernel((&raw mut words).cast(), size_of_val(&words) as u32, from);
        (read, aya_ebpf::helpers::bpf_probe_read_kernel(regs.wrapping_add(ORIG_X0) as *const u64))
    };
    let [second, third, fourth] = words;
    let first = first.ok()?;
    (read == 0 && call_of(regs) == Some(call)).then_some([first, second, third, fourth])
}

/// Words of `struct pt_regs` that [`interrupted`] wants.
pub const REGS: usize = 36;

/// Of `struct pt_regs`, which begins the window.
#[inline(always)]
pub fn interrupted(window: &[u64; WINDOW]) -> Interrupted {
    let [fp, sp, ip, call] = [window[29], window[31], window[32], window[35]];
    Interrupted { ip, sp, fp, is_call: call as i32 >= 0 }
}

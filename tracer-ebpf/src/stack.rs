//! Probe `stack`: a goroutine's stack is moved to a larger or a smaller one, at P of
//! `runtime.copystack`. That runs on a thread's own stack, for a goroutine that wants to call something
//! and has no room, or, when a collection shrinks it, for one that waits. Either way it does not run:
//! where it was left is in its `g.sched`.

use aya_ebpf::{helpers::generated::bpf_probe_read_user, macros::uprobe, programs::ProbeContext};
use tracer_common::{Counter, ProcEntry, record::Moved, walk::walk_left};

use crate::{
    count::count,
    regs::{self, CALL},
    target::{Amount, Target, keep_walked, read_word, selected},
};

/// Where a goroutine was left, and the stack that it has.
struct Left {
    low: u64,
    high: u64,
    sp: u64,
    pc: u64,
    fp: u64,
    /// Where who was called returns to, where the machine has a register for it; 0: it is on the stack.
    link: u64,
}

/// Argument 0 is the goroutine, argument 1 the size of its new stack.
#[uprobe]
pub fn stack_move(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let mut regs = regs::read(&ctx);
    let Some(left) = left(hit.process, regs.arg0) else {
        count(Counter::MoveUnread);
        return 0;
    };
    let (old, new) = (left.high.wrapping_sub(left.low), regs.arg1 as u32);
    let used = left.high.wrapping_sub(left.sp);
    if old > u32::MAX as u64 || used > old {
        count(Counter::MoveUnread);
        return 0;
    }
    let old = old as u32;
    // Who grows was called and has not begun.
    let called = new >= old || by_morestack(hit.process, left.pc);
    let (pc, sp) = match (called, left.fp) {
        (true, _) => (left.pc, Some(left.sp)),
        // One that has never run yet begins at its first instruction, which is no return address.
        (false, 0) => (left.pc.wrapping_add(1), None),
        (false, _) => (left.pc, None),
    };
    regs.g = regs.arg0;
    let amount = Amount { weight: 1, bytes: used };
    let _ = keep_walked(&ctx, &hit, &regs, Moved { old, new }.class(), &amount, |window, pcs| {
        walk_left(&Target, pc, sp.map(|sp| (left.link, sp)), left.fp, window, pcs)
    });
    0
}

#[inline(always)]
fn left(p: &ProcEntry, g: u64) -> Option<Left> {
    let field = |offset: u32| read_word(g.wrapping_add(offset as u64));
    Some(Left {
        low: field(p.g_stack_lo)?,
        high: field(p.g_stack_hi)?,
        sp: field(p.g_sched_sp)?,
        pc: field(p.g_sched_pc)?,
        fp: field(p.g_sched_bp)?,
        // Only arm64 has one; elsewhere the field is always 0.
        link: field(p.g_sched_lr)?,
    })
}

/// Whether an address is behind a call of `morestack`.
#[inline(always)]
fn by_morestack(p: &ProcEntry, pc: u64) -> bool {
    let mut code = [0u8; CALL];
    let at = pc.wrapping_sub(CALL as u64);
    // SAFETY: the helper checks the source and writes a call's bytes.
    if unsafe { bpf_probe_read_user(code.as_mut_ptr().cast(), CALL as u32, at as *const _) } != 0 {
        return false;
    }
    let target = regs::called(&code, pc);
    target.is_some_and(|target| target == p.morestack[0] || target == p.morestack[1])
}

//! Stacks of a thread that is in the kernel: a page fault or a system call has interrupted it at any
//! instruction, on its goroutine's stack, on a system stack (g0) or in C.
//!
//! Of a system stack the frames within its bounds are kept, and then the goroutine's behind it, from
//! where the runtime has written down that it left it (`g.sched`). What of that is a return address the
//! loader decides, who has the function table.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs,
};
use tracer_common::{
    Counter, ProcEntry, StackKey,
    os::{Happening, SYSTEM_FRAMES},
    record::{MAX_DEPTH, STACK_INTERRUPTED, STACK_TRUNCATED, Scratch},
    walk::{Walked, walk_interrupted},
};

use super::kernel_word;
use crate::{
    count::count,
    maps::OS_TASK_FSBASE,
    regs::{Interrupted, REGS, interrupted, is_call},
    scratch::Owned,
    target::{Amount, Target, add, find_or_insert, read_word, same_stack, walked},
};

const GOROUTINE: usize = MAX_DEPTH - SYSTEM_FRAMES;

/// Walks the stack of the current thread and adds the amount to it. Returns what it is kept under;
/// nothing when it is lost.
#[inline(always)]
pub fn keep(
    process: &ProcEntry,
    happening: Happening,
    class: u64,
    amount: &Amount,
) -> Option<StackKey> {
    let mut owned = Owned::take()?;
    let scratch = owned.get();
    let hash = walk_counted(process, scratch)?;
    keep_under(process, scratch, hash, happening, class, amount)
}

/// The same of several amounts with one walk: each one more takes the verifier as long as all else here. Those
/// without bytes are left out but for the first.
#[inline(always)]
pub fn keep_all(process: &ProcEntry, amounts: [(Happening, u64, u64); 3]) {
    let Some(mut owned) = Owned::take() else { return };
    let scratch = owned.get();
    let Some(hash) = walk_counted(process, scratch) else { return };
    let mut at = 0;
    while at < amounts.len() {
        let (happening, class, bytes) = amounts[at];
        if at == 0 || bytes != 0 {
            let amount = Amount { weight: 1, bytes };
            let _ = keep_under(process, scratch, hash, happening, class, &amount);
        }
        at += 1;
    }
}

/// Fills in the stack of the current thread; its hash.
#[inline(always)]
fn walk_counted(process: &ProcEntry, scratch: &mut Scratch) -> Option<u64> {
    let hash = walk(process, scratch);
    if hash.is_none() {
        count(Counter::StackUnread);
    }
    hash
}

#[inline(always)]
fn keep_under(
    process: &ProcEntry,
    scratch: &mut Scratch,
    hash: u64,
    happening: Happening,
    class: u64,
    amount: &Amount,
) -> Option<StackKey> {
    let key = StackKey { image: process.image, site: happening.site(), class, hash };
    let fresh = &mut scratch.value;
    let kept = find_or_insert(&key, fresh)?;
    if !same_stack(kept, fresh) {
        count(Counter::HashCollision);
        return None;
    }
    add(kept, amount);
    scratch.recorded = scratch.recorded.wrapping_add(1);
    Some(key)
}

/// Adds an amount that is nobody's doing in the process.
#[inline(always)]
pub fn keep_without(process: &ProcEntry, happening: Happening, class: u64, amount: &Amount) {
    let Some(mut owned) = Owned::take() else { return };
    let scratch = owned.get();
    let fresh = &mut scratch.value;
    (fresh.depth, fresh.flags, fresh.labels) = (0, 0, 0);
    let key = StackKey { image: process.image, site: happening.site(), class, hash: 0 };
    if let Some(kept) = find_or_insert(&key, fresh) {
        add(kept, amount);
        scratch.recorded = scratch.recorded.wrapping_add(1);
    }
}

#[inline(always)]
fn walk(process: &ProcEntry, scratch: &mut Scratch) -> Option<u64> {
    // SAFETY: the kernel's own task; the helper checks the source and writes [`REGS`] words of 256.
    let read = unsafe {
        let regs = bpf_task_pt_regs(bpf_get_current_task_btf());
        let into = scratch.window.as_mut_ptr().cast();
        bpf_probe_read_kernel(into, REGS as u32 * 8, regs as *const _)
    };
    if read != 0 {
        return None;
    }
    let Interrupted { ip, sp, fp: bp, is_call } = interrupted(&scratch.window);
    // A system call returns behind its instruction, a fault to it: one byte more makes both the same.
    let ip = ip.wrapping_add(u64::from(!is_call));
    let code = (process.code, process.code_len);
    let behind = behind(process);
    let value = &mut scratch.value;
    let mut at = 0;
    while at < SYSTEM_FRAMES {
        // SAFETY: at < SYSTEM_FRAMES < MAX_DEPTH. Volatile: the kernel has no memset for programs.
        unsafe { value.pcs.as_mut_ptr().add(at).write_volatile(0) };
        at += 1;
    }
    let mut hash = 0;
    let mut flags = STACK_INTERRUPTED;
    let (mut at, mut frames) = (ip, (sp, bp));
    if let Some(behind) = &behind {
        value.pcs[0] = ip;
        hash = ip;
        // C code has no chain of frames that could be believed.
        if ip.wrapping_sub(code.0) < code.1 {
            // SAFETY: SYSTEM_FRAMES - 1 words from the second one on.
            let part =
                unsafe { &mut *value.pcs.as_mut_ptr().add(1).cast::<[u64; SYSTEM_FRAMES - 1]>() };
            let Walked { hash: more, flags: more_flags, .. } =
                walk_interrupted(&Target, (sp, bp), behind.bounds, code, &mut scratch.window, part);
            hash ^= more;
            flags |= more_flags & !STACK_TRUNCATED;
        }
        (at, frames) = (behind.pc, (behind.sp, behind.bp));
    }
    value.pcs[SYSTEM_FRAMES] = at;
    // SAFETY: GOROUTINE - 1 words up to the last one.
    let part = unsafe {
        &mut *value.pcs.as_mut_ptr().add(SYSTEM_FRAMES + 1).cast::<[u64; GOROUTINE - 1]>()
    };
    let walked = walked(walk_interrupted(&Target, frames, None, code, &mut scratch.window, part));
    value.depth = SYSTEM_FRAMES as u32 + 1 + walked.depth;
    value.flags = flags | walked.flags;
    value.labels = 0;
    if walked.flags & STACK_TRUNCATED != 0 {
        count(Counter::Truncated);
    }
    Some(hash.rotate_left(17) ^ walked.hash ^ at.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Where a goroutine was left for a system stack.
struct Behind {
    /// Of the system stack.
    bounds: Option<(u64, u64)>,
    pc: u64,
    sp: u64,
    bp: u64,
}

/// The goroutine behind the stack that the thread is on; nothing when it is on the goroutine's own, or
/// when there is none.
#[inline(always)]
fn behind(process: &ProcEntry) -> Option<Behind> {
    if process.m_curg == 0 {
        return None;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    // The runtime keeps `g` right below the thread pointer (runtime/tls_amd64.s).
    let thread = kernel_word(task.wrapping_add(OS_TASK_FSBASE.load() as u64))?;
    let g = read_word(thread.wrapping_sub(8))?;
    let m = read_word(g.wrapping_add(process.g_m as u64))?;
    let curg = read_word(m.wrapping_add(process.m_curg as u64))?;
    if curg == g || curg == 0 {
        return None;
    }
    let low = read_word(g.wrapping_add(process.g_stack_lo as u64))?;
    let high = read_word(g.wrapping_add(process.g_stack_hi as u64))?;
    Some(Behind {
        bounds: Some((low, high)),
        pc: read_word(curg.wrapping_add(process.g_sched_pc as u64))?,
        sp: read_word(curg.wrapping_add(process.g_sched_sp as u64))?,
        bp: read_word(curg.wrapping_add(process.g_sched_bp as u64))?,
    })
}

/// Whether the thread is in the kernel because of a fault, not a system call.
#[inline(always)]
pub fn is_fault() -> bool {
    // SAFETY: the kernel's own task.
    let regs = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    is_call(regs) == Some(false)
}

//! System calls that map memory and give it back: mmap, munmap, madvise, mremap, brk. `os_enter` and
//! `os_exit` are passed by every system call of the host; others than these leave after one look.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_get_current_task},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_common::{
    Counter, StackKey,
    os::{Calling, FAILED, Happening, Mapping, PAGE_SHIFT},
};

use super::{current_tgid, kernel_word, pass, passes, slow::Under, stack, traced};
use crate::{
    count::count,
    maps::{BUDGET, CALLING, MAPPINGS, OS_MM_BRK, OS_TASK_MM},
    regs::{BRK, MADVISE, MMAP, MREMAP, MUNMAP, call_of, given},
    target::Amount,
};

/// Nobody is woken for each: the loader looks often enough (BPF_RB_NO_WAKEUP).
const NO_WAKEUP: u64 = 1;

/// `MREMAP_DONTUNMAP` (include/uapi/linux/mman.h): the old mapping stays.
const DONTUNMAP: u64 = 4;

#[inline(always)]
fn happening(call: u64) -> Option<Happening> {
    Some(match call {
        MMAP => Happening::Mmap,
        MUNMAP => Happening::Munmap,
        BRK => Happening::Brk,
        MREMAP => Happening::Mremap,
        MADVISE => Happening::Madvise,
        _ => return None,
    })
}

/// Argument 1 is the system call's number.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn os_enter(ctx: RawTracePointContext) -> i32 {
    let call: u64 = ctx.arg(1);
    if BUDGET.load() != 0 {
        // Its end is one too.
        passes(current_tgid(), 2);
    }
    if happening(call).is_none() || traced(current_tgid()).is_none() {
        return 0;
    }
    let under = Under::current();
    under.begins();
    // SAFETY: a helper without arguments.
    let mut calling = Calling { began: unsafe { bpf_ktime_get_ns() }, brk: 0 };
    if call == BRK {
        // SAFETY: a helper without arguments.
        let task = unsafe { bpf_get_current_task() };
        let mm = kernel_word(task.wrapping_add(OS_TASK_MM.load() as u64)).unwrap_or(0);
        calling.brk = kernel_word(mm.wrapping_add(OS_MM_BRK.load() as u64)).unwrap_or(0);
    }
    // One that finds no room displaces another one (LRU).
    let _ = CALLING.insert(bpf_get_current_pid_tgid(), calling, 0);
    0
}

/// Argument 0 are the registers, argument 1 is what the call returns.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn os_exit(ctx: RawTracePointContext) -> i32 {
    let regs: u64 = ctx.arg(0);
    let Some(call) = call_of(regs) else { return 0 };
    let Some(happening) = happening(call) else { return 0 };
    let tgid = current_tgid();
    let Some(process) = traced(tgid) else { return 0 };
    let Some(_passed) = pass(tgid, process) else { return 0 };
    let under = Under::current();
    under.works(false);
    under.ends();
    let given = given(regs, call);
    let id = bpf_get_current_pid_tgid();
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // One that began before it was looked at has begun by now at the latest.
    let mut calling = Calling { began: now, brk: 0 };
    if let Some(known) = CALLING.get_ptr(id) {
        // SAFETY: a value of the map, which this thread alone writes.
        calling = unsafe { *known };
        let _ = CALLING.remove(id);
    }
    let Some([first, second, third, fourth]) = given else {
        count(Counter::CallUnread);
        return 0;
    };
    let result: u64 = ctx.arg(1);
    // The last page of addresses are errors.
    let failed = result >= 4096u64.wrapping_neg();
    let mut change = Mapping { at: now, ..Mapping::default() };
    let mut class = 0;
    let mut bytes = 0;
    match happening {
        Happening::Mmap => {
            bytes = whole_pages(second);
            (change.address, change.length) = (result, bytes);
        }
        Happening::Munmap => {
            bytes = whole_pages(second);
            change.at = calling.began;
            (change.old_address, change.old_length) = (first, bytes);
        }
        Happening::Madvise => {
            bytes = whole_pages(second);
            class = third & 0xffff;
        }
        Happening::Mremap => {
            bytes = whole_pages(third);
            (change.address, change.length) = (result, bytes);
            if fourth & DONTUNMAP == 0 {
                (change.old_address, change.old_length) = (first, whole_pages(second));
            }
        }
        _ => {
            // brk(2) returns where the heap ends, whether it could be moved or not.
            let (before, after) = (whole_pages(calling.brk), whole_pages(result));
            if after > before && calling.brk != 0 {
                bytes = after - before;
                (change.address, change.length) = (before, bytes);
            } else {
                change.at = calling.began;
                (change.old_address, change.old_length) = (after, before.wrapping_sub(after));
            }
        }
    }
    if failed {
        class |= FAILED;
        bytes = 0;
    }
    let amount = Amount { weight: 1, bytes };
    let Some(stack) = stack::keep(process, happening, class, &amount) else { return 0 };
    if !failed && change.length | change.old_length != 0 {
        tell(&change, stack);
    }
    0
}

/// Tells the loader of a change.
#[inline(always)]
fn tell(change: &Mapping, stack: StackKey) {
    let change = Mapping { stack, ..*change };
    if MAPPINGS.output::<Mapping>(&change, NO_WAKEUP).is_err() {
        count(Counter::MappingsFull);
    }
}

#[inline(always)]
fn whole_pages(bytes: u64) -> u64 {
    let rest = (1 << PAGE_SHIFT) - 1;
    bytes.wrapping_add(rest) & !rest
}

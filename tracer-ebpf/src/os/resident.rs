//! Pages that become resident and cease to be: `os_resident` is passed whenever the kernel changes one of
//! a process's four counts (`mm->rss_stat`, kernel 6.2). By how much it does not say; the count is summed
//! up over CPUs and compared with what it was.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_task, bpf_map_lookup_percpu_elem, bpf_probe_read_kernel},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_common::{
    Counter, ProcEntry,
    os::{
        ANON_PAGES, BY_OTHERS, CPUS_AT_MOST, Happening, KINDS, PAGE_SHIFT, Resident, SHMEM_PAGES,
    },
};

use super::{current_tgid, kernel_word, pass, passes, slow::Under, stack, traced};
use crate::{
    atomic,
    count::count,
    gate,
    maps::{
        BUDGET, OS_ARRAY_PPTRS, OS_COUNT, OS_COUNTER_SIZE, OS_CPUS, OS_LOCAL, OS_MM_RSS,
        OS_TASK_MM, PER_CPU, RESIDENT,
    },
    target::Amount,
};

/// How often a sum is tried again when the count was changed meanwhile.
const TRIES: u32 = 3;

const SWAPPED: u32 = 2;

/// Argument 0 is the `mm_struct`, argument 1 the kind of pages.
#[raw_tracepoint(tracepoint = "rss_stat")]
pub fn os_resident(ctx: RawTracePointContext) -> i32 {
    let mm: u64 = ctx.arg(0);
    let kind = ctx.arg::<u64>(1) as u32;
    if kind > SHMEM_PAGES || kind == SWAPPED {
        return 0;
    }
    let tgid = current_tgid();
    if BUDGET.load() != 0 {
        passes(tgid, 1);
    }
    let Some(resident) = RESIDENT.get_ptr_mut(mm) else {
        if let Some(process) = traced(tgid)
            && mm_of_current() == Some(mm)
        {
            begin(process, tgid, mm);
        }
        return 0;
    };
    // SAFETY: a value of the map, whose identity is never written after its insertion.
    let (pid, image) = unsafe { ((*resident).pid, (*resident).image) };
    let process = match traced(pid) {
        Some(process) if process.image == image => process,
        _ => {
            // It is not traced any more, and the structure is anybody's.
            let _ = RESIDENT.remove(mm);
            return 0;
        }
    };
    let own = tgid == pid;
    if own && mm_of_current() != Some(mm) {
        // It has ended and everything goes, or a child has been given a copy.
        return 0;
    }
    // What others do to it costs it nothing.
    let passed = if own { pass(tgid, process) } else { Some(gate::free()) };
    let Some(_passed) = passed else { return 0 };
    let under = Under::current();
    if own && under.is_some() && stack::is_fault() {
        under.works(true);
    }
    let Some(now) = pages(mm, kind) else {
        count(Counter::ResidentUnread);
        return 0;
    };
    // SAFETY: kind < KINDS; a word of the value.
    let before = unsafe {
        let known = (&raw mut (*resident).pages).cast::<u64>().add(kind as usize & (KINDS - 1));
        atomic::swap(known, now)
    };
    let mut change = now.wrapping_sub(before) as i64;
    if own && kind == ANON_PAGES {
        // SAFETY: a word of the value.
        change = unsafe { settled(&raw mut (*resident).twice, change) };
    }
    if change == 0 {
        return 0;
    }
    let (happening, pages) = if change > 0 {
        (Happening::Grow, change as u64)
    } else {
        (Happening::Shrink, change.wrapping_neg() as u64)
    };
    let amount = Amount { weight: 1, bytes: pages << PAGE_SHIFT };
    if own {
        let _ = stack::keep(process, happening, kind as u64, &amount);
    } else {
        stack::keep_without(process, happening, kind as u64 | BY_OTHERS, &amount);
    }
    0
}

/// A process is looked at for the first time: what it has is where its changes are counted from.
#[inline(always)]
fn begin(process: &ProcEntry, pid: u32, mm: u64) {
    let mut resident = Resident { image: process.image, pid, ..Resident::default() };
    let mut kind = 0;
    while kind < KINDS {
        match pages(mm, kind as u32) {
            // SAFETY: kind < KINDS; a slice access could panic.
            Some(pages) => unsafe {
                *(&raw mut resident.pages).cast::<u64>().add(kind) = pages;
            },
            None => {
                count(Counter::ResidentUnread);
                return;
            }
        }
        kind += 1;
    }
    const NOEXIST: u64 = 1;
    if RESIDENT.insert(mm, resident, NOEXIST).is_err() && RESIDENT.get_ptr(mm).is_none() {
        count(Counter::ResidentFull);
        return;
    }
    count(Counter::ResidentBegun);
}

/// Two CPUs that bring in pages at the same time may find their sums in the other order: then the first
/// has counted the other's too. A fault brings pages in and takes none, so that a sum that went down is
/// owed, and is taken off what comes next.
///
/// # Safety
/// `owed` points to a word of a live map value.
#[inline(always)]
unsafe fn settled(owed: *mut u64, change: i64) -> i64 {
    if !super::stack::is_fault() {
        return change;
    }
    if change < 0 {
        // SAFETY: the caller's promise.
        unsafe { atomic::add(owed, change.wrapping_neg() as u64) };
        return 0;
    }
    // SAFETY: the caller's promise.
    if unsafe { owed.read_volatile() } == 0 {
        return change;
    }
    // SAFETY: the caller's promise.
    let owes = unsafe { atomic::swap(owed, 0) } as i64;
    if owes <= change {
        return change - owes;
    }
    // SAFETY: the caller's promise.
    unsafe { atomic::add(owed, (owes - change) as u64) };
    0
}

#[inline(always)]
fn mm_of_current() -> Option<u64> {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    kernel_word(task.wrapping_add(OS_TASK_MM.load() as u64))
}

/// How many pages of a kind a process has: the count and what each CPU has not added to it yet
/// (lib/percpu_counter.c). Where one CPU does so meanwhile, it is summed up again.
#[inline(always)]
fn pages(mm: u64, kind: u32) -> Option<u64> {
    let counter = mm
        .wrapping_add(OS_MM_RSS.load() as u64)
        .wrapping_add(kind as u64 * OS_COUNTER_SIZE.load() as u64);
    let count = counter.wrapping_add(OS_COUNT.load() as u64);
    let local = kernel_word(counter.wrapping_add(OS_LOCAL.load() as u64))?;
    // Where a per-CPU address is on a CPU: the kernel's own distance, from a table of ours of which it
    // tells both.
    let slot = PER_CPU.get_ptr_mut(0)?;
    let table = number(slot, (&raw const PER_CPU) as u64);
    let ours = kernel_word(table.wrapping_add(OS_ARRAY_PPTRS.load() as u64))?;
    let mut sum = kernel_word(count)?;
    let cpus = OS_CPUS.load();
    let (mut tries, mut failed) = (0, 0);
    while tries < TRIES {
        let before = sum;
        let mut cpu = 0;
        // The number of CPUs is a constant for the verifier, and the loop has one way out.
        while cpu < CPUS_AT_MOST && cpu < cpus {
            let key = 0u32;
            // SAFETY: a map and its key.
            let there = unsafe {
                bpf_map_lookup_percpu_elem(
                    (&raw const PER_CPU).cast_mut().cast(),
                    (&raw const key).cast(),
                    cpu,
                )
            };
            if there.is_null() {
                break;
            }
            let at = number(slot, there as u64).wrapping_sub(ours).wrapping_add(local);
            let mut part = 0i32;
            // SAFETY: the helper checks the address and writes four bytes.
            failed |= unsafe { bpf_probe_read_kernel((&raw mut part).cast(), 4, at as *const _) };
            sum = sum.wrapping_add(part as i64 as u64);
            cpu += 1;
        }
        if failed != 0 {
            return None;
        }
        let after = kernel_word(count)?;
        if after == before {
            break;
        }
        sum = after;
        tries += 1;
    }
    // As percpu_counter_sum_positive.
    Some(if (sum as i64) < 0 { 0 } else { sum })
}

/// A pointer as a number: a program may not calculate with it otherwise, so that it goes through a word
/// of memory, this CPU's.
#[inline(always)]
fn number(slot: *mut u64, pointer: u64) -> u64 {
    // SAFETY: a word of the map.
    unsafe {
        slot.write_volatile(pointer);
        slot.read_volatile()
    }
}

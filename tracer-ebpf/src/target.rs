//! Is this hit for us, and under which stack is it kept? Shared by every probe that counts stacks.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_attach_cookie, bpf_get_current_pid_tgid, generated::bpf_probe_read_user},
    programs::ProbeContext,
};
use aya_log_ebpf::warn;
use tracer_common::{
    Cookie, Counter, ProcEntry, StackKey, StackValue,
    record::{MAX_DEPTH, PROC_LIVE, STACK_TRUNCATED},
    walk::{UserMemory, WINDOW, Walked, walk},
};

use crate::{
    atomic,
    bound::forgotten,
    count::count,
    gate::{self, Passed},
    labels,
    maps::{PROCESSES, STACKS},
    regs::{self, Regs},
    scratch::Owned,
    stackless::forbid_private_stack,
};

/// A hit that is to be counted: whose it is and where.
pub struct Hit {
    pub cookie: Cookie,
    pub image: u32,
    /// The rest of the process's entry stays where it is: copying it is a tenth of an event.
    pub process: &'static ProcEntry,
    _passed: Passed,
}

/// What one event adds to its stack.
pub struct Amount {
    /// Objects that this event stands for; 1 costs nothing extra.
    pub weight: u64,
    pub bytes: u64,
}

/// The process table decides: nothing when this process is not traced for this site's binary.
#[inline(always)]
pub fn selected(ctx: &ProbeContext) -> Option<Hit> {
    forbid_private_stack(ctx);
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(entry) = PROCESSES.get_ptr(tgid) else {
        count(Counter::NotSelected);
        return None;
    };
    // SAFETY: a value of the map, valid for this program run.
    let process = unsafe { &*entry };
    if process.state != PROC_LIVE {
        count(Counter::Gone);
        return None;
    }
    // Whatever comes of it, the process has paid for the trap.
    let passed = gate::pass(tgid, process)?;
    // SAFETY: ctx is the context that the kernel passed.
    let cookie = Cookie::unpack(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    if process.binary != cookie.binary {
        count(Counter::WrongBinary);
        return None;
    }
    if cookie.at_check && regs::check_fails(ctx) {
        count(Counter::Restarted);
        return None;
    }
    Some(Hit { cookie, image: process.image, process, _passed: passed })
}

/// Memory of the task that hit the probe.
pub struct Target;

impl UserMemory for Target {
    #[inline(always)]
    fn window(&self, at: u64, into: &mut [u64; WINDOW]) -> bool {
        // SAFETY: the helper checks the source and writes at most the window.
        unsafe {
            bpf_probe_read_user(into.as_mut_ptr().cast(), size_of_val(into) as u32, at as *const _)
                == 0
        }
    }

    #[inline(always)]
    fn pair(&self, at: u64, into: &mut [u64; WINDOW]) -> bool {
        // SAFETY: as above, 16 bytes.
        unsafe { bpf_probe_read_user(into.as_mut_ptr().cast(), 16, at as *const _) == 0 }
    }

    #[inline(always)]
    fn apart(&self, at: u64, unknown: u64) -> u64 {
        forgotten(at, unknown)
    }
}

/// Reads one word of the target.
#[inline(always)]
pub fn read_word(at: u64) -> Option<u64> {
    // SAFETY: the helper checks the address.
    unsafe { aya_ebpf::helpers::bpf_probe_read_user(at as *const u64) }.ok()
}

/// Walks the stack and adds the amount to it. Returns what it is kept under; nothing when it is lost.
#[inline(always)]
pub fn keep(
    ctx: &ProbeContext,
    hit: &Hit,
    regs: &Regs,
    class: u64,
    amount: &Amount,
) -> Option<StackKey> {
    keep_walked(ctx, hit, regs, class, amount, |window, pcs| {
        walk(&Target, regs.link, (regs.sp, regs.fp), window, pcs)
    })
}

/// The same with a walk of another kind; of the registers the goroutine alone counts.
#[inline(always)]
pub fn keep_walked(
    ctx: &ProbeContext,
    hit: &Hit,
    regs: &Regs,
    class: u64,
    amount: &Amount,
    walk: impl FnOnce(&mut [u64; WINDOW], &mut [u64; MAX_DEPTH]) -> Walked,
) -> Option<StackKey> {
    let apart = |number| forgotten(number, regs.sp);
    let (labels, class) = (labels::of(hit, regs), apart(class));
    let amount = &Amount { weight: apart(amount.weight), bytes: apart(amount.bytes) };
    let mut owned = Owned::take()?;
    let scratch = owned.get();
    let walked = walked(walk(&mut scratch.window, &mut scratch.value.pcs));
    if walked.depth == 0 {
        count(Counter::StackUnread);
        warn!(ctx, "no stack at {:x} in image {}", regs.sp, hit.image);
        return None;
    }
    if walked.flags & STACK_TRUNCATED != 0 {
        count(Counter::Truncated);
    }
    let key = StackKey {
        image: hit.image,
        site: hit.cookie.site as u32,
        class,
        hash: walked.hash ^ labels,
    };
    let fresh = &mut scratch.value;
    fresh.depth = walked.depth;
    fresh.flags = walked.flags;
    fresh.labels = labels;
    let kept = find_or_insert(&key, fresh)?;
    if !same_stack(kept, fresh) {
        count(Counter::HashCollision);
        warn!(ctx, "two stacks with hash {:x} in image {}", walked.hash, hit.image);
        return None;
    }
    add(kept, amount);
    scratch.recorded = scratch.recorded.wrapping_add(1);
    Some(key)
}

/// What a walk has found, as numbers of which the verifier knows nothing: it would follow all that comes after it for each
/// depth.
#[inline(always)]
pub fn walked(found: Walked) -> Walked {
    let apart = |number: u32| forgotten(number as u64, found.hash) as u32;
    Walked { depth: apart(found.depth), flags: apart(found.flags), hash: found.hash }
}

#[inline(always)]
pub fn add(kept: *mut StackValue, amount: &Amount) {
    // SAFETY: a value of the map; the words are only ever added to.
    unsafe {
        atomic::add(&raw mut (*kept).hits, 1);
        atomic::add(&raw mut (*kept).bytes, amount.bytes);
        if amount.weight != 1 {
            let weight = amount.weight;
            atomic::add(&raw mut (*kept).more_objects, weight.wrapping_sub(1));
            atomic::add(&raw mut (*kept).weight_squares, weight * weight);
        }
    }
}

/// Adds an amount that no stack stands for: to a site's class alone, under a stack of no address.
#[inline(always)]
pub fn keep_without_stack(hit: &Hit, class: u64, amount: &Amount, fresh: &mut StackValue) {
    (fresh.depth, fresh.flags, fresh.labels) = (0, 0, 0);
    let key = StackKey { image: hit.image, site: hit.cookie.site as u32, class, hash: 0 };
    if let Some(kept) = find_or_insert(&key, fresh) {
        add(kept, amount);
    }
}

/// Counts a function under a class: as a stack of its address alone, with a flag that tells it from others.
#[inline(always)]
pub fn keep_function(hit: &Hit, class: u64, code: u64, flag: u32) {
    let Some(mut owned) = Owned::take() else { return };
    let fresh = &mut owned.get().value;
    (fresh.depth, fresh.flags, fresh.labels, fresh.pcs[0]) = (1, flag, 0, code);
    let key = StackKey { image: hit.image, site: hit.cookie.site as u32, class, hash: code };
    let Some(kept) = find_or_insert(&key, fresh) else { return };
    if same_stack(kept, fresh) {
        add(kept, &Amount { weight: 1, bytes: 0 });
    } else {
        count(Counter::HashCollision);
    }
}

#[inline(always)]
#[allow(
    clippy::needless_borrows_for_generic_args,
    reason = "given by value it would be copied to the kernel's stack of 512 bytes"
)]
pub fn find_or_insert(key: &StackKey, fresh: &mut StackValue) -> Option<*mut StackValue> {
    if let Some(kept) = STACKS.get_ptr_mut(key) {
        return Some(kept);
    }
    const NOEXIST: u64 = 1;
    (fresh.hits, fresh.more_objects, fresh.bytes, fresh.weight_squares) = (0, 0, 0, 0);
    // Another CPU may have inserted it meanwhile; either way it is there now, or the map is full.
    if STACKS.insert(key, &*fresh, NOEXIST).is_ok() {
        count(Counter::Stacks);
    }
    let kept = STACKS.get_ptr_mut(key);
    if kept.is_none() {
        count(Counter::StacksFull);
    }
    kept
}

/// A hash is no identity: the stacks themselves are compared.
#[inline(always)]
pub fn same_stack(kept: *const StackValue, fresh: &StackValue) -> bool {
    // SAFETY: a value of the map, whose stack is never written after its insertion.
    let kept = unsafe { &*kept };
    let depth = fresh.depth as usize;
    if kept.depth != fresh.depth || kept.labels != fresh.labels || depth > MAX_DEPTH {
        return false;
    }
    let (mut different, mut i) = (0, 0);
    while i < depth {
        // SAFETY: i < depth <= pcs.len(); a slice access could panic.
        let (a, b) = unsafe { (*kept.pcs.as_ptr().add(i), *fresh.pcs.as_ptr().add(i)) };
        different |= a ^ b;
        i += 1;
    }
    different == 0
}

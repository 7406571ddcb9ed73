//! Probe `slice`: slices that are made, grown and copied, and strings that are built, at P of the runtime's
//! functions (or at the one call in them that knows). A stack's hits are calls, its weight what they copy, its
//! bytes what they ask the heap for.

use aya_ebpf::{helpers::generated::bpf_probe_read_user, macros::uprobe, programs::ProbeContext};
use tracer_common::{
    Counter,
    slice::{
        ARRAY, Built, CONCAT, CONCAT_BYTES, CONCAT_BYTES_PLAIN, GROW, GROW_BUFFER, GROW_CLASSIC,
        IN_FRAME, MAKE, MAKE_COPY, MOVE, MOVE_ROUNDED, MOVE_SIZED, MOVE_SIZED_ROUNDED, OF_RUNES,
        OPERANDS, Operands, RUNES, built, kind, of_size,
    },
    walk::WINDOW,
};

use crate::{
    count::count,
    maps::BY_TYPE,
    regs::{self, Regs},
    scratch::Owned,
    target::{Amount, keep, read_word, selected},
};

#[uprobe]
pub fn slice(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let mut regs = regs::read(&ctx);
    let site = hit.cookie.kind;
    let Some(built) = what(site, &regs) else { return 0 };
    if built.is_nothing() {
        count(Counter::NothingBuilt);
        return 0;
    }
    if site & IN_FRAME != 0 {
        let Some(called) = regs.as_called() else {
            count(Counter::StackUnread);
            return 0;
        };
        regs = called;
    }
    let class = if BY_TYPE.load() != 0 { class(kind(site), &regs) } else { 0 };
    let _ = keep(&ctx, &hit, &regs, class, &Amount { weight: built.copied, bytes: built.asked });
    0
}

/// Nothing when it is lost.
#[inline(always)]
fn what(site: u16, regs: &Regs) -> Option<Built> {
    let (buffer, list, operands) = match kind(site) {
        CONCAT | CONCAT_BYTES => (regs.arg0, regs.arg1, regs.arg2),
        CONCAT_BYTES_PLAIN => (0, regs.arg0, regs.arg1),
        _ => {
            let args =
                [regs.arg0, regs.arg1, regs.arg2, regs.arg3, regs.arg4, regs.arg5, regs.arg6];
            let built = built(site, &args, read_word);
            if built.is_none() {
                count(Counter::TypeUnread);
            }
            return built;
        }
    };
    let all = added_up(list, operands);
    if all.is_none() {
        count(Counter::OperandsUnread);
    }
    let all = all?;
    Some(all.built(kind(site), buffer, is_on_stack(regs.g, all.last)))
}

/// Whether an address lies on the goroutine's stack, whose bounds are the first words of `g`
/// (runtime/runtime2.go).
#[inline(always)]
fn is_on_stack(g: u64, at: u64) -> bool {
    match (read_word(g), read_word(g.wrapping_add(8))) {
        (Some(low), Some(high)) => at >= low && at < high,
        _ => false,
    }
}

/// Address and length of each operand.
#[inline(always)]
fn added_up(list: u64, operands: u64) -> Option<Operands> {
    if operands > OPERANDS as u64 {
        return None;
    }
    let mut owned = Owned::take()?;
    let window = &mut owned.get().window;
    let length = operands as u32 * 16;
    // SAFETY: the helper checks the source and writes what fits the window (asserted below).
    if unsafe { bpf_probe_read_user(window.as_mut_ptr().cast(), length, list as *const _) } != 0 {
        return None;
    }
    let mut all = Operands::default();
    let mut at = 0;
    while at < OPERANDS {
        if at as u64 >= operands {
            break;
        }
        // SAFETY: at < OPERANDS; a slice access could panic.
        let (address, length) =
            unsafe { (*window.as_ptr().add(2 * at), *window.as_ptr().add(2 * at + 1)) };
        all.add(address, length);
        at += 1;
    }
    Some(all)
}

const _: () = assert!(2 * OPERANDS <= WINDOW);

/// The type of the elements, or what is known of it.
#[inline(always)]
fn class(kind: u16, regs: &Regs) -> u64 {
    match kind {
        GROW_CLASSIC | MAKE | MAKE_COPY | MOVE | MOVE_ROUNDED | ARRAY => regs.arg0,
        GROW | GROW_BUFFER => regs.arg4,
        MOVE_SIZED | MOVE_SIZED_ROUNDED => of_size(regs.arg0),
        RUNES => OF_RUNES,
        _ => 0,
    }
}

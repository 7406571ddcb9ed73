//! Probe `pool`: what a `sync.Pool` gives (`pool_get`), what it could not give (`pool_miss`), what it
//! gets back (`pool_put`). A stack's class is the pool's address.
//!
//! `pool_miss` sits in the middle of Get: Get's own frame is the innermost, and the stack is kept as
//! `pool_get` keeps it. The function that makes new values is what a pool is told by, and a pool on the
//! heap may be gone when somebody looks: so it is kept too, as a stack of one address.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{Counter, record::STACK_IS_FUNCTION};

use crate::{
    count::count,
    regs,
    target::{Amount, keep, keep_function, read_word, selected},
};

const ONE: Amount = Amount { weight: 1, bytes: 0 };

/// Argument 0 is the pool.
#[uprobe]
pub fn pool_get(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let _ = keep(&ctx, &hit, &regs, regs.arg0, &ONE);
    0
}

/// Argument 0 is the pool, argument 1 the type of the value; without one it is nil, and stays out.
#[uprobe]
pub fn pool_put(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    if regs.arg1 == 0 {
        count(Counter::NilPut);
        return 0;
    }
    let _ = keep(&ctx, &hit, &regs, regs.arg0, &ONE);
    0
}

/// The pool is where argument 2 would be, its New where a closure is called by.
#[uprobe]
pub fn pool_miss(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let Some(caller) = regs.as_called() else {
        count(Counter::StackUnread);
        return 0;
    };
    let _ = keep(&ctx, &hit, &caller, regs.arg2, &ONE);
    if regs.closure != 0
        && let Some(code) = read_word(regs.closure)
    {
        keep_function(&hit, regs.arg2, code, STACK_IS_FUNCTION);
    }
    0
}

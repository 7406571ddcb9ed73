//! Probe `alloc`: every heap allocation, at P of `runtime.mallocgc` and of the size-specialised
//! functions that newer compilers call directly. Argument 0 is the size, argument 1 the type.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{Cookie, Counter};

use crate::{
    count::count,
    maps::BY_TYPE,
    regs,
    target::{Amount, keep, selected},
};

#[uprobe]
pub fn alloc(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let size = regs.arg0;
    if hit.cookie.kind == Cookie::NESTED {
        // A return address is that of the instruction after the call.
        let call = regs.returns_to().unwrap_or(0).wrapping_sub(1);
        if call.wrapping_sub(hit.process.mallocgc) < hit.process.mallocgc_len {
            count(Counter::Forwarded);
            return 0;
        }
    } else if size <= hit.cookie.kind as u64 {
        count(if size == 0 { Counter::ZeroSize } else { Counter::Forwarded });
        return 0;
    }
    let class = if BY_TYPE.load() != 0 { regs.arg1 } else { 0 };
    let _ = keep(&ctx, &hit, &regs, class, &Amount { weight: 1, bytes: size });
    0
}

//! Probe `box`: values that are put into interfaces, at P of the runtime's `convT…` functions. A stack's hits
//! are the values, its objects those that allocate.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{
    Counter,
    boxed::{ANY, bytes},
};

use crate::{
    count::count,
    maps::BY_TYPE,
    regs,
    target::{Amount, keep, read_word, selected},
};

#[uprobe]
pub fn box_value(ctx: ProbeContext) -> u32 {
    let Some(hit) = selected(&ctx) else { return 0 };
    let regs = regs::read(&ctx);
    let kind = hit.cookie.kind;
    let Some(bytes) = bytes(kind, regs.arg0, regs.arg1, read_word) else {
        count(Counter::TypeUnread);
        return 0;
    };
    // Where the function does not know the type it is what tells.
    let class = match (BY_TYPE.load() != 0, kind) {
        (false, _) => 0,
        (true, ANY) => regs.arg0,
        (true, kind) => kind as u64,
    };
    let _ = keep(&ctx, &hit, &regs, class, &Amount { weight: (bytes != 0) as u64, bytes });
    0
}

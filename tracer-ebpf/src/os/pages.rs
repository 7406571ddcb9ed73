//! Pages that the kernel takes from its free ones for a process: for its memory, for page tables, for
//! files that it reads. `os_pages` is passed by every such taking on the host.

use aya_ebpf::{
    helpers::generated::bpf_get_numa_node_id, macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_common::os::{Happening, PAGE_SHIFT, page_class};

use super::{current_tgid, live, pass, slow::Under, stack};
use crate::{gate, target::Amount};

/// Higher orders than any kernel has (MAX_PAGE_ORDER is 10).
const ORDERS: u32 = 32;

/// Argument 0 is the page, nothing when there was none; argument 1 the order.
#[raw_tracepoint(tracepoint = "mm_page_alloc")]
pub fn os_pages(ctx: RawTracePointContext) -> i32 {
    let tgid = current_tgid();
    let Some(process) = live(tgid) else { return 0 };
    gate::passes(process, 1);
    let _under = Under::current();
    let (page, order): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let order = order as u32;
    if page == 0 || order >= ORDERS {
        return 0;
    }
    let Some(_passed) = pass(tgid, process) else { return 0 };
    // SAFETY: a helper without arguments.
    let node = unsafe { bpf_get_numa_node_id() } as u32;
    let amount = Amount { weight: 1, bytes: 1 << (PAGE_SHIFT + order) };
    let _ = stack::keep(process, Happening::Pages, page_class(order, node), &amount);
    0
}

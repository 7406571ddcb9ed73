//! A program that does nothing: what one trap costs without us.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

#[uprobe]
pub fn empty(_ctx: ProbeContext) -> u32 {
    0
}

//! No private stack.
//!
//! Since Linux 6.13 the kernel gives programs of this type a stack for each CPU in the place of the task's own, for it
//! takes them not to be preempted. At uprobes they are: another task on the same CPU then runs the same program on the
//! same stack, and who goes on finds its words there: with pointers among them, the kernel's memory is written to
//! anywhere. A program that may call another one in its own place keeps the task's stack. This call is never made: the
//! verifier knows that and leaves it out, but decides by it.

use aya_ebpf::programs::ProbeContext;

use crate::maps::{GOES, NOWHERE};

#[inline(always)]
pub fn forbid_private_stack(ctx: &ProbeContext) {
    if GOES.load() != 0 {
        // SAFETY: the map is never written to.
        unsafe { NOWHERE.tail_call(ctx, 0) }
    }
}

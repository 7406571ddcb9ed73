//! Where goroutines' stacks are moved to larger or smaller ones.
//!
//! In: a binary's functions. Out: the site of the stack probe, and the functions by which a stack that
//! is moved can have been left. All moves go through `runtime.copystack` (stack.go), which runs on the
//! thread's own stack; the goroutine's is where its `g.sched` says. A goroutine that `morestack` has
//! taken off the CPU was called and has not begun (asm_amd64.s): what its stack pointer points at is
//! a return address. Any other was in the middle of a function.

use super::{Site, SiteError, whole_functions};
use crate::address::VAddr;
use crate::gobin::GoBinary;

/// Site of the stack probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackSite {
    /// P of `copystack`: the goroutine and the size of its new stack are the arguments.
    pub moved: Site,
    /// First bytes of `morestack` and `morestack_noctxt`.
    pub morestack: [VAddr; 2],
}

/// Site of the stack probe.
pub fn stack_site(binary: &GoBinary) -> Result<StackSite, SiteError> {
    let [moved] = whole_functions(binary, ["runtime.copystack"])?;
    let names = ["runtime.morestack", "runtime.morestack_noctxt"];
    let mut morestack = [VAddr(0); 2];
    for ((name, function), into) in
        names.into_iter().zip(binary.find_functions(&names)).zip(&mut morestack)
    {
        *into = function.ok_or_else(|| SiteError::NoFunction(name.to_string()))?.entry;
    }
    Ok(StackSite { moved, morestack })
}

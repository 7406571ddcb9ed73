//! Where the runtime gets spans from its page heap.
//!
//! In: a binary's functions and code. Out: sites of the probe os-alloc: P of `runtime.(*mheap).alloc`
//! (mheap.go), and the instructions by which it returns.

use super::{Site, SiteError, returns::return_sites, whole_functions};
use crate::gobin::GoBinary;

const ALLOC: &str = "runtime.(*mheap).alloc";

/// Sites of the probe os-alloc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageHeapSites {
    /// A span is asked for.
    pub begin: Site,
    /// It is there: returns, which the kernel single-steps.
    pub ends: Vec<Site>,
}

/// Sites of the probe os-alloc.
pub fn page_heap_sites(binary: &GoBinary) -> Result<PageHeapSites, SiteError> {
    let [begin] = whole_functions(binary, [ALLOC])?;
    Ok(PageHeapSites { begin, ends: return_sites(binary, ALLOC)? })
}

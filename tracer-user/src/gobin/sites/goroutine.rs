//! Where goroutines begin and end.
//!
//! In: a binary's functions and code. Out: sites of the goroutine probe. Every goroutine of a `go`
//! statement, of a timer, of `iter.Pull` and of the runtime itself is made by `runtime.newproc1`, which
//! knows its `g` and start function when it turns it from dead to runnable (proc.go, coro.go): the
//! call of `casgstatus` with `_Gdead` as the old status happens once for each, and the kernel emulates a
//! call. Each ends once in `gdestroy`, up to Go 1.21 in `goexit0`. Threads of C that call Go borrow
//! a `g` for that; it comes from elsewhere and passes neither.

use super::{Site, SiteError, site_at, whole_functions};
use crate::address::VAddr;
use crate::gobin::GoBinary;
use crate::gobin::decode::code;

/// Sites of the goroutine probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoroutineSites {
    /// A call in `newproc1`: the new `g` is the first argument, the frame pointer is `newproc1`'s own.
    pub created: Site,
    /// P of the function that ends one; its `g` is the first argument.
    pub ended: Site,
}

const NEWPROC1: &str = "runtime.newproc1";
const CASGSTATUS: &str = "runtime.casgstatus";

/// Sites of the goroutine probe.
pub fn goroutine_sites(binary: &GoBinary) -> Result<GoroutineSites, SiteError> {
    let version = binary.facts().version.ok_or(SiteError::NoVersion)?;
    let end = if version.at_least(22) { "runtime.gdestroy" } else { "runtime.goexit0" };
    let [_, ended] = whole_functions(binary, [NEWPROC1, end])?;
    let missing = |name: &str| SiteError::NoFunction(name.to_string());
    let [function, status] = binary.find_functions(&[NEWPROC1, CASGSTATUS])[..] else {
        return Err(missing(NEWPROC1));
    };
    let function = function.ok_or_else(|| missing(NEWPROC1))?;
    let status = status.ok_or_else(|| missing(CASGSTATUS))?;
    let inlined = binary.find_inlined(&[status]).into_iter().flatten();
    if let Some(into) = inlined.into_iter().find(|into| into.name == NEWPROC1) {
        return Err(SiteError::Inlined { function: CASGSTATUS, into: into.name.to_string() });
    }
    let code = code(binary, &function)?;
    let undecodable =
        |why| SiteError::Decode { function: NEWPROC1.to_string(), entry: function.entry, why };
    let (at, length) = binary
        .machine()
        .goroutine_made(&code, function.entry, status.entry)
        .map_err(undecodable)?;
    let vaddr = VAddr(function.entry.0 + at as u64);
    let created = site_at(binary, NEWPROC1, vaddr, &code[at..at + length], true)
        .ok_or_else(|| undecodable("it is not in the file"))?;
    Ok(GoroutineSites { created, ended })
}

//! Where a `sync.Pool` gives, finds nothing to give, and takes back.
//!
//! In: a binary's functions and code. Out: sites of the pool probe. `Get` and `Put` have one at P, where
//! the pool is the first argument. A `Get` that finds nothing ends in `if x == nil && p.New != nil`
//! (sync/pool.go, Go 1.18 to 1.27): the second comparison is made for such Gets alone, once each, and
//! its jump is a site that the kernel emulates; a `RET` of `getSlow` would be single-stepped.

use super::{Site, SiteError, site_at, whole_functions};
use crate::address::VAddr;
use crate::gobin::GoBinary;
use crate::gobin::decode::code;

/// Sites of the pool probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSites {
    /// P of `(*Pool).Get`; the pool is its first argument.
    pub get: Site,
    /// The jump of a Get that has found nothing: the pool is in RCX, its `New` in RDX, and the frame
    /// pointer is that of Get itself.
    pub miss: Site,
    /// P of `(*Pool).Put`: pool and value, two words of an interface, are its arguments. Nothing in a
    /// program that never gives anything back.
    pub put: Option<Site>,
}

const GET: &str = "sync.(*Pool).Get";
const PUT: &str = "sync.(*Pool).Put";

/// Sites of the pool probe.
pub fn pool_sites(binary: &GoBinary) -> Result<PoolSites, SiteError> {
    let [get] = whole_functions(binary, [GET])?;
    let put = match whole_functions(binary, [PUT]) {
        Ok([put]) => Some(put),
        Err(SiteError::NoFunction(_)) => match binary.find_copies(PUT).first() {
            None => None,
            Some(into) => {
                let into = into.name.to_string();
                return Err(SiteError::Inlined { function: PUT, into });
            }
        },
        Err(err) => return Err(err),
    };
    let function = binary.find_function(GET).ok_or_else(|| SiteError::NoFunction(GET.into()))?;
    let undecodable = |why| SiteError::Decode { function: GET.into(), entry: function.entry, why };
    let code = code(binary, &function)?;
    let (at, length) = binary.machine().pool_miss(&code).map_err(undecodable)?;
    let vaddr = VAddr(function.entry.0 + at as u64);
    let miss = site_at(binary, GET, vaddr, &code[at..at + length], true)
        .ok_or_else(|| undecodable("it is not in the file"))?;
    Ok(PoolSites { get, miss, put })
}

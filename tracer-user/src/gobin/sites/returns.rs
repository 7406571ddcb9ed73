//! Where a function returns.
//!
//! In: a binary's code. Out: sites at all its returns, which the kernel single-steps on amd64.

use super::{Site, SiteError, site_at};
use crate::address::VAddr;
use crate::gobin::GoBinary;
use crate::gobin::decode::code;

/// Every return of a function, by its name.
pub fn return_sites(binary: &GoBinary, name: &'static str) -> Result<Vec<Site>, SiteError> {
    let function =
        binary.find_function(name).ok_or_else(|| SiteError::NoFunction(name.to_owned()))?;
    let code = code(binary, &function)?;
    let machine = binary.machine();
    let undecodable =
        |why| SiteError::Decode { function: name.to_owned(), entry: function.entry, why };
    let site = |(at, length): (usize, usize)| {
        let vaddr = VAddr(function.entry.0 + at as u64);
        let bytes = code.get(at..at + length).unwrap_or_default();
        site_at(binary, name, vaddr, bytes, machine.emulates_returns())
            .ok_or_else(|| undecodable("it is not in the file"))
    };
    machine.returns(&code).map_err(undecodable)?.into_iter().map(site).collect()
}

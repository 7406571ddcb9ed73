//! Where iterations over maps begin, step and end.
//!
//! In: a binary's functions and code. Out: sites of the map probe. Compiled range loops, package
//! reflect and the shims that others reach by linkname all go through the same two functions: up to Go
//! 1.23 `runtime.mapiterinit` and `mapiternext`, since 1.24 `maps.(*Iter).Init` and `Next`. A
//! `runtime.mapiterinit` of a later release is such a shim, which compiled code never calls.
//!
//! In every release the first step is taken as part of the beginning, so that there is one call of
//! the second function for each element that is visited, and one more that finds the end. That one
//! stores nil into the iterator's first field (runtime/map.go, internal/runtime/maps/table.go).

use super::{Site, SiteError, site_at, whole_functions};
use crate::address::VAddr;
use crate::gobin::GoBinary;
use crate::gobin::decode::code;

/// Sites of the map probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSites {
    /// P of the function that begins an iteration.
    pub start: Site,
    /// Whether its arguments are type, map, iterator (Go up to 1.23), not iterator, type, map.
    pub is_classic: bool,
    /// P of the function that steps; the iterator is its first argument.
    pub next: Site,
    /// Where it finds the end: the jump of the write barrier's check before the end is stored. The
    /// kernel emulates it, and the iterator is still in the first argument's register.
    pub ends: Vec<Site>,
}

/// Sites of the map probe.
pub fn map_sites(binary: &GoBinary) -> Result<MapSites, SiteError> {
    let facts = binary.facts();
    let version = facts.version.ok_or(SiteError::NoVersion)?;
    let has = |name: &str| facts.experiments.iter().any(|experiment| experiment == name);
    // The experiment of Go 1.24 and 1.25 brings the old maps back (internal/buildcfg/exp.go).
    let is_classic = !version.at_least(24) || has("noswissmap");
    let names = if is_classic {
        ["runtime.mapiterinit", "runtime.mapiternext"]
    } else {
        ["internal/runtime/maps.(*Iter).Init", "internal/runtime/maps.(*Iter).Next"]
    };
    let [start, next] = whole_functions(binary, names)?;
    let function =
        binary.find_function(names[1]).ok_or_else(|| SiteError::NoFunction(names[1].into()))?;
    let code = code(binary, &function)?;
    let undecodable =
        |why| SiteError::Decode { function: function.name.to_string(), entry: function.entry, why };
    let ends = binary.machine().map_ends(&code).map_err(undecodable)?;
    let site = |(at, length): (usize, usize)| {
        let vaddr = VAddr(function.entry.0 + at as u64);
        site_at(binary, function.name, vaddr, &code[at..at + length], true)
            .ok_or_else(|| undecodable("it is not in the file"))
    };
    let ends = ends.into_iter().map(site).collect::<Result<_, _>>()?;
    Ok(MapSites { start, is_classic, next, ends })
}

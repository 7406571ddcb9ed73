//! Where slices are made, grown and copied, and strings built.
//!
//! In: a binary's functions and code. Out: sites of the slice probe, and which are missing. Each call is
//! counted at the outermost function that knows what it copies and how much it asks for; none of them calls
//! another one with the same work, so that nothing counts twice:
//!
//! - `growslice`, `makeslice`, `makeslicecopy`, `moveSlice…`, `reflect.unsafe_NewArray`, `bytealg.MakeNoZero`
//!   call the allocator. `growsliceBuf` counts where it does not call `growslice`; the `NoAlias` forms,
//!   `reflect.growslice` and `makeslice64` call those.
//! - `concatstrings` and `concatbytes`, for the forms of 2 to 5 operands too; `slicebytetostring`,
//!   `stringtoslicebyte`, `intstring`, `gostringn`, `gobytes`. What they call is no site: `rawstringtmp`,
//!   `rawstring`, `rawbyteslice`.
//!   A profile (PGO) may have put copies of `concatstrings` into those forms, as in Go's own compiler: there the
//!   call of `rawstringtmp` in the copy is a site.
//! - `rawruneslice`, since `stringtoslicerune` does not say how many runes there are; and the call of
//!   `rawstringtmp` in `slicerunetostring`, and of the allocator in `gostring`, for the same reason.

use tracer_common::slice::{
    ARRAY, BYTES, CONCAT, CONCAT_BYTES, CONCAT_BYTES_PLAIN, CONCAT_COPY, ENCODED, FROM_C,
    FROM_C_TERMINATED, GROW, GROW_BUFFER, GROW_CLASSIC, HEADERS, IN_FRAME, MAKE, MAKE_COPY, MOVE,
    MOVE_ROUNDED, MOVE_SIZED, MOVE_SIZED_ROUNDED, NO_ZERO, ROUNDED, RUNE, RUNES, STRING,
};

use super::{Site, SiteError, site_at, site_at_p};
use crate::address::VAddr;
use crate::gobin::decode::code;
use crate::gobin::{Facts, Function, GoBinary};

/// Sites of the slice probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceSites {
    /// Each with what its arguments are (`tracer_common::slice`).
    pub sites: Vec<(Site, u16)>,
    /// What is not seen, and why.
    pub incomplete: Option<String>,
}

/// Where in a function the site is.
enum At {
    /// At P.
    P,
    /// At its only call of one of these.
    CallOf(&'static [&'static str]),
}

/// What all releases have. Without `growslice`, `concatbytes`: their arguments changed.
const FUNCTIONS: [(&str, u16, At); 18] = [
    ("runtime.growsliceBuf", GROW_BUFFER, At::P),
    ("runtime.makeslice", MAKE, At::P),
    ("runtime.makeslicecopy", MAKE_COPY, At::P),
    ("runtime.moveSlice", MOVE, At::P),
    ("runtime.moveSliceNoScan", MOVE_SIZED, At::P),
    ("runtime.moveSliceNoCap", MOVE_ROUNDED, At::P),
    ("runtime.moveSliceNoCapNoScan", MOVE_SIZED_ROUNDED, At::P),
    ("reflect.unsafe_NewArray", ARRAY, At::P),
    ("internal/bytealg.MakeNoZero", NO_ZERO, At::P),
    (CONCAT_STRINGS, CONCAT, At::P),
    ("runtime.slicebytetostring", STRING, At::P),
    ("runtime.stringtoslicebyte", BYTES, At::P),
    ("runtime.rawruneslice", RUNES, At::P),
    ("runtime.intstring", RUNE, At::P),
    ("runtime.gostringn", FROM_C, At::P),
    ("runtime.gobytes", FROM_C, At::P),
    ("runtime.slicerunetostring", ENCODED, At::CallOf(&["runtime.rawstringtmp"])),
    // Go 1.19 has a function between the two.
    ("runtime.gostring", FROM_C_TERMINATED, At::CallOf(&["runtime.mallocgc", "runtime.rawstring"])),
];

const CONCAT_STRINGS: &str = "runtime.concatstrings";
/// What calls it for so many operands.
const CONCAT_FORMS: [&str; 4] = [
    "runtime.concatstring2",
    "runtime.concatstring3",
    "runtime.concatstring4",
    "runtime.concatstring5",
];

/// Sites of the slice probe.
///
/// # Errors
/// Nothing makes slices in it, or its release is none of which the arguments are known.
pub fn slice_sites(binary: &GoBinary) -> Result<SliceSites, SiteError> {
    let facts = binary.facts();
    let version = facts.version.ok_or(SiteError::NoVersion)?;
    // Go 1.18 and 1.20 have not been read.
    if version.major != 1 || !matches!(version.minor, 19 | 21..=27) {
        return Err(SiteError::Arguments(version));
    }
    let classic = !version.at_least(20);
    let grow = ("runtime.growslice", if classic { GROW_CLASSIC } else { GROW }, At::P);
    let with_buffer = version.at_least(25);
    let bytes = if with_buffer { CONCAT_BYTES } else { CONCAT_BYTES_PLAIN };
    let concat_bytes = ("runtime.concatbytes", bytes, At::P);
    let flags = flags(facts);
    let mut found = SliceSites { sites: Vec::new(), incomplete: None };
    let mut missing = Vec::new();
    for (name, kind, at) in FUNCTIONS.iter().chain(&[grow, concat_bytes]) {
        let function = binary.find_function(name);
        let copies = binary.find_copies(name);
        let is_seen =
            |into: &&Function| *name == CONCAT_STRINGS && CONCAT_FORMS.contains(&into.name);
        if let Some(into) = copies.iter().find(|into| !is_seen(into)) {
            missing.push(format!("{name} was inlined into {}", into.name));
        }
        // Nobody calls it.
        let Some(function) = function else { continue };
        let site = match at {
            At::P => Some((site_at_p(binary, &function)?, kind | flags)),
            At::CallOf(targets) => {
                call_site(binary, &function, targets)?.map(|site| (site, kind | flags | IN_FRAME))
            }
        };
        if site.is_none() {
            missing.push(format!("what {name} calls was inlined"));
        }
        found.sites.extend(site);
    }
    for function in binary.find_functions(&CONCAT_FORMS).into_iter().flatten() {
        let copy = call_site(binary, &function, &["runtime.rawstringtmp"])?;
        if copy.is_none() && call_site(binary, &function, &[CONCAT_STRINGS])?.is_none() {
            missing.push(format!("what {} calls was inlined", function.name));
        }
        found.sites.extend(copy.map(|site| (site, CONCAT_COPY | flags | IN_FRAME)));
    }
    if found.sites.is_empty() {
        return Err(SiteError::NoFunction("runtime.growslice, runtime.makeslice".into()));
    }
    if !missing.is_empty() {
        let why = missing.join(", ");
        let text =
            format!("not every slice and string is seen (a profile, PGO, says what is hot): {why}");
        found.incomplete = Some(text);
    }
    Ok(found)
}

/// How a release rounds sizes.
fn flags(facts: &Facts) -> u16 {
    let since = |minor| facts.version.is_some_and(|version| version.at_least(minor));
    let without_headers = facts.experiments.iter().any(|e| e == "noallocheaders");
    let mut flags = 0;
    if since(22) && !without_headers {
        flags |= HEADERS;
    }
    if since(23) {
        flags |= ROUNDED;
    }
    flags
}

/// The only call in a function of one of some others; nothing when there is none, or several.
fn call_site(
    binary: &GoBinary,
    function: &Function,
    targets: &[&str],
) -> Result<Option<Site>, SiteError> {
    let targets: Vec<VAddr> =
        binary.find_functions(targets).into_iter().flatten().map(|of| of.entry).collect();
    let code = code(binary, function)?;
    let Some((offset, length)) = binary.machine().only_call(&code, function.entry, &targets) else {
        return Ok(None);
    };
    let vaddr = VAddr(function.entry.0 + offset as u64);
    // The kernel emulates calls on every machine.
    Ok(site_at(binary, function.name, vaddr, &code[offset..offset + length], true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::fake::{self, Fake};

    #[test]
    fn a_release_that_was_not_read_is_refused() {
        for (release, refused) in [("go1.20.3", true), ("go1.18.10", true), ("go1.26.1", false)] {
            let binary = fake::open(&Fake::with_build_info(release, "path\tfake\n").bytes).unwrap();
            let error = slice_sites(&binary).unwrap_err();
            assert_eq!(matches!(error, SiteError::Arguments(_)), refused, "{release}: {error}");
        }
    }
}

//! Where values are put into interfaces.
//!
//! In: a binary's functions. Out: sites of the box probe. The compiler calls one of seven functions for each
//! value that it can't place anywhere else (cmd/compile/internal/walk/convert.go, dataWordFuncName; the same in
//! Go 1.19 and 1.21 to 1.27). Calls to them are made after inlining, so that there are no copies; the linker leaves out
//! those that nobody calls.

use tracer_common::boxed::{ANY, BITS_16, BITS_32, BITS_64, SLICE, STRING};

use super::{Site, SiteError, site_at_p};
use crate::gobin::GoBinary;

const FUNCTIONS: [(&str, u16); 7] = [
    ("runtime.convT", ANY),
    ("runtime.convTnoptr", ANY),
    ("runtime.convT16", BITS_16),
    ("runtime.convT32", BITS_32),
    ("runtime.convT64", BITS_64),
    ("runtime.convTstring", STRING),
    ("runtime.convTslice", SLICE),
];

/// Sites of the box probe, each with what its arguments are (`tracer_common::boxed`).
pub fn box_sites(binary: &GoBinary) -> Result<Vec<(Site, u16)>, SiteError> {
    let version = binary.facts().version.ok_or(SiteError::NoVersion)?;
    // Go 1.20 lies between two that are the same.
    if version.major != 1 || !matches!(version.minor, 19..=27) {
        return Err(SiteError::Arguments(version));
    }
    let names = FUNCTIONS.map(|(name, _)| name);
    let mut sites = Vec::new();
    for ((name, kind), found) in FUNCTIONS.into_iter().zip(binary.find_functions(&names)) {
        if let Some(into) = binary.find_copies(name).first() {
            return Err(SiteError::Inlined { function: name, into: into.name.to_string() });
        }
        if let Some(function) = found {
            sites.push((site_at_p(binary, &function)?, kind));
        }
    }
    if sites.is_empty() {
        return Err(SiteError::NoFunction(
            "runtime.convT… (nothing is put into interfaces)".into(),
        ));
    }
    Ok(sites)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::fake::{self, Fake};

    #[test]
    fn a_release_that_was_not_read_and_a_program_without_boxes_are_refused() {
        let error = |release| {
            let fake = Fake::with_build_info(release, "path\tfake\n");
            box_sites(&fake::open(&fake.bytes).unwrap()).unwrap_err().to_string()
        };
        assert!(error("go1.18.10").contains("Go 1.18.10"), "{}", error("go1.18.10"));
        assert!(error("go1.26.1").contains("nothing is put into interfaces"));
    }
}

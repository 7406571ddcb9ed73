//! Twenty Go binaries: four fixtures, each built by five Go releases.
//!
//! In: a directory. Out: a copy of each there, with its fixture's name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use heaptap_tests::{Fixture, Variant};

const FIXTURES: [&str; 4] = ["alloc", "life", "stats", "heap"];
const RELEASES: [&str; 5] = ["1.23", "1.24", "1.25", "1.26", "1.27"];

/// Builds and copies them; the copies' names begin with `prefix`.
pub fn twenty(dir: &Path, prefix: &str) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut copies = Vec::new();
    for fixture in FIXTURES {
        for release in RELEASES {
            let built = Fixture::build(fixture, release, Variant::Stripped)?;
            let copy = dir.join(format!("{prefix}-{fixture}-{}", release.replace('.', "")));
            fs::copy(&built.program, &copy)?;
            copies.push((fixture, copy));
        }
    }
    Ok(copies)
}

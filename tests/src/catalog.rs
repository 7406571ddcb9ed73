//! Which fixtures the tests use, so that they can all be built before the first test runs.

use xtask::pins;

use crate::Variant;

/// Every (fixture, Go `major.minor`, variant) that a test asks for.
pub fn all() -> Vec<(&'static str, &'static str, Variant)> {
    let mut all = Vec::new();
    for release in pins::GO {
        for variant in Variant::MATRIX {
            all.push(("alloc", release.minor(), variant));
        }
    }
    all
}

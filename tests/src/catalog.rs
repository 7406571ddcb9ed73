//! Which fixtures the tests use, so that they can all be built before the first test runs.

use xtask::pins;

use crate::Variant;

/// A stripped variant and the one that has the symbol table of the same layout.
pub const TWINS: [(Variant, Variant); 2] =
    [(Variant::Stripped, Variant::Twin), (Variant::PieStripped, Variant::PieTwin)];

/// The same of programs for arm64.
pub const ARM64_TWINS: [(Variant, Variant); 2] = [
    (Variant::Arm64Stripped, Variant::Arm64Twin),
    (Variant::Arm64PieStripped, Variant::Arm64PieTwin),
];

/// Programs whose sites are looked for in both machines' code.
pub const ON_BOTH: [&str; 3] = ["maps", "pools", "slices"];

/// Releases that take a profile (PGO) as it comes with their compiler.
pub const WITH_PROFILES: [&str; 7] = ["1.21", "1.22", "1.23", "1.24", "1.25", "1.26", "1.27"];

/// Every (fixture, Go `major.minor`, variant) that a test asks for.
pub fn all() -> Vec<(&'static str, &'static str, Variant)> {
    let mut all = vec![
        ("alloc", "1.26", Variant::External),
        ("brief", "1.26", Variant::Stripped),
        ("brief", "1.26", Variant::PieStripped),
        ("alloc", "1.26", Variant::OtherMalloc),
        ("alloc", "1.27", Variant::OtherMalloc),
        ("heap", "1.26", Variant::External),
        ("maps", "1.24", Variant::OldMaps),
        ("maps", "1.25", Variant::OldMaps),
        ("life", "1.26", Variant::Stripped),
        ("hoard", "1.22", Variant::Stripped),
        ("hoard", "1.27", Variant::Stripped),
        ("phases", "1.26", Variant::Stripped),
        ("paces", "1.26", Variant::Stripped),
        ("pluginhost", "1.26", Variant::Cgo),
        ("pluginpart", "1.26", Variant::Plugin),
        ("sampled", "1.27", Variant::PieStripped),
        ("boxes", "1.27", Variant::Pie),
        ("slices", "1.21", Variant::Profiled),
        ("slices", "1.27", Variant::Profiled),
        ("slices", "1.27", Variant::Pie),
        ("ends", "1.19", Variant::Stripped),
        ("ends", "1.27", Variant::Stripped),
        ("leaks", "1.19", Variant::Stripped),
        ("leaks", "1.27", Variant::Stripped),
        ("secret", "1.27", Variant::Default),
        ("slicesc", "1.24", Variant::Default),
        ("slicesc", "1.27", Variant::Default),
    ];
    for go in ["1.21", "1.24", "1.27"] {
        all.push(("alloc", go, Variant::Bare));
        all.push(("alloc", go, Variant::BarePie));
        all.push(("cgo", go, Variant::Default));
    }
    for go in WITH_PROFILES {
        all.push(("alloc", go, Variant::Profiled));
    }
    for release in pins::GO {
        for (stripped, twin) in TWINS {
            for variant in [stripped, twin] {
                all.push(("demo", release.minor(), variant));
                all.push(("life", release.minor(), variant));
            }
        }
        for variant in [Variant::ExternalStripped, Variant::ExternalTwin] {
            all.push(("cgo", release.minor(), variant));
        }
        for variant in ARM64_TWINS.into_iter().flat_map(|(stripped, twin)| [stripped, twin]) {
            all.push(("life", release.minor(), variant));
        }
        for name in ON_BOTH {
            all.push((name, release.minor(), Variant::Arm64Stripped));
        }
        all.push(("mix", release.minor(), Variant::Stripped));
        all.push(("labelled", release.minor(), Variant::Stripped));
        all.push(("sampled", release.minor(), Variant::Stripped));
        all.push(("goroutinesc", release.minor(), Variant::Default));
        for variant in [Variant::Default, Variant::Stripped, Variant::Pie] {
            all.push(("heap", release.minor(), variant));
        }
        for variant in [Variant::Default, Variant::Stripped] {
            all.push(("maps", release.minor(), variant));
            all.push(("boxes", release.minor(), variant));
            all.push(("slices", release.minor(), variant));
            all.push(("pools", release.minor(), variant));
            all.push(("assists", release.minor(), variant));
            all.push(("os", release.minor(), variant));
            all.push(("spawn", release.minor(), variant));
            all.push(("stacks", release.minor(), variant));
        }
        all.push(("stress", release.minor(), Variant::Default));
        all.push(("unprofiled", release.minor(), Variant::Stripped));
        for variant in Variant::MATRIX {
            all.push(("alloc", release.minor(), variant));
            all.push(("goroutines", release.minor(), variant));
            all.push(("gc", release.minor(), variant));
            all.push(("stats", release.minor(), variant));
        }
    }
    all
}

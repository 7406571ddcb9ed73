//! Where fields lie in the runtime's structures, by release.
//!
//! In: what a binary says of itself. Out: its row of the one reviewed table, or why there is none: a
//! wrong offset would give wrong numbers, so that nothing is taken from a neighbouring release.

mod table;

use super::{Facts, GoVersion, Machine};
pub use table::*;

/// Why the runtime's structures in a binary are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("its Go version is not known, and so neither are its runtime's structures")]
    Version,
    #[error("where Go {0} keeps its records is not known to this heaptap")]
    Release(GoVersion),
    #[error("where {0:?}, which is no released Go, keeps its records is not known")]
    Unreleased(String),
    #[error("the experiment {0:?}, which it was built with, may change the runtime's structures")]
    Experiment(String),
    #[error("the race detector, which it was built with, may change the runtime's structures")]
    Race,
}

/// Experiments that leave every number of the table as it is: each was built with every release
/// that has it, and its DWARF compared. (`staticlockranking`, `greenteagc` and `nogreenteagc` do not.)
const HARMLESS: &[&str] = &[
    "aliastypeparams",
    "arenas",
    "boringcrypto",
    "cgocheck2",
    "goroutineleakprofile",
    "jsonv2",
    "loopvar",
    "newinliner",
    "noaliastypeparams",
    "noallocheaders",
    "nodwarf5",
    "noexectracer2",
    "nojsonv2",
    "norandomizedheapbase64",
    "noruntimefreegc",
    "nosizespecializedmalloc",
    "nospinbitmutex",
    "noswissmap",
    "nosynchashtriemap",
    "rangefunc",
    "runtimefreegc",
    "runtimesecret",
    "simd",
    "sizespecializedmalloc",
    "synctest",
];

/// The row of a binary's release. Patch releases do not move what is in the table (facts 3.9).
pub fn of(facts: &Facts) -> Result<&'static Layout, Unknown> {
    let version = facts.version.ok_or(Unknown::Version)?;
    let rows = match facts.machine {
        Machine::Amd64 => &LAYOUTS,
        Machine::Arm64 => &ARM64,
    };
    let row = rows.iter().find(|l| (version.major, version.minor) == (1, l.minor));
    let row = row.ok_or(Unknown::Release(version))?;
    // Since Go 1.21 the first release of a minor version is called 1.21.0: what has no patch number
    // is a release candidate or a development build.
    if version.patch.is_none() && version.at_least(21) {
        let text = facts.version_text.clone().unwrap_or_default();
        return Err(Unknown::Unreleased(text));
    }
    if let Some(other) = facts.experiments.iter().find(|e| !HARMLESS.contains(&e.as_str())) {
        return Err(Unknown::Experiment(other.clone()));
    }
    if facts.settings.iter().any(|(key, value)| key == "-race" && value == "true") {
        return Err(Unknown::Race);
    }
    Ok(row)
}

pub use tracer_common::size::SIZE_CLASSES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::{LoadType, VersionFrom};

    fn facts(text: &str) -> Facts {
        Facts {
            machine: Machine::Amd64,
            version: GoVersion::parse(text),
            version_text: Some(text.into()),
            version_from: VersionFrom::BuildInfo,
            experiments: Vec::new(),
            load: LoadType::Fixed,
            stripped: true,
            gnu_build_id: None,
            go_build_id: None,
            main_module: None,
            main_path: None,
            settings: Vec::new(),
            cgo: false,
            loads_plugins: false,
            size: 0,
        }
    }

    /// One field of all releases, in the table's order: 1.19, 1.21 to 1.27.
    fn column<T>(field: impl Fn(&Layout) -> T) -> Vec<T> {
        LAYOUTS.iter().map(field).collect()
    }

    /// The numbers were read by hand from debuggers' output of each release, long before the table
    /// was generated: facts 3.1 to 3.8.
    #[test]
    fn the_table_agrees_with_what_was_found_by_other_means() {
        assert_eq!(column(|l| l.minor), [19, 21, 22, 23, 24, 25, 26, 27]);
        assert_eq!(column(|l| l.g.size), [392, 408, 424, 432, 440, 440, 456, 456]);
        assert_eq!(column(|l| l.g.sched_bp), [104, 104, 104, 104, 104, 96, 96, 96]);
        assert_eq!(column(|l| l.g.atomicstatus), [144, 144, 144, 152, 152, 144, 144, 144]);
        assert_eq!(column(|l| l.g.goid), [152, 152, 152, 160, 160, 152, 152, 152]);
        assert_eq!(column(|l| l.g.gopc), [296, 280, 280, 288, 288, 280, 288, 288]);
        assert_eq!(column(|l| l.g.labels), [360, 344, 344, 352, 352, 344, 352, 352]);
        assert_eq!(
            column(|l| l.g.parent_goid.unwrap_or(0)),
            [0, 272, 272, 280, 280, 272, 280, 280]
        );
        assert_eq!(column(|l| l.g.syscallbp.unwrap_or(0)), [0, 0, 0, 128, 128, 120, 120, 120]);
        assert_eq!(column(|l| l.m.curg), [192, 192, 192, 192, 192, 184, 184, 184]);
        assert_eq!(column(|l| l.m.p), [208, 208, 208, 208, 208, 200, 208, 208]);
        assert_eq!(column(|l| l.p.mcache), [64, 64, 64, 56, 56, 56, 56, 56]);
        assert_eq!(column(|l| l.mcache.alloc), [40, 40, 40, 40, 48, 48, 48, 48]);
        assert_eq!(column(|l| l.mem_record.size), [128, 128, 128, 128, 128, 128, 128, 64]);
        assert_eq!(column(|l| l.mem_cycle.size), [32, 32, 32, 32, 32, 32, 32, 16]);
        assert_eq!(
            column(|l| l.gc_controller.heap_in_use),
            [304, 272, 272, 272, 272, 272, 272, 272]
        );
        assert_eq!(column(|l| l.heap_stats.size), [1176, 1176, 1176, 1176, 1176, 1168, 1168, 1168]);
        assert_eq!(
            column(|l| l.heap_stats.small_free_count),
            [632, 632, 632, 632, 632, 624, 624, 624]
        );
        assert_eq!(
            column(|l| l.mstats.pause_end),
            [5656, 5656, 5656, 5656, 5656, 5632, 5632, 5632]
        );
        assert_eq!(
            column(|l| l.mstats.enablegc),
            [7736, 7736, 7736, 7736, 7736, 8256, 10432, 10432]
        );
        assert_eq!(
            column(|l| l.mheap.arenas),
            [65936, 65944, 66008, 66008, 66008, 66008, 66008, 66008]
        );
        assert_eq!(column(|l| l.mspan.alloc_count), [96, 104, 96, 96, 96, 96, 96, 96]);
        assert_eq!(column(|l| l.special_profile.b), [16, 16, 16, 16, 24, 24, 24, 24]);
        assert_eq!(column(|l| l.moduledata.gofunc), [304, 320, 320, 320, 320, 320, 320, 344]);
        for layout in &LAYOUTS {
            assert_eq!((layout.g.m, layout.g.sched_sp, layout.g.sched_pc), (48, 56, 64));
            assert_eq!((layout.bucket.size, layout.bucket.nstk), (48, 40));
            assert_eq!(layout.heap_stats.class_count as usize, SIZE_CLASSES.len());
            assert_eq!(layout.mcache.alloc_count as usize, 2 * SIZE_CLASSES.len());
            assert_eq!(layout.mem_cycle.alloc_bytes.is_none(), layout.minor == 27);
        }
    }

    #[test]
    fn the_row_of_a_release() {
        for (text, minor) in [("go1.19", 19), ("go1.19.8", 19), ("go1.21.0", 21), ("go1.27.9", 27)]
        {
            assert_eq!(of(&facts(text)).unwrap().minor, minor, "{text}");
        }
    }

    #[test]
    fn releases_that_were_not_measured_are_refused() {
        for text in ["go1.18.1", "go1.20.5", "go1.28.0", "go2.21.1"] {
            assert!(matches!(of(&facts(text)), Err(Unknown::Release(_))), "{text}");
        }
        for text in ["go1.27rc1", "go1.21", "devel go1.27-0123abc Mon"] {
            assert!(matches!(of(&facts(text)), Err(Unknown::Unreleased(_))), "{text}");
        }
        let unknown = Facts { version: None, ..facts("go1.26.0") };
        assert_eq!(of(&unknown), Err(Unknown::Version));
    }

    #[test]
    fn builds_whose_structures_may_differ_are_refused() {
        let ranked = Facts { experiments: vec!["staticlockranking".into()], ..facts("go1.26.0") };
        assert_eq!(of(&ranked), Err(Unknown::Experiment("staticlockranking".into())));
        let race = Facts { settings: vec![("-race".into(), "true".into())], ..facts("go1.26.0") };
        assert_eq!(of(&race), Err(Unknown::Race));
        let known = HARMLESS.iter().map(|e| (*e).to_owned()).collect();
        assert!(of(&Facts { experiments: known, ..facts("go1.26.0") }).is_ok());
    }
}

//! Which integration tests run on every kernel, and what of a kernel each part of them takes.

/// What a part takes of a kernel, as `heaptap doctor` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing but /proc and process_vm_readv(2).
    Nothing,
    /// Recording works.
    Recording,
    /// A line of `heaptap doctor` is `ok`.
    Line(&'static str),
}

/// One row of the table.
#[derive(Debug)]
pub struct Part {
    pub name: &'static str,
    pub takes: Takes,
    /// A file in `tests/tests`.
    pub file: &'static str,
    /// Tests in it, by their whole names.
    pub tests: &'static [&'static str],
    /// Fixtures that they start.
    pub fixtures: &'static [&'static str],
}

/// Everything. The newest release of Go, where a test does not name another one.
pub const PARTS: &[Part] = &[
    part(
        "doctor",
        Takes::Nothing,
        "kernel",
        &["what_doctor_says_is_missing_is_refused_and_all_else_works"],
        &["alloc-go1.27-stripped", "os-go1.27-stripped"],
    ),
    part("stats", Takes::Nothing, "stats", &["go1_27::default"], &["stats-go1.27-default"]),
    part("heap", Takes::Nothing, "heap", &["go1_27::stripped"], &["heap-go1.27-stripped"]),
    part(
        "heap --enable-sampler",
        Takes::Nothing,
        "heap",
        &["go1_27::sampler"],
        &["unprofiled-go1.27-stripped"],
    ),
    part(
        "block, mutex",
        Takes::Nothing,
        "heap",
        &["go1_27::contention"],
        &["heap-go1.27-stripped"],
    ),
    part(
        "goroutines",
        Takes::Nothing,
        "goroutines",
        &["go1_27::default", "go1_27::pie_stripped"],
        &["goroutines-go1.27-default", "goroutines-go1.27-pie-stripped"],
    ),
    part("gc", Takes::Nothing, "gc", &["go1_27::default"], &["gc-go1.27-default"]),
    part("gc --mode trap", Takes::Recording, "gc", &["go1_27::trapped"], &["gc-go1.27-default"]),
    part(
        "record --mode exact",
        Takes::Recording,
        "exact",
        &["go1_27::default", "go1_27::pie_stripped"],
        &["alloc-go1.27-default", "alloc-go1.27-pie-stripped"],
    ),
    part(
        "record --perf-events",
        Takes::Recording,
        "exact",
        &["attached_through_perf_events"],
        &["alloc-go1.27-pie"],
    ),
    part(
        "record --mode sample",
        Takes::Recording,
        "sample",
        &["at_rate_1_it_is_exact", "go1_27::turns_on"],
        &["sampled-go1.27-stripped", "mix-go1.27-stripped"],
    ),
    part("record --mode span", Takes::Recording, "span", &["go1_27"], &["mix-go1.27-stripped"]),
    part("record --labels", Takes::Recording, "labels", &["go1_27"], &["labelled-go1.27-stripped"]),
    part(
        "record --all, --exe",
        Takes::Recording,
        "follow",
        &["all_waits_for_programs", "lost_notices_are_made_good"],
        &["life-go1.26-stripped", "life-go1.26-pie-stripped"],
    ),
    part(
        "exec, exit, kill",
        Takes::Recording,
        "life",
        &[
            "a_program_that_becomes_another_keeps_its_counts",
            "a_program_that_ends_ends_the_recording",
            "a_program_that_is_killed_leaves_its_counts",
            "a_deleted_or_replaced_file_is_read_through_its_process",
        ],
        &[
            "life-go1.26-stripped",
            "alloc-go1.21-pie-stripped",
            "alloc-go1.25-stripped",
            "alloc-go1.26-default",
            "alloc-go1.27-default",
            "alloc-go1.27-stripped",
        ],
    ),
    part("probe map", Takes::Recording, "maps", &["go1_27::exact"], MAPS),
    part("probe box", Takes::Recording, "boxes", &["go1_27::exact"], BOXES),
    part("probe slice", Takes::Recording, "slices", &["go1_27::exact"], SLICES),
    part("probe pool", Takes::Recording, "pools", &["go1_27"], POOLS),
    part("probe goroutine", Takes::Recording, "spawn", &["go1_27::exact"], GOROUTINES),
    part("probe stack", Takes::Recording, "stack", &["go1_27::exact"], STACKS),
    part("probe assist", Takes::Recording, "assist", &["go1_27::time"], ASSISTS),
    part(
        "probe os",
        Takes::Line("probe os"),
        "os",
        &["go1_27::exact", "what_the_kernel_leaves_out_is_told"],
        OS,
    ),
    part("probe os-alloc", Takes::Line("probe os-alloc"), "os", &["go1_27::slow"], OS),
];

const MAPS: &[&str] = &["maps-go1.27-default", "maps-go1.27-stripped"];
const BOXES: &[&str] = &["boxes-go1.27-default", "boxes-go1.27-stripped"];
const SLICES: &[&str] = &["slices-go1.27-default", "slices-go1.27-stripped"];
const POOLS: &[&str] = &["pools-go1.27-default", "pools-go1.27-stripped"];
const GOROUTINES: &[&str] = &["spawn-go1.27-default", "spawn-go1.27-stripped"];
const STACKS: &[&str] = &["stacks-go1.27-default", "stacks-go1.27-stripped"];
const ASSISTS: &[&str] = &["assists-go1.27-default", "assists-go1.27-stripped"];
const OS: &[&str] = &["os-go1.27-default", "os-go1.27-stripped"];

const fn part(
    name: &'static str,
    takes: Takes,
    file: &'static str,
    tests: &'static [&'static str],
    fixtures: &'static [&'static str],
) -> Part {
    Part { name, takes, file, tests, fixtures }
}

/// What all of these parts start, each once: names of files without the hash of their contents.
pub fn fixtures(parts: &[&Part]) -> Vec<&'static str> {
    let mut all: Vec<&str> = parts.iter().flat_map(|part| part.fixtures).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_names_tests_that_are_there() {
        for part in PARTS {
            let file = xtask::paths::repo().join(format!("tests/tests/{}.rs", part.file));
            let text = std::fs::read_to_string(&file).unwrap();
            for test in part.tests {
                let last = test.rsplit("::").next().unwrap_or_default();
                let made =
                    [format!("fn {last}("), format!("{last}: "), "each_release!(".to_owned()];
                let found = made.iter().any(|made| text.contains(made.as_str()));
                assert!(found, "{}: no test {test} in {}", part.name, part.file);
            }
        }
        let mut names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PARTS.len(), "two parts have one name");
    }
}

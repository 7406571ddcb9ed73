//! The fixtures' own arithmetic: what they claim must hold before heaptap is judged by it.

use anyhow::{Result, ensure};
use heaptap_tests::{Fixture, Variant};
use xtask::each_release;

/// The counts of all paths add up to what the runtime counted, but for a few allocations of the
/// runtime's own, and the program allocates nothing while it waits: the runtime alone does, five objects for each
/// thread that it starts in that time.
fn adds_up(go: &str) -> Result<()> {
    let mut alloc = Fixture::build("alloc", go, Variant::Default)?.start()?;
    let first = alloc.rounds(20)?;
    let second = alloc.rounds(5)?;
    let report = alloc.report()?;
    ensure!(report.mallocs == first + second, "{first} + {second} is not {}", report.mallocs);
    let counted: u64 = report.paths.iter().map(|path| path.count).sum();
    let others = report.mallocs.checked_sub(counted);
    // Goroutines, wait records, a pool's array after a collection: some per round.
    ensure!(
        others.is_some_and(|others| others < counted / 50),
        "paths count {counted} of {} allocations",
        report.mallocs
    );
    ensure!(report.idle < 40, "{} allocations while it waited", report.idle);
    for path in &report.paths {
        let expected = !path.id.starts_with("zero_");
        ensure!((path.count > 0) == expected, "path {} counts {}", path.id, path.count);
        let last = path.frames.last().map(|frame| frame.function.as_str());
        ensure!(last == Some("runtime.goexit"), "path {} ends in {last:?}", path.id);
    }
    let inlined = &report.path("inlined")?.frames;
    ensure!(inlined[1].function == "main.inlinedTwice", "nothing is inlined: {inlined:?}");
    ensure!(report.path("recursion_160")?.frames.len() > 160, "the recursion is too shallow");
    Ok(())
}

each_release!(adds_up);

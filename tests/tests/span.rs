//! `--mode span`: far fewer traps, and estimates that are right within the interval they state.

use anyhow::{Result, ensure};
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Recording, Variant, require_root};

/// The busiest paths, alone on their stacks, with what one object of each takes of its span.
const PATHS: [(&str, u64); 3] =
    [("worker_small", 16), ("worker_pointers", 24), ("worker_large", 50_000)];

fn estimates(go: &str) -> Result<()> {
    require_root()?;
    let mut alloc = Fixture::build("alloc", go, Variant::Stripped)?.start()?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let (pid, path) = (alloc.pid().to_string(), json.display().to_string());
    let recording = Recording::start(["-p", &pid, "--mode", "span", "-o", &path])?;
    alloc.rounds(100)?;
    recording.stop()?.expect(0)?;
    let report = alloc.report()?;
    let profile = Profile::read(&json)?;
    ensure!(profile.meta.estimate && profile.meta.source == "span", "{:?}", profile.meta);
    let objects = profile.value("alloc_objects")?;
    for (id, _) in PATHS {
        let path = report.path(id)?;
        let stacks = profile.stacks.iter().filter(|stack| stack.frames[0].is(&path.frames[0]));
        let (mut value, mut squares) = (0, 0.0);
        for stack in stacks {
            value += stack.values[objects];
            squares += stack.error.get(objects).map_or(0.0, |error| error * error);
        }
        // The interval covers 95 %; two and a half times its width leaves one failure in a million.
        let (off, allowed) = (value.abs_diff(path.count) as f64, 2.5 * f64::sqrt(squares));
        ensure!(
            off <= allowed,
            "Go {go}, {id}: {value} estimated of {}, off by {off:.0}, allowed {allowed:.0}",
            path.count
        );
        ensure!(allowed < path.count as f64, "Go {go}, {id}: the interval says nothing");
    }
    Ok(())
}

macro_rules! releases {
    ($($release:ident $go:literal;)*) => {
        $(
            #[test]
            fn $release() -> Result<()> {
                estimates($go)
            }
        )*
    };
}

releases! {
    go1_19 "1.19";
    go1_21 "1.21";
    go1_22 "1.22";
    go1_23 "1.23";
    go1_24 "1.24";
    go1_25 "1.25";
    go1_26 "1.26";
    go1_27 "1.27";
}

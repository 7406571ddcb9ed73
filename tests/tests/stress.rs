//! Every probe at once on a program that does everything at once: it does not crash, what it computes is
//! right, and no probe is left in it. `cargo xtask bench stress` does the same for longer.

use std::time::Duration;

use anyhow::{Result, ensure};
use heaptap_tests::{Fixture, Recording, Variant, code, heaptap, require_root, stress};
use xtask::each_release;

/// For each release.
const LENGTH: Duration = Duration::from_secs(20);

fn survives(go: &str) -> Result<()> {
    require_root()?;
    let done = stress::run(go, LENGTH, &heaptap::program()?)?;
    let (recorded, lost) = (done.recorded(), done.lost());
    println!(
        "Go {go}: {recorded} events in {} recordings, {} killed; lost: {lost}",
        done.recordings, done.killed
    );
    println!("{:?}\n{:?}", done.report, done.counters);
    ensure!(done.left_out.is_empty(), "{:?}", done.left_out);
    ensure!(done.recordings >= 2 && recorded > 10_000, "{done:?}");
    Ok(())
}

each_release!(survives);

/// What says that nothing is left in a program sees what is in it.
#[test]
fn a_probe_is_seen_where_it_is() -> Result<()> {
    require_root()?;
    let program = Fixture::build("stress", "1.27", Variant::Default)?.start()?;
    let pid = program.pid();
    ensure!(code::changed(pid)?.is_empty(), "it is not as its file is");
    let dir = tempfile::tempdir()?;
    let output = dir.path().join("out.folded").display().to_string();
    let recording = Recording::start(["-p", &pid.to_string(), "-o", &output])?;
    let sites = code::changed(pid)?.len();
    ensure!(sites >= 15, "{sites} breakpoints for 15 sites");
    recording.stop()?.expect(0)?;
    code::is_untouched(pid)
}

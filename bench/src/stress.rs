//! Every probe at once on a program that does everything at once and checks itself: the long form of the
//! test of that name.
//!
//! In: a time for each release. Out: what the program and heaptap have counted. The first program that
//! crashes, whose checks fail, or in which a probe is left ends it with an error.

use std::{fmt::Write as _, path::PathBuf, sync::Mutex, thread, time::Duration};

use anyhow::{Result, anyhow};
use heaptap_tests::stress::{self, Stress};
use xtask::pins::{self, GoRelease};

use crate::report;

#[derive(clap::Args)]
pub struct Options {
    /// Seconds for each release
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Programs at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Only these releases (1.27); may be given several times
    #[arg(long = "go", value_name = "RELEASE")]
    only: Vec<String>,
    /// The heaptap to try
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
}

pub fn run(options: &Options) -> Result<()> {
    let wanted = |release: &&GoRelease| {
        options.only.is_empty() || options.only.iter().any(|minor| minor == release.minor())
    };
    let releases: Vec<&GoRelease> = pins::GO.iter().filter(wanted).collect();
    let mut done = all(options, &releases)?;
    done.sort_by_key(|(at, _)| *at);
    let mut body = format!(
        "{} s for each release, {} at a time, with probes {}; recordings of a second each, by process and by \
         file at once, in all modes; beside them `heaptap gc --mode trap`, `heap`, `goroutines` and `stats` \
         in turn. Each program ended with 0: all of its own checks held, and after the last heaptap its code \
         was as in its file.\n\n\
         | Go | recordings | killed | looks | events | lost | rounds of the program's workers | collections |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        options.seconds,
        options.jobs,
        stress::probes(),
    );
    for (at, done) in &done {
        let rounds: u64 = done.report.iter().flat_map(|report| report.rounds.values()).sum();
        let collections = done.report.as_ref().map_or(0, |report| report.collections);
        writeln!(
            body,
            "| {} | {} | {} | {} | {} | {} | {rounds} | {collections} |",
            releases[*at].version,
            done.recordings,
            done.killed,
            done.looks,
            done.recorded(),
            done.lost(),
        )?;
    }
    for (at, done) in &done {
        for why in &done.left_out {
            writeln!(body, "\nGo {}: {why}", releases[*at].version)?;
        }
    }
    report::keep(
        "stress",
        "Everything at once",
        &[format!("heaptap {}", env!("CARGO_PKG_VERSION"))],
        &body,
    )
}

/// Runs them, so many at a time; each with its place in the list.
fn all(options: &Options, releases: &[&GoRelease]) -> Result<Vec<(usize, Stress)>> {
    let waiting = Mutex::new(releases.iter().enumerate());
    let length = Duration::from_secs(options.seconds);
    let one_after_the_other = || {
        let mut done = Vec::new();
        loop {
            let next = waiting.lock().map_err(|_| anyhow!("another one panicked"))?.next();
            let Some((at, release)) = next else { return Ok(done) };
            let stress = stress::run(release.minor(), length, &options.heaptap);
            let stress = stress.map_err(|err| err.context(format!("Go {}", release.version)))?;
            println!(
                "Go {}: {} events, lost: {}",
                release.version,
                stress.recorded(),
                stress.lost()
            );
            done.push((at, stress));
        }
    };
    let jobs: Vec<Result<Vec<(usize, Stress)>>> = thread::scope(|scope| {
        let jobs: Vec<_> = (0..options.jobs).map(|_| scope.spawn(one_after_the_other)).collect();
        let panicked = || Err(anyhow!("a run panicked"));
        jobs.into_iter().map(|job| job.join().unwrap_or_else(|_| panicked())).collect()
    });
    let jobs: Result<Vec<_>> = jobs.into_iter().collect();
    Ok(jobs?.into_iter().flatten().collect())
}

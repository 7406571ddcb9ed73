//! How fast the runtime's records of a live process are read: the buckets of a heap profile.
//!
//! In: a program with as many as are asked for. Out: the time from nothing but an opened binary to
//! records in memory, checks included, without names; nothing is written by the program meanwhile.

use std::{fmt::Write as _, time::Instant};

use anyhow::{Result, ensure};
use heaptap::runtime::buckets;

use crate::{
    report,
    stats::Series,
    target::{self, Target},
};

#[derive(clap::Args)]
pub struct Options {
    /// Go releases
    #[arg(long, value_delimiter = ',', default_value = "1.21,1.26,1.27")]
    go: Vec<String>,
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Stacks in the program's heap profile
    #[arg(long, default_value_t = 10_000)]
    buckets: usize,
}

pub fn run(options: &Options) -> Result<()> {
    let mut body = format!(
        "`bench/programs/requests` with {} stacks or more in its heap profile; {} rounds, medians \
         (smallest to largest). The profile is read twice, because both looks must agree.\n\n\
         | Go | buckets | ms |\n| --- | --- | --- |\n",
        options.buckets, options.rounds
    );
    for release in &options.go {
        let binary = target::build("requests", release)?;
        let mut target = Target::start(&binary)?;
        // Some of the stacks are never sampled.
        target.tell(&format!("populate 1 {}", options.buckets * 5 / 4))?;
        let live = target::live(target.pid())?;
        let (found, times) = measure(options.rounds, || {
            Ok(live.heap_records(buckets::Limits::default())?.buckets.len())
        })?;
        ensure!(found >= options.buckets, "{found} buckets only");
        writeln!(body, "| {release} | {found} | {} |", times.text(2))?;
    }
    body += "\nBar: 10,000 buckets in under 5 ms.\n";
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("records", "Reading a heap profile", &versions, &body)
}

/// How many were found, and milliseconds of each round.
fn measure(rounds: usize, read: impl Fn() -> Result<usize>) -> Result<(usize, Series)> {
    let mut times = Series::default();
    let mut found = read()?;
    for _ in 0..rounds {
        let began = Instant::now();
        found = read()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok((found, times))
}

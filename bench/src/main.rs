//! heaptap's benchmarks: `cargo xtask bench [NAME]`.
//!
//! Each measures in paired rounds, prints a table with medians and spread, and keeps it under
//! `bench/results/` with the machine, the kernel and the versions. `bench/README.md` tells the
//! method.

mod agent;
mod binaries;
mod budget;
mod churn;
mod cost;
mod exact;
mod footprint;
mod frames;
mod goroutines;
mod host;
mod leaks;
mod probes;
mod processors;
mod random;
mod reading;
mod recorded;
mod recording;
mod records;
mod report;
mod requests;
mod sampling;
mod slices;
mod soak;
mod stats;
mod storm;
mod stress;
mod symbols;
mod target;
mod tracer;
mod watch;
mod watchers;
mod work;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Measures heaptap")]
struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Cost of one exact event: no probe, an empty one, heaptap, bpftrace
    Cost(cost::Options),
    /// Opening real binaries and naming addresses in them, beside go tool addr2line
    Symbols(symbols::Options),
    /// Recordings of real programs: frames with names, losses, how much slower
    Frames(frames::Options),
    /// heaptap itself: memory, time to the first event, time to end
    Footprint(footprint::Options),
    /// Mode sample at 1 GB/s: CPU that it costs the program, traps, its figures beside mode exact
    Sampling(sampling::Options),
    /// Real programs with every allocation traced, by heaptap and by bpftrace
    Exact(exact::Options),
    /// Real programs that go on beside each way to watch the host, slice by slice
    Slices(slices::Options),
    /// Throughput of a program whose records are read each second
    Reading(reading::Options),
    /// Reading all goroutines of a program with their stacks
    Goroutines(goroutines::Options),
    /// What an event of each probe other than alloc costs
    Probes(probes::Options),
    /// Hundreds of short-lived programs a second, and how soon a new one is traced
    Storm(storm::Options),
    /// Programs that come and go under heaptaps that stay, for an hour
    Churn(churn::Options),
    /// Every probe at once on a program that does everything at once and checks itself
    Stress(stress::Options),
    /// Real servers under load while heaptap comes, goes and is killed at any moment
    Soak(soak::Options),
    /// 100 processes of 20 binaries: time until all are traced, memory, idle CPU
    Host(host::Options),
    /// The agent: 100 processes, scraped each second
    Agent(agent::Options),
    /// Estimates of budgeted recordings beside the truth, and what they cost
    Budget(budget::Options),
    /// Recordings: bytes, processor time of a snapshot, memory to export a large one
    Recording(recording::Options),
    /// How fast the buckets of a heap profile are read
    Records(records::Options),
    /// Leaks named and innocents accused, of a labelled set
    Leaks(leaks::Options),
}

/// The `heaptap` that lies beside this program.
fn heaptap() -> PathBuf {
    xtask::paths::target_dir().join("release/heaptap")
}

fn main() -> ExitCode {
    match run(Bench::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<()> {
    match what {
        What::Cost(options) => cost::run(&options),
        What::Symbols(options) => symbols::run(&options),
        What::Frames(options) => frames::run(&options),
        What::Footprint(options) => footprint::run(&options),
        What::Sampling(options) => sampling::run(&options),
        What::Exact(options) => exact::run(&options),
        What::Slices(options) => slices::run(&options),
        What::Reading(options) => reading::run(&options),
        What::Goroutines(options) => goroutines::run(&options),
        What::Probes(options) => probes::run(&options),
        What::Storm(options) => storm::run(&options),
        What::Churn(options) => churn::run(&options),
        What::Stress(options) => stress::run(&options),
        What::Soak(options) => soak::run(&options),
        What::Host(options) => host::run(&options),
        What::Agent(options) => agent::run(&options),
        What::Budget(options) => budget::run(&options),
        What::Recording(options) => recording::run(&options),
        What::Records(options) => records::run(&options),
        What::Leaks(options) => leaks::run(&options),
    }
}

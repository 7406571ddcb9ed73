//! heaptap's benchmarks: `cargo xtask bench [NAME]`.
//!
//! Each measures in paired rounds, prints a table with medians and spread, and keeps it under
//! `bench/results/` with the machine, the kernel and the versions. `bench/README.md` tells the
//! method.

mod cost;
mod report;
mod stats;
mod target;

use std::process::ExitCode;

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
    }
}

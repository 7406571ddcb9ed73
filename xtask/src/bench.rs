//! `cargo xtask bench [NAME]`: sets up, builds optimized, runs one benchmark or all of them.
//!
//! In: a name and its flags, handed on as they are. Out: what `heaptap-bench` prints, and its
//! results under `bench/results/`.

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::setup::{self, Purpose};
use crate::{build, process};
use xtask::paths;

/// In the order in which they are run; `heaptap-bench --help` tells what each is.
const ALL: &[&str] = &[
    "symbols",
    "footprint",
    "goroutines",
    "frames",
    "cost",
    "sampling",
    "reading",
    "records",
    "recording",
    "leaks",
    "budget",
    "exact",
    "probes",
    "storm",
    "stress",
    "host",
];

#[derive(Args)]
pub struct Options {
    /// Which benchmark (cost, symbols, frames, footprint, goroutines, sampling, reading, records, recording, leaks, budget, exact, slices, probes, storm, stress, host, agent, churn, soak) and its flags;
    /// all but slices, agent, churn and soak when none is named.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "NAME")]
    bench: Vec<String>,
}

pub fn run(options: &Options) -> Result<()> {
    if !setup::is_root() {
        bail!("benchmarks attach real probes: run as root");
    }
    setup::install(Purpose::Bench)?;
    build::kernel_object()?;
    build::heaptap(true)?;
    let mut cargo = build::cargo();
    process::loud(cargo.args(["build", "--release", "--package", "heaptap-bench"]))?;
    let program = paths::target_dir().join("release/heaptap-bench");
    let bench = |arguments: &[String]| process::loud(Command::new(&program).args(arguments));
    if !options.bench.is_empty() {
        return bench(&options.bench);
    }
    for name in ALL {
        println!("\nbench: {name}");
        bench(&[name.to_string()])?;
    }
    Ok(())
}

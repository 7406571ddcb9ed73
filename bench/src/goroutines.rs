//! How long it takes to read goroutines with their stacks, and what the whole command takes.
//!
//! A program parks many goroutines in different places and depths; `heaptap goroutines` reads them
//! again and again. What it took is in its own JSON: from the first read of the process's memory to
//! the last, with stacks walked and equal ones found, without opening the binary, naming and writing.

use std::{ffi::OsStr, fmt::Write as _, fs, path::PathBuf, process::Command, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{
    report,
    stats::Series,
    target::{self, Target},
};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Go releases of the program that parks goroutines
    #[arg(long, value_delimiter = ',', default_value = "1.21,1.24,1.27")]
    go: Vec<String>,
    /// How many it parks
    #[arg(long, value_delimiter = ',', default_value = "10000,100000")]
    goroutines: Vec<u64>,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
}

/// What is looked at of `heaptap.goroutines/1`.
#[derive(Deserialize)]
struct Document {
    read_took_ns: u64,
    counters: Vec<Counter>,
    stacks: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Counter {
    name: String,
    count: u64,
    is_loss: bool,
}

/// Of one release and number, over all rounds.
#[derive(Default)]
struct Figures {
    /// Milliseconds.
    read: Series,
    pprof: Series,
    /// Different stacks, and goroutines whose stacks could not be read.
    stacks: Series,
    lost: Series,
}

pub fn run(options: &Options) -> Result<()> {
    let mut body = format!(
        "{} rounds; medians (smallest to largest). `bench/programs/parked` parks goroutines in five \
         kinds of waiting and at 23 depths. Read is what reading took by heaptap's own clock: all \
         goroutines, their stacks and labels, each looked at twice. The command is the whole of \
         `heaptap goroutines -o x.pb.gz`, from its start to its end. Lost are goroutines without a \
         stack.\n\n\
         | Go | goroutines | stacks | read, ms | the command, ms | lost |\n\
         | --- | --- | --- | --- | --- | --- |\n",
        options.rounds
    );
    for release in &options.go {
        let binary = target::build("parked", release)?;
        for count in &options.goroutines {
            let target = Target::start_with(&binary, &[&count.to_string()])?;
            let mut figures = Figures::default();
            for round in 0..options.rounds {
                eprint!("\rgoroutines: Go {release}, {count}, round {} ", round + 1);
                measure(options, target.pid(), *count, &mut figures)?;
            }
            eprintln!();
            writeln!(
                body,
                "| {release} | {count} | {} | {} | {} | {} |",
                figures.stacks.text(0),
                figures.read.text(1),
                figures.pprof.text(0),
                figures.lost.text(0),
            )?;
        }
    }
    body += "\nBars: 10,000 in 25 ms, 100,000 in 250 ms.\n";
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("goroutines", "Reading goroutines", &versions, &body)
}

fn measure(options: &Options, pid: u32, count: u64, figures: &mut Figures) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let [json, pprof] = ["x.json", "x.pb.gz"].map(|name| dir.path().join(name));
    heaptap(options, pid, json.as_os_str())?;
    let document: Document = serde_json::from_slice(&fs::read(&json)?).context("its JSON")?;
    let counter = |name| document.counters.iter().find(|c| c.name == name).map_or(0, |c| c.count);
    ensure!(counter("goroutines") > count, "only {} goroutines", counter("goroutines"));
    figures.read.push(document.read_took_ns as f64 / 1e6);
    figures.stacks.push(document.stacks.len() as f64);
    let losses = document.counters.iter().filter(|counter| counter.is_loss);
    figures.lost.push(losses.map(|counter| counter.count).sum::<u64>() as f64);
    let began = Instant::now();
    heaptap(options, pid, pprof.as_os_str())?;
    figures.pprof.push(began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn heaptap(options: &Options, pid: u32, to: &OsStr) -> Result<()> {
    let mut command = Command::new(&options.heaptap);
    let status = command.args(["goroutines", "-q", "-p", &pid.to_string(), "-o"]).arg(to).status();
    let status = status.with_context(|| options.heaptap.display().to_string())?;
    ensure!(status.success(), "heaptap goroutines ended with {status}");
    Ok(())
}

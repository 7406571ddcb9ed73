//! A host with many Go programs: how soon all are traced, what heaptap takes meanwhile.
//!
//! 100 processes of 20 binaries: four fixtures built by five Go releases, each started five times, idle.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use heaptap_tests::{
    Running,
    holding::{Processes, resident},
};

use crate::{binaries, report, stats::Series, tracer::Tracer, watch::Watch, work::cpu_seconds};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Processes of each binary
    #[arg(long, default_value_t = 5)]
    each: usize,
    /// How heaptap selects
    #[arg(long, default_value = "--all", allow_hyphen_values = true)]
    selection: String,
    #[arg(long, value_delimiter = ',', default_value = "auto,span,exact")]
    modes: Vec<String>,
    /// Seconds for which `stats --watch 1` is watched
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
}

/// Milliseconds, MB and percent of one CPU.
const MOST_TIME: f64 = 1e3;
const MOST_MEMORY: f64 = 80.0;
const MOST_CPU: f64 = 1.0;

pub fn run(options: &Options) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut running, mut bytes) = (Vec::new(), 0);
    let copies = binaries::twenty(dir.path(), "host")?;
    for (_, copy) in &copies {
        bytes += fs::metadata(copy)?.len();
        for _ in 0..options.each {
            running.push(Running::start(Command::new(copy))?);
        }
    }
    let binaries = copies.len();
    let mut body = format!(
        "{} processes of {binaries} binaries ({:.1} MB on average), idle. Medians of {} rounds \
         (smallest to largest). Traced: from heaptap's start until each of them is in the table of \
         traced processes. Selected with `{}`.\n\n\
         | mode | all traced, ms | `recording`, ms | resident after 2 s, MB | peak until Ctrl-C, MB | idle CPU, % of one |\n\
         | --- | --- | --- | --- | --- | --- |\n",
        running.len(),
        bytes as f64 / 1e6 / binaries as f64,
        options.rounds,
        options.selection,
    );
    let mut missed = Vec::new();
    let pids: Vec<u32> = running.iter().map(Running::pid).collect();
    for mode in &options.modes {
        let [mut traced, mut recording, mut memory, mut peak, mut cpu] =
            [const { None::<Series> }; 5].map(Option::unwrap_or_default);
        for _ in 0..options.rounds {
            let output = dir.path().join("host.json");
            let mut arguments: Vec<&str> = options.selection.split(' ').collect();
            arguments.extend(["--mode", mode, "-o", output.to_str().context("no text")?]);
            let began = Instant::now();
            let mut tracer = Tracer::spawn_heaptap(&options.heaptap, arguments)?;
            let watch = Watch::start(tracer.pid());
            tracer.until_recording()?;
            recording.push(began.elapsed().as_secs_f64() * 1e3);
            let processes = Processes::of(tracer.pid())?;
            while !pids.iter().all(|pid| processes.is_counted(*pid)) {
                thread::sleep(Duration::from_millis(1));
            }
            traced.push(began.elapsed().as_secs_f64() * 1e3);
            let (from, used) = (Instant::now(), cpu_seconds(tracer.pid())?);
            thread::sleep(Duration::from_secs(2));
            let used = cpu_seconds(tracer.pid())? - used;
            cpu.push(100.0 * used / from.elapsed().as_secs_f64());
            memory.push(resident(tracer.pid())? * 1.048_576);
            let end = Instant::now();
            tracer.stop()?;
            let looks = watch.finish()?;
            let until = looks.iter().filter(|look| look.when <= end).map(|look| look.peak);
            peak.push(until.fold(0.0, f64::max));
        }
        if traced.quantile(1.0) >= MOST_TIME || peak.quantile(1.0) >= MOST_MEMORY {
            missed.push(format!("{mode}: {} ms, {} MB", traced.text(0), peak.text(1)));
        }
        writeln!(
            body,
            "| {mode} | {} | {} | {} | {} | {} |",
            traced.text(0),
            recording.text(0),
            memory.text(1),
            peak.text(1),
            cpu.text(1)
        )?;
    }
    let (cpu, memory) = stats(options)?;
    if cpu >= MOST_CPU {
        missed.push(format!("stats takes {cpu:.2} % of a CPU"));
    }
    write!(
        body,
        "\n`heaptap stats {} --watch 1 --json` of the same takes {cpu:.2} % of one CPU over {} s, \
         and {memory:.1} MB.\n\nBars: traced within {} s, below {MOST_MEMORY} MB resident, `stats` below {MOST_CPU} %.\n",
        options.selection,
        options.seconds,
        MOST_TIME / 1e3,
    )?;
    report::keep(
        "host",
        "A host with many Go programs",
        &[format!("heaptap {}", env!("CARGO_PKG_VERSION"))],
        &body,
    )?;
    ensure!(missed.is_empty(), "bars are missed: {}", missed.join("; "));
    Ok(())
}

/// CPU in percent and memory in MB of `stats --watch 1`, after its first rounds.
fn stats(options: &Options) -> Result<(f64, f64)> {
    let mut arguments = vec!["stats"];
    arguments.extend(options.selection.split(' '));
    arguments.extend(["--watch", "1", "--json"]);
    let (mut tracer, mut stdout) = Tracer::spawn_printing(&options.heaptap, &arguments)?;
    let reader = thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    thread::sleep(Duration::from_secs(3));
    let (from, used) = (Instant::now(), cpu_seconds(tracer.pid())?);
    thread::sleep(Duration::from_secs(options.seconds));
    let used = cpu_seconds(tracer.pid())? - used;
    let share = 100.0 * used / from.elapsed().as_secs_f64();
    let memory = resident(tracer.pid())? * 1.048_576;
    tracer.stop()?;
    let _ = reader.join();
    Ok((share, memory))
}

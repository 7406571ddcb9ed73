//! What `record --mode sample` costs a program that allocates about 1 GB/s with its sampler on, and
//! whether it tells the same as `--mode exact`.
//!
//! A Go program serves the same requests in each measurement and tells what CPU time its process took:
//! traps are part of it. In each round it is measured without heaptap, recorded, and without heaptap
//! once more, which shows the noise floor. Then it is recorded in both modes at once.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    recorded::Frames,
    report,
    requests::{Requests, Times},
    stats::Series,
    tracer::Tracer,
};

#[derive(clap::Args)]
pub struct Options {
    /// Go releases
    #[arg(long, value_delimiter = ',', default_value = "1.21,1.26,1.27")]
    go: Vec<String>,
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Requests of one measurement; 3,000 allocate about 1 GB
    #[arg(long, default_value_t = 6000)]
    requests: u32,
    /// Bytes that the program allocates each second
    #[arg(long, default_value_t = 1_000_000_000)]
    rate: u64,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
}

/// Counters that are each one trap of mode sample.
const TRAPS: [&str; 4] = ["recorded", "freed", "freed_unknown", "other_specials"];

/// Of one release, over all rounds.
#[derive(Default)]
struct Figures {
    without: Times,
    recorded: Times,
    again: Times,
    /// By counter, in the order of [`TRAPS`].
    traps: [Series; TRAPS.len()],
    per_second: Series,
    lost: u64,
}

pub fn run(options: &Options) -> Result<()> {
    let mut body = format!(
        "`bench/programs/requests` serves {} requests of 1,000 objects each, {} rounds; medians \
         (smallest to largest). The sampler has the default rate, a sample for 512 KiB. CPU is the \
         program's own, user and system, traps and collector included; more CPU and noise are percent of \
         the first measurement without heaptap in the same round. Traps are those of one measurement.\n\n\
         | Go | allocated, GB/s | CPU without, s | CPU recorded, s | more CPU, % | noise, % | more time, % | noise, % |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        options.requests, options.rounds
    );
    let mut traps = String::from(
        "\n## Traps\n\n\
         | Go | sampled | freed | freed, older than the recording | freed, no samples | traps a second | events lost |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut beside = String::new();
    for release in &options.go {
        let mut requests = Requests::start(release, options.requests, options.rate)?;
        let f = measure(options, release, &mut requests)?;
        writeln!(
            body,
            "| {release} | {} | {} | {} | {} | {} | {} | {} |",
            f.without.rate.text(2),
            f.without.cpu.text(2),
            f.recorded.cpu.text(2),
            f.recorded.cpu.percent_over(&f.without.cpu).text(1),
            f.again.cpu.percent_over(&f.without.cpu).text(1),
            f.recorded.wall.percent_over(&f.without.wall).text(1),
            f.again.wall.percent_over(&f.without.wall).text(1),
        )?;
        let [sampled, freed, older, others] = f.traps.each_ref().map(|traps| traps.text(0));
        let per_second = f.per_second.text(0);
        let lost = f.lost;
        writeln!(
            traps,
            "| {release} | {sampled} | {freed} | {older} | {others} | {per_second} | {lost} |"
        )?;
        compare(options, release, &mut requests, &mut beside)?;
    }
    body += &traps;
    body += "\n## Beside mode exact\n\n\
             One recording in each mode of the same measurement, bytes allocated by the function that \
             allocates, in MB, of functions with a thousandth of them and more; ± is half the width of the 95 % interval, which holds 19 times in 20. Off is in \
             widths.\n\n\
             | Go | function | exact | sample | off |\n| --- | --- | --- | --- | --- |\n";
    body += &beside;
    body += "\nBar: below 3 % more CPU.\n";
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("sampling", "Cost of mode sample", &versions, &body)
}

fn measure(options: &Options, release: &str, requests: &mut Requests) -> Result<Figures> {
    let mut figures = Figures::default();
    let dir = TempDir::new()?;
    let json = dir.path().join("sample.json");
    // What is new (pages, a larger heap) is not timed.
    requests.work()?;
    for round in 0..options.rounds {
        eprint!("\rsampling: go {release}, round {} of {} ", round + 1, options.rounds);
        figures.without.push(requests.work()?);
        let mut tracer = record(options, requests.pid(), "sample", &json)?;
        let took = requests.work()?;
        tracer.stop()?;
        figures.recorded.push(took);
        figures.again.push(requests.work()?);
        let mut seen = Frames::default();
        seen.add(&json)?;
        let mut sum = 0.0;
        for (name, series) in TRAPS.iter().zip(&mut figures.traps) {
            let count = seen.counters.get(*name).copied().unwrap_or(0) as f64;
            series.push(count);
            sum += count;
        }
        figures.per_second.push(sum / took.wall);
        figures.lost += seen.lost;
    }
    eprintln!();
    Ok(figures)
}

fn record(options: &Options, pid: u32, mode: &str, json: &Path) -> Result<Tracer> {
    let (pid, json) = (pid.to_string(), json.display().to_string());
    let arguments = ["-p", &pid, "--mode", mode, "--quiet", "-o", &json];
    let mut tracer = Tracer::spawn_heaptap(&options.heaptap, arguments)?;
    tracer.until_recording()?;
    Ok(tracer)
}

/// Records the same work in both modes and adds a row for each function.
fn compare(
    options: &Options,
    release: &str,
    requests: &mut Requests,
    table: &mut String,
) -> Result<()> {
    let dir = TempDir::new()?;
    let [exactly, sampled] =
        ["exact", "sample"].map(|mode| dir.path().join(mode).with_extension("json"));
    let mut exact = record(options, requests.pid(), "exact", &exactly)?;
    let mut sample = record(options, requests.pid(), "sample", &sampled)?;
    requests.work()?;
    sample.stop()?;
    exact.stop()?;
    let (exact, sample) = (by_function(&exactly)?, by_function(&sampled)?);
    let total: f64 = exact.values().map(|(bytes, _)| bytes).sum();
    ensure!(total > 0.0, "nothing was recorded");
    for (function, (bytes, _)) in exact.iter().filter(|(_, (bytes, _))| *bytes > total / 1e3) {
        let (estimate, width) = sample.get(function).copied().unwrap_or_default();
        // Nothing is said about what was never sampled.
        let off =
            if width > 0.0 { format!("{:+.2}", (estimate - bytes) / width) } else { "–".into() };
        writeln!(
            table,
            "| {release} | {function} | {:.2} | {:.2} ± {:.2} | {off} |",
            bytes / 1e6,
            estimate / 1e6,
            width / 1e6
        )?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Document {
    meta: Meta,
    stacks: Vec<Stack>,
}

#[derive(Deserialize)]
struct Meta {
    value_types: Vec<ValueType>,
}

#[derive(Deserialize)]
struct ValueType {
    kind: String,
}

#[derive(Deserialize)]
struct Stack {
    values: Vec<f64>,
    error: Vec<f64>,
    frames: Vec<Frame>,
}

#[derive(Deserialize)]
struct Frame {
    function: String,
}

/// Bytes allocated by the function that allocates, and half the width of their interval.
fn by_function(file: &Path) -> Result<BTreeMap<String, (f64, f64)>> {
    let text = fs::read(file).with_context(|| file.display().to_string())?;
    let document: Document = serde_json::from_slice(&text)?;
    let kinds = &document.meta.value_types;
    let value = kinds.iter().position(|value| value.kind == "alloc_space");
    let value = value.context("no alloc_space")?;
    let mut functions = BTreeMap::<String, (f64, f64)>::new();
    for stack in &document.stacks {
        let Some(frame) = stack.frames.first() else { continue };
        let (sum, width) = functions.entry(frame.function.clone()).or_default();
        *sum += stack.values.get(value).copied().unwrap_or(0.0);
        *width = width.hypot(stack.error.get(value).copied().unwrap_or(0.0));
    }
    Ok(functions)
}

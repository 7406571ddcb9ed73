//! What `record --mode sample` costs a program that allocates about 1 GB/s with its sampler on, and
//! whether it tells the same as `--mode exact` and `heaptap heap`.
//!
//! A Go program serves the same requests in each measurement and tells what CPU time its process took:
//! traps are part of it. In each round it is measured without heaptap, recorded, and without heaptap
//! once more, which shows the noise floor. Then it is recorded in both modes at once, and at their end its
//! own heap profile is read.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    recorded::Frames,
    report,
    requests::{Flags, Requests, Times},
    stats::Series,
    tracer::{self, Tracer},
};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    of: Flags,
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Requests of one measurement; 3,000 allocate about 1 GB and replace everything that is held
    #[arg(long, default_value_t = 6000, value_parser = clap::value_parser!(u32).range(3000..))]
    requests: u32,
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
    for release in &options.of.go {
        let mut requests = Requests::start(release, options.requests, options.of.rate)?;
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
    body += "\n## Beside mode exact and heaptap heap\n\n\
             One recording in each mode of the same measurement, and at its end, after a collection, the \
             program's own heap profile. MB by the function that allocates, of functions with a thousandth \
             of all and more; ± is half the width of the 95 % interval, which holds 19 times in 20. Off is in \
             such halves. What is held was all allocated during the recording.\n\n\
             | Go | function | allocated, exact | allocated, sample | off | in use, sample | in use, heap |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n";
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
    let arguments = ["-p", &pid, "--mode", mode, "--budget", "none", "--quiet", "-o", &json];
    let mut tracer = Tracer::spawn_heaptap(&options.of.heaptap, arguments)?;
    tracer.until_recording()?;
    Ok(tracer)
}

/// Records the same work in both modes, reads the heap profile and adds a row for each function.
fn compare(
    options: &Options,
    release: &str,
    requests: &mut Requests,
    table: &mut String,
) -> Result<()> {
    let dir = TempDir::new()?;
    let [exactly, sampled, kept] =
        ["exact", "sample", "heap"].map(|mode| dir.path().join(mode).with_extension("json"));
    let pid = requests.pid();
    let mut exact = record(options, pid, "exact", &exactly)?;
    let mut sample = record(options, pid, "sample", &sampled)?;
    requests.work()?;
    requests.collect()?;
    let (pid, file) = (pid.to_string(), kept.display().to_string());
    tracer::run_heaptap(&options.of.heaptap, &["heap", "-p", &pid, "-o", &file])?;
    sample.stop()?;
    exact.stop()?;
    let exact = by_function(&exactly, "alloc_space")?;
    let (estimates, live) =
        (by_function(&sampled, "alloc_space")?, by_function(&sampled, "inuse_space")?);
    let kept = by_function(&kept, "inuse_space")?;
    let total: f64 = exact.values().map(|(bytes, _)| bytes).sum();
    ensure!(total > 0.0, "nothing was recorded");
    for (function, (bytes, _)) in exact.iter().filter(|(_, (bytes, _))| *bytes > total / 1e3) {
        let of = |values: &Functions| values.get(function).copied().unwrap_or_default();
        let ((estimate, width), (live, live_width), (kept, _)) =
            (of(&estimates), of(&live), of(&kept));
        // Nothing is said about what was never sampled.
        let off = match width > 0.0 {
            true => format!("{:+.2}", (estimate - bytes) / width),
            false => "–".to_string(),
        };
        let estimated = |value, width| format!("{:.2} ± {:.2}", value / 1e6, width / 1e6);
        writeln!(
            table,
            "| {release} | {function} | {:.2} | {} | {off} | {} | {:.2} |",
            bytes / 1e6,
            estimated(estimate, width),
            estimated(live, live_width),
            kept / 1e6,
        )?;
    }
    Ok(())
}

/// Bytes by the function that allocates, and half the width of their interval.
type Functions = BTreeMap<String, (f64, f64)>;

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

/// One kind of value of a profile.
fn by_function(file: &Path, kind: &str) -> Result<Functions> {
    let text = fs::read(file).with_context(|| file.display().to_string())?;
    let document: Document = serde_json::from_slice(&text)?;
    let value = document.meta.value_types.iter().position(|value| value.kind == kind);
    let value = value.with_context(|| format!("no {kind}"))?;
    let mut functions = Functions::new();
    for stack in &document.stacks {
        let Some(frame) = stack.frames.first() else { continue };
        let (sum, width) = functions.entry(frame.function.clone()).or_default();
        *sum += stack.values.get(value).copied().unwrap_or(0.0);
        *width = width.hypot(stack.error.get(value).copied().unwrap_or(0.0));
    }
    Ok(functions)
}

//! Whether what a budgeted recording estimates is right, and whether the budget is kept: a program that
//! knows what it allocated is recorded again and again, each time anew.
//!
//! In each run it is recorded in mode exact and in mode span at once, each within a budget of its own. An
//! estimate covers the truth when the true number of objects of a function lies in its 95 % interval.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use heaptap_tests::{Fixture, Variant, profile::Profile, report::Report};
use tempfile::TempDir;

use crate::{report, stats::Series, tracer::Tracer};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Go release
    #[arg(long, default_value = "1.26")]
    go: String,
    /// The fixture that is recorded: phases or mix
    #[arg(long, default_value = "phases")]
    fixture: String,
    /// How much it does in each run: milliseconds (phases) or thousands of objects (mix)
    #[arg(long, default_value_t = 4000)]
    work: u32,
    #[arg(long, default_value = "1%")]
    budget: String,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
}

const MODES: [&str; 2] = ["exact", "span"];

/// Runs in which an estimate must cover the truth, of a hundred.
const BAR: usize = 90;

/// Of one function, over all runs.
#[derive(Default)]
struct Function {
    covered: usize,
    runs: usize,
    truth: Series,
    /// Estimate over truth, and half-width over truth, in percent.
    off: Series,
    width: Series,
}

/// Of one mode, over all runs.
#[derive(Default)]
struct Mode {
    functions: BTreeMap<String, Function>,
    percent: Series,
    windows: Series,
    observed: Series,
    traps: Series,
    /// The sum over all stacks, in percent of what the runtime counted.
    sum: Series,
}

pub fn run(options: &Options) -> Result<()> {
    let fixture = Fixture::build(&options.fixture, &options.go, Variant::Stripped)?;
    let mut modes: [Mode; 2] = Default::default();
    for round in 0..options.rounds {
        eprint!("\rbudget: run {} of {} ", round + 1, options.rounds);
        let (report, profiles) = record(options, &fixture)?;
        for (mode, profile) in modes.iter_mut().zip(&profiles) {
            mode.add(&report, profile)?;
        }
    }
    eprintln!();
    let mut body = format!(
        "The fixture {} ({}) with Go {}, recorded {} times with `--budget {}`, in both modes at once; \
         medians (smallest to largest). A run is covered when the true number of objects lies in the 95 % \
         interval of the estimate.\n\n\
         | mode | function | objects | runs covered | estimate off, % | half-width, % |\n\
         | --- | --- | --- | --- | --- | --- |\n",
        options.fixture, options.work, options.go, options.rounds, options.budget
    );
    let mut costs = String::from(
        "\n| mode | cost, % of its CPU time | traps | windows | traced, % of the time | sum over the \
         runtime's count, % | intervals that cover, % |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut worst = (options.rounds, String::new());
    for (name, mode) in MODES.iter().zip(&modes) {
        let (mut covered, mut runs) = (0, 0);
        for (function, f) in &mode.functions {
            writeln!(
                body,
                "| {name} | `{function}` | {} | {} of {} | {} | {} |",
                f.truth.text(0),
                f.covered,
                f.runs,
                f.off.text(2),
                f.width.text(2)
            )?;
            (covered, runs) = (covered + f.covered, runs + f.runs);
            if f.covered < worst.0 {
                worst = (f.covered, format!("{name}, {function}"));
            }
        }
        writeln!(
            costs,
            "| {name} | {} | {} | {} | {} | {} | {:.1} |",
            mode.percent.text(2),
            mode.traps.text(0),
            mode.windows.text(0),
            mode.observed.text(1),
            mode.sum.text(2),
            100.0 * covered as f64 / runs.max(1) as f64
        )?;
    }
    body += &costs;
    let (covered, function) = worst;
    let of = if function.is_empty() { "each".to_owned() } else { function };
    writeln!(
        body,
        "\nBar: at least {BAR} of 100 runs. The estimate that covers least: {of}, {covered} of {}.",
        options.rounds
    )?;
    let versions = [
        format!("heaptap {}", env!("CARGO_PKG_VERSION")),
        format!("go {}", fixture.release.version),
    ];
    report::keep("budget", "Estimates within a budget", &versions, &body)?;
    ensure!(covered * 100 >= BAR * options.rounds, "{of}: {covered} of {}", options.rounds);
    Ok(())
}

/// One run: what it says of itself, and what was recorded in each mode.
fn record(options: &Options, fixture: &Fixture) -> Result<(Report, Vec<Profile>)> {
    let mut running = fixture.start()?;
    let dir = TempDir::new()?;
    let pid = running.pid().to_string();
    let mut tracers = Vec::new();
    for mode in MODES {
        let json = dir.path().join(mode).with_extension("json").display().to_string();
        let arguments =
            ["-p", &pid, "--mode", mode, "--budget", &options.budget, "--quiet", "-o", &json];
        let mut tracer = Tracer::spawn_heaptap(&options.heaptap, arguments)?;
        tracer.until_recording()?;
        tracers.push(tracer);
    }
    running.rounds(options.work)?;
    for tracer in &mut tracers {
        tracer.stop()?;
    }
    let read = |mode: &&str| Profile::read(&dir.path().join(mode).with_extension("json"));
    let profiles = MODES.iter().map(read).collect::<Result<_>>()?;
    Ok((running.report()?, profiles))
}

impl Mode {
    fn add(&mut self, report: &Report, profile: &Profile) -> Result<()> {
        let value = profile.value("alloc_objects")?;
        for path in &report.paths {
            let (estimate, width) = profile.estimate(value, &path.id);
            let truth = path.count as f64;
            let off = (estimate - truth).abs();
            let function = self.functions.entry(path.id.clone()).or_default();
            function.runs += 1;
            // Rounding, for one.
            function.covered += usize::from(off <= width + 1.0);
            function.truth.push(truth);
            function.off.push(100.0 * (estimate / truth.max(1.0) - 1.0));
            function.width.push(100.0 * width / truth.max(1.0));
        }
        let cost = profile.processes.first().and_then(|process| process.cost.as_ref());
        let cost = cost.context("no cost is told")?;
        self.percent.push(cost.percent.context("its CPU time could not be read")?);
        self.windows.push(f64::from(cost.windows));
        self.observed.push(100.0 * cost.observed_ns as f64 / cost.traced_ns.max(1) as f64);
        self.traps.push(cost.traps as f64);
        let sum = profile.total("alloc_objects")? as f64;
        self.sum.push(100.0 * sum / report.mallocs.max(1) as f64);
        Ok(())
    }
}

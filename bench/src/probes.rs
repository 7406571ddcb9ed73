//! What an event of each probe costs a program: fixtures that do what the probe is about, and little else.
//!
//! In: rounds. Out: the CPU time that the program takes beyond what the same lines took right before,
//! divided by the events that were counted. Not here: `stack`, whose fixture collects for each move, beside
//! which the trap can't be seen.

use std::{fmt::Write as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use heaptap_tests::{Fixture, Recording, Running, Variant};
use tempfile::TempDir;
use xtask::pins::GoRelease;

use crate::{recorded::Frames, report, stats::Series, work::cpu_seconds};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
    /// Only these probes
    #[arg(long, value_delimiter = ',')]
    probes: Vec<String>,
    /// On which Go release
    #[arg(long = "go", value_name = "RELEASE", default_value_t = GoRelease::newest().minor().to_owned())]
    go: String,
}

/// A probe and what is done for it; `#` stands for how often.
struct Case {
    probe: &'static str,
    fixture: &'static str,
    lines: &'static [&'static str],
    /// How often is doubled from here until it takes long enough.
    least: u32,
    event: &'static str,
}

const CASES: [Case; 9] = [
    Case::of("map", "maps", "iterations, with all their steps"),
    Case::of("map-count", "maps", "iterations"),
    Case::of("goroutine", "spawn", "goroutines made and ended"),
    Case::of("box", "boxes", "values"),
    Case::of("slice", "slices", "calls"),
    Case::of("pool", "pools", "Gets, misses and Puts"),
    Case {
        lines: &["touch #", "release"],
        ..Case::of("os", "os", "faults, calls and changes of resident pages")
    },
    Case {
        lines: &["touch #", "release"],
        ..Case::of("os-alloc", "os", "the same, and spans got from the page heap")
    },
    Case { lines: &["go"], ..Case::of("assist", "assists", "assists") },
];

impl Case {
    const fn of(probe: &'static str, fixture: &'static str, event: &'static str) -> Self {
        Self { probe, fixture, lines: &["go #"], least: 8, event }
    }
}

/// CPU seconds that are long enough: they are told in hundredths.
const LONG_ENOUGH: f64 = 0.3;

pub fn run(options: &Options) -> Result<()> {
    let mut table = String::from(
        "| probe | an event is | events | lost | alone, s | recorded, s | an event, µs |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let wanted = |case: &&Case| {
        options.probes.is_empty() || options.probes.iter().any(|probe| probe == case.probe)
    };
    for case in CASES.iter().filter(wanted) {
        table += &row(options, case).with_context(|| case.probe)?;
    }
    let body = format!(
        "{} rounds on Go {}; medians (smallest to largest). A fixture of the tests does the same lines alone \
         and recorded, in turn; times are CPU times of its process, traps included. What an event costs is the \
         difference divided by the events that were counted.\n\n{table}",
        options.rounds, options.go
    );
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("probes", "What an event of each probe costs", &versions, &body)
}

/// What a round measures.
#[derive(Default)]
struct Times {
    alone: Series,
    recorded: Series,
    events: Series,
    lost: Series,
    event: Series,
}

fn row(options: &Options, case: &Case) -> Result<String> {
    let fixture = Fixture::build(case.fixture, &options.go, Variant::Default)?;
    let mut program = Running::start(Command::new(&fixture.program))?;
    let mut often = case.least;
    // What is done for the first time takes longer.
    work(&mut program, case, often)?;
    while case.lines[0].contains('#') && work(&mut program, case, often)? < LONG_ENOUGH {
        often *= 2;
    }
    let mut times = Times::default();
    for round in 0..options.rounds {
        eprint!("\rprobes: {}, round {} of {} ", case.probe, round + 1, options.rounds);
        let alone = work(&mut program, case, often)?;
        let dir = TempDir::new()?;
        let json = dir.path().join("out.json");
        let mut heaptap = Command::new(&options.heaptap);
        heaptap.args(["record", "--budget", "none", "--probe", case.probe, "-o"]).arg(&json);
        heaptap.args(["--max-stacks", "65536", "-p", &program.pid().to_string()]);
        let recording = Recording::of(&mut heaptap)?;
        let recorded = work(&mut program, case, often)?;
        recording.stop()?.expect(0)?;
        let mut frames = Frames::default();
        frames.add(&json)?;
        ensure!(frames.events > 0, "no events");
        times.alone.push(alone);
        times.recorded.push(recorded);
        times.events.push(frames.events as f64);
        times.lost.push(frames.lost as f64);
        times.event.push(1e6 * (recorded - alone) / frames.events as f64);
    }
    eprintln!();
    let mut row = String::new();
    writeln!(
        row,
        "| `{}` | {} | {} | {} | {} | {} | {} |",
        case.probe,
        case.event,
        times.events.text(0),
        times.lost.text(0),
        times.alone.text(2),
        times.recorded.text(2),
        times.event.text(2),
    )?;
    Ok(row)
}

/// Does all lines once; the CPU seconds that took.
fn work(program: &mut Running, case: &Case, often: u32) -> Result<f64> {
    let before = cpu_seconds(program.pid())?;
    for line in case.lines {
        program.ask(&line.replace('#', &often.to_string()))?;
    }
    Ok(cpu_seconds(program.pid())? - before)
}

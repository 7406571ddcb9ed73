//! Real recordings of real programs: share of frames with a name, losses, and the slowdown seen.
//!
//! In each round a program does the same work without heaptap, under `--mode exact` and under
//! `--mode span`. A program that comes to an end by itself is recorded from shortly after its start
//! to its end; one that serves is recorded while it is asked.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    recorded::Frames,
    report,
    stats::Series,
    tracer::Tracer,
    work::{self, Took, Work},
};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
    /// Distinct stacks that the kernel has room for (default: heaptap's)
    #[arg(long)]
    max_stacks: Option<u32>,
    /// Programs
    #[arg(default_values_t = work::ALL.map(String::from))]
    programs: Vec<String>,
}

const MODES: [&str; 2] = ["exact", "span"];

/// Seconds of all rounds.
#[derive(Default)]
struct Times {
    wall: Series,
    cpu: Series,
}

impl Times {
    fn push(&mut self, took: Took) {
        self.wall.push(took.wall);
        self.cpu.push(took.cpu);
    }
}

pub fn run(options: &Options) -> Result<()> {
    let mut about = String::new();
    let mut names = String::from(
        "\n## Names\n\n\
         Frames of all stacks of all rounds, the allocator's own included: each stack counted once, \
         and each with the objects allocated under it. A frame is unnamed when its kind is \
         `unknown`.\n\n\
         | program | mode | events | stacks | frames | unnamed | named | frames × objects | unnamed | named | C frames | lost | truncated |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut times = String::from(
        "\n## Time\n\n\
         Seconds of the same work; × is traced / untraced of the same round. CPU is the program's \
         own, traps included.\n\n\
         | program | mode | wall without, s | wall with, s | wall × | CPU without, s | CPU with, s | CPU × |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut remarks = String::new();
    for name in &options.programs {
        let Some(work) = Work::known(name, &mut about, &mut remarks)? else { continue };
        let recorded = measure(options, &work, &mut times).with_context(|| name.clone())?;
        for (mode, frames) in MODES.iter().zip(&recorded) {
            match frames {
                Ok(frames) => {
                    row(&mut names, name, mode, frames)?;
                    remark(&mut remarks, name, mode, frames)?;
                }
                // What heaptap refuses to record is a result too.
                Err(err) => writeln!(remarks, "- {name}, {mode}: not recorded: {err:#}")?,
            }
        }
    }
    let mut body = format!("{} rounds; medians (smallest to largest).\n\n{about}", options.rounds);
    body += &names;
    body += &times;
    if !remarks.is_empty() {
        write!(body, "\n## Remarks\n\n{remarks}")?;
    }
    body += "\nBar: at least 99.9 % of frames named.\n";
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("frames", "Frames of real recordings", &versions, &body)
}

/// All rounds of one program; what was recorded in each mode.
fn measure(options: &Options, work: &Work, table: &mut String) -> Result<[Result<Frames>; 2]> {
    let mut without = Times::default();
    let mut with = [Times::default(), Times::default()];
    let mut recorded = [Ok(Frames::default()), Ok(Frames::default())];
    for round in 0..options.rounds {
        eprint!("\rframes: {}, round {} of {} ", work.name, round + 1, options.rounds);
        let mut running = work.start()?;
        without.push(running.work()?);
        running.end()?;
        for ((mode, times), recorded) in MODES.iter().zip(&mut with).zip(&mut recorded) {
            let Ok(frames) = recorded else { continue };
            match record(options, work, mode, frames) {
                Ok(took) => times.push(took),
                Err(err) => *recorded = Err(err),
            }
        }
    }
    eprintln!();
    for (mode, times) in MODES.iter().zip(&with) {
        writeln!(
            table,
            "| {} | {mode} | {} | {} | {} | {} | {} | {} |",
            work.name,
            without.wall.text(2),
            times.wall.text(2),
            times.wall.over(&without.wall).text(2),
            without.cpu.text(2),
            times.cpu.text(2),
            times.cpu.over(&without.cpu).text(2),
        )?;
    }
    Ok(recorded)
}

fn record(options: &Options, work: &Work, mode: &str, frames: &mut Frames) -> Result<Took> {
    let dir = TempDir::new()?;
    let json = dir.path().join("recorded.json");
    let mut running = work.start()?;
    let pid = running.pid().to_string();
    let mut arguments: Vec<String> =
        ["-p", &pid, "--mode", mode, "--budget=none", "--runtime-frames", "--quiet"]
            .map(String::from)
            .into();
    if let Some(stacks) = options.max_stacks {
        arguments.push(format!("--max-stacks={stacks}"));
    }
    arguments.push(format!("--output={}", json.display()));
    let mut tracer = Tracer::spawn_heaptap(&options.heaptap, arguments)?;
    let took = if work.serves() {
        tracer.until_recording()?;
        let took = running.work()?;
        tracer.stop()?;
        took
    } else {
        let took = running.work()?;
        // With nobody left heaptap ends by itself.
        tracer.wait()?;
        took
    };
    running.end()?;
    frames.add(&json)?;
    Ok(took)
}

fn row(table: &mut String, name: &str, mode: &str, frames: &Frames) -> Result<()> {
    let (by_stack, by_object) = frames.named();
    writeln!(
        table,
        "| {name} | {mode} | {} | {} | {} | {} | {by_stack:.3} % | {} | {} | {by_object:.4} % | {} | {} | {} |",
        frames.events,
        frames.stacks,
        frames.distinct,
        frames.unnamed_distinct,
        frames.weighted,
        frames.unnamed_weighted,
        frames.native,
        frames.lost,
        frames.truncated,
    )?;
    Ok(())
}

/// Every frame without a name by reason, every counter that is a loss, every note.
fn remark(remarks: &mut String, name: &str, mode: &str, frames: &Frames) -> Result<()> {
    for ((reason, file), (count, weighted, addresses)) in &frames.unnamed {
        let addresses = addresses.join(", ");
        writeln!(
            remarks,
            "- {name}, {mode}: {count} frames ({weighted} by objects) {reason} in {file}, such as {addresses}"
        )?;
    }
    for (counter, count) in frames.counters.iter().filter(|(name, _)| name.starts_with("lost")) {
        writeln!(remarks, "- {name}, {mode}: {counter} {count}")?;
    }
    for note in &frames.notes {
        writeln!(remarks, "- {name}, {mode}: heaptap notes: {note}")?;
    }
    Ok(())
}

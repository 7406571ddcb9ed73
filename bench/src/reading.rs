//! Whether a program feels that its runtime's records are read each second.
//!
//! The program serves the same requests in each measurement, with many goroutines and a large heap
//! profile beside them. In each round it is measured alone, with each command that reads, and alone
//! once more, which shows the noise floor.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    path::Path,
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    report,
    requests::{Flags, Requests, Times},
    stats::Series,
    tracer::Tracer,
};

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    of: Flags,
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Requests of one measurement; 3,000 take about a second
    #[arg(long, default_value_t = 15_000)]
    requests: u32,
    /// Goroutines that wait beside the one that works
    #[arg(long, default_value_t = 10_000)]
    goroutines: u32,
    /// Stacks in the program's own heap profile
    #[arg(long, default_value_t = 10_000)]
    stacks: u32,
    /// Commands that read
    #[arg(default_values_t = ["stats", "goroutines", "heap"].map(String::from))]
    commands: Vec<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let mut body = format!(
        "`bench/programs/requests` serves {} requests of 1,000 objects each beside {} goroutines that \
         wait, with {} stacks in its heap profile; {} rounds, medians (smallest to largest). Each \
         command runs with `--watch 1`. Slower and more CPU are percent \
         of the program alone in the same round; the row alone is its second measurement: the noise.\n\n\
         | Go | read by | reads | allocated, GB/s | time, s | slower, % | more CPU, % |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
        options.requests, options.goroutines, options.stacks, options.rounds
    );
    for release in &options.of.go {
        measure(options, release, &mut body)?;
    }
    body += "\nBar: within the noise.\n";
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("reading", "What a program feels of being read", &versions, &body)
}

fn measure(options: &Options, release: &str, table: &mut String) -> Result<()> {
    let mut requests = Requests::start(release, options.requests, options.of.rate)?;
    requests.populate(options.goroutines, options.stacks)?;
    requests.work()?;
    let (mut alone, mut again) = (Times::default(), Times::default());
    let mut read: Vec<(Times, Series)> =
        options.commands.iter().map(|_| Default::default()).collect();
    for round in 0..options.rounds {
        eprint!("\rreading: go {release}, round {} of {} ", round + 1, options.rounds);
        alone.push(requests.work()?);
        for (command, (times, reads)) in options.commands.iter().zip(&mut read) {
            let reader = Reader::start(&options.of.heaptap, command, requests.pid())?;
            let took = requests.work()?;
            let count = reader.stop()?;
            ensure!(2.0 * f64::from(count) >= took.wall, "{command} read {count} times only");
            times.push(took);
            reads.push(f64::from(count));
        }
        again.push(requests.work()?);
    }
    eprintln!();
    let mut row = |name: &str, times: &Times, reads: &Series| {
        writeln!(
            table,
            "| {release} | {name} | {} | {} | {} | {} | {} |",
            reads.text(0),
            times.rate.text(2),
            times.wall.text(2),
            times.wall.percent_over(&alone.wall).text(1),
            times.cpu.percent_over(&alone.cpu).text(1),
        )
    };
    row("alone", &again, &Series::default())?;
    for (command, (times, reads)) in options.commands.iter().zip(&read) {
        row(&format!("`{command}`"), times, reads)?;
    }
    Ok(())
}

/// heaptap reading a process each second.
struct Reader {
    tracer: Tracer,
    /// How often it has read.
    count: JoinHandle<u32>,
}

impl Reader {
    /// Returns after the first read.
    fn start(heaptap: &Path, command: &str, pid: u32) -> Result<Self> {
        let pid = pid.to_string();
        let (tracer, stdout) =
            Tracer::spawn_printing(heaptap, &[command, "-p", &pid, "--watch", "1"])?;
        // One line of each round begins with what was read; rows of a table begin with the pid.
        let begins = match command {
            "stats" => format!("{pid:>7} "),
            "goroutines" => "goroutines: ".to_owned(),
            _ => "heap ".to_owned(),
        };
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let mut rounds = lines.filter(move |line| line.starts_with(&begins));
        rounds.next().context("nothing was read")?;
        let count = thread::spawn(move || 1 + rounds.count() as u32);
        Ok(Self { tracer, count })
    }

    /// Ends it; how often was read.
    fn stop(mut self) -> Result<u32> {
        self.tracer.stop()?;
        self.count.join().ok().context("the thread that reads has failed")
    }
}

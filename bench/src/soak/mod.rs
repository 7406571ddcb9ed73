//! Real servers under load while heaptap comes, goes and is killed at any moment.
//!
//! In: a time. Out: what was asked of the servers, what they answered, and how fast they are before and after. Each
//! server has a twin: a copy of its file, with the same load, that heaptap leaves alone; what grows with the data
//! shows in both. Each answer is checked; the first that is wrong, a heaptap that fails, and a probe that is left
//! end it with an error.

mod http;
mod load;
mod servers;
mod tapping;

use std::{
    fmt::Write as _,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use heaptap_tests::code;
use nix::sys::signal::{SigHandler, Signal};

use crate::{report, stats::Series};
use load::Served;
use servers::Kind;
use tapping::Tapped;

#[derive(clap::Args)]
pub struct Options {
    /// Seconds of the soak
    #[arg(long, default_value_t = 1800)]
    seconds: u64,
    /// Pairs of slices, of a second each, that tell how fast a server is before and after
    #[arg(long, default_value_t = 30)]
    slices: usize,
    /// Load of the soak, percent of what each server can do alone
    #[arg(long, default_value_t = 10.0)]
    load: f64,
    /// Chance's beginning
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The heaptap to soak
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
    /// Servers
    #[arg(value_enum, default_values_t = Kind::ALL)]
    servers: Vec<Kind>,
}

const SLICE: Duration = Duration::from_secs(1);

/// A server that is tapped, its twin, and what became of them.
struct Pair {
    kind: Kind,
    tapped: Served,
    alone: Served,
    before: Series,
    /// Operations a second of the tapped one.
    speed: f64,
    after: Series,
    taps: Tapped,
}

pub fn run(options: &Options) -> Result<()> {
    heaptap_tests::require_root()?;
    // A shell ignores Ctrl-C for what it starts in the background, and so would all heaptaps until they are ready for it.
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the default action is no handler function.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    }
    let mut pairs = Vec::new();
    for kind in &options.servers {
        let start = |role: &str| Served::start(*kind, role);
        let (tapped, alone) = (start("tapped")?, start("alone")?);
        let (before, after, taps) = (Series::default(), Series::default(), Tapped::default());
        pairs.push(Pair { kind: *kind, tapped, alone, before, speed: 0.0, after, taps });
    }
    for pair in &mut pairs {
        // So that caches and tables are as they stay.
        pair.throughput(3)?;
        (pair.before, pair.speed) = pair.throughput(options.slices)?;
        eprintln!("{}: {:.0} operations a second", pair.kind.name(), pair.speed);
    }
    soak(options, &mut pairs)?;
    for pair in &mut pairs {
        code::is_untouched(pair.tapped.pid())?;
        pair.throughput(3)?;
        (pair.after, _) = pair.throughput(options.slices)?;
    }
    let mut body = String::new();
    for pair in pairs {
        body += &pair.tell()?;
    }
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("soak", "Real servers, soaked", &versions, &(about(options) + &body))
}

fn about(options: &Options) -> String {
    format!(
        "All servers at once for {} s, each and its twin with {} % of the load that it can take; heaptap comes to one \
         of the two, a command after another, each for a time of up to four seconds that chance decides (seed {}): \
         recordings in all modes, with all probes, by process and by file, and whatever else looks at a program. One \
         of three is killed (SIGKILL), two of three are ended by a signal or come to their end. After each of them \
         the server's code is compared with its file.\n\n\
         Throughput: the server by its twin, in turn for a second each, at full load, {} pairs before and as many \
         after (median of the means of all pairs, 95 % confidence interval of the signed-rank test).\n",
        options.seconds, options.load, options.seed, options.slices
    )
}

/// Load on all, and heaptap on those that are tapped.
fn soak(options: &Options, pairs: &mut [Pair]) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let failed = AtomicBool::new(false);
    let under_way = || Instant::now() < until && !failed.load(Ordering::Relaxed);
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let (under_way, failed) = (&under_way, &failed);
        let mut threads = Vec::new();
        for (seed, pair) in (options.seed..).zip(pairs) {
            let rate = pair.speed * options.load / 100.0;
            let name = pair.kind.name();
            let pid = pair.tapped.pid();
            let program = pair.tapped.program().to_owned();
            let (tapped, alone, taps) = (&mut pair.tapped, &mut pair.alone, &mut pair.taps);
            let heaptap = &options.heaptap;
            let works: [Box<dyn FnOnce() -> Result<()> + Send>; 3] = [
                Box::new(move || tapped.soak(rate, under_way)),
                Box::new(move || alone.soak(rate, under_way)),
                Box::new(move || taps.run(heaptap, pid, &program, seed, under_way)),
            ];
            for (work, who) in works.into_iter().zip(["", "'s twin", " and heaptap"]) {
                threads.push(scope.spawn(move || {
                    let done = work().with_context(|| format!("{name}{who}"));
                    failed.fetch_or(done.is_err(), Ordering::Relaxed);
                    done
                }));
            }
        }
        let panicked = || Err(anyhow!("a thread panicked"));
        threads.into_iter().map(|one| one.join().unwrap_or_else(|_| panicked())).collect()
    });
    let errors: Vec<String> =
        results.into_iter().filter_map(Result::err).map(|err| format!("{err:#}")).collect();
    ensure!(errors.is_empty(), "{}", errors.join("; "));
    Ok(())
}

impl Pair {
    /// How fast the server is, by its twin, so many times; and operations a second.
    fn throughput(&mut self, slices: usize) -> Result<(Series, f64)> {
        let (mut ratios, mut speeds) = (Series::default(), Series::default());
        for number in 0..slices {
            // Each goes first in every second pair.
            let tapped_first = number % 2 == 0;
            let first = if tapped_first { &mut self.tapped } else { &mut self.alone };
            let first = first.full(SLICE)?;
            let second = if tapped_first { &mut self.alone } else { &mut self.tapped };
            let second = second.full(SLICE)?;
            let (tapped, alone) = if tapped_first { (first, second) } else { (second, first) };
            ratios.push(tapped / alone);
            speeds.push(tapped);
        }
        Ok((ratios, speeds.median()))
    }

    /// Ends both, with their own checks, and tells what was.
    fn tell(self) -> Result<String> {
        let name = self.kind.name();
        let (before, after) = (self.before.centre(), self.after.centre());
        let operations = self.tapped.done();
        let slowest = [self.tapped.slowest(), self.alone.slowest()].map(|took| took * 1e3);
        let version = self.tapped.version();
        let says = self.tapped.finish().with_context(|| name.to_string())?;
        self.alone.finish().with_context(|| format!("{name}'s twin"))?;
        let change = after.0 / before.0 - 1.0;
        // What the two intervals allow for.
        let noise = ((before.2 - before.1) / before.0 + (after.2 - after.1) / after.0) / 2.0;
        let percent = |(middle, low, high): (f64, f64, f64)| {
            format!("{:.1} % ({:.1} to {:.1})", middle * 100.0, low * 100.0, high * 100.0)
        };
        let mut text =
            format!("\n## {name}\n\n{}, {version}.\n\n| | |\n| --- | --- |\n", self.kind.about());
        for (what, value) in [
            ("operations, each checked", operations.to_string()),
            ("wrong", "0".to_string()),
            ("its own checks at the end", says),
            ("heaptaps", self.taps.text()),
            (
                "slowest operation of the soak, ms; its twin's",
                format!("{:.0}; {:.0}", slowest[0], slowest[1]),
            ),
            ("by its twin, before", percent(before)),
            ("by its twin, after", percent(after)),
            (
                "change, and what both intervals allow for",
                format!("{:+.1} %, {:.1} %", change * 100.0, noise * 100.0),
            ),
        ] {
            writeln!(text, "| {what} | {value} |")?;
        }
        if let Some(line) = self.taps.remarks() {
            writeln!(text, "\n{line}")?;
        }
        if change < -noise {
            writeln!(text, "\nSLOWER AFTER THAN BEFORE.")?;
        }
        Ok(text)
    }
}

//! What programs feel of heaptap, told within one run: a program goes on with the same work, heaptap watches it for
//! two seconds, stands still for two, and so on.
//!
//! A machine's speed drifts by several times what is to be seen here, from one second to the next. So the program has a
//! twin, a copy of its file that heaptap is told to leave alone, which does the same on the same processor: the kernel
//! gives it to them in turn, for a few milliseconds each, and what the machine does takes both along. What prints each
//! second is stopped (SIGSTOP) where it does not watch; what records is started and ended, and counts from four seconds
//! after it has begun. In: the name of a program. Out: by how much less than its twin it has done for each second of processor
//! time, compared with the slices before and after, and what heaptap itself took of the processor that the three share.

mod steady;

use std::{
    fmt::Write as _,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    processors::{on_processor, two_processors},
    report,
    stats::Series,
    watchers::{Kind, LEFT_ALONE, WATCHERS, Watched, Watcher},
    work::{Work, cpu_seconds},
};
use steady::Steady;

#[derive(clap::Args)]
pub struct Options {
    /// How often each watcher watches
    #[arg(long, default_value_t = 24)]
    rounds: usize,
    /// Seconds of a slice
    #[arg(long, default_value_t = 2.0)]
    slice: f64,
    /// Commands of heaptap that watch, of those that are known; the result has their names
    #[arg(long, value_delimiter = ',')]
    beside: Vec<String>,
    /// The heaptap to measure
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
    /// Programs
    #[arg(default_values_t = PROGRAMS.map(String::from))]
    programs: Vec<String>,
}

const PROGRAMS: [&str; 4] = ["churn", "prometheus", "esbuild", "hugo"];
/// How long before a slice begins what it is to be beside of goes on: looks are a second apart, and none is to be
/// at the edge of a slice.
const LEAD: Duration = Duration::from_millis(150);
/// How long after its start a watcher has seen everything once.
const SEEN: Duration = Duration::from_secs(2);
/// The same of a recording: it has spent what a budget begins with.
const SETTLED: Duration = Duration::from_secs(4);
/// How often a moment is read again: of all readings the quickest counts.
const READINGS: usize = 10;

pub fn run(options: &Options) -> Result<()> {
    for name in &options.programs {
        if !Work::is_there(name)? {
            println!("{name} can't be had on this machine: left out");
            continue;
        }
        let (rows, does) = measure(options, name)?;
        let body = format!(
            "{name} {does}. {} slices of {} s of each; the program, its twin, which heaptap leaves alone, and heaptap on one \
             processor. Its own work: how much less it has done than its twin, each for a second of its own processor time, \
             than in the slices before and after, in which nobody watches. In all: with what heaptap itself has taken of the \
             processor. Medians of the means of all pairs (95 % confidence interval of the signed-rank test). Beside nobody it \
             is what the method is wrong by.\n\n\
             | beside | its own work slower, % | one slice, % | heaptap's own, % of the processor | slower in all, % |\n\
             | --- | --- | --- | --- | --- |\n\
             {rows}\nBar: within the noise and at most 1.5 %.\n",
            options.rounds, options.slice
        );
        let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
        let title = format!("What {name} feels, within one run");
        let beside: String = options.beside.iter().map(|command| format!("-{command}")).collect();
        report::keep(&format!("slices/{name}{beside}"), &title, &versions, &body)?;
    }
    Ok(())
}

/// Somebody who watches now and then, or nobody.
#[derive(Default)]
struct Beside {
    watcher: Option<&'static Watcher>,
    /// Stopped between its slices.
    stopped: Option<Watched>,
    /// How much slower the program is, in percent.
    slower: Series,
    /// What heaptap takes of the processor, in percent.
    own: Series,
    in_all: Series,
}

/// A program and its twin.
struct Twins {
    tapped: Steady,
    twin: Steady,
}

/// The rows of one program, and what it does.
fn measure(options: &Options, name: &str) -> Result<(String, String)> {
    let [here, there] = two_processors()?;
    let start = |called| {
        on_processor(there, || {
            Steady::start(name, called, |command| on_processor(here, || Ok(command.spawn()?)))
        })
    };
    let twins = Twins { tapped: start("tapped")?, twin: start(LEFT_ALONE)? };
    let slice = Duration::from_secs_f64(options.slice);
    let mut all = vec![Beside::default()];
    for watcher in asked(&options.beside)? {
        let stopped = match watcher.kind {
            Kind::Records => None,
            _ => Some(on_processor(here, || watch(options, watcher))?),
        };
        if let Some(watched) = &stopped {
            // It has seen everything once.
            thread::sleep(SEEN);
            send(watched.pid(), Signal::SIGSTOP)?;
        }
        all.push(Beside { watcher: Some(watcher), stopped, ..Beside::default() });
    }
    let mut before = twins.pace(None, slice)?;
    for round in 0..options.rounds {
        eprint!("\rslices: {name}, round {} of {} ", round + 1, options.rounds);
        for beside in &mut all {
            let with = beside.slice(options, here, &twins, slice)?;
            let after = twins.pace(None, slice)?;
            let left = with.to_twin / f64::midpoint(before.to_twin, after.to_twin);
            beside.slower.push(100.0 * (1.0 - left));
            beside.own.push(100.0 * with.heaptap);
            beside.in_all.push(100.0 * (1.0 - left * (1.0 - with.heaptap)));
            before = after;
        }
    }
    eprintln!();
    let mut rows = String::new();
    for beside in all {
        let name_of = |w: &Watcher| format!("`{}`", w.arguments.join(" "));
        let who = beside.watcher.map_or("nobody".to_owned(), name_of);
        let [slower, in_all] = [&beside.slower, &beside.in_all].map(|slower| {
            let (slower, low, high) = slower.centre();
            format!("{slower:+.2} ({low:+.2} to {high:+.2})")
        });
        let (one, own) = (beside.slower.text(1), beside.own.text(2));
        writeln!(rows, "| {who} | {slower} | {one} | {own} | {in_all} |")?;
        if let Some(watched) = beside.stopped {
            send(watched.pid(), Signal::SIGCONT)?;
            watched.end()?;
        }
    }
    let mut about = twins.tapped.about.clone();
    let answered = twins.tapped.end()?;
    twins.twin.end()?;
    if answered > 0 {
        write!(about, " ({answered} answers)")?;
    }
    Ok((rows, about))
}

/// Those whose command was asked for, or all.
fn asked(commands: &[String]) -> Result<Vec<&'static Watcher>> {
    let named = |watcher: &Watcher, command: &str| watcher.arguments.first() == Some(&command);
    for command in commands {
        let known = WATCHERS.iter().any(|watcher| named(watcher, command));
        ensure!(known, "no watcher is called {command}");
    }
    let is_asked = |watcher: &&Watcher| {
        commands.is_empty() || commands.iter().any(|command| named(watcher, command))
    };
    Ok(WATCHERS.iter().filter(is_asked).collect())
}

/// Starts a heaptap that leaves the twin alone.
fn watch(options: &Options, watcher: &'static Watcher) -> Result<Watched> {
    Watched::start(&options.heaptap, watcher, &["--exclude", &format!("comm={LEFT_ALONE}")])
}

impl Beside {
    /// How fast the program goes beside it.
    fn slice(
        &self,
        options: &Options,
        here: usize,
        twins: &Twins,
        slice: Duration,
    ) -> Result<Pace> {
        let Some(watcher) = self.watcher else { return twins.pace(None, slice) };
        if let Some(watched) = &self.stopped {
            send(watched.pid(), Signal::SIGCONT)?;
            thread::sleep(LEAD);
            let pace = twins.pace(Some(watched.pid()), slice)?;
            send(watched.pid(), Signal::SIGSTOP)?;
            return Ok(pace);
        }
        let watched = on_processor(here, || watch(options, watcher))?;
        thread::sleep(SETTLED);
        let pace = twins.pace(Some(watched.pid()), slice)?;
        watched.end()?;
        Ok(pace)
    }
}

/// How fast it goes.
struct Pace {
    /// What the program has done for each second of its processor time, as a ratio to its twin's.
    to_twin: f64,
    /// What heaptap has had of a processor.
    heaptap: f64,
}

impl Twins {
    /// What they do for so long, beside a heaptap.
    fn pace(&self, heaptap: Option<u32>, slice: Duration) -> Result<Pace> {
        let own = || heaptap.map_or(Ok(0.0), cpu_seconds);
        let (began, own_before) = (Instant::now(), own()?);
        let before = [Moment::of(&self.tapped)?, Moment::of(&self.twin)?];
        thread::sleep(slice);
        let after = [Moment::of(&self.tapped)?, Moment::of(&self.twin)?];
        let (passed, own) = (began.elapsed().as_secs_f64(), own()? - own_before);
        let [tapped, twin] = [0, 1].map(|at| after[at].speed_since(&before[at]));
        Ok(Pace { to_twin: tapped / twin, heaptap: own / passed })
    }
}

/// How far a program is.
struct Moment {
    /// Bytes that it has allocated.
    done: u64,
    /// Seconds of processor time that it has had.
    used: f64,
}

impl Moment {
    /// Both at once: somebody else may have the processor in between, and then it is read again.
    fn of(program: &Steady) -> Result<Self> {
        let read = || -> Result<(Duration, Self)> {
            let began = Instant::now();
            let moment = Self { done: program.allocated()?, used: cpu_seconds(program.pid())? };
            Ok((began.elapsed(), moment))
        };
        let mut best = read()?;
        for _ in 0..READINGS {
            let next = read()?;
            if next.0 < best.0 {
                best = next;
            }
        }
        Ok(best.1)
    }

    fn speed_since(&self, before: &Self) -> f64 {
        (self.done - before.done) as f64 / (self.used - before.used)
    }
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

//! What programs feel of heaptap, told within one run: a program goes on with the same work, heaptap watches it for
//! two seconds, stands still for two, and so on.
//!
//! A machine's speed drifts by several times what is to be seen here, but not much within seconds: each slice is
//! compared with the mean of the ones before and after it. heaptap and the program share a processor, so that what
//! heaptap takes itself is missing there too. What prints each second is stopped (SIGSTOP) where it does not watch; what
//! records is started and ended, and counts from a second after it has begun. In: the name of a program. Out: by how
//! much less it has done in a slice.

mod steady;

use std::{
    fmt::Write as _,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    processors::{on_processor, two_processors},
    report,
    stats::Series,
    watchers::{Kind, WATCHERS, Watched, Watcher},
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
/// The same of a recording: it has spent what it begins with.
const SETTLED: Duration = Duration::from_secs(1);

pub fn run(options: &Options) -> Result<()> {
    let mut body = format!(
        "{} slices of {} s of each; a program, and heaptap beside it, on one processor. Slower: by how much less \
         a program has done than in the slices before and after, in which nobody watches; the median of the means of \
         all pairs (95 % confidence interval of the signed-rank test). Beside nobody it is what the method is wrong by.\n\n\
         | program | beside | slower, % | one slice, % | heaptap's own CPU, % of a processor |\n\
         | --- | --- | --- | --- | --- |\n",
        options.rounds, options.slice
    );
    let (mut about, mut remarks) = (String::new(), String::new());
    for name in &options.programs {
        if !Work::is_there(name)? {
            writeln!(remarks, "- {name} can't be had on this machine: left out")?;
            continue;
        }
        let (rows, does) = measure(options, name)?;
        eprint!("{rows}");
        body += &rows;
        writeln!(about, "- {name}: {does}")?;
    }
    writeln!(body, "\n{about}{remarks}\nBar: within the noise and at most 1.5 %.")?;
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("slices", "What programs feel, within one run", &versions, &body)
}

/// Somebody who watches now and then, or nobody.
struct Beside {
    watcher: Option<&'static Watcher>,
    /// Stopped between its slices.
    stopped: Option<Watched>,
    slower: Series,
    /// CPU time of heaptap, and the time of all its slices, in seconds.
    own: (f64, f64),
}

/// The rows of one program, and what it does.
fn measure(options: &Options, name: &str) -> Result<(String, String)> {
    let [here, there] = two_processors()?;
    let program = on_processor(there, || {
        Steady::start(name, |command| on_processor(here, || Ok(command.spawn()?)))
    })?;
    let slice = Duration::from_secs_f64(options.slice);
    let mut all = vec![Beside { watcher: None, ..Beside::new() }];
    for watcher in &WATCHERS {
        let stopped = match watcher.kind {
            Kind::Records => None,
            _ => Some(on_processor(here, || Watched::start(&options.heaptap, watcher, &[]))?),
        };
        if let Some(watched) = &stopped {
            // It has seen everything once.
            thread::sleep(2 * SETTLED);
            send(watched.pid(), Signal::SIGSTOP)?;
        }
        all.push(Beside { watcher: Some(watcher), stopped, ..Beside::new() });
    }
    let mut before = pace(&program, slice)?;
    for round in 0..options.rounds {
        eprint!("\rslices: {name}, round {} of {} ", round + 1, options.rounds);
        for beside in &mut all {
            let with = beside.slice(options, here, &program, slice)?;
            let after = pace(&program, slice)?;
            beside.slower.push(100.0 * (1.0 - with / f64::midpoint(before, after)));
            before = after;
        }
    }
    eprintln!();
    let mut rows = String::new();
    for beside in all {
        let name_of = |w: &Watcher| format!("`{}`", w.arguments.join(" "));
        let who = beside.watcher.map_or("nobody".to_owned(), name_of);
        let (slower, low, high) = beside.slower.centre();
        let (one, (own, watched)) = (beside.slower.text(1), beside.own);
        let own =
            if watched > 0.0 { format!("{:.2}", 100.0 * own / watched) } else { "–".into() };
        writeln!(
            rows,
            "| {name} | {who} | {slower:+.2} ({low:+.2} to {high:+.2}) | {one} | {own} |"
        )?;
        if let Some(watched) = beside.stopped {
            send(watched.pid(), Signal::SIGCONT)?;
            watched.end()?;
        }
    }
    let mut about = program.about.clone();
    let answered = program.end()?;
    if answered > 0 {
        write!(about, " ({answered} answers)")?;
    }
    Ok((rows, about))
}

impl Beside {
    fn new() -> Self {
        Self { watcher: None, stopped: None, slower: Series::default(), own: (0.0, 0.0) }
    }

    /// How fast the program goes beside it.
    fn slice(
        &mut self,
        options: &Options,
        here: usize,
        program: &Steady,
        slice: Duration,
    ) -> Result<f64> {
        let Some(watcher) = self.watcher else { return pace(program, slice) };
        let mut own = |pid: u32| -> Result<f64> {
            let before = cpu_seconds(pid)?;
            let pace = pace(program, slice)?;
            self.own.0 += cpu_seconds(pid)? - before;
            self.own.1 += slice.as_secs_f64();
            Ok(pace)
        };
        if let Some(watched) = &self.stopped {
            send(watched.pid(), Signal::SIGCONT)?;
            thread::sleep(LEAD);
            let pace = own(watched.pid())?;
            send(watched.pid(), Signal::SIGSTOP)?;
            return Ok(pace);
        }
        let watched = on_processor(here, || Watched::start(&options.heaptap, watcher, &[]))?;
        thread::sleep(SETTLED);
        let pace = own(watched.pid())?;
        watched.end()?;
        Ok(pace)
    }
}

/// Bytes a second that the program allocates, for so long.
fn pace(program: &Steady, slice: Duration) -> Result<f64> {
    let (began, before) = (Instant::now(), program.allocated()?);
    thread::sleep(slice);
    let (after, took) = (program.allocated()?, began.elapsed());
    Ok((after - before) as f64 / took.as_secs_f64())
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

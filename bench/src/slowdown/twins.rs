//! What a program feels of a watcher, told by its twin: both do the same work at the same time, each on a
//! processor of its own, and the watcher is told to leave the twin alone.
//!
//! A machine's speed drifts by several times what is to be seen here, and takes both along. heaptap runs
//! on the processor of the program that it watches, so that all that it takes is missing there. Then the
//! two change places. In: a work. Out: how much longer it took than its twin.

use std::{fmt::Write as _, thread};

use anyhow::{Context as _, Result, bail};

use super::Options;
use crate::{
    processors::{on_processor, two_processors},
    stats::Series,
    watchers::{WATCHERS, Watched, Watcher},
    work::{Size, Took, Work, cpu_seconds},
};

/// The name by which heaptap leaves it alone.
const TWIN: &str = "untapped";

/// A program and its twin: two files, so that probes of one are not in the other.
struct Twins {
    watched: Work,
    twin: Work,
}

/// Measurements beside one watcher.
#[derive(Default)]
struct Times {
    wall: Series,
    /// In percent of the twin's; the mean of both places.
    slower: Series,
    /// What heaptap itself used of a CPU meanwhile, in percent of what the program used.
    own: Series,
    events: Series,
    lost: Series,
}

/// The first table's rows of one program: nobody watches, and each watcher.
pub fn rows(options: &Options, work: Work) -> Result<String> {
    let cpus = two_processors()?;
    let name = work.name;
    let twins = Twins::of(work)?;
    let watchers = options.watchers.iter().map(|name| {
        let known = WATCHERS.iter().find(|watcher| watcher.name == name);
        known.with_context(|| format!("no watcher called {name}"))
    });
    let watchers = watchers.collect::<Result<Vec<_>>>()?;
    let mut rows: Vec<(Option<&Watcher>, Times)> = vec![(None, Times::default())];
    rows.extend(watchers.into_iter().map(|watcher| (Some(watcher), Times::default())));
    for round in 0..options.rounds {
        eprint!("\rslowdown: {name}, round {} of {} ", round + 1, options.rounds);
        for (watcher, times) in &mut rows {
            let mut ratio = 1.0;
            for [here, there] in [cpus, [cpus[1], cpus[0]]] {
                ratio *= twins.at_once(options, *watcher, here, there, times)?;
            }
            times.slower.push(100.0 * (f64::sqrt(ratio) - 1.0));
        }
    }
    eprintln!();
    let mut table = String::new();
    for (watcher, times) in &rows {
        let beside =
            watcher.map_or("nobody".to_owned(), |w| format!("`{}`", w.arguments.join(" ")));
        let (slower, low, high) = times.slower.centre();
        writeln!(
            table,
            "| {name} | {beside} | {} | {slower:+.2} ({low:+.2} to {high:+.2}) | {} | {} | {} |",
            times.wall.text(2),
            times.own.text(2),
            times.events.text(0),
            times.lost.text(0),
        )?;
    }
    Ok(table)
}

impl Twins {
    fn of(mut watched: Work) -> Result<Self> {
        let mut twin = Work::prepare(watched.name, Size::Long)?;
        watched.copy_program("tapped")?;
        twin.copy_program(TWIN)?;
        Ok(Self { watched, twin })
    }

    /// Both at work; how much longer the watched one took, as a ratio.
    fn at_once(
        &self,
        options: &Options,
        watcher: Option<&Watcher>,
        here: usize,
        there: usize,
        times: &mut Times,
    ) -> Result<f64> {
        let exclude = format!("comm={TWIN}");
        let watched = match watcher {
            Some(watcher) => {
                let start = || Watched::start(&options.heaptap, watcher, &["--exclude", &exclude]);
                Some(on_processor(here, start)?)
            }
            None => None,
        };
        let pid = watched.as_ref().map(Watched::pid);
        let own = || pid.map_or(Ok(0.0), cpu_seconds);
        let before = own()?;
        let mut programs = [
            on_processor(here, || self.watched.start())?,
            on_processor(there, || self.twin.start())?,
        ];
        let [took, twin] = thread::scope(|scope| {
            let threads = programs.each_mut().map(|program| scope.spawn(|| program.work()));
            threads.map(|thread| match thread.join() {
                Ok(took) => took,
                Err(_) => bail!("the thread that waits has failed"),
            })
        });
        let (took, twin): (Took, Took) = (took?, twin?);
        let own = own()? - before;
        for program in programs {
            program.end()?;
        }
        times.wall.push(took.wall);
        if let Some(watched) = watched {
            times.own.push(100.0 * own / took.cpu.max(0.01));
            if let Some((events, lost)) = watched.end()? {
                times.events.push(events);
                times.lost.push(lost);
            }
        }
        Ok(took.wall / twin.wall)
    }
}

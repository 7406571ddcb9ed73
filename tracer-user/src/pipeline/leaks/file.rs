//! The same of a recording.
//!
//! In: a `.htap` file. Out: what grows by what it holds: lines where it has heap profiles, memory that is not Go's and
//! the number of goroutines where it has statistics. Who made the goroutines is not in it.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::watched::{alive, off_heap_grown, too_early};
use super::{Finding, Judged, Report, What};
use crate::cli::leaks::Config;
use crate::exit::{Exit, Failure};
use crate::host::Identity;
use crate::output::text::printable;
use crate::pipeline::export;
use crate::pipeline::stats::{Round, Snapshot};
use crate::profile::trend::{Doubt, History, Point, Verdict, judge as judge_trend};
use crate::profile::{Process, ProcessId, Workload};
use crate::recording::{Error, Limits, Recording, Shot};

/// Snapshots that are read of a window: more tell little more.
const MOST: u64 = 240;

/// What a recording says of one process.
#[derive(Default)]
struct One {
    comm: String,
    path: String,
    go_version: Option<String>,
    container: Option<String>,
    workload: Workload,
    /// Nothing: there was no heap profile of it.
    history: Option<History>,
    off_heap: Vec<Point>,
    goroutines: Vec<Point>,
    /// What it had allocated at each of those.
    allocated: Vec<f64>,
}

/// All processes of a recording, and when it begins.
struct All {
    by: HashMap<Identity, One>,
    first: u64,
    tells: bool,
}

/// Reads and judges.
///
/// # Errors
/// The file is no recording, can't be read, or has neither heap profiles nor statistics.
pub fn judge(path: &Path, config: &Config) -> Result<Report, Failure> {
    let name = printable(&path.to_string_lossy()).into_owned();
    let failed = |err: Error| Failure::new(export::exit(&err), format!("{name} {err}"));
    let file = File::open(path).map_err(|err| failed(Error::Read(err)))?;
    let limits = Limits { memory: config.max_memory, ..Limits::default() };
    let mut recording = Recording::open(file, limits).map_err(failed)?;
    let readings = recording.readings((0, u64::MAX)).map_err(failed)?;
    let (first, last) = match (recording.span(), readings) {
        (Ok((first, last)), Some(there)) => (first.min(there.first), last.max(there.last)),
        (Err(Error::Empty), Some(there)) => (there.first, there.last),
        (span, _) => span.map_err(failed)?,
    };
    let window = config.window.unwrap_or(Duration::MAX).as_nanos().min(u64::MAX.into()) as u64;
    let range = (last.saturating_sub(window).max(first), last);
    let mut all = All { by: HashMap::new(), first, tells: readings.is_some() };
    let read = read(&mut recording, range, &mut all).map_err(failed)?;
    if read > 0 && !config.quiet {
        let what = super::counted(read as usize, "record");
        eprintln!("heaptap: {name}: {what} damaged");
    }
    if !all.tells {
        return Err(Failure::new(
            Exit::Unsupported,
            format!(
                "{name}: leaks are told from heap profiles over time, and there are none in it; heaptap heap \
                 -p PID --every 5s -o FILE.htap records them"
            ),
        ));
    }
    let mut processes: Vec<Judged> = all.by.into_iter().map(|(id, one)| one.judge(id)).collect();
    processes.sort_by_key(|process| (process.leaks() == 0, process.id));
    Ok(Report { processes, unseen: Vec::new() })
}

/// Takes in all of a time, in one pass over each kind of records; how many of them are damaged.
fn read(recording: &mut Recording<File>, range: (u64, u64), all: &mut All) -> Result<u64, Error> {
    let step = |count: u64| count.div_ceil(MOST).max(1);
    let shots = recording.count(range.0, range.1)?;
    let damaged = recording.each(range, step(shots), |shot| {
        all.shot(&shot);
        Ok::<_, Error>(())
    })?;
    let readings = recording.readings(range)?.map_or(0, |there| there.count);
    let more = recording.each_statistics(range, step(readings), |_, statistics| {
        for snapshot in &Round::of(statistics).snapshots {
            all.snapshot(statistics.time, snapshot);
        }
        Ok::<_, Error>(())
    })?;
    Ok(damaged + more)
}

impl All {
    fn shot(&mut self, shot: &Shot) {
        let profile = &shot.profile;
        if !History::takes(profile) {
            return;
        }
        self.tells = true;
        for (number, process) in (0..).zip(&profile.processes) {
            let id = Identity { pid: process.pid, start: process.start_ticks };
            let seconds = self.seconds(shot.time);
            let one = self.by.entry(id).or_insert_with(|| {
                let path = profile.binaries.get(process.binary.0 as usize);
                let path = path.map_or_else(String::new, |binary| binary.path.clone());
                One::of(process, path)
            });
            let history = one.history.get_or_insert_default();
            history.add(seconds, profile, ProcessId(number));
        }
    }

    fn snapshot(&mut self, time: u64, snapshot: &Snapshot) {
        let at = self.seconds(time);
        let one = self.by.entry(snapshot.id).or_insert_with(|| One {
            comm: snapshot.comm.clone(),
            path: snapshot.path.clone(),
            go_version: snapshot.go_version.clone(),
            container: snapshot.container.clone(),
            workload: snapshot.workload.clone(),
            ..One::default()
        });
        if let Some(history) = &mut one.history {
            history.count(at, snapshot.stats.collector.cycles, alive(&snapshot.stats));
        }
        let off_heap = snapshot.off_heap();
        one.off_heap.extend(off_heap.map(|bytes| Point {
            at,
            live: bytes as f64,
            ..Point::default()
        }));
        let live = snapshot.goroutines.program as f64;
        // At least as many were made as there are more; those that came and went between are not known.
        let made = one
            .goroutines
            .last()
            .map_or(live, |before| before.made + (live - before.live).max(0.0));
        one.goroutines.push(Point { at, live, made, live_hits: live, made_hits: made });
        one.allocated.push(snapshot.stats.allocated.bytes as f64);
    }

    fn seconds(&self, time: u64) -> f64 {
        time.saturating_sub(self.first) as f64 / 1e9
    }
}

impl One {
    fn of(process: &Process, path: String) -> Self {
        Self {
            comm: process.comm.clone(),
            path,
            go_version: process
                .go_version
                .as_deref()
                .map(|version| version.strip_prefix("go").unwrap_or(version).to_owned()),
            container: process.container.clone(),
            workload: process.workload.clone(),
            ..Self::default()
        }
    }

    fn judge(self, id: Identity) -> Judged {
        let (mut findings, mut notes): (Vec<Finding>, Vec<String>) = Default::default();
        let seen = self.goroutines.first().zip(self.goroutines.last());
        let watched = seen.map_or(0.0, |(first, last)| last.at - first.at);
        let mut span = watched;
        match &self.history {
            Some(history) => {
                span = span.max(history.span());
                findings.extend(history.grown().into_iter().map(Finding::from));
                notes.extend(too_early(history, span));
            }
            None => notes.push(
                "its heap is not judged: the recording has no heap profiles of it".to_owned(),
            ),
        }
        findings.extend(self.goroutines());
        findings.extend(off_heap_grown(&self.off_heap));
        if self.goroutines.is_empty() {
            notes.push(
                "its goroutines and memory that is not Go's are not judged: the recording has no \
                 statistics of it"
                    .to_owned(),
            );
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.trend.verdict));
        Judged {
            id,
            comm: self.comm,
            path: self.path,
            go_version: self.go_version,
            container: self.container,
            workload: self.workload,
            span,
            profiles: self.history.as_ref().map_or(0, History::looks),
            findings,
            notes,
        }
    }

    /// All goroutines together, if they are more and more. That is never called a leak: those of one place that come and
    /// go can't be told from others.
    fn goroutines(&self) -> Option<Finding> {
        let mut trend = judge_trend(&self.goroutines, &self.allocated);
        if !matches!(trend.verdict, Verdict::Leak | Verdict::Growing) {
            return None;
        }
        trend.doubt(Doubt::Makers);
        trend.stays = 0.0;
        let live = self.goroutines.last().map_or(0.0, |point| point.live);
        Some(Finding::without_line(What::Goroutines, trend, live))
    }
}

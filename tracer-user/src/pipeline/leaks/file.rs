//! The same of a recording of heap profiles.
//!
//! In: a `.htap` file. Out: what grows by what it holds. Goroutines and the system's memory are not in it.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::watched::too_early;
use super::{Finding, Judged, Report};
use crate::cli::leaks::Config;
use crate::exit::{Exit, Failure};
use crate::host::Identity;
use crate::output::text::printable;
use crate::pipeline::export;
use crate::profile::trend::History;
use crate::profile::{Process, ProcessId};
use crate::recording::{Error, Limits, Recording};

/// Snapshots that are read of a window: more tell little more, and each has to be found.
const MOST: u64 = 240;

/// Reads and judges.
///
/// # Errors
/// The file is no recording, can't be read, or has no heap profiles.
pub fn judge(path: &Path, config: &Config) -> Result<Report, Failure> {
    let name = printable(&path.to_string_lossy()).into_owned();
    let failed = |err: Error| Failure::new(export::exit(&err), format!("{name} {err}"));
    let file = File::open(path).map_err(|err| failed(Error::Read(err)))?;
    let limits = Limits { memory: config.max_memory, ..Limits::default() };
    let mut recording = Recording::open(file, limits).map_err(failed)?;
    let (first, last) = recording.span().map_err(failed)?;
    let window = config.window.unwrap_or(Duration::MAX).as_nanos().min(u64::MAX.into()) as u64;
    let from = last.saturating_sub(window).max(first);
    let step = ((last - from) / MOST).max(1_000_000);
    let mut by: HashMap<Identity, (Process, String, History)> = HashMap::new();
    let mut tells = false;
    let (mut at, mut before) = (from, None);
    loop {
        let found = recording.at(at).map_err(failed)?;
        if let Some(shot) = found.map(|found| found.shot)
            && before != Some(shot.time)
        {
            before = Some(shot.time);
            let profile = &shot.profile;
            tells |= History::takes(profile);
            for (number, process) in (0..).zip(&profile.processes) {
                let id = Identity { pid: process.pid, start: process.start_ticks };
                let seconds = (shot.time - first) as f64 / 1e9;
                let (.., history) = by.entry(id).or_insert_with(|| {
                    let path = profile.binaries.get(process.binary.0 as usize);
                    let path = path.map_or_else(String::new, |binary| binary.path.clone());
                    (process.clone(), path, History::default())
                });
                history.add(seconds, profile, ProcessId(number));
            }
        }
        if at >= last {
            break;
        }
        at = at.saturating_add(step).min(last);
    }
    if !tells {
        return Err(Failure::new(
            Exit::Unsupported,
            format!(
                "{name}: leaks are told from heap profiles over time, and there are none in it; heaptap heap \
                 -p PID --every 5s -o FILE.htap records them"
            ),
        ));
    }
    let mut processes: Vec<Judged> = by
        .into_iter()
        .map(|(id, (process, path, history))| told(id, process, path, &history))
        .collect();
    processes.sort_by_key(|process| (process.leaks() == 0, process.id));
    Ok(Report { processes, unseen: Vec::new() })
}

fn told(id: Identity, process: Process, path: String, history: &History) -> Judged {
    Judged {
        id,
        comm: process.comm,
        path,
        go_version: process.go_version,
        container: process.container,
        workload: process.workload,
        span: history.span(),
        profiles: history.looks(),
        findings: history.grown().into_iter().map(Finding::from).collect(),
        notes: too_early(history, history.span()).into_iter().collect(),
    }
}

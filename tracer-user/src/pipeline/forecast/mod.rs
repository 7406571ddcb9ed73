//! `heaptap forecast`: when the memory of running programs runs out, and why.
//!
//! In: the configuration. Out: a [`Forecast`] of each process, as text or as a document `heaptap.forecast/1`
//! (docs/forecast.md). Statistics, goroutines, memory and control groups are read again and again, and nothing is
//! attached; what follows from them is told by `forecast`.

mod json;
mod text;
pub mod watched;

use std::ops::ControlFlow;
use std::time::Duration;

use super::roster::{Looked, Roster, Unseen};
use super::{counted, print, watch};
use crate::cli::forecast::Config;
use crate::exit::{Exit, Failure};
use crate::forecast::{Forecast, Sign, When};
use crate::host::MemoryReader;
use crate::output::text::duration;
use crate::pipeline::stats::Snapshot;
use watched::Watched;

/// How often to look: so many times in the window, but no more and no less often than that.
const LOOKS: u32 = 120;
const EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// What is told.
struct Report {
    /// The most urgent first.
    processes: Vec<Told>,
    unseen: Vec<Unseen>,
    /// Seconds within which a limit is near.
    within: f64,
}

/// What is told of one process.
struct Told {
    /// Who it is, as of the last look.
    who: Snapshot,
    forecast: Forecast,
    /// It ended meanwhile.
    has_ended: bool,
    notes: Vec<String>,
}

impl Told {
    /// Whether there is nothing to say of it.
    fn is_calm(&self) -> bool {
        let forecast = &self.forecast;
        let is_far = |when: &When| matches!(when, When::NotInSight { .. });
        let no_end = forecast.limits.iter().all(|limit| is_far(&limit.when) && !limit.is_reached);
        let no_sign = forecast.ways.iter().all(|way| way.sign == Sign::None);
        no_end && no_sign && !self.has_ended && !forecast.is_too_early()
    }

    /// Sorts the most urgent first.
    fn urgency(&self) -> (f64, Sign) {
        let near = self.forecast.near(f64::MAX).map(|limit| match limit.when {
            _ if limit.is_reached => -1.0,
            When::In { seconds, .. } => seconds,
            _ => f64::MAX,
        });
        let sign = self.forecast.ways.first().map_or(Sign::TooEarly, |way| way.sign);
        (near.unwrap_or(f64::MAX), sign)
    }
}

/// Looks, tells and prints.
///
/// # Errors
/// A limit is near; a process that was asked for by pid can't be read, or nobody is there.
pub fn run(config: &Config) -> Result<(), Failure> {
    let mut roster = Roster::new(&config.selection);
    let (report, failure) = look(config, &mut roster)?;
    print(&match config.json {
        true => json::document(&report)?,
        false => text::report(&report, roster.is_named()),
    })?;
    let near = report.processes.iter().filter(|one| one.forecast.near(report.within).is_some());
    match near.count() {
        0 => failure.map_or(Ok(()), Err),
        near => {
            let (near, within) = (counted(near, "process"), text::length(report.within));
            let text = format!("{near} at a memory limit, or there within {within}");
            Err(Failure::new(Exit::Limit, text))
        }
    }
}

/// Looks at running programs; says also what is missing of what was asked for.
fn look(config: &Config, roster: &mut Roster) -> Result<(Report, Option<Failure>), Failure> {
    let every = (config.window / LOOKS).clamp(EVERY.0, EVERY.1);
    let mut watched: Vec<Watched> = Vec::new();
    let (mut unseen, mut is_first) = (Vec::new(), true);
    // One look more: at the end of the window.
    watch::every(every, Some(config.window + every / 2), || {
        let mut memory = MemoryReader::default();
        let looked = roster.look(|process| {
            let id = process.process.id;
            let known = watched.iter().position(|one| one.id() == id);
            match known {
                Some(known) => watched[known].look(process, &mut memory),
                None => Watched::new(process, &mut memory).map(|new| watched.push(new)),
            }
        })?;
        if std::mem::take(&mut is_first) {
            if looked.seen.is_empty() {
                return Err(roster.nobody(&looked));
            }
            if !config.quiet {
                let count = counted(looked.seen.len(), "process");
                eprintln!("heaptap: looking at {count} for {}", duration(config.window));
            }
        }
        let Looked { seen, unseen: now, .. } = looked;
        unseen = now;
        Ok(if seen.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    // Who has ended is told by its own forecast.
    unseen.retain(|one| watched.iter().all(|known| known.id().pid != one.pid));
    let failure = unseen.first().filter(|_| roster.is_named()).map(|one| one.failure.clone());
    let mut processes: Vec<Told> = watched.into_iter().filter_map(Watched::tell).collect();
    processes.sort_by(|a, b| {
        let ((at, sign), (other, other_sign)) = (a.urgency(), b.urgency());
        at.total_cmp(&other).then(sign.cmp(&other_sign)).then(a.who.id.cmp(&b.who.id))
    });
    Ok((Report { processes, unseen, within: config.within.as_secs_f64() }, failure))
}

#[cfg(test)]
mod tests;

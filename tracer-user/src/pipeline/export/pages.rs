//! A recording as one page: `-o x.html`.
//!
//! In: an opened recording, and which time of it. Out: a page with its snapshots, evenly fewer of them where there are
//! many. One snapshot is in memory at a time, and what the page says of those before it.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use super::{Open, Stop, keep, moment_text, resolve, wanted_as};
use crate::cli::export::{Config, When};
use crate::exit::{Exit, Failure};
use crate::output::html::{Level, Page};
use crate::output::text::{duration, grouped, printable};
use crate::pipeline::{counted, outputs};
use crate::recording::{Error, Reading, Shot};

/// Snapshots that a page has at most. Twice as many take twice the time to move through.
const SHOTS: u64 = 360;

/// A page, and what it holds in one line.
pub struct Made {
    pub page: Page,
    pub summary: String,
}

/// The page of a time.
///
/// # Errors
/// There is no such time or process in the recording; it is too large for a page, or can't be read.
pub fn make(config: &Config, file: &mut Open) -> Result<Made, Failure> {
    let (from, to) = match config.when {
        When::Between(from, to) => (from, to),
        When::At(moment) => (None, moment),
    };
    let (first, last) = file.recording.span().map_err(|err| file.failed(&err))?;
    let from = from.map_or(first, |moment| resolve(moment, first));
    let to = to.map_or(last, |moment| resolve(moment, first));
    let count = file.recording.count(from, to).map_err(|err| file.failed(&err))?;
    if count == 0 {
        return Err(file.nothing(first, last));
    }
    let step = count.div_ceil(SHOTS);
    let name = file.name.clone();
    let mut page = Page::default();
    let (mut shown, mut there) = (0, false);
    let ends = Cell::new(None::<(u64, u64)>);
    let damaged = file.recording.each((from, to), step, |shot| {
        let Shot { mut profile, shown: how, time } = shot;
        keep(&mut profile, &config.processes);
        there |= !profile.processes.is_empty();
        let mut options = outputs::options(&config.show, how);
        options.value =
            config.value.as_ref().map(|word| super::value(&profile, word)).transpose()?;
        let refused = |err| {
            let text = format!("{name}: what is there until {} {err}", moment_text(time));
            Stop::Refused(Failure::new(Exit::Usage, text))
        };
        page.add(&profile, &options).map_err(refused)?;
        shown += 1;
        ends.set(Some((ends.get().map_or(time, |(first, _)| first), time)));
        Ok::<_, Stop>(())
    });
    let damaged = damaged.map_err(|stop| match stop {
        Stop::Refused(failure) => failure,
        Stop::Unread(err) => file.failed(&err),
    })?;
    if let Some(missing) = config.processes.first().filter(|_| !there) {
        let text = format!(
            "--process {missing}: is not there in that time (heaptap export {name} lists who is)"
        );
        return Err(Failure::new(Exit::Target, printable(&text).into_owned()));
    }
    let Some((first, last)) = ends.get() else {
        return Err(file.failed(&Error::Malformed { at: 0, what: "its snapshots are damaged" }));
    };
    levels(config, file, (from, to), &mut page)?;
    if step > 1 {
        page.note(format!("of {} snapshots one in {step} is shown, and the last", grouped(count)));
    }
    if damaged > 0 {
        page.note(format!("{} snapshots are damaged and not shown", grouped(damaged)));
    }
    let snapshots = counted(shown, "snapshot");
    let length = duration(Duration::from_nanos(last - first));
    let summary = format!("{snapshots} from {} on, {length}", moment_text(first));
    Ok(Made { page, summary })
}

/// Has the page show what the runtimes said in that time.
fn levels(
    config: &Config,
    file: &mut Open,
    range: (u64, u64),
    page: &mut Page,
) -> Result<(), Failure> {
    let there = file.recording.readings(range).map_err(|err| file.failed(&err))?;
    let step = there.map_or(1, |there| there.count.div_ceil(SHOTS));
    let mut others = HashSet::new();
    let damaged = file.recording.each_statistics(range, step, |time, statistics| {
        page.time(time);
        for reading in &statistics.readings {
            let comm = reading.text("comm").unwrap_or_default();
            let words = &config.processes;
            if !words.is_empty() && !words.iter().any(|w| wanted_as(reading.pid, comm, w)) {
                continue;
            }
            if !page.level((reading.pid, reading.start, comm), level(reading)) {
                others.insert((reading.pid, reading.start));
            }
        }
        Ok::<_, Error>(())
    });
    let damaged = damaged.map_err(|err| file.failed(&err))?;
    page.complete();
    if !others.is_empty() {
        let count = counted(others.len(), "process");
        page.note(format!("statistics of {count} without stacks here are not shown (--stats)"));
    }
    if damaged > 0 {
        page.note(format!("statistics of {} are damaged", counted(damaged as usize, "time")));
    }
    Ok(())
}

/// What a recording has of a process's statistics, as a page shows it.
fn level(reading: &Reading) -> Level {
    Level {
        live: reading.number("heap.marked"),
        goal: reading.number("heap.goal"),
        resident: reading.number("memory.resident"),
        memory_limit: reading.number("gc.memory_limit"),
        cgroup_limit: reading.number("memory.cgroup.limit"),
        goroutines: reading.number("goroutines.program"),
    }
}

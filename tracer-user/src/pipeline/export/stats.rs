//! Statistics of a recording, as `heaptap stats` prints them: `--stats`.
//!
//! In: an opened recording, and which time of it. Out: text or documents `heaptap.stats/1` of one moment, or of each time
//! that was read: one is in memory at a time.

use std::cell::RefCell;
use std::io::{self, Write};

use super::{Open, moment_text, resolve, wanted_as};
use crate::cli::Moment;
use crate::cli::export::{Config, When};
use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::output::text::{grouped, printable};
use crate::pipeline::stats::{self, Round, Table};
use crate::pipeline::{counted, outputs};
use crate::recording::{Error, Readings, Statistics};

/// Writes them.
///
/// # Errors
/// There are none, or none of that time or process; the file can't be read; an output can't be written.
pub fn write(config: &Config, file: &mut Open) -> Result<(), Failure> {
    let all = file.readings()?;
    let sinks = outputs::open(&config.show.outputs)?;
    match config.when {
        When::At(moment) => {
            let round = at(config, file, all, moment)?;
            let is_table = round.snapshots.len() > 1 && config.processes.is_empty();
            let document = stats::document(&round, true)?;
            let summary = || summary(1, (all.first, all.last));
            outputs::write_with(config.show.quiet, &summary, sinks, &|format, out| match format {
                Format::Json => out.write_all(document.as_bytes()),
                _ => out.write_all(stats::once(&round, is_table).as_bytes()),
            })?;
            if let Some(remark) = stats::remark(&round).filter(|_| !config.show.quiet) {
                eprintln!("heaptap: {remark}");
            }
            Ok(())
        }
        When::Between(from, to) => {
            let (start, end) = file.extent()?;
            let time = |moment: Option<Moment>, otherwise| {
                moment.map_or(otherwise, |moment| resolve(moment, start))
            };
            let range = (time(from, 0), time(to, u64::MAX));
            let found = file.recording.readings(range).map_err(|err| file.failed(&err))?;
            let Some(found) = found else { return Err(file.nothing(start, end)) };
            let file = RefCell::new(file);
            // Why reading has ended; writing tells its own.
            let unread = RefCell::new(None);
            let keep = |failure: Failure| {
                let text = failure.message.clone();
                unread.replace(Some(failure));
                io::Error::other(text)
            };
            let summary = || summary(found.count, (found.first, found.last));
            let written =
                outputs::write_with(config.show.quiet, &summary, sinks, &|format, out| {
                    let shown = each(config, &mut file.borrow_mut(), range, format, out);
                    shown.map_err(|stop| match stop {
                        Stop::Written(err) => err,
                        Stop::Unread(err) => keep(file.borrow().failed(&err)),
                        Stop::Failed(failure) => keep(failure),
                    })
                });
            unread.take().map_or(written, Err)
        }
    }
}

/// What a recording of statistics alone holds.
pub fn listing(file: &mut Open, all: Readings) -> Result<String, Failure> {
    let Readings { count, first, last } = all;
    let found = file.recording.statistics_at(u64::MAX).map_err(|err| file.failed(&err))?;
    let round = found.map(|(statistics, _)| Round::of(&statistics));
    let mut lines = vec![
        format!("{}: no snapshot of stacks", file.name),
        line(count, first, last),
        String::new(),
        "as of the last time (--stats prints all of it):".to_owned(),
    ];
    let table = round.map(|round| stats::once(&round, true)).unwrap_or_default();
    lines.push(table);
    Ok(lines.join("\n"))
}

/// What there is of them, in a line.
pub fn line(count: u64, first: u64, last: u64) -> String {
    match count {
        1 => format!("statistics of {} (--stats)", moment_text(first)),
        _ => format!(
            "statistics of {} times from {} to {} (--stats)",
            grouped(count),
            moment_text(first),
            moment_text(last)
        ),
    }
}

fn summary(count: u64, (first, last): (u64, u64)) -> String {
    let (first, last) = (moment_text(first), moment_text(last));
    format!("statistics of {} from {first} to {last}", counted(count as usize, "time"))
}

/// Those of a moment.
fn at(
    config: &Config,
    file: &mut Open,
    all: Readings,
    moment: Option<Moment>,
) -> Result<Round, Failure> {
    let (start, end) = file.extent()?;
    let time = moment.map_or(u64::MAX, |moment| resolve(moment, start));
    let found = file.recording.statistics_at(time).map_err(|err| file.failed(&err))?;
    // What comes after the end is not known.
    let Some((statistics, damaged)) = found.filter(|_| moment.is_none() || time <= end) else {
        return Err(file.nothing(all.first.min(start), end));
    };
    if damaged > 0 {
        let (times, name) = (counted(damaged as usize, "time"), &file.name);
        let as_of = moment_text(statistics.time);
        eprintln!("heaptap: {name}: damaged: statistics of {times}; these are as of {as_of}");
    }
    let round = only(config, &statistics);
    if let Some(missing) = config.processes.first().filter(|_| is_empty(&round)) {
        let text = format!("--process {missing}: is not there at that time");
        return Err(Failure::new(Exit::Target, printable(&text).into_owned()));
    }
    Ok(round)
}

fn is_empty(round: &Round) -> bool {
    round.snapshots.is_empty() && round.unseen.is_empty()
}

/// The processes that are asked for.
fn only(config: &Config, statistics: &Statistics) -> Round {
    let mut round = Round::of(statistics);
    let words = &config.processes;
    if !words.is_empty() {
        let wanted = |pid: u32, comm: &str| words.iter().any(|word| wanted_as(pid, comm, word));
        round.snapshots.retain(|of| wanted(of.id.pid, &of.comm));
        round.unseen.retain(|of| wanted(of.pid, &of.comm));
    }
    round
}

/// Why a walk ends early.
enum Stop {
    Unread(Error),
    Failed(Failure),
    Written(io::Error),
}

impl From<Error> for Stop {
    fn from(err: Error) -> Self {
        Stop::Unread(err)
    }
}

/// Writes all of a time: rows of a table that goes on, or a document in each line.
fn each(
    config: &Config,
    file: &mut Open,
    range: (u64, u64),
    format: Format,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let mut table = Table::default();
    let damaged = file.recording.each_statistics(range, 1, |_, statistics| {
        let round = only(config, statistics);
        let text = match format {
            Format::Json => stats::document(&round, false).map_err(Stop::Failed)?,
            _ => table.rows(&round),
        };
        out.write_all(text.as_bytes()).map_err(Stop::Written)
    })?;
    if damaged > 0 {
        let (times, name) = (counted(damaged as usize, "time"), &file.name);
        eprintln!("heaptap: {name}: damaged: statistics of {times}");
    }
    Ok(())
}

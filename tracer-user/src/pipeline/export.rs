//! `heaptap export`: from a recording to everything that the live commands write.
//!
//! In: a file, and which of its snapshots. Out: files, or a table on standard output; or what the file holds. Needs
//! no privilege and looks at no process.

mod pages;
mod stats;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::outputs;
use crate::cli::Moment;
use crate::cli::export::{Config, When};
use crate::exit::{Exit, Failure};
use crate::host;
use crate::output::Format;
use crate::output::text::{bytes, duration, grouped, printable, utc};
use crate::profile::{Process, Profile};
use crate::recording::{Error, Found, Limits, Readings, Record, Recording, Shot, Survey};

/// Processes that a listing and a refusal name.
const NAMED: usize = 40;

/// Reads and writes.
///
/// # Errors
/// The file is no recording, or can't be read; it has nothing of that time, or no such process; an output can't be
/// written.
pub fn run(config: &Config) -> Result<(), Failure> {
    let mut file = Open::new(&config.file, config.max_memory)?;
    if config.stats {
        return stats::write(config, &mut file);
    }
    if config.show.outputs.is_empty() {
        return super::print(&file.listing()?);
    }
    file.has_shots()?;
    let sinks = outputs::open(&config.show.outputs)?;
    let (pages, sinks): (Vec<_>, Vec<_>) =
        sinks.into_iter().partition(|sink| sink.format() == Format::Html && !config.is_moment());
    if !pages.is_empty() {
        let pages::Made { page, summary } = pages::make(config, &mut file)?;
        let render = |_, out: &mut dyn Write| page.write(out);
        outputs::write_with(config.show.quiet, &|| summary.clone(), pages, &render)?;
    }
    if sinks.is_empty() {
        return Ok(());
    }
    let Shot { mut profile, shown, .. } = file.shot(config.when)?;
    only(&mut profile, &config.processes)?;
    if profile.unnamed() > 0 && !config.show.quiet {
        let (count, name) = (super::counted(profile.unnamed(), "address"), &file.name);
        eprintln!("heaptap: {count} without a name: heaptap symbolize {name} --binary …");
    }
    let mut options = outputs::options(&config.show, shown);
    options.value = config.value.as_ref().map(|word| value(&profile, word)).transpose()?;
    outputs::write(&config.show, &options, &profile, sinks)
}

/// A recording that is open, and its name.
pub(super) struct Open {
    pub name: String,
    recording: Recording<File>,
}

impl Open {
    /// Opens a file; reading takes so many bytes of memory at most.
    ///
    /// # Errors
    /// It can't be read; it is no recording.
    pub fn new(path: &Path, memory: usize) -> Result<Self, Failure> {
        let name = printable(&path.to_string_lossy()).into_owned();
        let failed = |err: Error| Failure::new(exit(&err), format!("{name} {err}"));
        let file = File::open(path).map_err(|err| failed(Error::Read(err)))?;
        let limits = Limits { memory, ..Limits::default() };
        let recording = Recording::open(file, limits).map_err(failed)?;
        Ok(Self { name, recording })
    }

    fn failed(&self, err: &Error) -> Failure {
        Failure::new(exit(err), format!("{} {err}", self.name))
    }

    /// What the recording holds, for people.
    fn listing(&mut self) -> Result<String, Failure> {
        let readings = self.recording.readings((0, u64::MAX)).map_err(|err| self.failed(&err))?;
        match (self.recording.survey(), readings) {
            (Ok(survey), readings) => Ok(listing(&self.name, &survey, readings)),
            (Err(Error::Empty), Some(readings)) => stats::listing(self, readings),
            (Err(err), _) => Err(self.failed(&err)),
        }
    }

    /// What it has of statistics.
    ///
    /// # Errors
    /// It has none; it can't be read.
    pub fn readings(&mut self) -> Result<Readings, Failure> {
        let found = self.recording.readings((0, u64::MAX)).map_err(|err| self.failed(&err))?;
        found.ok_or_else(|| {
            let text = format!("{}: there are no statistics in it", self.name);
            Failure::new(Exit::Unsupported, text)
        })
    }

    /// When it begins and ends, in nanoseconds since 1970: with its first snapshot, where it has such.
    fn extent(&mut self) -> Result<(u64, u64), Failure> {
        let readings = self.readings()?;
        match self.recording.span() {
            Ok((first, last)) => Ok((first, last.max(readings.last))),
            Err(Error::Empty) => Ok((readings.first, readings.last)),
            Err(err) => Err(self.failed(&err)),
        }
    }

    /// Refuses a recording of statistics alone where stacks are asked for.
    fn has_shots(&mut self) -> Result<(), Failure> {
        let is_empty = matches!(self.recording.span(), Err(Error::Empty));
        match is_empty && self.readings().is_ok() {
            true => {
                let text = format!("{}: holds statistics alone; --stats prints them", self.name);
                Err(Failure::new(Exit::Unsupported, text))
            }
            false => Ok(()),
        }
    }

    /// The snapshot that is asked for, or the difference of two.
    fn shot(&mut self, when: When) -> Result<Shot, Failure> {
        match when {
            When::At(moment) => self.at(moment),
            When::Between(from, to) => {
                let first = Moment::After(Duration::ZERO);
                let earlier = self.at(Some(from.unwrap_or(first)))?;
                let mut later = self.at(to)?;
                if later.time <= earlier.time {
                    return Err(Failure::new(
                        Exit::Usage,
                        format!(
                            "{}: there are no two snapshots between these times (heaptap export {0} \
                             lists them)",
                            self.name
                        ),
                    ));
                }
                later.profile.since(&earlier.profile);
                Ok(later)
            }
        }
    }

    /// The last one until a moment.
    ///
    /// # Errors
    /// There is none, or it can't be read.
    pub fn at(&mut self, moment: Option<Moment>) -> Result<Shot, Failure> {
        let (first, _) = self.span()?;
        self.until(moment.map(|moment| resolve(moment, first)))
    }

    /// When its first and its last snapshot end, in nanoseconds since 1970.
    ///
    /// # Errors
    /// There is none; it can't be read.
    pub fn span(&mut self) -> Result<(u64, u64), Failure> {
        self.recording.span().map_err(|err| self.failed(&err))
    }

    /// The last snapshot until a time in nanoseconds since 1970.
    ///
    /// # Errors
    /// There is none, or it can't be read.
    pub fn at_time(&mut self, time: u64) -> Result<Shot, Failure> {
        self.until(Some(time))
    }

    /// Shows snapshots, evenly distributed and `most` at most, but for the last one.
    ///
    /// # Errors
    /// They can't be read.
    pub fn each(&mut self, most: u64, mut show: impl FnMut(Shot)) -> Result<(), Failure> {
        let all = (0, u64::MAX);
        let count = self.recording.count(all.0, all.1).map_err(|err| self.failed(&err))?;
        let shown = self.recording.each(all, count.div_ceil(most.max(1)), |shot| {
            show(shot);
            Ok::<_, Error>(())
        });
        let damaged = shown.map_err(|err| self.failed(&err))?;
        self.tell_damaged(damaged);
        Ok(())
    }

    /// Shows everything that it holds, as long as that succeeds.
    ///
    /// # Errors
    /// They can't be read; what `show` fails with.
    pub fn every(
        &mut self,
        mut show: impl FnMut(Record<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let shown = self.recording.all(|record| show(record).map_err(Stop::Refused));
        let damaged = shown.map_err(|stop| match stop {
            Stop::Refused(failure) => failure,
            Stop::Unread(err) => self.failed(&err),
        })?;
        self.tell_damaged(damaged);
        Ok(())
    }

    fn tell_damaged(&self, damaged: u64) {
        if damaged > 0 {
            let (snapshots, name) = (super::counted(damaged as usize, "snapshot"), &self.name);
            eprintln!("heaptap: {name}: {snapshots} damaged");
        }
    }

    fn until(&mut self, moment: Option<u64>) -> Result<Shot, Failure> {
        let (first, last) = self.span()?;
        let time = moment.unwrap_or(u64::MAX);
        let found = self.recording.at(time).map_err(|err| self.failed(&err))?;
        // What comes after the end is not known.
        let Some(Found { shot, damaged, skipped }) =
            found.filter(|_| moment.is_none() || time <= last)
        else {
            return Err(self.nothing(first, last));
        };
        let snapshots = (damaged > 0).then(|| super::counted(damaged as usize, "snapshot"));
        let bytes =
            (skipped > 0).then(|| format!("{} bytes that are no records", grouped(skipped)));
        let what: Vec<String> = snapshots.into_iter().chain(bytes).collect();
        if !what.is_empty() {
            let (name, time) = (&self.name, moment_text(shot.time));
            eprintln!("heaptap: {name}: damaged: {}; this is as of {time}", what.join(" and "));
        }
        Ok(shot)
    }

    /// There is no snapshot of the time that is asked for.
    fn nothing(&self, first: u64, last: u64) -> Failure {
        Failure::new(
            Exit::Usage,
            format!(
                "{}: has nothing of that time; it tells of {} from {} to {}",
                self.name,
                duration(Duration::from_nanos(last - first)),
                moment_text(first),
                moment_text(last)
            ),
        )
    }
}

/// Why a walk ends early.
enum Stop {
    Unread(Error),
    Refused(Failure),
}

impl From<Error> for Stop {
    fn from(err: Error) -> Self {
        Stop::Unread(err)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Refused(failure)
    }
}

/// A moment of a recording that begins at `first`, in nanoseconds since 1970.
pub(super) fn resolve(moment: Moment, first: u64) -> u64 {
    match moment {
        Moment::Unix(time) => time,
        Moment::After(length) => {
            first.saturating_add(length.as_nanos().min(u64::MAX.into()) as u64)
        }
    }
}

pub(super) fn exit(err: &Error) -> Exit {
    match err {
        Error::Newer { .. } | Error::Unknown { .. } => Exit::Unsupported,
        _ => Exit::Failure,
    }
}

pub(super) fn moment_text(nanos: u64) -> String {
    utc(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
}

/// Whether a process is asked for, by its number or its name.
fn wanted(process: &Process, word: &str) -> bool {
    wanted_as(process.pid, &process.comm, word)
}

/// The same of one with this number and name.
fn wanted_as(pid: u32, comm: &str, word: &str) -> bool {
    match word.parse::<u32>() {
        Ok(number) => pid == number,
        Err(_) => host::matches(word.as_bytes(), comm.as_bytes()),
    }
}

/// Leaves the processes that are asked for.
///
/// # Errors
/// There is no such process.
pub(super) fn only(profile: &mut Profile, words: &[String]) -> Result<(), Failure> {
    if words.is_empty() {
        return Ok(());
    }
    let missing = words.iter().find(|word| !profile.processes.iter().any(|p| wanted(p, word)));
    if let Some(missing) = missing {
        let mut who: Vec<String> = (profile.processes.iter().take(NAMED))
            .map(|process| format!("{} ({})", process.comm, process.who()))
            .collect();
        who.extend((profile.processes.len() > NAMED).then(|| "and more".to_owned()));
        let there = if who.is_empty() { "nobody".to_owned() } else { who.join(", ") };
        let text = format!("--process {missing}: is not there at that time; there are: {there}");
        return Err(Failure::new(Exit::Target, printable(&text).into_owned()));
    }
    keep(profile, words);
    Ok(())
}

/// The same where it does not matter whether they are there.
pub(super) fn keep(profile: &mut Profile, words: &[String]) {
    if !words.is_empty() {
        profile.keep_processes(|process| words.iter().any(|word| wanted(process, word)));
    }
}

/// Which value a word of pprof's means.
fn value(profile: &Profile, word: &str) -> Result<usize, Failure> {
    let types = &profile.meta.value_types;
    types.iter().position(|of| of.kind == word).ok_or_else(|| {
        let known: Vec<&str> = types.iter().map(|of| of.kind).collect();
        let text = format!("--type {word}: the recording has {}", known.join(", "));
        Failure::new(Exit::Usage, printable(&text).into_owned())
    })
}

/// What a recording holds.
fn listing(name: &str, survey: &Survey, readings: Option<Readings>) -> String {
    let Survey { first, last, shots, read, damaged, skipped, .. } = survey;
    let Survey { left_over, meta, processes, others, .. } = survey;
    let plural = if *shots == 1 { "" } else { "s" };
    let mut lines =
        vec![format!("{name}: {} snapshot{plural}, {}", grouped(*shots), bytes(survey.bytes))];
    lines.push(match shots {
        1 => format!("of {}", moment_text(*first)),
        _ => format!(
            "from {} to {}, {}",
            moment_text(*first),
            moment_text(*last),
            duration(Duration::from_nanos(last - first))
        ),
    });
    let how =
        meta.method.as_deref().map_or(String::new(), |method| format!(" ({})", printable(method)));
    lines.push(format!("source {}{how}", meta.source.word()));
    let types: Vec<&str> = meta.value_types.iter().map(|of| of.kind).collect();
    lines.push(format!("values {}", types.join(", ")));
    lines.extend(readings.map(|of| stats::line(of.count, of.first, of.last)));
    lines.push(String::new());
    lines.push(format!(
        "{:>8}  {:<15}  {:>9}  {:<21}  {}",
        "PID", "COMMAND", "SNAPSHOTS", "SEEN AFTER", "BINARY"
    ));
    for seen in processes.iter().take(NAMED) {
        let after = |time: u64| duration(Duration::from_nanos(time - first));
        lines.push(format!(
            "{:>8}  {:<15}  {:>9}  {:<21}  {}",
            seen.process.pid,
            printable(&seen.process.comm),
            seen.shots,
            format!("{} to {}", after(seen.first), after(seen.last)),
            printable(&seen.path)
        ));
    }
    let more = processes.len().saturating_sub(NAMED) as u64;
    if more > 0 || *others > 0 {
        let or = if *others > 0 { " or more" } else { "" };
        lines.push(format!("{}{or} further processes", grouped(more)));
    }
    if read + damaged < *shots {
        lines.push(format!(
            "looked at {} of its snapshots: the first of each segment, and the last segment; who came and \
             went in between is not listed",
            grouped(*read)
        ));
    }
    if *skipped > 0 {
        let skipped = grouped(*skipped);
        lines.push(format!(
            "damaged: {skipped} bytes between snapshots are no records; what they held is lost"
        ));
    }
    if *damaged > 0 {
        lines.push(format!("damaged: {} more snapshots can't be read", grouped(*damaged)));
    }
    if *left_over > 0 {
        let left_over = grouped(*left_over);
        lines.push(format!(
            "its last {left_over} bytes are no whole record: it was cut or damaged there"
        ));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn processes_are_told_by_number_and_by_name() {
        let left = |words: &[&str]| {
            let mut profile = sample::fleet();
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            only(&mut profile, &words)?;
            Ok::<_, Failure>(profile.processes.iter().map(|p| p.pid).collect::<Vec<_>>())
        };
        assert_eq!(left(&["77"]).unwrap(), [77]);
        assert_eq!(left(&["work*", "41"]).unwrap(), [41, 77, 78]);
        let failure = left(&["web", "7"]).unwrap_err();
        assert_eq!(failure.exit, Exit::Target);
        assert!(failure.message.ends_with("there are: web (41), worker (77), worker (78)"));
    }

    #[test]
    fn values_have_the_words_of_pprof() {
        assert_eq!(value(&sample::heap(), "alloc_objects").unwrap(), 0);
        let failure = value(&sample::block(), "inuse_space").unwrap_err();
        assert_eq!(failure.message, "--type inuse_space: the recording has contentions, delay");
    }
}

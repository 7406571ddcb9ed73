//! Last words, written: a directory for each process.
//!
//! In: the looks at a process, and how it has ended. Out: a recording of its heap, a flame graph of the last look,
//! its goroutines, and a document of statistics; and a few lines of text. A directory appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::how::How;
use super::kept::{Kept, Look};
use crate::cli::heap::Config;
use crate::exit::{Exit, Failure};
use crate::output::goroutines::{By, Options as GoroutineOptions};
use crate::output::json::unix_ns;
use crate::output::table::Style;
use crate::output::text::{bytes, duration, grouped, printable, utc};
use crate::output::{self, Format, TableOptions, caller};
use crate::pipeline::{heap, json, stats};
use crate::profile::{Frame, FrameKind, INUSE_SPACE, Profile};
use crate::recording::{Bounds, Shown, Writer};

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
const SCHEMA: &str = "heaptap.last-words/1";
/// Stacks that the text names.
const NAMED: usize = 3;
/// Rows of tables.
const ROWS: usize = 40;

/// Last words of one process.
pub struct Words {
    kept: Kept,
    how: How,
    ended: SystemTime,
    /// How long before that the last look was.
    age: Option<Duration>,
    /// The heap at each look, with names.
    profiles: Vec<Profile>,
    /// The stacks that held the most at the last one.
    top: Vec<Holder>,
}

#[derive(Serialize)]
struct Document<'a, L: Serialize> {
    schema: &'static str,
    ended_unix_ns: u64,
    /// `oom`, `signal`, `exit` or `unknown`.
    how: &'static str,
    signal: Option<i32>,
    status: Option<u8>,
    /// Between the last look and the end.
    last_look_age_ns: Option<u64>,
    goroutines_unix_ns: Option<u64>,
    /// Why the last look that was tried failed, if it did.
    failed: Option<&'a str>,
    /// Stacks that hold the most, as of the last look.
    top: &'a [Holder],
    /// As in `heaptap.stats/1`.
    looks: Vec<Told<L>>,
}

#[derive(Serialize)]
struct Told<L: Serialize> {
    unix_ns: u64,
    process: L,
}

#[derive(Serialize)]
struct Holder {
    inuse_bytes: u64,
    stack: Vec<Place>,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize)]
struct Place {
    function: String,
    file: String,
    line: u32,
}

impl Words {
    /// Gives names to what was read; it ended at `end`.
    pub fn new(mut kept: Kept, how: How, end: Instant, config: &Config) -> Self {
        let age = kept.looks.back().map(|look| end.saturating_duration_since(look.at));
        let looks = kept.looks.iter_mut();
        let moments = looks.filter_map(|look| Some((look.time, look.heap.take()?))).collect();
        let profiles = heap::of_moments(config, &Rc::clone(&kept.target), moments);
        let top = profiles.last().map_or_else(Vec::new, top);
        let ended = SystemTime::now() - end.elapsed();
        Self { kept, how, ended, age, profiles, top }
    }

    fn last(&self) -> Option<&Look> {
        self.kept.looks.back()
    }

    /// Writes all of it; where to.
    ///
    /// # Errors
    /// Something could not be written: then nothing is left.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, Failure> {
        let failed = |err: io::Error| {
            let place = printable(&dir.to_string_lossy()).into_owned();
            Failure::new(Exit::Output, format!("{place}: last words can't be written: {err}"))
        };
        let made = tempfile::Builder::new().prefix(".heaptap-").tempdir_in(dir).map_err(failed)?;
        self.files(made.path()).map_err(failed)?;
        let name = self.name();
        let mut path = dir.join(&name);
        let mut number = 1;
        // The same process number twice in one second.
        while path.exists() {
            number += 1;
            path = dir.join(format!("{name}-{number}"));
        }
        fs::rename(made.path(), &path).map_err(failed)?;
        // It has another name now.
        let _ = made.keep();
        Ok(path)
    }

    fn files(&self, dir: &Path) -> io::Result<()> {
        if !self.kept.looks.is_empty() {
            self.recording(dir)?;
        }
        if let Some(profile) = self.profiles.last() {
            let table = TableOptions { style: PLAIN, top: ROWS, ..TableOptions::default() };
            let options = output::Options { table, ..output::Options::default() };
            for (name, format) in [("heap.svg", Format::Svg), ("heap.txt", Format::Table)] {
                let mut out = io::BufWriter::new(File::create(dir.join(name))?);
                output::render(profile, format, &options, &mut out)?;
                out.flush()?;
            }
        }
        if let Some(goroutines) = self.kept.goroutines() {
            let options =
                GoroutineOptions { style: PLAIN, by: By::Creator, top: ROWS, system: false };
            let mut out = io::BufWriter::new(File::create(dir.join("goroutines.txt"))?);
            goroutines.write_table(&options, &mut out)?;
            out.flush()?;
            let mut out = io::BufWriter::new(File::create(dir.join("goroutines.json"))?);
            goroutines.write_json(&mut out)?;
            out.flush()?;
        }
        fs::write(dir.join("words.txt"), self.text(None))?;
        let document = self.document().map_err(|failure| io::Error::other(failure.message))?;
        fs::write(dir.join("words.json"), document)
    }

    /// All looks: their statistics, and heaps where there are such.
    fn recording(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join("heap.htap");
        let made = tempfile::NamedTempFile::new_in(dir)?;
        let mut writer = Writer::new(path, made, Bounds::default());
        let mut profiles = self.profiles.iter().peekable();
        for look in &self.kept.looks {
            if let Some(profile) = profiles.next_if(|profile| profile.meta.started == look.time) {
                writer.write(profile, Shown::default()).map_err(io::Error::other)?;
            }
            let statistics = stats::alone(look.time, &look.stats);
            writer.write_statistics(&statistics).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn document(&self) -> Result<String, Failure> {
        let document = Document {
            schema: SCHEMA,
            ended_unix_ns: unix_ns(self.ended),
            how: self.how.word(),
            signal: if let How::Signal(signal) = self.how { Some(signal) } else { None },
            status: if let How::Status(status) = self.how { Some(status) } else { None },
            last_look_age_ns: self.age.map(|age| age.as_nanos() as u64),
            goroutines_unix_ns: self.kept.goroutines_at.map(unix_ns),
            failed: self.kept.failed.as_ref().map(|failure| failure.message.as_str()),
            top: &self.top,
            looks: (self.kept.looks.iter())
                .map(|look| Told {
                    unix_ns: unix_ns(look.time),
                    process: stats::process(&look.stats),
                })
                .collect(),
        };
        json(SCHEMA, &document, true)
    }

    /// A name for its directory.
    fn name(&self) -> String {
        let process = &self.kept.target.process;
        let comm = process.comm.to_string_lossy();
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        let comm: String = comm.chars().map(safe).collect();
        let digits = |c: &char| c.is_ascii_digit();
        let time: String = utc(self.ended).chars().filter(digits).collect();
        format!("{comm}-{}-{time}", process.id.pid)
    }

    /// For people.
    pub fn text(&self, written: Option<&Path>) -> String {
        let process = &self.kept.target.process;
        let mut lines = Vec::new();
        let container = process.container.as_ref().ok().and_then(Option::as_ref);
        let container = container.map_or(String::new(), |container| {
            let short: String = container.id.chars().take(12).collect();
            format!(", container {short}")
        });
        lines.push(format!(
            "{} {} (pid {}{container}) {}",
            utc(self.ended),
            printable(&process.comm.to_string_lossy()),
            process.id.pid,
            self.how.text()
        ));
        match (self.last(), self.age) {
            (Some(look), Some(age)) => {
                let stats = &look.stats;
                let mut facts = vec![format!("looked at {} before", duration(age))];
                facts.extend(stats.memory.resident.map(|n| format!("resident {}", bytes(n))));
                let group = stats.memory.cgroup;
                facts.extend(group.and_then(|group| {
                    let limit = bytes(group.limit?);
                    Some(format!("control group {} of {limit}", bytes(group.usage)))
                }));
                facts.push(format!("live heap {}", bytes(stats.stats.heap.live)));
                facts.push(format!("{} goroutines", grouped(stats.goroutines.program)));
                lines.push(format!("  {}", facts.join(", ")));
            }
            _ => lines.push("  it ended before it could be looked at".to_owned()),
        }
        if self.top.is_empty() && self.last().is_some() {
            lines.push("  its runtime keeps no heap profile (the sampler is off)".to_owned());
        }
        for holder in self.top.iter().take(NAMED) {
            lines.push(format!("  {:>10}  {}", bytes(holder.inuse_bytes), holder.text));
        }
        if let Some(path) = written {
            lines.push(format!("  wrote {}", printable(&path.to_string_lossy())));
        }
        lines.join("\n") + "\n"
    }
}

/// The stacks that hold the most.
fn top(profile: &Profile) -> Vec<Holder> {
    let Some(value) = profile.value_of_kind(INUSE_SPACE) else { return Vec::new() };
    let mut merged = profile.clone();
    for sample in &mut merged.samples {
        // One stack holds objects of several sizes.
        sample.labels.clear();
    }
    merged.merge_equal();
    let of = |frames: &[Frame]| {
        let text = |name| merged.names.text(name).to_owned();
        let place =
            |f: &Frame| Place { function: text(f.function), file: text(f.file), line: f.line };
        frames.iter().map(place).collect()
    };
    let sorted = merged.sorted(value).into_iter().filter(|sample| sample.value(value) > 0);
    sorted
        .take(ROWS)
        .map(|sample| {
            let frames: Vec<Frame> = merged.frames(sample).copied().collect();
            // Where to look: the first place in the program's own code.
            let own = frames.iter().position(|f| f.kind == FrameKind::Program).unwrap_or(0);
            let text = caller::chain(&merged.names, &frames[own.min(frames.len())..]);
            Holder { inuse_bytes: sample.value(value), stack: of(&frames), text }
        })
        .collect()
}

const PLAIN: Style = Style { color: false, width: 120 };

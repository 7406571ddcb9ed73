//! Captures: what is kept of a process when a rule holds, as files in a directory with bounds.
//!
//! In: alerts that begin, and opened processes. Out: heap profiles and goroutines, which are read here, one a round, and
//! recordings, which another heaptap makes, one at a time, with its own budget. Stacks and numbers are in them, and
//! nothing of what is on the heap. More than so many in an hour are not made, and counted.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::round::Rounds;
use crate::agent::config::Captures as Config;
use crate::agent::push::spool;
use crate::agent::rules::{Alert, Capture, Captured};
use crate::exit::{Exit, Failure};
use crate::host::Identity;
use crate::output::text::{printable, utc};
use crate::output::{self, Format, Options};
use crate::pipeline::goroutines;

/// Captures that wait.
const WAITING: usize = 32;
const HOUR: Duration = Duration::from_secs(3600);
/// How long a recording may go on beyond what was asked for, to name and to write.
const BEYOND: Duration = Duration::from_secs(60);

/// Makes and keeps them.
pub struct Captures {
    config: Config,
    /// When those of the last hour were asked for.
    asked: VecDeque<Instant>,
    waiting: VecDeque<Wanted>,
    recording: Option<Recording>,
    counts: Captured,
}

/// One to be made.
struct Wanted {
    id: Identity,
    what: Capture,
    file: String,
}

/// One that another heaptap makes.
struct Recording {
    child: Child,
    file: String,
    until: Instant,
}

impl Captures {
    /// Makes the directory if there are rules that capture something.
    ///
    /// # Errors
    /// It can't be used.
    pub fn new(config: &Config, is_used: bool) -> Result<Self, Failure> {
        if is_used {
            spool::own(&config.dir)
                .map_err(|why| Failure::new(Exit::Output, format!("captures: {why}")))?;
        }
        Ok(Self {
            config: config.clone(),
            asked: VecDeque::new(),
            waiting: VecDeque::new(),
            recording: None,
            counts: Captured::default(),
        })
    }

    pub fn counts(&self) -> Captured {
        self.counts
    }

    /// What a rule wants of its process is made from now on; the files that it will be.
    pub fn ask(&mut self, alert: &Alert, now: Instant) -> Vec<String> {
        let mut files = Vec::new();
        while self.asked.front().is_some_and(|asked| now.saturating_duration_since(*asked) >= HOUR)
        {
            self.asked.pop_front();
        }
        for what in &alert.rule.capture {
            if self.asked.len() >= self.config.per_hour as usize || self.waiting.len() >= WAITING {
                self.counts.left_out += 1;
                continue;
            }
            self.asked.push_back(now);
            let file = name(alert, *what);
            self.waiting.push_back(Wanted { id: alert.who.id, what: *what, file: file.clone() });
            files.push(self.config.dir.join(file).to_string_lossy().into_owned());
        }
        files
    }

    /// Does a part of what waits; one capture at most, so that a round does not wait for many.
    pub fn work(&mut self, rounds: &mut Rounds<'_>, now: Instant) {
        self.look_after(now);
        // While one records, others that take no time go on.
        let is_free = self.recording.is_none();
        let next = |wanted: &Wanted| is_free || !matches!(wanted.what, Capture::Record(_));
        let Some(at) = self.waiting.iter().position(next) else { return };
        let Some(wanted) = self.waiting.remove(at) else { return };
        let done = match wanted.what {
            Capture::Heap => self.heap(rounds, &wanted),
            Capture::Goroutines => self.goroutines(rounds, &wanted),
            Capture::Record(length) => return self.record(&wanted, length, now),
        };
        self.told(&wanted.file, done);
    }

    fn told(&mut self, file: &str, done: Result<(), Failure>) {
        match done {
            Ok(()) => {
                self.counts.made += 1;
                eprintln!("heaptap: captured {}", printable(file));
            }
            Err(failure) => {
                self.counts.failed += 1;
                eprintln!("heaptap: not captured: {}: {failure}", printable(file));
            }
        }
        self.make_room();
    }

    fn heap(&self, rounds: &mut Rounds<'_>, wanted: &Wanted) -> Result<(), Failure> {
        let profile = rounds.heap(wanted.id)?;
        let options = Options::default();
        self.write(&wanted.file, |out| output::render(profile, Format::Pprof, &options, out))
    }

    fn goroutines(&self, rounds: &mut Rounds<'_>, wanted: &Wanted) -> Result<(), Failure> {
        let gone = || Failure::new(Exit::Target, format!("process {} is gone", wanted.id.pid));
        let process = rounds.opened(wanted.id).ok_or_else(gone)?;
        let mut watched = goroutines::Watched::new(process);
        watched.look()?;
        let profile = watched.goroutines().profile(false, None);
        let options = Options::default();
        self.write(&wanted.file, |out| output::render(&profile, Format::Pprof, &options, out))
    }

    /// Writes a file that is there whole or not at all.
    fn write(
        &self,
        file: &str,
        render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let written = || -> io::Result<()> {
            let made =
                tempfile::Builder::new().prefix(".heaptap-").tempfile_in(&self.config.dir)?;
            let mut out = BufWriter::new(made.as_file());
            render(&mut out)?;
            out.flush()?;
            drop(out);
            made.persist(self.config.dir.join(file)).map(drop).map_err(|err| err.error)
        };
        written().map_err(|err| Failure::new(Exit::Output, err.to_string()))
    }

    /// Starts a heaptap that records.
    fn record(&mut self, wanted: &Wanted, length: Duration, now: Instant) {
        let seconds = length.as_secs_f64();
        let mut heaptap = Command::new("/proc/self/exe");
        heaptap.args(["record", "--quiet", "-p", &wanted.id.pid.to_string()]);
        heaptap.args(["-d", &format!("{seconds}"), "-o"]).arg(self.config.dir.join(&wanted.file));
        heaptap.stdin(Stdio::null()).stdout(Stdio::null());
        // The process that was meant, and no later one of its number.
        let started = match wanted.id.is_alive() {
            true => heaptap.spawn().map_err(|err| Failure::new(Exit::Failure, err.to_string())),
            false => Err(Failure::new(Exit::Target, format!("process {} is gone", wanted.id.pid))),
        };
        match started {
            Ok(child) => {
                let until = now + length + BEYOND;
                self.recording = Some(Recording { child, file: wanted.file.clone(), until });
            }
            Err(failure) => self.told(&wanted.file, Err(failure)),
        }
    }

    /// Whether a recording has ended.
    fn look_after(&mut self, now: Instant) {
        let Some(recording) = &mut self.recording else { return };
        let ended = match recording.child.try_wait() {
            Ok(None) if now < recording.until => return,
            Ok(None) => {
                let _ = recording.child.kill();
                let _ = recording.child.wait();
                Err("it did not come to its end".to_owned())
            }
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(format!("heaptap record ended with {status}")),
            Err(err) => Err(err.to_string()),
        };
        let file = std::mem::take(&mut recording.file);
        self.recording = None;
        self.told(&file, ended.map_err(|why| Failure::new(Exit::Failure, why)));
    }

    /// Removes the oldest ones until what is left is within bounds.
    fn make_room(&mut self) {
        let Ok(found) = kept(&self.config.dir) else { return };
        let now = SystemTime::now();
        let mut bytes: u64 = found.iter().map(|one| one.bytes).sum();
        for one in found {
            let is_old = now.duration_since(one.made).is_ok_and(|age| age > self.config.age);
            if bytes <= self.config.bytes && !is_old {
                break;
            }
            if fs::remove_file(&one.path).is_ok() {
                bytes -= one.bytes;
                self.counts.removed += 1;
            }
        }
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        if let Some(recording) = &mut self.recording {
            // As Ctrl-C does it: its probes go, and what it has is written.
            if let Ok(pid) = i32::try_from(recording.child.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
            }
            let _ = recording.child.wait();
        }
    }
}

/// A file that was captured.
struct Kept {
    path: PathBuf,
    made: SystemTime,
    bytes: u64,
}

/// How captures end; other files in the directory are nobody's business.
const ENDS: [&str; 3] = ["-heap.pb.gz", "-goroutines.pb.gz", "-record.pb.gz"];

/// What is there, oldest first.
fn kept(dir: &Path) -> io::Result<Vec<Kept>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with('.') || !ENDS.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            let made = metadata.modified()?;
            found.push(Kept { path: entry.path(), made, bytes: metadata.len() });
        }
    }
    found.sort_by_key(|one| one.made);
    Ok(found)
}

/// `20260102-030405-leak-api-4242-heap.pb.gz`: no name of a rule or a process leads anywhere else.
fn name(alert: &Alert, what: Capture) -> String {
    let safe = |text: &str| -> String {
        let fine = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        text.chars().take(40).map(fine).collect()
    };
    let digits: String =
        utc(alert.at).chars().filter(|c| c.is_ascii_digit() || *c == ' ').collect();
    let time = digits.trim().replace(' ', "-");
    let (rule, comm) = (safe(&alert.rule.name), safe(&alert.who.comm));
    format!("{time}-{rule}-{comm}-{}-{}-{}.pb.gz", alert.who.id.pid, alert.id, what.word())
}

//! Captures: what is kept of a process when a rule holds, as files in a directory with bounds.
//!
//! In: alerts that begin, requests where they are allowed, and opened processes. Out: heap profiles and goroutines, which are read here, one a round, and
//! recordings, which another heaptap makes, one at a time, with its own budget. Stacks and numbers are in them, and
//! nothing of what is on the heap. More than so many in an hour are not made, and counted.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::recorder::Recorder;
use super::round::Rounds;
use crate::agent::captured::{Captured, END, Listed, Unmade};
use crate::agent::config::Captures as Config;
use crate::agent::node::Who;
use crate::agent::push::spool;
use crate::agent::rules::{Alert, Capture, Captured as Counts};
use crate::exit::{Exit, Failure};
use crate::host::Identity;
use crate::output::text::{printable, utc};
use crate::output::{self, Format, Options};
use crate::pipeline::goroutines;

/// Captures that wait.
const WAITING: usize = 32;
const HOUR: Duration = Duration::from_secs(3600);
/// What others put there or took away is seen after this time.
const LIST_EVERY: Duration = Duration::from_secs(60);

/// Makes and keeps them.
pub struct Captures {
    config: Config,
    /// When those of the last hour were asked for.
    asked: VecDeque<Instant>,
    waiting: VecDeque<Wanted>,
    /// What another heaptap makes, and its file.
    recording: Option<(Recorder, String)>,
    counts: Counts,
    /// How many were asked for by requests: no two have one name.
    wished: u64,
    listed: Arc<Listed>,
    listed_at: Instant,
}

/// One to be made.
struct Wanted {
    id: Identity,
    what: Capture,
    file: String,
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
        let mut captures = Self {
            config: config.clone(),
            asked: VecDeque::new(),
            waiting: VecDeque::new(),
            recording: None,
            counts: Counts::default(),
            wished: 0,
            listed: Arc::default(),
            listed_at: Instant::now(),
        };
        // What lies in a directory that nothing is captured into is nobody's business.
        if is_used {
            captures.list();
        }
        Ok(captures)
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What is there, for those who ask.
    pub fn listed(&self) -> &Arc<Listed> {
        &self.listed
    }

    fn list(&mut self) {
        let files = kept(&self.config.dir).unwrap_or_default();
        let Config { dir, on_request, longest, .. } = &self.config;
        let (dir, on_request, longest) = (dir.clone(), *on_request, *longest);
        self.listed = Arc::new(Listed { dir, files, on_request, longest });
        self.listed_at = Instant::now();
    }

    /// What a rule wants of its process is made from now on; the files that it will be.
    pub fn ask(&mut self, alert: &Alert, now: Instant) -> Vec<String> {
        let mut files = Vec::new();
        for what in &alert.rule.capture {
            if !self.has_room(now) {
                self.counts.left_out += 1;
                continue;
            }
            let file = name((&alert.rule.name, alert.id), alert.at, &alert.who, *what);
            self.want(&alert.who, *what, &file, now);
            files.push(self.config.dir.join(file).to_string_lossy().into_owned());
        }
        files
    }

    /// What a request wants; the name of the file that it will be.
    ///
    /// # Errors
    /// Requests are not allowed to, or this is more than they may.
    pub fn wish(&mut self, who: &Who, what: Capture, now: Instant) -> Result<String, Unmade> {
        if !self.config.on_request {
            return Err(Unmade::NotAllowed);
        }
        let longest = self.config.longest;
        if what.recorded().is_some_and(|(_, length)| length > longest) {
            return Err(Unmade::TooLong(longest));
        }
        if !self.has_room(now) {
            self.counts.left_out += 1;
            return Err(Unmade::TooMany);
        }
        self.wished += 1;
        let file = name(("asked", self.wished), SystemTime::now(), who, what);
        self.want(who, what, &file, now);
        Ok(file)
    }

    /// Whether one more may be made within the hour.
    fn has_room(&mut self, now: Instant) -> bool {
        let is_past = |at: &Instant| now.saturating_duration_since(*at) >= HOUR;
        while self.asked.front().is_some_and(is_past) {
            self.asked.pop_front();
        }
        self.asked.len() < self.config.per_hour as usize && self.waiting.len() < WAITING
    }

    fn want(&mut self, who: &Who, what: Capture, file: &str, now: Instant) {
        self.asked.push_back(now);
        self.waiting.push_back(Wanted { id: who.id, what, file: file.to_owned() });
    }

    /// Does a part of what waits; one capture at most, so that a round does not wait for many.
    pub fn work(&mut self, rounds: &mut Rounds<'_>, now: Instant) {
        self.look_after(now);
        if !self.listed.dir.as_os_str().is_empty() && now - self.listed_at >= LIST_EVERY {
            self.list();
        }
        // While one records, others that take no time go on.
        let is_free = self.recording.is_none();
        let next = |wanted: &Wanted| is_free || wanted.what.recorded().is_none();
        let Some(at) = self.waiting.iter().position(next) else { return };
        let Some(wanted) = self.waiting.remove(at) else { return };
        if let Some((probe, length)) = wanted.what.recorded() {
            return self.record(&wanted, probe, length, now);
        }
        let done = match wanted.what {
            Capture::Goroutines => self.goroutines(rounds, &wanted),
            _ => self.heap(rounds, &wanted),
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
        self.list();
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
    fn record(&mut self, wanted: &Wanted, probe: &str, length: Duration, now: Instant) {
        let to = self.config.dir.join(&wanted.file);
        match Recorder::start(wanted.id, length, &["--probe", probe], &to, now) {
            Ok(recorder) => self.recording = Some((recorder, wanted.file.clone())),
            Err(failure) => self.told(&wanted.file, Err(failure)),
        }
    }

    /// Whether a recording has ended.
    fn look_after(&mut self, now: Instant) {
        let ended = self.recording.as_mut().and_then(|(recorder, _)| recorder.ended(now));
        let Some(ended) = ended else { return };
        if let Some((_, file)) = self.recording.take() {
            self.told(&file, ended);
        }
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
            if fs::remove_file(self.config.dir.join(&one.name)).is_ok() {
                bytes -= one.bytes;
                self.counts.removed += 1;
            }
        }
    }
}

/// What is there, oldest first; other files in the directory are nobody's business.
fn kept(dir: &Path) -> io::Result<Vec<Captured>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            found.extend(Captured::of(name, metadata.modified()?, metadata.len()));
        }
    }
    found.sort_by(|a, b| (a.made, &a.name).cmp(&(b.made, &b.name)));
    Ok(found)
}

/// `20260102-030405-leak-api-4242-17-heap.pb.gz`: no name of a rule or a process leads anywhere else.
fn name((why, id): (&str, u64), at: SystemTime, who: &Who, what: Capture) -> String {
    let safe = |text: &str| -> String {
        let fine = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        text.chars().take(40).map(fine).collect()
    };
    let digits: String = utc(at).chars().filter(|c| c.is_ascii_digit() || *c == ' ').collect();
    let time = digits.trim().replace(' ', "-");
    let (why, comm, pid) = (safe(why), safe(&who.comm), who.id.pid);
    format!("{time}-{why}-{comm}-{pid}-{id}-{}{END}", what.word())
}

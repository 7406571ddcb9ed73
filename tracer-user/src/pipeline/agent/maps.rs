//! Iterations over maps: who is recorded, and when.
//!
//! In: processes, and how long one is recorded at a time ([watch] maps; nothing: nobody is). Out: what each recording
//! has seen, for its process. One process at a time is recorded, by another heaptap with its own budget, the one that
//! was not for longest; the next one when the CPU time that this took is saved.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::recorder::Recorder;
use super::round::Rounds;
use super::settings::Settings;
use super::turns::Allowance;
use crate::agent::push::spool;
use crate::exit::{Exit, Failure};
use crate::host::Identity;
use crate::pipeline::top::footprint::cpu_time_of_children;

/// Bytes of a recording that are read.
const LARGEST: u64 = 64 << 20;

/// Records one process after the other.
pub struct Maps {
    length: Option<Duration>,
    file: PathBuf,
    allowance: Allowance,
    recording: Option<Recording>,
}

struct Recording {
    of: Identity,
    recorder: Recorder,
    /// What children had taken before.
    before: Option<Duration>,
}

impl Maps {
    /// # Errors
    /// There is no place for recordings.
    pub fn new(settings: &Settings, now: Instant) -> Result<Self, Failure> {
        let maps = Self {
            length: settings.watch.maps,
            file: settings.captures.dir.join(".heaptap-maps.json"),
            allowance: Allowance::new(settings.watch.cpu, now),
            recording: None,
        };
        if maps.length.is_some() {
            spool::own(&settings.captures.dir)
                .map_err(|why| Failure::new(Exit::Output, format!("captures: {why}")))?;
        }
        Ok(maps)
    }

    /// After each round.
    pub fn round(&mut self, rounds: &mut Rounds<'_>, now: Instant) {
        if let Some(recording) = &mut self.recording {
            let Some(ended) = recording.recorder.ended(now) else { return };
            let (of, before) = (recording.of, recording.before);
            self.recording = None;
            let took = cpu_time_of_children().zip(before);
            self.allowance
                .took(took.map_or(Duration::ZERO, |(now, then)| now.saturating_sub(then)));
            let read = ended.and_then(|()| {
                self.read().map_err(|err| Failure::new(Exit::Failure, err.to_string()))
            });
            // One that has ended is no failure.
            if read.is_ok() || of.is_alive() {
                rounds.recorded(of, read);
            }
        }
        let Some(length) = self.length else { return };
        if !self.allowance.allows(now) {
            return;
        }
        let Some(of) = rounds.next_to_record(now) else { return };
        let before = cpu_time_of_children();
        match Recorder::start(of, length, &["--probe", "map"], &self.file, now) {
            Ok(recorder) => self.recording = Some(Recording { of, recorder, before }),
            Err(_) if !of.is_alive() => {}
            Err(failure) => rounds.recorded(of, Err(failure)),
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut json = Vec::new();
        let read = File::open(&self.file)?.take(LARGEST + 1).read_to_end(&mut json)?;
        std::fs::remove_file(&self.file)?;
        match read as u64 > LARGEST {
            true => Err(io::Error::other("the recording is too large")),
            false => Ok(json),
        }
    }
}

//! A recording's file, written.
//!
//! In: profiles, and statistics. Out: a file to which each is added as it comes, in one write, so that whatever ends
//! heaptap, all before is there. Begins with the first one: until then a file of that name is left alone. Every so often a
//! segment begins, which needs nothing before it; the oldest go when the file would be larger or older than it may.
//! Then it is written anew without them and put in its place.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use super::block::{self, FILE_HEADER, KEY, NEXT, NEXT_STATISTICS, STATISTICS};
use super::encode::Encoder;
use super::sampled::{Counts, Sampled};
use super::statistics::{self, Statistics};
use super::{Error, LARGEST, Shown};
use crate::profile::Profile;

/// How much of a recording is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the file; the newest segment is kept whatever it takes.
    pub size: Option<u64>,
    /// How old what it tells of may be; up to an eighth more is kept.
    pub age: Option<Duration>,
}

/// Snapshots of a segment, and how many times it has statistics.
const SHOTS: u32 = 120;
/// A segment has at most this part of what is kept.
const PART: u32 = 8;

/// A recording that grows.
pub struct Writer {
    path: PathBuf,
    file: Place,
    bounds: Bounds,
    encoder: Encoder,
    statistics: statistics::Encoder,
    segments: VecDeque<Segment>,
    /// Bytes of the file.
    end: u64,
    /// That of the last record.
    time: u64,
}

enum Place {
    /// Nothing was written yet.
    New(Option<NamedTempFile>),
    There(File),
}

struct Segment {
    at: u64,
    time: u64,
    shots: u32,
    /// How many times it has statistics, and whether they are its last record.
    readings: u32,
    ends_with_reading: bool,
}

impl Writer {
    /// A recording that will be at `path`; what `made` has is put there when it begins. `made` is in the same
    /// directory.
    pub fn new(path: PathBuf, made: NamedTempFile, bounds: Bounds) -> Self {
        Self {
            path,
            file: Place::New(Some(made)),
            bounds,
            encoder: Encoder::default(),
            statistics: statistics::Encoder::default(),
            segments: VecDeque::new(),
            end: 0,
            time: 0,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.end
    }

    /// Adds a snapshot.
    ///
    /// # Errors
    /// It is too large; the file can't be written. What was written before is there.
    pub fn write(&mut self, profile: &Profile, shown: Shown) -> Result<(), Error> {
        // A clock may be set back.
        self.time = self.time.max(end_of(profile));
        let counts = Sampled::counts(profile);
        let begins = !self.goes_on(profile, counts.as_deref());
        if begins {
            (self.encoder, self.statistics) = Default::default();
        }
        let contents = self.encoder.encode(profile, counts.as_deref(), shown);
        if contents.len() > LARGEST {
            // What was said is not in the file.
            self.encoder = Encoder::default();
            return Err(Error::Unwritable);
        }
        let record = block::seal(if begins { KEY } else { NEXT }, self.time, &contents)?;
        let written = self.add(&record, begins);
        match (&written, self.segments.back_mut()) {
            (Ok(()), Some(last)) => {
                last.shots += 1;
                last.ends_with_reading = false;
            }
            _ => self.encoder = Encoder::default(),
        }
        written
    }

    /// Adds statistics.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_statistics(&mut self, statistics: &Statistics) -> Result<(), Error> {
        self.time = self.time.max(statistics.time);
        self.add_statistics(statistics)
    }

    /// Adds the statistics that were read along with the last snapshot: they are of its time, so that who asks for a
    /// moment has both.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_beside(&mut self, statistics: &Statistics) -> Result<(), Error> {
        self.add_statistics(statistics)
    }

    fn add_statistics(&mut self, statistics: &Statistics) -> Result<(), Error> {
        let begins = !self.has_room_for_statistics();
        if begins {
            // What is counted on by nobody else may go with its segment.
            (self.encoder, self.statistics) = Default::default();
        }
        let kind = if self.statistics.is_new() { STATISTICS } else { NEXT_STATISTICS };
        let contents = self.statistics.encode(statistics);
        if contents.len() > LARGEST {
            self.statistics = statistics::Encoder::default();
            return Err(Error::Unwritable);
        }
        let record = block::seal(kind, self.time, &contents)?;
        let written = self.add(&record, begins);
        match (&written, self.segments.back_mut()) {
            (Ok(()), Some(last)) => {
                last.readings += 1;
                last.ends_with_reading = true;
            }
            _ => self.statistics = statistics::Encoder::default(),
        }
        written
    }

    /// Whether statistics go into the last segment. Those that follow a snapshot do: its segment ends with the next one.
    fn has_room_for_statistics(&self) -> bool {
        let Some(last) = self.segments.back() else { return false };
        last.readings < SHOTS && (!last.ends_with_reading || self.has_room(last))
    }

    /// Whether a segment is smaller and younger than one may be.
    fn has_room(&self, last: &Segment) -> bool {
        let (bytes, age) = (self.end - last.at, Duration::from_nanos(self.time - last.time));
        self.bounds.size.is_none_or(|size| bytes < size / u64::from(PART))
            && self.bounds.age.is_none_or(|most| age < most / PART)
    }

    /// Whether the segment does.
    fn goes_on(&self, profile: &Profile, counts: Option<&[Counts]>) -> bool {
        let Some(last) = self.segments.back() else { return false };
        self.encoder.fits(profile, counts) && last.shots < SHOTS && self.has_room(last)
    }

    fn add(&mut self, record: &[u8], begins: bool) -> Result<(), Error> {
        self.make_room(record.len() as u64)?;
        match &mut self.file {
            Place::There(file) => append(file, self.end, record).map_err(Error::Write)?,
            Place::New(made) => {
                // A second one, after one that could not be written, would have no place to be in.
                let gone = || Error::Write(io::ErrorKind::NotFound.into());
                let made = made.take().ok_or_else(gone)?;
                let header = block::file_header();
                append(made.as_file(), 0, &[&header[..], record].concat()).map_err(Error::Write)?;
                let file = made.persist(&self.path).map_err(|failed| Error::Write(failed.error))?;
                self.file = Place::There(file);
                self.end = FILE_HEADER as u64;
            }
        }
        if begins {
            let (at, time) = (self.end, self.time);
            let (shots, readings, ends_with_reading) = (0, 0, false);
            self.segments.push_back(Segment { at, time, shots, readings, ends_with_reading });
        }
        self.end += record.len() as u64;
        Ok(())
    }

    /// Lets the oldest segments go where it is time.
    fn make_room(&mut self, more: u64) -> Result<(), Error> {
        let Place::There(file) = &self.file else { return Ok(()) };
        let starts = || self.segments.iter().skip(1);
        // One of which nothing is young enough.
        let oldest = self.bounds.age.map_or(0, |age| self.time.saturating_sub(nanos(age)));
        let old = starts().take_while(|next| next.time < oldest).count();
        let is_large = self.bounds.size.is_some_and(|size| self.end + more > size);
        let large = match self.bounds.size.filter(|_| is_large) {
            // More than is needed, so that it is not soon needed again.
            Some(size) => {
                let fits = |at: u64| self.end - at + more + FILE_HEADER as u64 <= size - size / 4;
                starts().take_while(|next| !fits(next.at)).count() + 1
            }
            None => 0,
        };
        let gone = old.max(large).min(self.segments.len().saturating_sub(1));
        let Some(first) = self.segments.get(gone).filter(|_| gone > 0).map(|first| first.at) else {
            return Ok(());
        };
        let (kept, end) = without(file, first, self.end, &self.path).map_err(Error::Write)?;
        (self.file, self.end) = (Place::There(kept), end);
        self.segments.drain(..gone);
        for segment in &mut self.segments {
            segment.at -= first - FILE_HEADER as u64;
        }
        Ok(())
    }
}

/// When what a profile tells of ended.
fn end_of(profile: &Profile) -> u64 {
    let started = profile.meta.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    nanos(started.saturating_add(profile.meta.duration))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes at the end; of what can't be written whole, nothing is left.
fn append(file: &File, end: u64, bytes: &[u8]) -> io::Result<()> {
    let written = file.write_all_at(bytes, end);
    if written.is_err() {
        // Best effort: a part of a record is passed over by readers, but not by records that follow.
        let _ = file.set_len(end);
    }
    written
}

/// Puts a file into the place of `path` that has of `from` what is between `first` and `end`. Returns it and its length.
fn without(mut from: &File, first: u64, end: u64, path: &Path) -> io::Result<(File, u64)> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut made = tempfile::Builder::new()
        .prefix(".heaptap-")
        .permissions(from.metadata()?.permissions())
        .tempfile_in(parent.unwrap_or(Path::new(".")))?;
    made.write_all(&block::file_header())?;
    from.seek(SeekFrom::Start(first))?;
    let copied = io::copy(&mut from.take(end - first), made.as_file_mut())?;
    if copied != end - first {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let file = made.persist(path).map_err(|failed| failed.error)?;
    Ok((file, copied + FILE_HEADER as u64))
}

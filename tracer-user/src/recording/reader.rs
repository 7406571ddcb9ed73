//! A recording's file, read.
//!
//! In: an opened file, and a moment. Out: the snapshot of that moment, or what the file holds. However large
//! the file is, one segment's tables are in memory at a time. A file that was cut ends with its last whole record;
//! a record that was damaged is left out with what builds on it, and counted. Behind what is no record at all it goes
//! on with the next key.

mod all;
mod statistics;

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Seek, SeekFrom};

use super::block::{self, FILE_HEADER, Head, KEY, NEXT};
use super::decode::Decoder;
use super::{Error, LARGEST, Shot};
use crate::profile::{Meta, Process};

pub use all::Record;
pub use statistics::Readings;

/// What a reader may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, roughly.
    pub memory: usize,
    /// Processes that a survey tells.
    pub processes: usize,
    /// Snapshots that a survey reads. Of more it reads the first of each segment, and the last segment.
    pub shots: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 512 << 20, processes: 10_000, shots: 2_000 }
    }
}

/// Damaged segments that are passed over in search of one that is not.
const PASSED: usize = 16;

/// A recording that is open.
#[derive(Debug)]
pub struct Recording<R> {
    source: R,
    /// Bytes of the file.
    end: u64,
    limits: Limits,
}

/// The snapshot of a moment.
#[derive(Debug)]
pub struct Found {
    pub shot: Shot,
    /// Later ones up to that moment that are damaged.
    pub damaged: u64,
    /// Bytes behind it and up to that moment that are no records.
    pub skipped: u64,
}

/// What a recording holds.
#[derive(Debug)]
pub struct Survey {
    /// When the first and the last snapshot end, in nanoseconds since 1970.
    pub first: u64,
    pub last: u64,
    /// All that can be read, or what their headers say where they were not.
    pub shots: u64,
    /// Those that were read.
    pub read: u64,
    /// Of those that were to be read: snapshots that can't be.
    pub damaged: u64,
    /// Bytes between records that are none.
    pub skipped: u64,
    /// Bytes at the end that are no whole record.
    pub left_over: u64,
    pub bytes: u64,
    /// What the last snapshot measures.
    pub meta: Meta,
    pub processes: Vec<Seen>,
    /// Processes that there was no room for in the list.
    pub others: u64,
}

/// A process of a recording.
#[derive(Debug)]
pub struct Seen {
    pub process: Process,
    /// Path of its binary.
    pub path: String,
    /// When it was seen first and last.
    pub first: u64,
    pub last: u64,
    pub shots: u64,
}

impl<R: Read + Seek> Recording<R> {
    /// Checks that it is one.
    ///
    /// # Errors
    /// It is none; it is a newer one; it can't be read.
    pub fn open(mut source: R, limits: Limits) -> Result<Self, Error> {
        let end = source.seek(SeekFrom::End(0)).map_err(Error::Read)?;
        source.seek(SeekFrom::Start(0)).map_err(Error::Read)?;
        block::check_file_header(&mut source)?;
        Ok(Self { source, end, limits })
    }

    /// When its first and its last snapshot end, in nanoseconds since 1970.
    ///
    /// # Errors
    /// There is none; the file can't be read.
    pub fn span(&mut self) -> Result<(u64, u64), Error> {
        let mut span = None;
        let mut at = FILE_HEADER as u64;
        while let Some(head) = self.head(at)? {
            at = head.end();
            if is_shot(&head) {
                let (first, _) = span.unwrap_or((head.time, head.time));
                span = Some((first, head.time));
            }
        }
        span.ok_or(Error::Empty)
    }

    /// The last snapshot that is not after `time`, in nanoseconds since 1970; nothing when all are.
    ///
    /// # Errors
    /// It makes no sense, needs too much memory or can't be read; there is no snapshot at all.
    pub fn at(&mut self, time: u64) -> Result<Option<Found>, Error> {
        let mut keys: VecDeque<(Head, u64, u64)> = VecDeque::new();
        let (mut at, mut shots, mut skipped) = (FILE_HEADER as u64, 0, 0);
        while let Some(head) = self.head(at)? {
            skipped += head.at - at;
            at = head.end();
            if !is_shot(&head) {
                continue;
            }
            if head.time > time {
                break;
            }
            if head.kind == KEY {
                keys.truncate(PASSED - 1);
                keys.push_front((head, shots, skipped));
            }
            shots += 1;
        }
        if shots == 0 {
            // There is a later one, or nothing.
            return if at > FILE_HEADER as u64 { Ok(None) } else { Err(Error::Empty) };
        }
        for (key, before, skipped_before) in keys {
            if let Some((shot, read)) = self.segment(key, time)? {
                let damaged = shots - before - read;
                return Ok(Some(Found { shot, damaged, skipped: skipped - skipped_before }));
            }
        }
        Err(Error::Malformed { at: FILE_HEADER as u64, what: "its snapshots are damaged" })
    }

    /// How many snapshots end from `from` to `to`, in nanoseconds since 1970.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn count(&mut self, from: u64, to: u64) -> Result<u64, Error> {
        let (mut at, mut count) = (FILE_HEADER as u64, 0);
        while let Some(head) = self.head(at)?.filter(|head| head.time <= to) {
            at = head.end();
            count += u64::from(is_shot(&head) && head.time >= from);
        }
        Ok(count)
    }

    /// Shows the snapshots that [`Self::count`] counts, of each `step` the first, and the last of all; tells how
    /// many of them are damaged.
    ///
    /// # Errors
    /// As [`Self::at`], and those of `show`.
    pub fn each<E: From<Error>>(
        &mut self,
        (from, to): (u64, u64),
        step: u64,
        mut show: impl FnMut(Shot) -> Result<(), E>,
    ) -> Result<u64, E> {
        let count = self.count(from, to)?;
        let (mut seen, mut damaged) = (0, 0);
        let mut decoder: Option<Decoder> = None;
        let mut at = FILE_HEADER as u64;
        while let Some(head) = self.head(at)?.filter(|head| head.time <= to) {
            if head.at != at {
                decoder = None;
            }
            at = head.end();
            if !is_shot(&head) {
                continue;
            }
            if head.kind == KEY {
                decoder = Some(Decoder::new(self.limits.memory));
            }
            let is_meant = head.time >= from;
            let shown = is_meant && (seen % step.max(1) == 0 || seen + 1 == count);
            seen += u64::from(is_meant);
            let contents = if decoder.is_some() { self.contents(&head)? } else { None };
            let (Some(known), Some(contents)) = (&mut decoder, contents) else {
                damaged += u64::from(is_meant);
                decoder = None;
                continue;
            };
            known.apply(&contents, head.at)?;
            if shown {
                show(known.shot(head.time, head.at)?)?;
            }
        }
        Ok(damaged)
    }

    /// What there is.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub fn survey(&mut self) -> Result<Survey, Error> {
        let (count, last_key) = self.extent()?;
        let mut survey: Option<Survey> = None;
        let (mut damaged, mut skipped, mut unread) = (0, 0, 0);
        let mut last = 0;
        let mut decoder: Option<Decoder> = None;
        let mut numbers = Numbers::new();
        let mut at = FILE_HEADER as u64;
        while let Some(head) = self.head(at)? {
            if head.at != at {
                skipped += head.at - at;
                decoder = None;
            }
            at = head.end();
            if !is_shot(&head) {
                continue;
            }
            if count > self.limits.shots && head.kind != KEY && head.at < last_key {
                unread += 1;
                last = head.time;
                continue;
            }
            if head.kind == KEY {
                decoder = Some(Decoder::new(self.limits.memory));
            }
            let contents = if decoder.is_some() { self.contents(&head)? } else { None };
            let (Some(known), Some(contents)) = (&mut decoder, contents) else {
                damaged += 1;
                decoder = None;
                continue;
            };
            known.apply(&contents, head.at)?;
            last = head.time;
            let survey = survey.get_or_insert_with(|| Survey {
                first: head.time,
                last: head.time,
                shots: 0,
                read: 0,
                damaged: 0,
                skipped: 0,
                left_over: 0,
                bytes: self.end,
                meta: known.meta().clone(),
                processes: Vec::new(),
                others: 0,
            });
            survey.add(known, head.time, &mut numbers, self.limits.processes);
        }
        let Some(survey) = survey else { return Err(Error::Empty) };
        let (shots, left_over) = (survey.read + unread, self.end - at);
        Ok(Survey { damaged, left_over, skipped, shots, last, ..survey })
    }

    /// How many snapshots there are, and where the last key is.
    fn extent(&mut self) -> Result<(u64, u64), Error> {
        let (mut at, mut count, mut key) = (FILE_HEADER as u64, 0, 0);
        while let Some(head) = self.head(at)? {
            at = head.end();
            count += u64::from(is_shot(&head));
            key = if head.kind == KEY { head.at } else { key };
        }
        Ok((count, key))
    }

    /// The last snapshot of a segment that is not after `time` and not damaged, and how many were read.
    fn segment(&mut self, key: Head, time: u64) -> Result<Option<(Shot, u64)>, Error> {
        let mut decoder = Decoder::new(self.limits.memory);
        let mut last = None;
        let mut read = 0;
        let mut next = Some(key);
        while let Some(head) = next {
            if is_shot(&head) {
                let begins = head.kind == KEY && head.at != key.at;
                if begins || head.time > time {
                    break;
                }
                let Some(contents) = self.contents(&head)? else { break };
                decoder.apply(&contents, head.at)?;
                last = Some(head);
                read += 1;
            }
            // Behind what is no record nothing goes on from it.
            next = self.head(head.end())?.filter(|next| next.at == head.end());
        }
        let Some(last) = last else { return Ok(None) };
        Ok(Some((decoder.shot(last.time, last.at)?, read)))
    }

    /// The header at `at`, or the next one of what needs nothing before it where there is none.
    fn head(&mut self, at: u64) -> Result<Option<Head>, Error> {
        let head = match block::head(&mut self.source, at, self.end)? {
            None => block::find_key(&mut self.source, at, self.end)?,
            head => head,
        };
        match head {
            Some(head) if !is_shot(&head) && !head.is_optional() => Err(Error::Unknown { at }),
            head => Ok(head),
        }
    }

    fn contents(&mut self, head: &Head) -> Result<Option<Vec<u8>>, Error> {
        block::contents(&mut self.source, head, LARGEST.min(self.limits.memory / 2))
    }
}

fn is_shot(head: &Head) -> bool {
    matches!(head.kind, KEY | NEXT)
}

/// Processes of a survey by pid and start.
type Numbers = HashMap<(u32, u64), Vec<usize>>;

impl Survey {
    fn add(&mut self, decoder: &Decoder, time: u64, numbers: &mut Numbers, limit: usize) {
        self.read += 1;
        self.meta.clone_from(decoder.meta());
        for (process, path) in decoder.processes() {
            let key = (process.pid, process.start_ticks);
            let mut known = numbers.get(&key).into_iter().flatten();
            let is_same = |number: &&usize| {
                let seen = &self.processes[**number];
                seen.process.comm == process.comm && seen.path == path
            };
            if let Some(number) = known.find(is_same) {
                let seen = &mut self.processes[*number];
                seen.last = time;
                seen.shots += 1;
            } else if self.processes.len() < limit {
                numbers.entry(key).or_default().push(self.processes.len());
                self.processes.push(Seen {
                    process: process.clone(),
                    path: path.to_owned(),
                    first: time,
                    last: time,
                    shots: 1,
                });
            } else {
                self.others += 1;
            }
        }
    }
}

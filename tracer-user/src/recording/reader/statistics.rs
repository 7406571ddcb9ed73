//! Statistics of a recording, read.
//!
//! In: an opened recording, and which time of it. Out: what was read of processes then, one time after the other: no
//! more than the last one is in memory.

use std::io::{Read, Seek};

use super::{PASSED, Recording};
use crate::recording::Error;
use crate::recording::block::{FILE_HEADER, Head, NEXT_STATISTICS, STATISTICS};
use crate::recording::statistics::{Decoder, Statistics};

/// What a recording has of statistics, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readings {
    pub count: u64,
    /// When the first and the last were read, in nanoseconds since 1970; of those that belong to a snapshot, when that
    /// ended.
    pub first: u64,
    pub last: u64,
}

/// What was seen on a way through a recording.
#[derive(Default)]
struct Walked {
    damaged: u64,
    /// Of those after the last one that could be read.
    damaged_since: u64,
    last: Option<Statistics>,
}

impl<R: Read + Seek> Recording<R> {
    /// What it has of statistics from `from` to `to`, in nanoseconds since 1970; nothing: it has none.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn readings(&mut self, (from, to): (u64, u64)) -> Result<Option<Readings>, Error> {
        let mut found: Option<Readings> = None;
        let mut at = FILE_HEADER as u64;
        while let Some(head) = self.head(at)?.filter(|head| head.time <= to) {
            at = head.end();
            if is_reading(&head) && head.time >= from {
                let (first, last) = (head.time, head.time);
                let found = found.get_or_insert(Readings { count: 0, first, last });
                found.count += 1;
                found.last = last;
            }
        }
        Ok(found)
    }

    /// The last statistics that are not after `time`, and how many later ones up to then are damaged; nothing: there
    /// are none.
    ///
    /// # Errors
    /// They make no sense, need too much memory or can't be read.
    pub fn statistics_at(&mut self, time: u64) -> Result<Option<(Statistics, u64)>, Error> {
        let Some(there) = self.readings((0, time))? else { return Ok(None) };
        for (start, before) in self.statistics_keys(|key| key.time <= time)? {
            let mut seen = 0;
            let walked = self.walk(start, (0, time), |_, _| {
                seen += 1;
                Ok::<_, Error>(())
            })?;
            if let Some(last) = walked.last {
                // Those of later segments, none of which could be read.
                let later = there.count - before - seen;
                return Ok(Some((last, walked.damaged_since + later)));
            }
        }
        Err(Error::Malformed { at: FILE_HEADER as u64, what: "its statistics are damaged" })
    }

    /// Shows statistics from `from` to `to`, of each `step` the first, and the last of all, each with its time; tells
    /// how many are damaged.
    ///
    /// # Errors
    /// As [`Self::statistics_at`], and those of `show`.
    pub fn each_statistics<E: From<Error>>(
        &mut self,
        (from, to): (u64, u64),
        step: u64,
        mut show: impl FnMut(u64, &Statistics) -> Result<(), E>,
    ) -> Result<u64, E> {
        let Some(there) = self.readings((from, to))? else { return Ok(0) };
        let keys = self.statistics_keys(|key| key.time < from)?;
        let start = keys.first().map_or(FILE_HEADER as u64, |(start, _)| *start);
        let mut seen = 0;
        let walked = self.walk(start, (from, to), |time, statistics| {
            let is_shown = seen % step.max(1) == 0 || seen + 1 == there.count;
            seen += 1;
            match statistics {
                Some(statistics) if is_shown => show(time, statistics),
                _ => Ok(()),
            }
        })?;
        Ok(walked.damaged)
    }

    /// Where statistics begin that need nothing before them, the latest first, and how many statistics are before each.
    fn statistics_keys(&mut self, is: impl Fn(&Head) -> bool) -> Result<Vec<(u64, u64)>, Error> {
        let (mut keys, mut count) = (Vec::new(), 0);
        let mut at = FILE_HEADER as u64;
        while let Some(head) = self.head(at)? {
            at = head.end();
            if head.kind == STATISTICS && is(&head) {
                keys.insert(0, (head.at, count));
                keys.truncate(PASSED);
            }
            count += u64::from(is_reading(&head));
        }
        Ok(keys)
    }

    /// Goes through statistics from the record at `at` on, and shows those from `from` to `to`; nothing instead of those
    /// that are damaged.
    fn walk<E: From<Error>>(
        &mut self,
        mut at: u64,
        (from, to): (u64, u64),
        mut see: impl FnMut(u64, Option<&Statistics>) -> Result<(), E>,
    ) -> Result<Walked, E> {
        let mut walked = Walked::default();
        let mut decoder: Option<Decoder> = None;
        while let Some(head) = self.head(at)?.filter(|head| head.time <= to) {
            if head.at != at {
                walked.leave(&mut decoder);
            }
            at = head.end();
            if !is_reading(&head) {
                continue;
            }
            if head.kind == STATISTICS {
                walked.leave(&mut decoder);
                decoder = Some(Decoder::new(self.limits.memory));
            }
            let contents = if decoder.is_some() { self.contents(&head)? } else { None };
            let (Some(known), Some(contents)) = (&mut decoder, contents) else {
                walked.leave(&mut decoder);
                if head.time >= from {
                    walked.damaged += 1;
                    walked.damaged_since += 1;
                    see(head.time, None)?;
                }
                continue;
            };
            known.apply(&contents, head.at)?;
            walked.damaged_since = 0;
            if head.time >= from {
                see(head.time, Some(known.last()))?;
            }
        }
        walked.leave(&mut decoder);
        Ok(walked)
    }
}

impl Walked {
    /// Nothing goes on from what a decoder knows.
    fn leave(&mut self, decoder: &mut Option<Decoder>) {
        let last = decoder.take().map(Decoder::into_last);
        // One that has understood nothing has nothing.
        if let Some(last) = last.filter(|last| *last != Statistics::default()) {
            self.last = Some(last);
        }
    }
}

fn is_reading(head: &Head) -> bool {
    matches!(head.kind, STATISTICS | NEXT_STATISTICS)
}

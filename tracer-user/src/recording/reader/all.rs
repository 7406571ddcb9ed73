//! All of a recording, in the order in which it was written.
//!
//! In: an opened recording. Out: snapshots and statistics, one after the other: one of each is in memory.

use std::io::{Read, Seek};

use super::{Recording, is_shot};
use crate::recording::block::{FILE_HEADER, KEY, NEXT_STATISTICS, STATISTICS};
use crate::recording::decode::Decoder;
use crate::recording::statistics::{self, Statistics};
use crate::recording::{Error, Shot};

/// What was written at once.
pub enum Record<'a> {
    Shot(Box<Shot>),
    Statistics(&'a Statistics),
}

impl<R: Read + Seek> Recording<R> {
    /// Shows everything; tells how many records are damaged.
    ///
    /// # Errors
    /// As [`Self::at`], and those of `show`.
    pub fn all<E: From<Error>>(
        &mut self,
        mut show: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut shots: Option<Decoder> = None;
        let mut statistics: Option<statistics::Decoder> = None;
        let (mut damaged, mut at) = (0, FILE_HEADER as u64);
        while let Some(head) = self.head(at)? {
            if head.at != at {
                (shots, statistics) = (None, None);
            }
            at = head.end();
            match head.kind {
                KEY => shots = Some(Decoder::new(self.limits.memory)),
                STATISTICS => statistics = Some(statistics::Decoder::new(self.limits.memory)),
                _ => {}
            }
            if is_shot(&head) {
                let contents = if shots.is_some() { self.contents(&head)? } else { None };
                let (Some(known), Some(contents)) = (&mut shots, contents) else {
                    damaged += 1;
                    shots = None;
                    continue;
                };
                known.apply(&contents, head.at)?;
                show(Record::Shot(Box::new(known.shot(head.time, head.at)?)))?;
            } else if matches!(head.kind, STATISTICS | NEXT_STATISTICS) {
                let contents = if statistics.is_some() { self.contents(&head)? } else { None };
                let (Some(known), Some(contents)) = (&mut statistics, contents) else {
                    damaged += 1;
                    statistics = None;
                    continue;
                };
                known.apply(&contents, head.at)?;
                show(Record::Statistics(known.last()))?;
            }
        }
        Ok(damaged)
    }
}

//! Reads what the kernel programs have kept: stacks, counters, notices, log.

use std::{collections::HashMap, io, os::fd::AsRawFd, time::Duration};

use aya::{
    Pod,
    maps::{HashMap as KernelMap, MapData, PerCpuArray, RingBuf},
};
use aya_log::EbpfLogger;
use log::Log;
use nix::time::{ClockId, clock_gettime};
use tokio::io::{Interest, unix::AsyncFd};
use tracer_common::{
    Counter, StackKey, StackValue,
    record::{
        AGES, LABEL_TEXT, Labels, LabelsKey, MAX_DEPTH, MAX_LABELS, NO_CODE, NOTICE_DRY,
        NOTICE_END, NOTICE_EXEC, NOTICE_EXIT, NOTICE_LATE, NOTICE_VICTIM, ObjectKey, ObjectValue,
        SCRATCH_SLOTS, Scratch, age_class,
    },
};

use super::{
    Error, Kernel,
    load::{map, take_map},
};
use crate::address::RuntimeAddr;

/// One stack as the kernel kept it: addresses, not names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    pub key: StackKey,
    pub hits: u64,
    /// As many as `hits` in exact mode; in span mode what the hits stand for.
    pub objects: u64,
    pub bytes: u64,
    pub weight_squares: u64,
    /// What [`Kernel::labels`] has its labels under; 0 without any.
    pub labels: u64,
    /// `STACK_TRUNCATED`, `STACK_BROKEN` of tracer-common.
    pub flags: u32,
    /// Return addresses, innermost first.
    pub pcs: Vec<RuntimeAddr>,
}

/// Sampled objects, or goroutines, of one stack by class of age (`tracer_common::record::age_class`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// Those that were freed or ended, by the age that they reached.
    pub freed: [u64; AGES],
    /// Those that were not.
    pub live: [u64; AGES],
}

/// A text of the program, of which the beginning is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text {
    pub bytes: Vec<u8>,
    /// Whether there was more.
    pub is_cut: bool,
}

/// Profiler labels, names and values, by image and [`RawStack::labels`].
pub type LabelTexts = HashMap<(u32, u64), Vec<[Text; 2]>>;

/// What a traced process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It runs another program now and is not counted until it is selected again.
    Exec { pid: u32, image: u32 },
    /// It is gone and no longer selected.
    Exit { pid: u32, image: u32 },
    /// It has taken the last trap that it was allowed.
    Dry { image: u32, at: Duration },
    /// It was seen for as long as it was to be.
    Late { image: u32, at: Duration },
    /// It has ended, and how, as the kernel tells it ([`Kernel::watch_ends`]).
    End { pid: u32, code: Option<u32> },
    /// The kernel kills it because memory has run out; nothing: it is not known whom.
    Victim { pid: Option<u32> },
}

/// Notices as they come.
pub struct Notices(AsyncFd<RingBuf<MapData>>);

/// The kernel programs' log, as it comes.
pub struct KernelLog(AsyncFd<EbpfLogger<&'static dyn Log>>);

impl Kernel {
    /// Takes what comes one by one out of the rings, which have room for a fraction of a second.
    pub fn drain(&mut self) {
        if let Some(iterations) = &mut self.iterations {
            iterations.drain();
        }
        if let Some(os) = &mut self.os {
            os.drain();
        }
    }

    /// All stacks. Exact once [`Kernel::detach_all`] has returned; a moving picture before.
    pub fn stacks(&self) -> Result<Vec<RawStack>, Error> {
        let name = "STACKS";
        let failed = |source| Error::Map { map: name, source };
        let map: KernelMap<&MapData, StackKey, StackValue> = map(&self.ebpf, name)?;
        map.iter()
            .map(|entry| entry.map(|(key, value)| raw_stack(key, &value)).map_err(failed))
            .collect()
    }

    /// How many entries of its larger tables are taken, and how many they can have.
    pub fn tables(&self) -> Result<Vec<(&'static str, usize, u32)>, Error> {
        let stacks: KernelMap<&MapData, StackKey, StackValue> = map(&self.ebpf, "STACKS")?;
        let mut tables = vec![
            ("stacks", stacks.keys().count(), self.options().max_stacks),
            ("processes", self.selected(), self.options().max_processes),
        ];
        let lives = [
            ("objects", "OBJECTS", self.options().max_objects),
            ("goroutines", "LIVING", self.options().max_living),
        ];
        for (what, name, room) in lives.into_iter().filter(|(_, _, room)| *room > 0) {
            let living: KernelMap<&MapData, ObjectKey, ObjectValue> = map(&self.ebpf, name)?;
            tables.push((what, living.keys().count(), room));
        }
        Ok(tables)
    }

    /// The texts of profiler labels, by image and [`RawStack::labels`]: name and value of each.
    pub fn labels(&self) -> Result<LabelTexts, Error> {
        let map: KernelMap<&MapData, LabelsKey, Labels> = map(&self.ebpf, "LABELS")?;
        map.iter()
            .map(|entry| {
                let (key, labels) = entry.map_err(|source| Error::Map { map: "LABELS", source })?;
                Ok(((key.image, key.hash), texts(&labels)))
            })
            .collect()
    }

    /// Every counter of the kernel programs, summed over CPUs, in `Counter::ALL`'s order.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>, Error> {
        let mut sums = self.sum_over_cpus("COUNTERS", Counter::ALL.len() as u32, |n: &u64| *n)?;
        let recorded =
            self.sum_over_cpus("SCRATCH", SCRATCH_SLOTS, |scratch: &Scratch| scratch.recorded)?;
        sums[Counter::Recorded as usize] = recorded.iter().sum();
        Ok(Counter::ALL.iter().copied().zip(sums).collect())
    }

    /// How many notices could not be given.
    pub fn notices_lost(&self) -> Result<u64, Error> {
        let name = "COUNTERS";
        let map: PerCpuArray<&MapData, u64> = map(&self.ebpf, name)?;
        let lost = map.get(&(Counter::NotifyFull as u32), 0);
        Ok(lost.map_err(|source| Error::Map { map: name, source })?.iter().sum())
    }

    /// One sum over CPUs for each of the first `entries` of a map.
    fn sum_over_cpus<V: Pod>(
        &self,
        name: &'static str,
        entries: u32,
        part: impl Fn(&V) -> u64,
    ) -> Result<Vec<u64>, Error> {
        let failed = |source| Error::Map { map: name, source };
        let map: PerCpuArray<&MapData, V> = map(&self.ebpf, name)?;
        let sum = |entry| Ok(map.get(&entry, 0).map_err(failed)?.iter().map(&part).sum());
        (0..entries).map(sum).collect()
    }

    /// The stream of notices; there is one.
    pub fn notices(&mut self) -> Result<Notices, Error> {
        let ring: RingBuf<MapData> = take_map(&mut self.ebpf, "NOTICES")?;
        Ok(Notices(readable(ring)?))
    }

    /// The kernel programs' log, when it was asked for at load time.
    pub fn log(&mut self) -> Result<Option<KernelLog>, Error> {
        if self.options().log.is_none() {
            return Ok(None);
        }
        let logger = EbpfLogger::init(&mut self.ebpf)?;
        Ok(Some(KernelLog(readable(logger)?)))
    }
}

impl Notices {
    /// Waits until there is at least one and returns all there are.
    pub async fn next(&mut self) -> io::Result<Vec<Notice>> {
        let mut guard = self.0.readable_mut().await?;
        let mut notices = Vec::new();
        while let Some(item) = guard.get_inner_mut().next() {
            notices.extend(decode_notice(&item));
        }
        guard.clear_ready();
        Ok(notices)
    }
}

impl KernelLog {
    /// Hands over what is there.
    pub fn flush(&mut self) {
        self.0.get_mut().flush();
    }

    /// Hands lines to the logger for ever.
    pub async fn pump(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.0.readable_mut().await?;
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }
}

/// Waits for a map's file descriptor to become readable.
fn readable<T: AsRawFd>(inner: T) -> Result<AsyncFd<T>, Error> {
    // SAFETY: `inner` is one of aya's map readers, which owns its descriptor and never changes it.
    let registered = unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) };
    registered.map_err(|err| Error::Ring(err.into_parts().1))
}

/// A notice's bytes; nothing when they are not one.
pub(super) fn decode_notice(bytes: &[u8]) -> Option<Notice> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (kind, pid, image) = (word(0)?, word(4)?, word(8)?);
    match kind {
        NOTICE_EXEC => Some(Notice::Exec { pid, image }),
        NOTICE_EXIT => Some(Notice::Exit { pid, image }),
        NOTICE_DRY | NOTICE_LATE => {
            let at = u64::from_ne_bytes(bytes.get(16..24)?.try_into().ok()?);
            let at = Duration::from_nanos(at);
            let is_dry = kind == NOTICE_DRY;
            Some(if is_dry { Notice::Dry { image, at } } else { Notice::Late { image, at } })
        }
        NOTICE_END => Some(Notice::End { pid, code: Some(word(12)?).filter(|c| *c != NO_CODE) }),
        NOTICE_VICTIM => Some(Notice::Victim { pid: Some(pid).filter(|pid| *pid != 0) }),
        _ => None,
    }
}

/// The time that objects' ages are told by.
pub(super) struct Clock(u64);

impl Clock {
    pub fn now() -> Result<Self, Error> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(|err| Error::Ring(err.into()))?;
        Ok(Self(Duration::from(now).as_nanos() as u64))
    }

    /// The class of an object's age.
    pub fn class(&self, object: &ObjectValue) -> usize {
        age_class(self.0.saturating_sub(object.born))
    }
}

pub(super) fn texts(labels: &Labels) -> Vec<[Text; 2]> {
    let count = (labels.count as usize).min(MAX_LABELS);
    let pairs = labels.lengths.iter().zip(labels.texts.chunks_exact(2));
    let pair = |(lengths, texts): (&[u32; 2], &[[u64; LABEL_TEXT / 8]])| {
        [0, 1].map(|part| {
            let bytes = texts[part].iter().flat_map(|word| word.to_ne_bytes());
            let length = lengths[part] as usize;
            let bytes = bytes.take(length.min(LABEL_TEXT)).collect();
            Text { bytes, is_cut: length > LABEL_TEXT }
        })
    };
    pairs.take(count).map(pair).collect()
}

pub(super) fn raw_stack(key: StackKey, value: &StackValue) -> RawStack {
    let depth = (value.depth as usize).min(MAX_DEPTH);
    RawStack {
        key,
        hits: value.hits,
        objects: value.hits.wrapping_add(value.more_objects),
        bytes: value.bytes,
        weight_squares: value.weight_squares,
        labels: value.labels,
        flags: value.flags,
        pcs: value.pcs[..depth].iter().map(|pc| RuntimeAddr(*pc)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_decoded_only_when_it_is_whole_and_known() {
        let mut bytes = Vec::new();
        for word in [NOTICE_EXEC, 42, 7, 0, 9, 0] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        assert_eq!(decode_notice(&bytes), Some(Notice::Exec { pid: 42, image: 7 }));
        assert_eq!(decode_notice(&bytes[..11]), None);
        assert_eq!(decode_notice(&[]), None);
        bytes[0] = NOTICE_DRY as u8;
        let at = Duration::from_nanos(9);
        assert_eq!(decode_notice(&bytes), Some(Notice::Dry { image: 7, at }));
        bytes[0] = NOTICE_LATE as u8;
        assert_eq!(decode_notice(&bytes), Some(Notice::Late { image: 7, at }));
        bytes[0] = NOTICE_END as u8;
        bytes[12..16].copy_from_slice(&9u32.to_ne_bytes());
        assert_eq!(decode_notice(&bytes), Some(Notice::End { pid: 42, code: Some(9) }));
        bytes[12..16].copy_from_slice(&NO_CODE.to_ne_bytes());
        assert_eq!(decode_notice(&bytes), Some(Notice::End { pid: 42, code: None }));
        bytes[0] = NOTICE_VICTIM as u8;
        assert_eq!(decode_notice(&bytes), Some(Notice::Victim { pid: Some(42) }));
        bytes[0] = 99;
        assert_eq!(decode_notice(&bytes), None);
    }

    #[test]
    fn a_depth_beyond_the_limit_is_clamped() {
        let mut value = StackValue {
            hits: 1,
            more_objects: 0,
            bytes: 8,
            weight_squares: 0,
            labels: 0,
            depth: u32::MAX,
            flags: 0,
            pcs: [7; MAX_DEPTH],
        };
        assert_eq!(raw_stack(StackKey::default(), &value).pcs.len(), MAX_DEPTH);
        value.depth = 2;
        assert_eq!(raw_stack(StackKey::default(), &value).pcs, [RuntimeAddr(7); 2]);
    }
}

//! Images: one exec of one process each, from its selection until everything counted for it is out of
//! the kernel's tables.
//!
//! In: processes that are counted, and word of their end. Out: what is left of them: an entry, and
//! their stacks in [`super::held::Held`]. What an image holds open is let go when it ends.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::{Entry, Targets, failure, held::Origin, libraries::Places};
use crate::{
    exit::Failure,
    host,
    probe::{GroupId, Kernel},
    profile::Source,
    runtime::{Live, ProcessMemory},
};

/// One exec of one process that is being counted.
pub struct Image {
    pub process: host::Process,
    /// Index in [`Targets::binaries`].
    pub binary: usize,
    pub group: GroupId,
    pub(super) places: Places,
    pub(super) records: Option<Live<ProcessMemory>>,
    /// Objects allocated from the spans that its Ps held at the start, by span class (span mode).
    pub(super) at_start: Option<Vec<u64>>,
    /// `runtime.MemProfileRate` (mode sample; else 0).
    pub sampler_rate: u64,
}

/// All images: the living, and the ended ones that the kernel's tables still speak of.
#[derive(Default)]
pub struct Images {
    live: HashMap<u32, Image>,
    by_pid: HashMap<u32, u32>,
    ended: HashMap<u32, (Instant, Origin)>,
    last: u32,
    /// When the kernel's tables are looked through next.
    next_pass: Option<Instant>,
}

/// Those that end within this time are dealt with together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Looking through the kernel's tables takes at most one part in this many of the time.
const SHARE: u32 = 20;

impl Images {
    /// A number that no image has had.
    pub(super) fn number(&mut self) -> u32 {
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.last
    }

    pub(super) fn insert(&mut self, number: u32, image: Image) {
        self.by_pid.insert(image.process.id.pid, number);
        self.live.insert(number, image);
    }

    /// How many are being counted.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// The image that a pid is counted as.
    pub fn of_pid(&self, pid: u32) -> Option<u32> {
        self.by_pid.get(&pid).copied()
    }

    /// Those that are being counted, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Image)> {
        self.live.iter().map(|(number, image)| (*number, image))
    }

    /// Whether [`Targets::collect`] has something to do now, and else when; nothing while nobody has
    /// ended.
    pub fn due(&self) -> Option<Instant> {
        let first = self.ended.values().map(|(ended, _)| *ended).min()? + TOGETHER;
        Some(self.next_pass.map_or(first, |pass| pass.max(first)))
    }
}

impl Targets {
    /// An image has ended: it exec'd or exited. What it held open is closed.
    pub fn ended(&mut self, kernel: &mut Kernel, number: u32) {
        let Some(image) = self.images.live.remove(&number) else { return };
        let pid = image.process.id.pid;
        if self.images.of_pid(pid) == Some(number) {
            self.images.by_pid.remove(&pid);
        }
        self.leave(kernel, image.binary, image.group);
        let mut entry = Entry::new(image.process, image.binary, image.sampler_rate);
        entry.add_cached(image.at_start.as_ref(), -1);
        let entry = self.entries.ended(entry, self.held.has_room());
        let origin = Origin { entry, places: image.places };
        self.images.ended.insert(number, (Instant::now(), origin));
    }

    /// Takes what was counted for images that ended before `settled` out of the kernel's tables. No
    /// program may be under way that began before then.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn collect(&mut self, kernel: &mut Kernel, settled: Instant) -> Result<(), Failure> {
        let now = Instant::now();
        let over = self.images.ended.iter().filter(|(_, (ended, _))| *ended <= settled);
        let over: HashSet<u32> = over.map(|(number, _)| *number).collect();
        if over.is_empty() {
            return Ok(());
        }
        let taken = kernel.take(&over).map_err(failure)?;
        let ended = &self.images.ended;
        self.held.ended(taken, self.wanted.types, |image| ended.get(&image).map(|(_, of)| of));
        self.images.ended.retain(|number, _| !over.contains(number));
        self.images.next_pass = Some(Instant::now() + now.elapsed() * SHARE);
        Ok(())
    }

    /// Stops counting everybody, at once, and notes what must be read of them while they live.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn deselect_all(&mut self, kernel: &mut Kernel) -> Result<(), Failure> {
        let (source, entries) = (self.source, &mut self.entries);
        for (number, image) in self.images.live.drain() {
            let at_end = if source == Source::Span { in_caches(&image.records) } else { None };
            let rate = image.records.as_ref().and_then(|live| live.sampler_rate().ok());
            kernel.deselect(image.process.id.pid).map_err(failure)?;
            let mut entry = Entry::new(image.process, image.binary, image.sampler_rate);
            entry.add_cached(image.at_start.as_ref(), -1);
            entry.add_cached(at_end.as_ref(), 1);
            entry.other_rate =
                rate.filter(|rate| source == Source::Sample && *rate != image.sampler_rate);
            let origin = Origin { entry: entries.push(entry), places: image.places };
            self.images.ended.insert(number, (Instant::now(), origin));
        }
        Ok(())
    }

    /// Takes everything that is left in the kernel's tables, after [`Kernel::detach_all`].
    ///
    /// # Errors
    /// The kernel refused.
    pub fn collect_all(&mut self, kernel: &Kernel) -> Result<(), Failure> {
        let taken = kernel.everything().map_err(failure)?;
        let ended = &self.images.ended;
        self.held.last(taken, self.wanted.types, |image| ended.get(&image).map(|(_, of)| of));
        Ok(())
    }
}

/// What the caches have given by now; nothing when the process is gone or can't be read, which leaves
/// the ends of its spans out.
pub(super) fn in_caches(records: &Option<Live<ProcessMemory>>) -> Option<Vec<u64>> {
    Some(records.as_ref()?.caches().ok()?.by_span_class)
}

//! Images: one exec of one process each, from its selection until everything counted for it is out of
//! the kernel's tables.
//!
//! In: processes that are counted, and word of their end. Out: what is left of them: an entry, and
//! their stacks in [`super::held::Held`]. What an image holds open is let go when it ends.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::{
    Entry, Targets, failure,
    libraries::Places,
    meters::{Metered, Partial},
    plan::Class,
    view::View,
};
use crate::{
    exit::Failure,
    host,
    probe::{GroupId, Kernel, Taken},
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
    /// What its runtime said of its memory at the start (probe os).
    pub(super) view_at_start: Option<View>,
    /// `runtime.MemProfileRate` (mode sample; else 0).
    pub sampler_rate: u64,
    /// Its account, where there is a budget.
    pub(super) metered: Option<Metered>,
    /// Where its recording has ended already: number of its [`Entry`].
    pub(super) entry: Option<u32>,
}

/// An image that has ended.
pub(super) struct Ended {
    at: Instant,
    /// Number of its [`Entry`].
    pub(super) entry: u32,
    pub(super) places: Places,
    /// What is known of one that was not traced all the time.
    partial: Option<Partial>,
}

/// All images: the living, and the ended ones that the kernel's tables still speak of.
#[derive(Default)]
pub struct Images {
    live: HashMap<u32, Image>,
    by_pid: HashMap<u32, u32>,
    ended: HashMap<u32, Ended>,
    last: u32,
    /// When the kernel's tables are looked through next.
    next_pass: Option<Instant>,
}

/// Processes whose runtime's own view is told.
const VIEWS: usize = 4;
/// Those that end within this time are dealt with together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Looking through the kernel's tables takes at most one part in this many of the time…
const SHARE: u32 = 20;
/// …unless that leaves them to fill up for longer than this.
const WAIT: Duration = Duration::from_millis(250);

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

    /// Those that have ended and are in the kernel's tables still.
    pub(super) fn ended(&self) -> impl Iterator<Item = (u32, &Ended)> {
        self.ended.iter().map(|(number, ended)| (*number, ended))
    }

    /// One that is being counted.
    pub fn get(&self, number: u32) -> Option<&Image> {
        self.live.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Image> {
        self.live.get_mut(&number)
    }

    /// Those of a group.
    pub(super) fn of_group(&mut self, group: GroupId) -> impl Iterator<Item = (u32, &mut Image)> {
        let all = self.live.iter_mut().map(|(number, image)| (*number, image));
        all.filter(move |(_, image)| image.group == group)
    }

    /// Whether [`Targets::collect`] has something to do now, and else when; nothing while nobody has
    /// ended.
    pub fn due(&self) -> Option<Instant> {
        let first = self.ended.values().map(|ended| ended.at).min()? + TOGETHER;
        Some(self.next_pass.map_or(first, |pass| pass.max(first)))
    }
}

impl Targets {
    /// An image has ended: it exec'd or exited. What it held open is closed.
    pub fn ended(&mut self, kernel: &mut Kernel, number: u32) {
        let Some(mut image) = self.images.live.remove(&number) else { return };
        let pid = image.process.id.pid;
        if self.images.of_pid(pid) == Some(number) {
            self.images.by_pid.remove(&pid);
        }
        let (spent, partial) = self.unmeter(kernel, &mut image, false);
        self.leave(kernel, image.binary, image.group);
        if let Some(entry) = image.entry {
            self.entries.cost(entry, spent);
            return;
        }
        let mut entry = Entry::new(image.process, image.binary, image.sampler_rate);
        if partial.is_none() {
            entry.add_cached(image.at_start.as_ref(), -1);
        }
        entry.spent = spent;
        let entry = self.entries.ended(entry, self.held.has_room());
        let ended = Ended { at: Instant::now(), entry, places: image.places, partial };
        self.images.ended.insert(number, ended);
    }

    /// Takes what was counted for images that ended before `settled` out of the kernel's tables. No
    /// program may be under way that began before then.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn collect(&mut self, kernel: &mut Kernel, settled: Instant) -> Result<(), Failure> {
        let now = Instant::now();
        let over = self.images.ended.iter().filter(|(_, ended)| ended.at <= settled);
        let over: HashSet<u32> = over.map(|(number, _)| *number).collect();
        if over.is_empty() {
            return Ok(());
        }
        let taken = kernel.take(&over).map_err(failure)?;
        self.settle(taken, &over, false);
        self.images.next_pass = Some(Instant::now() + (now.elapsed() * SHARE).min(WAIT));
        Ok(())
    }

    /// Stops counting everybody, at once, and notes what must be read of them while they live.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn deselect_all(&mut self, kernel: &mut Kernel) -> Result<(), Failure> {
        let live: Vec<(u32, Image)> = self.images.live.drain().collect();
        for (number, mut image) in live {
            let entry = image.entry.is_none().then(|| self.entry_of_now(&image));
            kernel.deselect(image.process.id.pid).map_err(failure)?;
            let (spent, partial) = self.unmeter(kernel, &mut image, true);
            let Some(mut entry) = entry else {
                image.entry.into_iter().for_each(|entry| self.entries.cost(entry, spent.clone()));
                continue;
            };
            if partial.is_some() {
                // Of caches its runtime's counters tell.
                entry.unseen.clear();
            }
            entry.spent = spent;
            let entry = self.entries.push(entry);
            let ended = Ended { at: Instant::now(), entry, places: image.places, partial };
            self.images.ended.insert(number, ended);
        }
        Ok(())
    }

    /// The entry of an image whose counting ends now, and what must be read of it while it lives.
    fn entry_of_now(&mut self, image: &Image) -> Entry {
        let is_of = |source| self.source == source;
        let at_end = if is_of(Source::Span) { in_caches(&image.records) } else { None };
        let rate = image.records.as_ref().and_then(|live| live.sampler_rate().ok());
        let pid = image.process.id.pid;
        let mut entry = Entry::new(image.process.clone(), image.binary, image.sampler_rate);
        entry.add_cached(image.at_start.as_ref(), -1);
        entry.add_cached(at_end.as_ref(), 1);
        entry.other_rate = rate.filter(|rate| is_of(Source::Sample) && *rate != image.sampler_rate);
        if self.views.len() < VIEWS
            && let Some(from) = &image.view_at_start
            && let Some(view) = View::of(pid, image.records.as_ref())
        {
            let comm = image.process.comm.to_string_lossy();
            self.views.push(view.since(from, &format!("{comm} (pid {pid})")));
        }
        entry
    }

    /// A group's probes are being taken off for good: what was counted for its images is all there will be of
    /// them. They are kept, as what that was a share of is known at the end.
    pub(super) fn end_early(&mut self, kernel: &mut Kernel, group: GroupId) {
        let of_group = self.images.of_group(group).filter(|(_, image)| image.entry.is_none());
        let numbers: Vec<u32> = of_group.map(|(number, _)| number).collect();
        for number in numbers {
            let Some(mut image) = self.images.live.remove(&number) else { continue };
            let entry = self.entry_of_now(&image);
            let entry = self.entries.push(entry);
            image.entry = Some(entry);
            let (at, places) = (Instant::now(), image.places.clone());
            self.images.ended.insert(number, Ended { at, entry, places, partial: None });
            self.images.live.insert(number, image);
        }
        if !self.wanted.follow && self.images.iter().all(|(_, image)| image.entry.is_some()) {
            // Nobody needs the kernel's tracepoints any more.
            kernel.unwatch_os();
        }
    }

    /// Takes everything that is left in the kernel's tables, after [`Kernel::detach_all`].
    ///
    /// # Errors
    /// The kernel refused.
    pub fn collect_all(&mut self, kernel: &mut Kernel) -> Result<(), Failure> {
        let taken = kernel.everything().map_err(failure)?;
        let over: HashSet<u32> = self.images.ended.keys().copied().collect();
        self.settle(taken, &over, true);
        Ok(())
    }

    /// Brings together what is known of images that are over.
    fn settle(&mut self, taken: Taken, over: &HashSet<u32>, is_end: bool) {
        let ended = &self.images.ended;
        let places = |image| ended.get(&image).map(|ended: &Ended| &ended.places);
        let class = |image, site| {
            let entry = ended.get(&image).and_then(|ended| self.entries.get(ended.entry));
            let tapped = entry.and_then(|entry| self.binaries.get(entry.binary));
            tapped.map_or(Class::Number, |tapped| tapped.class_of(site, self.wanted.types))
        };
        let mut seen = self.held.sort_out(taken, class, places);
        for number in over {
            let Some(ended) = self.images.ended.remove(number) else { continue };
            let mut last = seen.remove(number).unwrap_or_default();
            if let Some(partial) = ended.partial {
                let remains = partial.resolve(self.source, last, self.held.room());
                last = remains.seen;
                self.held.lost += remains.lost;
                self.entries.add_untraced(ended.entry, remains.unseen);
                self.entries.leaves(ended.entry, remains.rest);
            }
            self.held.add(ended.entry, last, is_end);
        }
    }
}

/// What the caches have given by now; nothing when the process is gone or can't be read, which leaves
/// the ends of its spans out.
pub(super) fn in_caches(records: &Option<Live<ProcessMemory>>) -> Option<Vec<u64>> {
    Some(records.as_ref()?.caches().ok()?.by_span_class)
}

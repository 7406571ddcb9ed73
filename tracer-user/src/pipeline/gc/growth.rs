//! By which stacks the heap of one process grows: its heap profile as of the ends of collections.
//!
//! In: an opened process, looked at again and again. Out: what was sampled between two ends, by bucket,
//! and at the end with names and scaled. A profile is read when one of a newer collection can be; where
//! the next one can be read first, the collections between two readings are told together. The time that
//! reading takes is bounded, and so is memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gobin::GoBinary;
use crate::output::gc::{Amounts, Growth, Process, Span};
use crate::pipeline::naming;
use crate::probe::clock::cpu_of_thread;
use crate::profile::Frame;
use crate::profile::estimate::{chance, sampled_half_width};
use crate::runtime::buckets::{AsOf, Change, Known, Limits};
use crate::runtime::memory::{Memory, MemoryError};
use crate::runtime::{self, Live};
use crate::symbolize::Symbolizer;
use crate::symbolize::logical::{LogicalStacks, Written};
use crate::symbolize::stack::StackRules;

/// One in how much time reading may take of a CPU, and how much at once before it rests.
const SHARE: u32 = 50;
const LOAN: Duration = Duration::from_millis(50);
/// Changes of single collections that are kept, 32 bytes each.
const MOST_CHANGES: usize = 1 << 20;
/// Spans that are told one by one.
const MOST_SPANS: usize = 100_000;
/// How often, and how long in between, the end of sweeping is waited for at the end.
const LAST_TRIES: u32 = 50;
const LAST_PAUSE: Duration = Duration::from_millis(1);

/// The growth of one process's heap.
pub struct Growing {
    known: Known,
    /// The last profile that was read.
    last: Option<AsOf>,
    rate: Option<u64>,
    spans: VecDeque<Sampled>,
    changes: usize,
    /// How many of the first ones have no stacks any more, and how many there were before these.
    cut: usize,
    forgotten: u64,
    /// Since the first profile, by the bucket's number; and the first collection of that.
    total: Vec<Option<Change>>,
    first: Option<u32>,
    began: Instant,
    /// CPU time that reading took, and when there may be the next.
    took: Duration,
    next: Instant,
    limits: Limits,
    /// The first collection whose profile is wanted: before it nobody watched, or the sampler was off.
    not_before: u32,
    was_off: bool,
    /// It was turned on while the process was watched.
    turned_on: bool,
    changed_rate: bool,
    too_fast: u64,
    refused: u64,
    failed: Option<String>,
}

/// What was sampled from the end of the collection before `first` to that of `last`.
struct Sampled {
    first: u32,
    last: u32,
    kept: Kept,
}

/// What is kept of it.
enum Kept {
    Changes(Vec<Change>),
    /// Their sum alone.
    Sum(Amounts),
}

impl Growing {
    /// `turned_on`: heaptap has just turned its sampler on.
    pub fn new(turned_on: bool, max_memory: usize) -> Self {
        Self {
            known: Known::default(),
            last: None,
            rate: None,
            spans: VecDeque::new(),
            changes: 0,
            cut: 0,
            forgotten: 0,
            total: Vec::new(),
            first: None,
            began: Instant::now(),
            took: Duration::ZERO,
            next: Instant::now(),
            limits: Limits { memory: max_memory, ..Limits::default() },
            not_before: 0,
            was_off: turned_on,
            turned_on: false,
            changed_rate: false,
            too_fast: 0,
            refused: 0,
            failed: None,
        }
    }

    /// Whether there is one to be read soon, after collection `ended`.
    pub fn is_behind(&self, ended: u32) -> bool {
        let is_read = self.last.as_ref().is_some_and(|last| last.collection >= ended);
        let is_wanted = ended >= self.not_before && self.next <= Instant::now();
        self.failed.is_none() && !is_read && self.rate.is_some() && is_wanted
    }

    /// Reads the profile as of the newest collection, unless that was read or reading rests; `ended` is
    /// the last collection that ended.
    pub fn look<M: Memory>(&mut self, live: &Live<M>, ended: u32) {
        let is_read = self.last.as_ref().is_some_and(|last| last.collection >= ended);
        if self.failed.is_some() || is_read || Instant::now() < self.next {
            return;
        }
        if let Err(error) = self.try_look(live, ended)
            && !matches!(error, runtime::Error::Memory(MemoryError::Gone { .. }))
        {
            match error {
                runtime::Error::Unsteady { .. } => self.too_fast += 1,
                error => self.failed = Some(error.to_string()),
            }
        }
    }

    /// The same when there will be no look any more: waits for the end of sweeping, not for long.
    pub fn look_last<M: Memory>(&mut self, live: &Live<M>, ended: u32) {
        for _ in 0..LAST_TRIES {
            self.next = Instant::now();
            self.look(live, ended);
            if !self.is_behind(ended) {
                return;
            }
            std::thread::sleep(LAST_PAUSE);
        }
    }

    fn try_look<M: Memory>(&mut self, live: &Live<M>, ended: u32) -> Result<(), runtime::Error> {
        let (newest, rate) = live.newest_heap()?;
        let Some(newest) = newest else { return Ok(()) };
        if rate == 0 {
            self.was_off = true;
            // What comes until it is on again is not sampled.
            self.last = None;
            return Ok(());
        }
        if std::mem::take(&mut self.was_off) {
            (self.not_before, self.turned_on) = (ended + 1, true);
        } else if self.rate.is_none() {
            // Those that ended before are not told.
            self.not_before = ended;
        }
        self.rate.get_or_insert(rate);
        let is_new = self.last.as_ref().is_none_or(|last| newest > last.collection);
        if !is_new || newest < self.not_before {
            return Ok(());
        }
        let began = cpu_of_thread();
        let read = live.heap_as_of(&mut self.known, self.limits).map(|read| match read {
            Some(as_of) => self.take(as_of),
            None => self.too_fast += 1,
        });
        self.took += cpu_of_thread().saturating_sub(began);
        self.next = self.began + SHARE * self.took.saturating_sub(LOAN);
        read
    }

    fn take(&mut self, now: AsOf) {
        self.refused = self.refused.max(now.refused);
        let Some(before) = self.last.take() else {
            self.last = Some(now);
            return;
        };
        if before.rate != now.rate {
            // Nobody knows with which of both what was sampled.
            self.spans.clear();
            self.cut = 0;
            self.total.clear();
            (self.first, self.rate) = (None, Some(now.rate));
            (self.changes, self.changed_rate) = (0, true);
        } else if now.collection > before.collection {
            let changes: Vec<Change> = now.since(&before).collect();
            self.total.resize(now.counts.len(), None);
            for change in &changes {
                let Some(total) = self.total.get_mut(change.bucket as usize) else { continue };
                let total = total.get_or_insert(Change { allocs: 0, frees: 0, ..*change });
                total.allocs += change.allocs;
                total.frees += change.frees;
            }
            self.changes += changes.len();
            let first = before.collection + 1;
            self.first.get_or_insert(first);
            let kept = Kept::Changes(changes);
            self.spans.push_back(Sampled { first, last: now.collection, kept });
            self.forget();
        }
        self.last = Some(now);
    }

    /// Lets go of the oldest stacks when they are too many, and of the oldest sums.
    fn forget(&mut self) {
        let rate = self.rate.unwrap_or(0);
        let known = &self.known;
        let mut spans = self.spans.iter_mut().skip(self.cut);
        while self.changes > MOST_CHANGES {
            let Some(span) = spans.next() else { break };
            self.cut += 1;
            if let Kept::Changes(changes) = &span.kept {
                self.changes -= changes.len();
                span.kept = Kept::Sum(amounts(known, changes.iter(), rate));
            }
        }
        if self.spans.len() > MOST_SPANS {
            if let Some(Sampled { kept: Kept::Changes(changes), .. }) = self.spans.pop_front() {
                self.changes -= changes.len();
            }
            self.cut = self.cut.saturating_sub(1);
            self.forgotten += 1;
        }
    }

    /// What is told of it, with names; `process` is what else is known.
    pub fn tell<M>(self, live: &Live<M>, process: &Process) -> Growth {
        let mut growth = Growth { rate: self.rate, ..Growth::default() };
        let rate = self.rate.unwrap_or(0);
        let buckets = self.total.iter().flatten().map(|change| change.bucket).collect();
        let mut names = Names::default();
        let stacks = names.stacks(&mut growth, &self.known, live, buckets);
        let by = |changes: &mut dyn Iterator<Item = &Change>| {
            let mut by: HashMap<u32, Sum> = HashMap::new();
            for change in changes {
                let Some((_, size)) = self.known.bucket(change.bucket) else { continue };
                let Some(stack) = stacks.get(&change.bucket) else { continue };
                by.entry(*stack).or_default().add(change, size, rate);
            }
            let mut by: Vec<(u32, Amounts)> =
                by.into_iter().map(|(stack, sum)| (stack, sum.amounts())).collect();
            by.sort_by_key(|(stack, by)| {
                use std::cmp::Reverse;
                (Reverse(by.grew_bytes), Reverse(by.allocated_bytes), *stack)
            });
            by
        };
        let span = |span: &Sampled| {
            let (sum, by, is_cut) = match &span.kept {
                Kept::Changes(all) => {
                    (amounts(&self.known, all.iter(), rate), by(&mut all.iter()), false)
                }
                Kept::Sum(sum) => (*sum, Vec::new(), true),
            };
            Span { first: span.first, last: span.last, sum, by, is_cut }
        };
        growth.spans = self.spans.iter().map(span).collect();
        if let (Some(first), Some(last)) = (self.first, self.spans.back()) {
            growth.total = Some(Span {
                first,
                last: last.last,
                sum: amounts(&self.known, self.total.iter().flatten(), rate),
                by: by(&mut self.total.iter().flatten()),
                is_cut: false,
            });
        }
        growth.unknown = unknown(process, &growth.spans);
        growth.notes = self.notes(growth.unknown);
        growth
    }

    fn notes(&self, unknown: u64) -> Vec<String> {
        let mut notes = Vec::new();
        if self.rate.is_none() && self.failed.is_none() {
            notes.push(
                "not known: the program's heap sampler is off (the linker leaves it off in programs \
                 that never ask for their heap profile); --enable-sampler turns it on meanwhile"
                    .to_owned(),
            );
            return notes;
        }
        if let Some(failed) = &self.failed {
            notes.push(format!("the heap profile can't be read: {failed}"));
        }
        if self.turned_on {
            notes.push(
                "the sampler was turned on meanwhile: of objects from before nobody knows, also not \
                 that they were freed"
                    .to_owned(),
            );
        }
        if self.changed_rate {
            notes
                .push("the program changed its sampler's rate: what was before is left out".into());
        }
        if self.too_fast > 0 && unknown > 0 {
            notes.push("collections ended faster than the profile can be read".to_owned());
        }
        if self.refused > 0 {
            notes.push(format!("{} buckets that can't be", self.refused));
        }
        if self.cut > 0 || self.forgotten > 0 {
            let cut = self.cut as u64 + self.forgotten;
            notes.push(format!("stacks of the first {cut} are told together only"));
        }
        notes
    }
}

fn amounts<'c>(known: &Known, changes: impl Iterator<Item = &'c Change>, rate: u64) -> Amounts {
    let mut sum = Sum::default();
    for change in changes {
        let size = known.bucket(change.bucket).map_or(0, |(_, size)| size);
        sum.add(change, size, rate);
    }
    sum.amounts()
}

/// Collections that were seen to end and are in no span.
fn unknown(process: &Process, spans: &[Span]) -> u64 {
    let Some(last) = process.cycles.last().map(|cycle| u64::from(cycle.number)) else {
        return process.count();
    };
    let before = last.saturating_sub(process.count());
    let known = spans.iter().map(|span| {
        let (first, end) = (u64::from(span.first), u64::from(span.last));
        (end.min(last) + 1).saturating_sub(first.max(before + 1))
    });
    process.count().saturating_sub(known.sum())
}

/// Amounts of several buckets: objects and bytes are added, errors are independent of each other.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    /// Objects and bytes.
    allocated: [f64; 2],
    grew: [f64; 2],
    /// Squares of half-widths, in bytes.
    allocated_square: f64,
    grew_square: f64,
}

impl Sum {
    fn add(&mut self, change: &Change, size: u64, rate: u64) {
        let chance = chance(size, rate);
        if size == 0 || chance <= 0.0 {
            return;
        }
        let bytes = size as f64;
        let Change { before, allocs, frees, .. } = *change;
        let allocated = allocs as f64 / chance;
        let grew = (allocs as f64 - frees as f64) / chance;
        for (sum, objects) in [(&mut self.allocated, allocated), (&mut self.grew, grew)] {
            sum[0] += objects;
            sum[1] += objects * bytes;
        }
        // What was allocated and freed meanwhile changes nothing, sampled or not. Of the frees no more
        // than were alive before are of older objects.
        let older = frees.min(before);
        let younger = allocs.saturating_sub(frees - older);
        let square = |hits| (sampled_half_width(hits, chance) * bytes).powi(2);
        self.allocated_square += square(allocs);
        self.grew_square += square(younger + older);
    }

    fn amounts(&self) -> Amounts {
        Amounts {
            allocated_objects: self.allocated[0].round() as u64,
            allocated_bytes: self.allocated[1].round() as u64,
            allocated_error: self.allocated_square.sqrt().round() as u64,
            grew_objects: self.grew[0].round() as i64,
            grew_bytes: self.grew[1].round() as i64,
            grew_error: self.grew_square.sqrt().round() as u64,
        }
    }
}

/// Stacks by their frames.
#[derive(Default)]
struct Names {
    known: HashMap<Vec<Frame>, u32>,
}

impl Names {
    /// The stack of each bucket, as pprof's heap profile shows it; the same ones are one.
    fn stacks<M>(
        &mut self,
        growth: &mut Growth,
        known: &Known,
        live: &Live<M>,
        mut buckets: Vec<u32>,
    ) -> HashMap<u32, u32> {
        buckets.sort_unstable();
        let go: &Arc<GoBinary> = &live.program.go;
        let returns = |bucket: u32| {
            let (stack, _) = known.bucket(bucket).unwrap_or((&[], 0));
            stack.iter().map(|pc| live.bias.to_vaddr(*pc)).collect::<Vec<_>>()
        };
        let symbolizer = Symbolizer::new(Arc::clone(go));
        let all = buckets.iter().flat_map(|bucket| returns(*bucket));
        let rules = LogicalStacks::new(&symbolizer, StackRules::new(go).ids(), all);
        let mut stacks = HashMap::with_capacity(buckets.len());
        for bucket in buckets {
            let returns = returns(bucket);
            let places = rules.places(rules.without_runtime(&returns), Written::Logical);
            let mut frames = Vec::new();
            for place in &places {
                frames.extend(naming::frames(&mut growth.names, &symbolizer, place));
            }
            let new = growth.stacks.len() as u32;
            let stack = *self.known.entry(frames).or_insert_with_key(|frames| {
                growth.stacks.push(frames.clone());
                new
            });
            stacks.insert(bucket, stack);
        }
        stacks
    }
}

#[cfg(test)]
mod tests;

//! Records of runtimes to a profile: names stacks, scales counts, says how they were measured.
//!
//! In: what was read of each process, once or again and again. Out: a [`Profile`] as runtime/pprof makes one (protomem.go,
//! pprof.go): one sample for each bucket, none merged.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Read, Records, Sampled, clock};
use crate::address::RuntimeAddr;
use crate::cli::heap::{self, Config, HeapType, WaitType};
use crate::output::text::bytes;
use crate::pipeline::naming;
use crate::pipeline::opened::LiveProcess;
use crate::pipeline::roster::Unseen;
use crate::pipeline::written::{How, WrittenStacks};
use crate::profile::{
    ALLOC_OBJECTS, ALLOC_SPACE, BinaryId, CONTENTIONS, CounterValue, DELAY, INUSE_OBJECTS,
    INUSE_SPACE, Label, LabelValue, LocationId, Meta, Period, ProcessId, Profile, SPACE, Sample,
    Source, UNSETTLED, scale,
};
use crate::runtime::buckets::{ContentionRecords, HeapBucket, HeapRecords};
use crate::symbolize::logical::Written;

/// Makes profiles of what is read; keeps names from one to the next.
pub struct Assembler<'a> {
    config: &'a Config,
    profile: Profile,
    binaries: Vec<WrittenStacks>,
    /// What the profile's samples are of, in their order.
    last: Vec<Read>,
    /// Ticks in a second where a runtime has not worked it out.
    ticks: Option<f64>,
    facts: Facts,
}

/// What is said of all processes of one profile together.
#[derive(Default)]
struct Facts {
    /// Sampling rates of the processes, and whether all have published a collection.
    rates: Vec<u64>,
    cycles: Vec<(u32, u32)>,
    uncollected: bool,
    /// How many of the profiles changed each time that they were read.
    unsettled: u64,
    refused: u64,
}

/// Stacks whose names are kept beside twice as many as are in use.
const SPARE_STACKS: usize = 10_000;

impl<'a> Assembler<'a> {
    pub fn new(config: &'a Config) -> Self {
        let heap = vec![ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE];
        let (value_types, default_value) = match config.profile {
            heap::Profile::Heap(HeapType::AllocObjects) => (heap, 0),
            heap::Profile::Heap(HeapType::AllocSpace) => (heap, 1),
            heap::Profile::Heap(HeapType::InuseObjects) => (heap, 2),
            heap::Profile::Heap(HeapType::InuseSpace) => (heap, 3),
            heap::Profile::Block(value) | heap::Profile::Mutex(value) => {
                (vec![CONTENTIONS, DELAY], usize::from(value == WaitType::Delay))
            }
        };
        let meta = Meta {
            source: Source::Records,
            method: None,
            started: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            value_types,
            default_value,
            period: None,
            counters: Vec::new(),
            budget: None,
            in_windows: false,
            notes: Vec::new(),
        };
        let (binaries, last) = Default::default();
        let (profile, facts) = (Profile::new(meta), Facts::default());
        Self { config, profile, binaries, last, ticks: None, facts }
    }

    /// A profile of everything that was read, while samplers were on or not; `unseen` says of other
    /// processes why they are not in it.
    pub fn profile(
        &mut self,
        all: Vec<Read>,
        sampled: Option<Sampled>,
        unseen: &[Unseen],
    ) -> &Profile {
        self.forget_unused(&all);
        self.facts = Facts::default();
        let meta = &mut self.profile.meta;
        meta.started = sampled.map_or_else(SystemTime::now, |sampled| sampled.since);
        meta.duration = sampled.map_or(Duration::ZERO, |sampled| sampled.length);
        meta.counters.clear();
        meta.notes.clear();
        self.profile.processes.clear();
        let mut samples = std::mem::take(&mut self.profile.samples).into_iter();
        let mut last = std::mem::take(&mut self.last).into_iter();
        for (target, records) in &all {
            let process = self.process(target);
            // Samples are used again for as long as the same processes are there.
            let before = last.next().map(|(before, old)| {
                let kept: Vec<Sample> = samples.by_ref().take(old.count()).collect();
                (before, old, kept)
            });
            let before = before.filter(|(before, ..)| Rc::ptr_eq(before, target));
            match (records, before) {
                (Records::Heap(records), Some((_, Records::Heap(old), kept))) => {
                    self.heap(target, process, records, &old, kept);
                }
                (Records::Heap(records), _) => {
                    self.heap(target, process, records, &HeapRecords::default(), Vec::new());
                }
                (Records::Contention(records), _) => self.contention(target, process, records),
            }
        }
        self.last = all;
        self.describe(sampled.is_some());
        let not_read = |unseen: &Unseen| format!("not read: {}", unseen.failure);
        self.profile.meta.notes.extend(unseen.iter().map(not_read));
        &self.profile
    }

    /// That of the last round.
    pub fn last(&self) -> &Profile {
        &self.profile
    }

    /// Lets go of what the last profile was made of, if one of its processes has ended.
    pub fn forget_ended(&mut self) {
        if !self.last.iter().all(|(process, _)| process.is_there()) {
            self.last.clear();
            self.profile.samples.clear();
        }
    }

    /// Begins anew when much of what is kept is of programs and stacks that are not there any more.
    fn forget_unused(&mut self, all: &[Read]) {
        let runs = |known: &WrittenStacks| {
            all.iter().any(|(t, _)| Arc::ptr_eq(&known.go, &t.live.program.go))
        };
        let kept: usize = self.binaries.iter().map(|known| known.len()).sum();
        let used: usize = all.iter().map(|(_, records)| records.count()).sum();
        if kept > 2 * used + SPARE_STACKS || !self.binaries.iter().all(runs) {
            let ticks = self.ticks;
            *self = Self { ticks, ..Self::new(self.config) };
        }
    }

    fn process(&mut self, target: &LiveProcess) -> ProcessId {
        let go = &target.live.program.go;
        let known = self.binaries.iter().position(|known| Arc::ptr_eq(&known.go, go));
        let binary = known.unwrap_or_else(|| {
            self.profile.binaries.push(naming::binary(go, &target.path));
            self.binaries.push(WrittenStacks::new(go, BinaryId(self.binaries.len() as u32)));
            self.binaries.len() - 1
        });
        let binary = BinaryId(binary as u32);
        self.profile.processes.push(naming::process(&target.process, go, binary));
        ProcessId(self.profile.processes.len() as u32 - 1)
    }

    /// `kept` are the samples that were made of `old`.
    fn heap(
        &mut self,
        target: &LiveProcess,
        process: ProcessId,
        records: &HeapRecords,
        old: &HeapRecords,
        kept: Vec<Sample>,
    ) {
        let (goes_on, old_rate) = (records.goes_on_from(old), old.rate);
        let (old, kept) = if goes_on { (&old.buckets[..], kept) } else { Default::default() };
        let (new, known) = records.buckets.split_at(records.buckets.len() - old.len());
        let rate = records.rate;
        let values = |bucket: &HeapBucket| {
            let (allocs, alloc_bytes) = scale::heap_sample(bucket.allocs, bucket.size, rate);
            let alive = bucket.allocs - bucket.frees;
            let (alive, alive_bytes) = scale::heap_sample(alive, bucket.size, rate);
            [allocs, alloc_bytes, alive, alive_bytes]
        };
        let stacks = new.iter().map(|bucket| records.stacks.get(&bucket.stack));
        let stacks = self.named(target, process, stacks, Written::Logical);
        let key = self.profile.names.intern("bytes");
        let samples = new.iter().zip(stacks).map(|(bucket, stack)| Sample {
            process,
            stack,
            values: values(bucket).to_vec(),
            error: Vec::new(),
            ages: None,
            iterations: None,
            go_type: None,
            leaf: None,
            labels: vec![Label { key, value: LabelValue::Number(bucket.size) }],
        });
        self.profile.samples.extend(samples);
        // The rate is that of now for all that was ever sampled (pprof has it so).
        let same_rate = rate == old_rate;
        let known = known.iter().zip(old).zip(kept).map(|((bucket, old), mut sample)| {
            if !same_rate || (bucket.allocs, bucket.frees) != (old.allocs, old.frees) {
                sample.values.copy_from_slice(&values(bucket));
            }
            sample
        });
        self.profile.samples.extend(known);
        self.facts.refused += records.refused;
        self.facts.rates.push(records.rate);
        self.facts.cycles.push(records.cycles);
        self.facts.uncollected |= !records.collected;
        let (first, last) = records.cycles;
        if first != last {
            self.profile.meta.notes.push(format!(
                "process {}: it collected while its {} buckets were read; each is as of a collection \
                 of its own, from cycle {first} to {last}",
                target.process.id.pid,
                records.buckets.len()
            ));
        }
        self.facts.unsettled += u64::from(records.unsettled);
        if records.unsettled && first == last {
            self.profile.meta.notes.push(format!(
                "process {}: its runtime was adding its heap profile up each time that it was read; \
                 stacks may be as of neighbouring collections, and one may be counted twice",
                target.process.id.pid
            ));
        }
    }

    fn contention(
        &mut self,
        target: &LiveProcess,
        process: ProcessId,
        records: &ContentionRecords,
    ) {
        let pid = target.process.id.pid;
        let ticks = match records.ticks_per_second {
            Some(ticks) => ticks as f64,
            None => match self.ticks.or_else(clock::ticks_per_second) {
                Some(ticks) => {
                    self.ticks = Some(ticks);
                    self.profile.meta.notes.push(format!(
                        "process {pid}: its runtime has not measured its clock yet; times are by \
                         heaptap's own measure, right to about 0.01 %"
                    ));
                    ticks
                }
                None => {
                    self.profile.meta.notes.push(format!(
                        "process {pid}: its runtime has not measured its clock yet; times are in \
                         ticks of it, not in nanoseconds"
                    ));
                    1e9
                }
            },
        };
        let per_nanosecond = ticks / 1e9;
        let written = match target.live.program.layout.minor {
            ..23 => Written::Logical,
            _ => Written::Physical,
        };
        let stacks = records.buckets.iter().map(|bucket| records.stacks.get(&bucket.stack));
        let stacks = self.named(target, process, stacks, written);
        let is_block = matches!(self.config.profile, heap::Profile::Block(_));
        // What a counted event stands for, where the runtime has not scaled it itself.
        let events = if is_block || !unscaled(target) { 1 } else { records.rate };
        for (bucket, stack) in records.buckets.iter().zip(stacks) {
            // A wait that was counted is one at least (BlockProfile).
            let count = (bucket.count as u64).max(u64::from(is_block)).saturating_mul(events);
            let delay = (bucket.cycles as f64 / per_nanosecond * events as f64) as u64;
            self.profile.samples.push(Sample {
                process,
                stack,
                values: vec![count, delay],
                error: Vec::new(),
                ages: None,
                iterations: None,
                go_type: None,
                leaf: None,
                labels: Vec::new(),
            });
        }
        self.facts.refused += records.refused;
        self.facts.rates.push(records.rate);
        if records.rate == 0 {
            self.profile.meta.notes.push(format!(
                "process {pid}: it has turned this profile off again; what is shown was before"
            ));
        }
    }

    /// The locations of stacks of one process, in their order.
    fn named<'s>(
        &mut self,
        target: &LiveProcess,
        process: ProcessId,
        stacks: impl Iterator<Item = &'s [RuntimeAddr]>,
        written: Written,
    ) -> Vec<Vec<LocationId>> {
        let bias = target.live.bias;
        let binary = self.profile.processes[process.0 as usize].binary;
        let known = &mut self.binaries[binary.0 as usize];
        let is_heap = matches!(self.config.profile, heap::Profile::Heap(_));
        let how = How {
            written,
            without_runtime: is_heap && !self.config.runtime_frames,
            raw: self.config.is_raw(),
        };
        let stacks = stacks.map(|stack| stack.iter().map(|pc| bias.to_vaddr(*pc)));
        known.named(&mut self.profile, stacks, how)
    }

    /// Says how it was measured, and what is missing.
    fn describe(&mut self, sampled: bool) {
        let (meta, facts) = (&mut self.profile.meta, &self.facts);
        let same = facts.rates.windows(2).all(|pair| pair[0] == pair[1]);
        let rate = facts.rates.first().copied().filter(|_| same);
        match self.config.profile {
            heap::Profile::Heap(_) => {
                let cycle = match facts.cycles[..] {
                    [(first, last)] if first == last => format!(" (profile cycle {first})"),
                    _ => String::new(),
                };
                let when = match facts.uncollected {
                    false => format!("heap as of the last completed collection{cycle}"),
                    true => "heap before its first collection: all that was allocated".to_owned(),
                };
                let how = match rate {
                    Some(1) => "every allocation counted by the runtime".to_owned(),
                    Some(rate) => {
                        format!("estimate from the runtime's samples, one per {}", bytes(rate))
                    }
                    None => "estimate from the runtimes' samples".to_owned(),
                };
                meta.method = Some(format!("{when}; {how}"));
                meta.period = rate.map(|length| Period { of: SPACE, length });
                if sampled {
                    meta.notes.push(
                        "the sampler was turned on for this profile: what was allocated before is \
                         not in it"
                            .to_owned(),
                    );
                }
            }
            heap::Profile::Block(_) => {
                meta.method = Some(
                    "time that goroutines waited, since the program turned the block profile on"
                        .to_owned(),
                );
                meta.period = Some(Period { of: CONTENTIONS, length: 1 });
            }
            heap::Profile::Mutex(_) => {
                let one_in = match rate {
                    Some(rate) if rate > 1 => format!(", estimated from one in {rate}"),
                    _ => String::new(),
                };
                meta.method = Some(format!(
                    "time that others waited for a lock, by who held it, since the program turned \
                     the mutex profile on{one_in}"
                ));
                meta.period = Some(Period { of: CONTENTIONS, length: 1 });
            }
        }
        if facts.unsettled > 0 {
            meta.counters.push(CounterValue {
                name: UNSETTLED.into(),
                help: "heap profiles that changed each time that they were read".into(),
                is_loss: false,
                count: facts.unsettled,
            });
        }
        if facts.refused > 0 {
            meta.counters.push(CounterValue {
                name: "records_refused".into(),
                help: "profile buckets whose contents can't be".into(),
                is_loss: true,
                count: facts.refused,
            });
        }
    }
}

/// Whether records of mutexes are scaled when they are shown (Go 1.19, `scaleMutexProfile`), and not
/// when they are made.
pub fn unscaled(target: &LiveProcess) -> bool {
    target.live.program.layout.minor < 20
}

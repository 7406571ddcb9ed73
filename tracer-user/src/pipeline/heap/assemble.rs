//! Records of runtimes to a profile: names stacks, scales counts, says how they were measured.
//!
//! In: what was read of each process. Out: a [`Profile`] as runtime/pprof makes one (protomem.go,
//! pprof.go): one sample for each bucket, none merged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Read, Records, Sampled, clock};
use crate::address::VAddr;
use crate::cli::heap::{self, Config, HeapType, WaitType};
use crate::gobin::GoBinary;
use crate::output::text::bytes;
use crate::pipeline::naming;
use crate::pipeline::opened::LiveProcess;
use crate::profile::{
    ALLOC_OBJECTS, ALLOC_SPACE, BinaryId, CONTENTIONS, CounterValue, DELAY, INUSE_OBJECTS,
    INUSE_SPACE, Label, LabelValue, LocationId, Meta, Period, ProcessId, Profile, SPACE, Sample,
    Source, scale,
};
use crate::runtime::buckets::{ContentionRecords, HeapRecords, Stacks};
use crate::symbolize::Symbolizer;
use crate::symbolize::logical::{LogicalStacks, Written};
use crate::symbolize::stack::StackRules;

/// A profile in the making.
pub struct Assembled<'a> {
    config: &'a Config,
    sampled: Option<Sampled>,
    profile: Profile,
    /// With the binary's index in the profile.
    binaries: Vec<(Arc<GoBinary>, BinaryId)>,
    locations: HashMap<(BinaryId, Vec<VAddr>), LocationId>,
    /// Sampling rates of the processes, and whether all have published a collection.
    rates: Vec<u64>,
    cycles: Vec<(u32, u32)>,
    collected: bool,
    refused: u64,
    /// Ticks in a second where a runtime has not worked it out.
    ticks: Option<f64>,
}

impl<'a> Assembled<'a> {
    pub fn new(config: &'a Config, sampled: Option<Sampled>) -> Self {
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
            started: sampled.map_or_else(SystemTime::now, |sampled| sampled.since),
            duration: sampled.map_or(Duration::ZERO, |sampled| sampled.length),
            value_types,
            default_value,
            period: None,
            counters: Vec::new(),
            notes: Vec::new(),
        };
        Self {
            config,
            sampled,
            profile: Profile::new(meta),
            binaries: Vec::new(),
            locations: HashMap::new(),
            rates: Vec::new(),
            cycles: Vec::new(),
            collected: true,
            refused: 0,
            ticks: None,
        }
    }

    /// Takes everything that was read.
    pub fn profile(mut self, all: Vec<Read>) -> Profile {
        for Read { target, records } in all {
            let process = self.process(&target);
            match records {
                Records::Heap(records) => self.heap(&target, process, &records),
                Records::Contention(records) => self.contention(&target, process, &records),
            }
        }
        self.describe();
        self.profile
    }

    fn process(&mut self, target: &LiveProcess) -> ProcessId {
        let go = &target.live.program.go;
        let known = self.binaries.iter().find(|(known, _)| Arc::ptr_eq(known, go));
        let binary = match known {
            Some((_, id)) => *id,
            None => {
                self.profile.binaries.push(naming::binary(go, &target.path));
                let id = BinaryId(self.profile.binaries.len() as u32 - 1);
                self.binaries.push((Arc::clone(go), id));
                id
            }
        };
        self.profile.processes.push(naming::process(&target.process, go, binary));
        ProcessId(self.profile.processes.len() as u32 - 1)
    }

    fn heap(&mut self, target: &LiveProcess, process: ProcessId, records: &HeapRecords) {
        let stacks = records.buckets.iter().map(|bucket| &bucket.stack);
        let namer = Namer::new(target, &records.stacks, stacks);
        let key = self.profile.names.intern("bytes");
        for bucket in &records.buckets {
            let returns = namer.returns(records.stacks.get(&bucket.stack));
            let returns = match self.config.runtime_frames {
                true => &returns[..],
                false => namer.stacks.without_runtime(&returns),
            };
            let stack = self.stack(&namer, process, returns, Written::Logical);
            let scaled = |count| scale::heap_sample(count, bucket.size, records.rate);
            let (allocs, alloc_bytes) = scaled(bucket.allocs);
            let (alive, alive_bytes) = scaled(bucket.allocs - bucket.frees);
            self.profile.samples.push(Sample {
                process,
                stack,
                values: vec![allocs, alloc_bytes, alive, alive_bytes],
                error: Vec::new(),
                ages: None,
                go_type: None,
                labels: vec![Label { key, value: LabelValue::Number(bucket.size) }],
            });
        }
        self.refused += records.refused;
        self.rates.push(records.rate);
        self.cycles.push(records.cycles);
        self.collected &= records.collected;
        let (first, last) = records.cycles;
        if first != last {
            self.profile.meta.notes.push(format!(
                "process {}: it collected while its {} buckets were read; each is as of a collection \
                 of its own, from cycle {first} to {last}",
                target.process.id.pid,
                records.buckets.len()
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
        let stacks = records.buckets.iter().map(|bucket| &bucket.stack);
        let namer = Namer::new(target, &records.stacks, stacks);
        let is_block = matches!(self.config.profile, heap::Profile::Block(_));
        // What a counted event stands for, where the runtime has not scaled it itself.
        let events = if is_block || !unscaled(target) { 1 } else { records.rate };
        for bucket in &records.buckets {
            let returns = namer.returns(records.stacks.get(&bucket.stack));
            let stack = self.stack(&namer, process, &returns, written);
            // A wait that was counted is one at least (BlockProfile).
            let count = (bucket.count as u64).max(u64::from(is_block)).saturating_mul(events);
            let delay = (bucket.cycles as f64 / per_nanosecond * events as f64) as u64;
            self.profile.samples.push(Sample {
                process,
                stack,
                values: vec![count, delay],
                error: Vec::new(),
                ages: None,
                go_type: None,
                labels: Vec::new(),
            });
        }
        self.refused += records.refused;
        self.rates.push(records.rate);
        if records.rate == 0 {
            self.profile.meta.notes.push(format!(
                "process {pid}: it has turned this profile off again; what is shown was before"
            ));
        }
    }

    fn stack(
        &mut self,
        namer: &Namer,
        process: ProcessId,
        returns: &[VAddr],
        written: Written,
    ) -> Vec<LocationId> {
        let binary = self.profile.processes[process.0 as usize].binary;
        let mut stack = Vec::new();
        for place in namer.stacks.places(returns, written) {
            let mut key = vec![place.at];
            key.extend(place.frames.iter().flatten().map(|frame| frame.at));
            let known = self.locations.get(&(binary, key.clone())).copied();
            let location = known.unwrap_or_else(|| {
                let profile = &mut self.profile;
                let made = naming::location(profile, &namer.symbolizer, binary, &place);
                self.locations.insert((binary, key), made);
                made
            });
            stack.push(location);
        }
        stack
    }

    /// Says how it was measured, and what is missing.
    fn describe(&mut self) {
        let meta = &mut self.profile.meta;
        let same = self.rates.windows(2).all(|pair| pair[0] == pair[1]);
        let rate = self.rates.first().copied().filter(|_| same);
        match self.config.profile {
            heap::Profile::Heap(_) => {
                let cycle = match self.cycles[..] {
                    [(first, last)] if first == last => format!(" (profile cycle {first})"),
                    _ => String::new(),
                };
                let when = match self.collected {
                    true => format!("heap as of the last completed collection{cycle}"),
                    false => "heap before its first collection: all that was allocated".to_owned(),
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
                if self.sampled.is_some() {
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
        if self.refused > 0 {
            meta.counters.push(CounterValue {
                name: "records_refused",
                help: "profile buckets whose contents can't be",
                is_loss: true,
                count: self.refused,
            });
        }
    }
}

/// Whether records of mutexes are scaled when they are shown (Go 1.19, `scaleMutexProfile`), and not
/// when they are made.
pub fn unscaled(target: &LiveProcess) -> bool {
    target.live.program.layout.minor < 20
}

/// Names the stacks of one process.
struct Namer<'a> {
    target: &'a LiveProcess,
    symbolizer: Symbolizer,
    stacks: LogicalStacks,
}

impl<'a> Namer<'a> {
    fn new<'s>(
        target: &'a LiveProcess,
        stacks: &Stacks,
        ranges: impl Iterator<Item = &'s std::ops::Range<usize>>,
    ) -> Self {
        let go = &target.live.program.go;
        let symbolizer = Symbolizer::new(Arc::clone(go)).with_full_names();
        let ids = StackRules::new(go).ids();
        let bias = target.live.bias;
        let returns = ranges.flat_map(|range| stacks.get(range)).map(|pc| bias.to_vaddr(*pc));
        let stacks = LogicalStacks::new(&symbolizer, ids, returns);
        Self { target, symbolizer, stacks }
    }

    fn returns(&self, stack: &[crate::address::RuntimeAddr]) -> Vec<VAddr> {
        stack.iter().map(|pc| self.target.live.bias.to_vaddr(*pc)).collect()
    }
}

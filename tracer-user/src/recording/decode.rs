//! A snapshot's contents understood: the other way of `encode`.
//!
//! In: contents of records, in the order in which they were written. Out: a profile, when it is asked for. Every number
//! is checked against what there is, and memory is taken out of a given amount.

use std::time::{Duration, SystemTime};

use super::wire::{Get, Wrong, grows_with_count, in_proportion};
use super::{Error, Shot, Shown, codes};
use crate::address::VAddr;
use crate::profile::{
    Ages, Binary, BinaryId, Cost, CounterValue, Frame, Interner, Iterations, Label, LabelValue,
    Location, LocationId, Meta, Name, Period, Process, ProcessId, Profile, Sample, Source,
    ValueType, Workload,
};

/// Deepest stack; heaptap's own have less than 200 places.
const DEEPEST: u32 = 4096;

/// What the snapshots of a segment have said, and the last of them.
pub struct Decoder {
    room: Room,
    names: Interner,
    binaries: Vec<Binary>,
    processes: Vec<Process>,
    locations: Vec<Location>,
    nodes: Vec<Node>,
    series: Vec<Series>,
    last_location: u64,
    last_node: u64,
    meta: Meta,
    shown: Shown,
    /// Files and processes of the last snapshot.
    of_binaries: Vec<u32>,
    of_processes: Vec<Present>,
    /// Its series: first, and how many.
    runs: Vec<(u32, u32)>,
}

/// A place of a stack.
struct Node {
    /// The next outer one.
    parent: Option<u32>,
    location: LocationId,
    depth: u32,
}

/// What a sample is told by, and its values when it was last seen. Those of a snapshot's samples are its.
struct Series {
    sample: Sample,
    node: Option<u32>,
}

/// A process of a snapshot.
struct Present {
    id: u32,
    processes: u64,
    cost: Option<Cost>,
}

/// Memory that may be taken.
#[derive(Clone, Copy)]
struct Room {
    left: usize,
    all: usize,
}

/// Why something is not understood.
enum Fault {
    Wrong(Wrong),
    Full,
}

impl From<Wrong> for Fault {
    fn from(wrong: Wrong) -> Self {
        Fault::Wrong(wrong)
    }
}

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        self.left = self.left.checked_sub(bytes).ok_or(Fault::Full)?;
        Ok(())
    }
}

impl Decoder {
    /// Nothing yet; takes so many bytes at most, roughly.
    pub fn new(memory: usize) -> Self {
        let meta = Meta {
            source: Source::Exact,
            method: None,
            started: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            value_types: Vec::new(),
            default_value: 0,
            period: None,
            counters: Vec::new(),
            budget: None,
            in_windows: false,
            notes: Vec::new(),
        };
        Self {
            room: Room { left: memory, all: memory },
            names: Interner::default(),
            binaries: Vec::new(),
            processes: Vec::new(),
            locations: Vec::new(),
            nodes: Vec::new(),
            series: Vec::new(),
            last_location: 0,
            last_node: 0,
            meta,
            shown: Shown::default(),
            of_binaries: Vec::new(),
            of_processes: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Takes in the next snapshot, of the record at `at`.
    ///
    /// # Errors
    /// It makes no sense; it needs too much memory. What was taken in before is of no use any more.
    pub fn apply(&mut self, contents: &[u8], at: u64) -> Result<(), Error> {
        let mut get = Get::new(contents);
        let done = self.read(&mut get).and_then(|()| match get.is_empty() {
            true => Ok(()),
            false => Err(Fault::Wrong("there is more than a snapshot")),
        });
        done.map_err(|fault| self.error(fault, at))
    }

    /// What the last snapshot measures.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Processes of the last snapshot, each with its binary's path.
    pub fn processes(&self) -> impl Iterator<Item = (&Process, &str)> {
        self.of_processes.iter().map(|present| {
            let process = &self.processes[present.id as usize];
            (process, self.binaries[process.binary.0 as usize].path.as_str())
        })
    }

    /// The profile of the last snapshot, of the record at `at`.
    ///
    /// # Errors
    /// It makes no sense; it needs too much memory.
    pub fn shot(&self, time: u64, at: u64) -> Result<Shot, Error> {
        let profile = self.profile().map_err(|fault| self.error(fault, at))?;
        Ok(Shot { time, profile, shown: self.shown })
    }

    fn error(&self, fault: Fault, at: u64) -> Error {
        match fault {
            Fault::Wrong(what) => Error::Malformed { at, what },
            Fault::Full => Error::TooLarge { limit: self.room.all },
        }
    }

    fn read(&mut self, get: &mut Get) -> Result<(), Fault> {
        for _ in 0..get.count()? {
            let text = get.text()?;
            self.room.take(100 + text.len())?;
            let next = self.names.len() as u32;
            // The empty one is there from the beginning.
            let number = self.names.intern(text).0;
            if number != next {
                return Err("a text is said twice".into());
            }
        }
        for _ in 0..get.count()? {
            self.room.take(200)?;
            let binary = self.binary(get)?;
            self.binaries.push(binary);
        }
        for _ in 0..get.count()? {
            self.room.take(400)?;
            let process = self.process(get)?;
            self.processes.push(process);
        }
        for _ in 0..get.count()? {
            let location = self.location(get)?;
            self.locations.push(location);
        }
        for _ in 0..get.count()? {
            self.room.take(size_of::<Node>())?;
            let node = self.node(get)?;
            self.nodes.push(node);
        }
        let new_series = get.count()?;
        let old_series = self.series.len();
        for _ in 0..new_series {
            let series = self.one_series(get)?;
            self.series.push(series);
        }
        self.meta = self.read_meta(get)?;
        let [by_type, label_roots] = [get.flag()?, get.flag()?];
        self.shown = Shown { by_type, label_roots };
        let width = self.meta.value_types.len();
        for series in &mut self.series[old_series..] {
            self.room.take(8 * width)?;
            series.sample.values.resize(width, 0);
        }
        if self.series.first().is_some_and(|series| series.sample.values.len() != width) {
            return Err("other values than before".into());
        }
        self.who(get)?;
        self.runs = runs(get, self.series.len())?;
        self.values(get, width)
    }

    fn text(&self, get: &mut Get) -> Result<String, Fault> {
        Ok(self.names.text(self.name(get)?).to_owned())
    }

    fn some_text(&mut self, get: &mut Get) -> Result<Option<String>, Fault> {
        let Some(number) = get.option()? else { return Ok(None) };
        let text = self.names.text(self.known_name(number)?).to_owned();
        self.room.take(text.len())?;
        Ok(Some(text))
    }

    fn name(&self, get: &mut Get) -> Result<Name, Fault> {
        self.known_name(get.small()?)
    }

    fn known_name(&self, number: u32) -> Result<Name, Fault> {
        match (number as usize) < self.names.len() {
            true => Ok(Name(number)),
            false => Err("there is no such text".into()),
        }
    }

    fn binary(&mut self, get: &mut Get) -> Result<Binary, Fault> {
        let (path, build_id) = (self.text(get)?, self.text(get)?);
        self.room.take(path.len() + build_id.len())?;
        Ok(Binary {
            path,
            build_id,
            text_start: VAddr(get.number()?),
            text_end: VAddr(get.number()?),
            text_offset: get.number()?,
        })
    }

    fn process(&mut self, get: &mut Get) -> Result<Process, Fault> {
        let (pid, start_ticks, comm) = (get.small()?, get.number()?, self.text(get)?);
        self.room.take(comm.len())?;
        Ok(Process {
            pid,
            start_ticks,
            comm,
            container: self.some_text(get)?,
            workload: Workload {
                container: self.some_text(get)?,
                pod: self.some_text(get)?,
                namespace: self.some_text(get)?,
                unit: self.some_text(get)?,
            },
            go_version: self.some_text(get)?,
            binary: BinaryId(known(get.small()?, self.binaries.len(), "there is no such file")?),
            processes: 1,
            cost: None,
        })
    }

    fn location(&mut self, get: &mut Get) -> Result<Location, Fault> {
        let binary = get.option()?;
        let binary = binary
            .map(|id| known(id, self.binaries.len(), "there is no such file").map(BinaryId))
            .transpose()?;
        let address = VAddr(get.number()?);
        let count = get.count()?;
        if count == 0 {
            return Err("a place without frames".into());
        }
        self.room.take(size_of::<Location>() + count * size_of::<Frame>())?;
        let mut frames = Vec::with_capacity(count);
        for _ in 0..count {
            frames.push(Frame {
                function: self.name(get)?,
                file: self.name(get)?,
                line: get.small()?,
                start_line: get.small()?,
                kind: codes::frame(get.small()?)?,
            });
        }
        Ok(Location { binary, address, frames })
    }

    fn known_location(&self, number: u32) -> Result<LocationId, Fault> {
        Ok(LocationId(known(number, self.locations.len(), "there is no such place")?))
    }

    fn node(&mut self, get: &mut Get) -> Result<Node, Fault> {
        let back: u32 = get.small()?;
        let next = self.nodes.len() as u32;
        let parent = match back {
            0 => None,
            back => Some(next.checked_sub(back).ok_or("a stack before the first")?),
        };
        self.last_location = get.change(self.last_location)?;
        let location = u32::try_from(self.last_location).map_err(|_| "there is no such place")?;
        let location = self.known_location(location)?;
        let depth = parent.map_or(0, |parent| self.nodes[parent as usize].depth) + 1;
        match depth > DEEPEST {
            true => Err("a stack is too deep".into()),
            false => Ok(Node { parent, location, depth }),
        }
    }

    fn one_series(&mut self, get: &mut Get) -> Result<Series, Fault> {
        let process = known(get.small()?, self.processes.len(), "there is no such process")?;
        let go_type = get.option()?.map(|name| self.known_name(name)).transpose()?;
        let leaf = get.option()?.map(|leaf| self.known_location(leaf)).transpose()?;
        let count = get.count()?;
        self.room.take(size_of::<Series>() + count * size_of::<Label>())?;
        let mut labels = Vec::with_capacity(count);
        for _ in 0..count {
            let key = self.name(get)?;
            let value = match get.flag()? {
                false => LabelValue::Number(get.number()?),
                true => LabelValue::Text(self.name(get)?),
            };
            labels.push(Label { key, value });
        }
        self.last_node = get.change(self.last_node)?;
        let node = self.last_node.checked_sub(1);
        let node = node
            .map(|node| u32::try_from(node).map_err(|_| "there is no such stack"))
            .transpose()?
            .map(|node| known(node, self.nodes.len(), "there is no such stack"))
            .transpose()?;
        let sample = Sample {
            process: ProcessId(process),
            stack: Vec::new(),
            values: Vec::new(),
            error: Vec::new(),
            go_type,
            leaf,
            labels,
            ages: None,
            iterations: None,
        };
        Ok(Series { sample, node })
    }

    fn read_meta(&self, get: &mut Get) -> Result<Meta, Fault> {
        let mut room = self.room;
        let mut text = |get: &mut Get| {
            let name = self.name(get)?;
            room.take(100 + 2 * self.names.text(name).len())?;
            Ok::<_, Fault>(self.names.text(name).to_owned())
        };
        let source = codes::source(get.small()?)?;
        let method = get.option()?.map(|name| self.known_name(name)).transpose()?;
        let started = SystemTime::UNIX_EPOCH + Duration::from_nanos(get.number()?);
        let duration = Duration::from_nanos(get.number()?);
        let mut value_types = Vec::new();
        for _ in 0..get.count()? {
            value_types.push(self.value_type(get)?);
        }
        let default_value = get.small()?;
        if default_value >= value_types.len() {
            return Err("there is no such value".into());
        }
        let period = match get.flag()? {
            true => Some(Period { of: self.value_type(get)?, length: get.number()? }),
            false => None,
        };
        let mut counters = Vec::new();
        for _ in 0..get.count()? {
            counters.push(CounterValue {
                name: text(get)?.into(),
                help: text(get)?.into(),
                is_loss: get.flag()?,
                count: get.number()?,
            });
        }
        let (budget, in_windows) = (get.maybe()?, get.flag()?);
        let mut notes = Vec::new();
        for _ in 0..get.count()? {
            notes.push(text(get)?);
        }
        let method = method.map(|name| self.names.text(name).to_owned());
        Ok(Meta {
            source,
            method,
            started,
            duration,
            value_types,
            default_value,
            period,
            counters,
            budget,
            in_windows,
            notes,
        })
    }

    fn value_type(&self, get: &mut Get) -> Result<ValueType, Fault> {
        let (kind, unit) = (self.name(get)?, self.name(get)?);
        let of = ValueType::known(self.names.text(kind), self.names.text(unit));
        Ok(of.ok_or("it measures what this heaptap does not know")?)
    }

    /// Files and processes.
    fn who(&mut self, get: &mut Get) -> Result<(), Fault> {
        self.of_binaries.clear();
        for _ in 0..get.count()? {
            let id = known(get.small()?, self.binaries.len(), "there is no such file")?;
            self.of_binaries.push(id);
        }
        self.of_processes.clear();
        for _ in 0..get.count()? {
            let id = known(get.small()?, self.processes.len(), "there is no such process")?;
            let processes = get.number()?;
            let cost = if get.flag()? { Some(cost(get)?) } else { None };
            self.of_processes.push(Present { id, processes, cost });
        }
        Ok(())
    }

    fn values(&mut self, get: &mut Get, width: usize) -> Result<(), Fault> {
        let of = ids(get, self.series.len())?;
        let mut counts = vec![0; of.len()];
        for value in 0..width {
            let grows = grows_with_count(&self.meta.value_types, value);
            for (id, count) in of.iter().zip(&mut counts) {
                let values = &mut self.series[*id].sample.values;
                let before = values[value];
                let expected = match grows {
                    true => in_proportion(*count, before, values[value - 1]),
                    false => before,
                };
                values[value] = get.change(expected)?;
                *count = before;
            }
        }
        for id in ids(get, self.series.len())? {
            let count = get.count()?;
            if count != 0 && count != width {
                return Err("not as many errors as values".into());
            }
            let error = &mut self.series[id].sample.error;
            self.room.take(if error.is_empty() { 8 * count } else { 0 })?;
            error.clear();
            for _ in 0..count {
                error.push(get.float()?);
            }
        }
        for id in ids(get, self.series.len())? {
            let ages = &mut self.series[id].sample.ages;
            match get.flag()? {
                false => *ages = None,
                true => {
                    if ages.is_none() {
                        self.room.take(size_of::<Ages>())?;
                    }
                    let ages = ages.get_or_insert_default();
                    for age in ages.freed.iter_mut().chain(&mut ages.live) {
                        *age = get.change(*age)?;
                    }
                }
            }
        }
        for id in ids(get, self.series.len())? {
            let mut numbers = Vec::new();
            for _ in 0..get.count()? {
                numbers.push(get.number()?);
            }
            // In maps a number takes more than in a list.
            self.room.take(4 * 8 * numbers.len())?;
            self.series[id].sample.iterations = match numbers[..] {
                [] => None,
                _ => {
                    let of = Iterations::from_numbers(&numbers);
                    Some(Box::new(of.ok_or("iterations that make no sense")?))
                }
            };
        }
        Ok(())
    }

    fn profile(&self) -> Result<Profile, Fault> {
        let mut room = self.room;
        let mut profile = Profile::new(self.meta.clone());
        profile.names = self.names.clone();
        let mut binaries = vec![None; self.binaries.len()];
        for (at, id) in self.of_binaries.iter().enumerate() {
            if binaries[*id as usize].replace(BinaryId(at as u32)).is_some() {
                return Err("a file is there twice".into());
            }
            profile.binaries.push(self.binaries[*id as usize].clone());
        }
        let binary = |BinaryId(id): BinaryId| {
            binaries[id as usize].ok_or(Fault::Wrong("a file is not there"))
        };
        let mut processes = vec![None; self.processes.len()];
        for (at, present) in self.of_processes.iter().enumerate() {
            if processes[present.id as usize].replace(ProcessId(at as u32)).is_some() {
                return Err("a process is there twice".into());
            }
            let process = &self.processes[present.id as usize];
            profile.processes.push(Process {
                binary: binary(process.binary)?,
                processes: present.processes,
                cost: present.cost,
                ..process.clone()
            });
        }
        let mut locations: Vec<Option<LocationId>> = vec![None; self.locations.len()];
        let mut location = |profile: &mut Profile, room: &mut Room, LocationId(id): LocationId| {
            if let Some(known) = locations[id as usize] {
                return Ok::<_, Fault>(known);
            }
            let Location { binary: of, address, frames } = &self.locations[id as usize];
            room.take(size_of::<Location>() + size_of::<Frame>() * frames.len())?;
            let (frames, of) = (frames.clone(), of.map(binary).transpose()?);
            profile.locations.push(Location { binary: of, address: *address, frames });
            let made = LocationId(profile.locations.len() as u32 - 1);
            locations[id as usize] = Some(made);
            Ok(made)
        };
        for (first, count) in &self.runs {
            for Series { sample, node } in &self.series[*first as usize..][..*count as usize] {
                let depth = node.map_or(0, |node| self.nodes[node as usize].depth);
                let width = sample.values.len() + sample.error.len() + 3 * sample.labels.len();
                room.take(size_of::<Sample>() + 4 * depth as usize + 8 * width)?;
                room.take(sample.ages.as_ref().map_or(0, |_| size_of::<Ages>()))?;
                let mut sample =
                    Sample { stack: Vec::with_capacity(depth as usize), ..sample.clone() };
                let mut next = *node;
                while let Some(node) = next.map(|node| &self.nodes[node as usize]) {
                    sample.stack.push(location(&mut profile, &mut room, node.location)?);
                    next = node.parent;
                }
                if let Some(leaf) = &mut sample.leaf {
                    *leaf = location(&mut profile, &mut room, *leaf)?;
                }
                let process = processes[sample.process.0 as usize];
                sample.process = process.ok_or(Fault::Wrong("a process is not there"))?;
                profile.samples.push(sample);
            }
        }
        Ok(profile)
    }
}

fn known(number: u32, len: usize, what: Wrong) -> Result<u32, Wrong> {
    if (number as usize) < len { Ok(number) } else { Err(what) }
}

fn cost(get: &mut Get) -> Result<Cost, Wrong> {
    let mut cost = Cost { traps: get.number()?, ..Cost::default() };
    let Cost { caused, own, cpu, observed, traced, .. } = &mut cost;
    for time in [caused, own, cpu, observed, traced] {
        *time = Duration::from_nanos(get.number()?);
    }
    cost.windows = get.small()?;
    cost.rest = codes::rest(get.small()?)?;
    Ok(cost)
}

/// Runs of series: first, and how many; in order and within `len`.
fn runs(get: &mut Get, len: usize) -> Result<Vec<(u32, u32)>, Wrong> {
    let mut runs = Vec::new();
    let mut end = 0u32;
    for _ in 0..get.count()? {
        let first = end.checked_add(get.small()?).ok_or("a number is too large")?;
        let count = get.small()?;
        end = first.checked_add(count).ok_or("a number is too large")?;
        runs.push((first, count));
    }
    if end as usize <= len { Ok(runs) } else { Err("there is no such sample") }
}

/// Numbers of series, in order and within `len`.
fn ids(get: &mut Get, len: usize) -> Result<Vec<usize>, Wrong> {
    let mut ids = Vec::new();
    let mut next = 0usize;
    for _ in 0..get.count()? {
        let id = next.checked_add(get.small()?).filter(|id| *id < len);
        let id = id.ok_or("there is no such sample")?;
        ids.push(id);
        next = id + 1;
    }
    Ok(ids)
}

//! A snapshot's contents understood: the other way of `encode`.
//!
//! In: contents of records, in the order in which they were written. Out: a profile, when it is asked for. Every number
//! is checked against what there is, and memory is taken out of a given amount.

mod made;
mod tables;

use std::time::{Duration, SystemTime};

use super::wire::{Get, Wrong, grows_with_count, in_proportion};
use super::{Error, Shot, Shown, codes};
use crate::profile::exp::Exp;
use crate::profile::{
    Ages, Binary, Cost, Interner, Iterations, Location, LocationId, Meta, Process, Sample, Source,
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
    /// Values are what was sampled, and how they were scaled.
    sampled: Option<Exp>,
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
pub(super) struct Room {
    left: usize,
    all: usize,
}

/// Why something is not understood.
pub(super) enum Fault {
    Wrong(Wrong),
    Full,
}

impl From<Wrong> for Fault {
    fn from(wrong: Wrong) -> Self {
        Fault::Wrong(wrong)
    }
}

impl Fault {
    /// What it is to who reads, of the record at `at`.
    pub fn error(self, room: &Room, at: u64) -> Error {
        match self {
            Fault::Wrong(what) => Error::Malformed { at, what },
            Fault::Full => Error::TooLarge { limit: room.all },
        }
    }
}

impl Room {
    pub fn new(bytes: usize) -> Self {
        Self { left: bytes, all: bytes }
    }

    /// Takes so many bytes.
    pub fn take(&mut self, bytes: usize) -> Result<(), Fault> {
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
            room: Room::new(memory),
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
            sampled: None,
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
        fault.error(&self.room, at)
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
        self.sampled = match get.number()? {
            0 => None,
            how => Some(Exp::numbered(how).ok_or("no such values")?),
        };
        let types = self.meta.value_types.len();
        let width = if self.sampled.is_some() { 2 } else { types };
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
            let grows = self.sampled.is_none() && grows_with_count(&self.meta.value_types, value);
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
            if count != 0 && count != self.meta.value_types.len() {
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

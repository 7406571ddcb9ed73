//! A snapshot's contents: what no snapshot of its segment has said before.
//!
//! In: profiles, one after the other. Out: bytes that `decode` makes the same profiles of. Texts, files,
//! processes, places, stacks and what sets samples apart are said once in a segment and have numbers
//! from then on; of values only changes are said.

use std::mem::take;
use std::time::SystemTime;

use super::Shown;
use super::codes;
use super::numbers::Numbers;
use super::sampled::Counts;
use super::table::Table;
use super::wire::{Put, grows_with_count, in_proportion};
use crate::profile::exp::Exp;
use crate::profile::{
    Ages, Cost, Iterations, LabelValue, Location, LocationId, Meta, Name, Process, Profile, Sample,
    ValueType,
};

/// What the snapshots of a segment have said.
pub struct Encoder {
    texts: Table,
    binaries: Table,
    processes: Table,
    locations: Table,
    nodes: Table,
    series: Table,
    /// What each series was when it was last seen.
    rows: Vec<Row>,
    value_types: Vec<ValueType>,
    /// Values are told as what was sampled.
    is_sampled: bool,
    /// Counts snapshots.
    shot: u64,
    /// Location of the last node, and node of the last series, which the next ones are told by.
    last_location: u32,
    last_node: u64,
    numbers: Numbers,
    /// Room for what is being said.
    put: Put,
    key: Put,
    stack: Vec<u32>,
}

/// Values of a series.
#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    values: Vec<u64>,
    error: Vec<f64>,
    ages: Option<Box<Ages>>,
    iterations: Option<Box<Iterations>>,
}

/// A sample, and what is told as its values.
#[derive(Clone, Copy)]
struct One<'a> {
    sample: &'a Sample,
    values: &'a [u64],
}

impl One<'_> {
    fn value(&self, value: usize) -> u64 {
        self.values.get(value).copied().unwrap_or(0)
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            texts: Table::with(b""),
            binaries: Table::default(),
            processes: Table::default(),
            locations: Table::default(),
            nodes: Table::default(),
            series: Table::default(),
            rows: Vec::new(),
            value_types: Vec::new(),
            is_sampled: false,
            shot: 0,
            last_location: 0,
            last_node: 0,
            numbers: Numbers::default(),
            put: Put::default(),
            key: Put::default(),
            stack: Vec::new(),
        }
    }
}

impl Encoder {
    /// Whether a profile can follow what was said.
    pub fn fits(&self, profile: &Profile, counts: Option<&[Counts]>) -> bool {
        self.shot > 0
            && self.value_types == profile.meta.value_types
            && self.is_sampled == counts.is_some()
    }

    /// Says a snapshot; `counts` are those of its samples, where its values follow from them.
    pub fn encode(
        &mut self,
        profile: &Profile,
        counts: Option<&[Counts]>,
        shown: Shown,
    ) -> Vec<u8> {
        self.shot += 1;
        self.is_sampled = counts.is_some();
        self.value_types.clone_from(&profile.meta.value_types);
        let mut numbers = take(&mut self.numbers);
        numbers.begin(profile);
        let binaries = profile.binaries.iter().map(|binary| {
            let mut put = Put::default();
            put.number(self.text(&binary.path));
            put.number(self.text(&binary.build_id));
            put.number(binary.text_start.0);
            put.number(binary.text_end.0);
            put.number(binary.text_offset);
            self.binaries.next_id(put.bytes(), self.shot, |new| new.raw(put.bytes()))
        });
        let binaries: Vec<u32> = binaries.collect();
        numbers.set_binaries(binaries);
        let processes = profile.processes.iter().map(|process| {
            let said = self.process(process, &numbers);
            self.processes.next_id(said.bytes(), self.shot, |new| new.raw(said.bytes()))
        });
        numbers.processes = processes.collect();
        let of = profile.samples.iter().enumerate().map(|(at, sample)| {
            let values = counts.map_or(&sample.values[..], |counts| &counts[at]);
            (self.series(profile, sample, &mut numbers), One { sample, values })
        });
        let mut present: Vec<(u32, One<'_>)> = of.collect();
        present.sort_unstable_by_key(|(id, _)| *id);
        let width = if self.is_sampled { 2 } else { self.value_types.len() };
        let new = Row { values: vec![0; width], ..Row::default() };
        self.rows.resize(self.series.len() as usize, new);
        let mut body = Put::default();
        self.meta(&profile.meta, shown, &mut body);
        put_processes(profile, &numbers, &mut body);
        put_runs(&present, &mut body);
        self.values(&present, width, &mut body);
        let mut put = Put::default();
        let Self { texts, binaries, processes, locations, nodes, series, .. } = self;
        for table in [texts, binaries, processes, locations, nodes, series] {
            table.put_new(&mut put);
        }
        put.raw(body.bytes());
        numbers.keep(profile);
        self.numbers = numbers;
        put.take()
    }

    fn text(&mut self, text: &str) -> u32 {
        self.texts.id(text.as_bytes(), |new| new.text(text))
    }

    fn some_text(&mut self, text: Option<&str>) -> Option<u32> {
        text.map(|text| self.text(text))
    }

    fn name(&mut self, profile: &Profile, name: Name, numbers: &mut Numbers) -> u32 {
        let known = &mut numbers.names[name.0 as usize];
        *known.get_or_insert_with(|| self.text(profile.names.text(name)))
    }

    fn process(&mut self, process: &Process, numbers: &Numbers) -> Put {
        let mut put = Put::default();
        put.number(process.pid);
        put.number(process.start_ticks);
        put.number(self.text(&process.comm));
        let of = &process.workload;
        let texts = [&process.container, &of.container, &of.pod, &of.namespace, &of.unit];
        for text in texts.into_iter().chain([&process.go_version]) {
            put.option(self.some_text(text.as_deref()));
        }
        put.number(numbers.binaries[process.binary.0 as usize]);
        put
    }

    fn location(&mut self, profile: &Profile, id: LocationId, numbers: &mut Numbers) -> u32 {
        if let Some(known) = numbers.locations[id.0 as usize] {
            return known;
        }
        let Location { binary, address, frames, raw } = &profile.locations[id.0 as usize];
        let mut put = take(&mut self.put);
        put.clear();
        put.option(binary.map(|binary| numbers.binaries[binary.0 as usize]));
        put.number(address.0);
        put.count(if raw.is_some() { 0 } else { frames.len() });
        if let Some(raw) = raw {
            put.number(codes::of_raw(*raw));
        }
        for frame in frames.iter().filter(|_| raw.is_none()) {
            put.number(self.name(profile, frame.function, numbers));
            put.number(self.name(profile, frame.file, numbers));
            put.number(frame.line);
            put.number(frame.start_line);
            put.number(codes::of_frame(frame.kind));
        }
        let made = self.locations.id(put.bytes(), |new| new.raw(put.bytes()));
        self.put = put;
        numbers.locations[id.0 as usize] = Some(made);
        made
    }

    /// The number of what a sample is told by.
    fn series(&mut self, profile: &Profile, sample: &Sample, numbers: &mut Numbers) -> u32 {
        let (mut put, mut stack) = (take(&mut self.key), take(&mut self.stack));
        put.clear();
        put.number(numbers.processes[sample.process.0 as usize]);
        put.option(sample.go_type.map(|name| self.name(profile, name, numbers)));
        put.option(sample.leaf.map(|leaf| self.location(profile, leaf, numbers)));
        put.count(sample.labels.len());
        for label in &sample.labels {
            put.number(self.name(profile, label.key, numbers));
            let (code, value) = match label.value {
                LabelValue::Number(number) => (0, number),
                LabelValue::Text(name) => (1, self.name(profile, name, numbers).into()),
            };
            put.number(code as u8);
            put.number(value);
        }
        let told = put.len();
        // Outermost first, so that places of new stacks are told in the order of their nodes.
        stack.clear();
        let places = sample.stack.iter().rev();
        stack.extend(places.map(|id| self.location(profile, *id, numbers)));
        stack.iter().for_each(|location| put.number(*location));
        let Self { nodes, series, last_location, last_node, .. } = self;
        let made = series.next_id(put.bytes(), self.shot, |new| {
            let node = node(nodes, &stack, last_location).map_or(0, |node| u64::from(node) + 1);
            new.raw(&put.bytes()[..told]);
            new.change(*last_node, node);
            *last_node = node;
        });
        (self.key, self.stack) = (put, stack);
        made
    }

    fn meta(&mut self, meta: &Meta, shown: Shown, put: &mut Put) {
        let nanos = |duration: std::time::Duration| duration.as_nanos().min(u64::MAX.into()) as u64;
        put.number(codes::of_source(meta.source));
        put.option(self.some_text(meta.method.as_deref()));
        put.number(nanos(meta.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()));
        put.number(nanos(meta.duration));
        put.count(meta.value_types.len());
        for of in &meta.value_types {
            self.value_type(*of, put);
        }
        put.count(meta.default_value);
        put.number(u8::from(meta.period.is_some()));
        if let Some(period) = meta.period {
            self.value_type(period.of, put);
            put.number(period.length);
        }
        put.count(meta.counters.len());
        for counter in &meta.counters {
            put.number(self.text(&counter.name));
            put.number(self.text(&counter.help));
            put.number(u8::from(counter.is_loss));
            put.number(counter.count);
        }
        put.maybe(meta.budget);
        put.number(u8::from(meta.in_windows));
        put.count(meta.notes.len());
        for note in &meta.notes {
            put.number(self.text(note));
        }
        put.number(u8::from(shown.by_type));
        put.number(u8::from(shown.label_roots));
        put.number(match self.is_sampled {
            false => 0u8,
            true => Exp::here().number(),
        });
    }

    fn value_type(&mut self, of: ValueType, put: &mut Put) {
        put.number(self.text(of.kind));
        put.number(self.text(of.unit));
    }

    /// Says what has changed since each series was last seen.
    fn values(&mut self, present: &[(u32, One<'_>)], width: usize, put: &mut Put) {
        let rows = &mut self.rows;
        let changed = |differs: &dyn Fn(&Row, &One) -> bool, rows: &[Row]| {
            let differs = |(id, one): &&(u32, One<'_>)| differs(&rows[*id as usize], one);
            present.iter().filter(differs).copied().collect::<Vec<_>>()
        };
        let values =
            |row: &Row, one: &One| (0..width).any(|value| row.values[value] != one.value(value));
        let of = changed(&values, rows);
        put_ids(&of, put);
        for value in 0..width {
            let grows = !self.is_sampled && grows_with_count(&self.value_types, value);
            for (id, one) in &of {
                let row = &rows[*id as usize].values;
                let expected = match grows {
                    true => in_proportion(row[value - 1], row[value], one.value(value - 1)),
                    false => row[value],
                };
                put.change(expected, one.value(value));
            }
        }
        for (id, one) in of {
            for (value, now) in rows[id as usize].values.iter_mut().enumerate() {
                *now = one.value(value);
            }
        }
        let of = changed(&|row, one| row.error != one.sample.error, rows);
        put_ids(&of, put);
        for (id, One { sample, .. }) in of {
            put.count(sample.error.len());
            sample.error.iter().for_each(|error| put.float(*error));
            rows[id as usize].error.clone_from(&sample.error);
        }
        let of = changed(&|row, one| row.ages != one.sample.ages, rows);
        put_ids(&of, put);
        for (id, One { sample, .. }) in of {
            let row = &mut rows[id as usize];
            put.number(u8::from(sample.ages.is_some()));
            if let Some(now) = &sample.ages {
                let before = row.ages.as_deref().cloned().unwrap_or_default();
                let pairs = [(&before.freed, &now.freed), (&before.live, &now.live)];
                for (before, now) in pairs.into_iter().flat_map(|(b, n)| b.iter().zip(n)) {
                    put.change(*before, *now);
                }
            }
            row.ages.clone_from(&sample.ages);
        }
        let of = changed(&|row, one| row.iterations != one.sample.iterations, rows);
        put_ids(&of, put);
        for (id, One { sample, .. }) in of {
            let said = sample.iterations.as_deref().map(Iterations::numbers).unwrap_or_default();
            put.count(said.len());
            said.iter().for_each(|number| put.number(*number));
            rows[id as usize].iterations.clone_from(&sample.iterations);
        }
    }
}

/// The node of a stack, outermost place first; nothing: the stack is empty.
fn node(nodes: &mut Table, stack: &[u32], last_location: &mut u32) -> Option<u32> {
    stack.iter().fold(None, |parent, location| {
        let mut key = Put::default();
        key.option(parent);
        key.number(*location);
        let id = nodes.len();
        Some(nodes.id(key.bytes(), |new| {
            // How far back it is.
            new.number(parent.map_or(0, |parent| id - parent));
            new.change((*last_location).into(), (*location).into());
            *last_location = *location;
        }))
    })
}

/// Which files and processes there are now, in their order, and what changes about them.
fn put_processes(profile: &Profile, numbers: &Numbers, put: &mut Put) {
    put.count(numbers.binaries.len());
    numbers.binaries.iter().for_each(|id| put.number(*id));
    put.count(numbers.processes.len());
    for (id, process) in numbers.processes.iter().zip(&profile.processes) {
        put.number(*id);
        put.number(process.processes);
        put.number(u8::from(process.cost.is_some()));
        let Some(cost) = process.cost else { continue };
        let Cost { traps, caused, own, cpu, windows, observed, traced, rest } = cost;
        put.number(traps);
        for time in [caused, own, cpu, observed, traced] {
            put.number(time.as_nanos().min(u64::MAX.into()) as u64);
        }
        put.number(windows);
        put.number(codes::of_rest(rest));
    }
}

/// Which series there are, as runs: what is left out, and how many there are then.
fn put_runs(present: &[(u32, One<'_>)], put: &mut Put) {
    let runs: Vec<_> = present.chunk_by(|(one, _), (next, _)| one + 1 == *next).collect();
    put.count(runs.len());
    let mut end = 0;
    for run in runs {
        let first = run[0].0;
        put.number(first - end);
        put.count(run.len());
        end = first + run.len() as u32;
    }
}

/// Numbers of series, as distances.
fn put_ids(of: &[(u32, One<'_>)], put: &mut Put) {
    put.count(of.len());
    let mut next = 0;
    for (id, _) in of {
        put.number(id - next);
        next = id + 1;
    }
}

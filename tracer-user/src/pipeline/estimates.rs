//! What a raw stack stands for, by source: its values and how sure they are.
//!
//! In: all raw stacks, and what else was read of their processes. Out: values of each stack, and of
//! what was seen without one. Names nothing.

use std::collections::HashMap;

use super::targets::{Counts, StackId, Targets};
use crate::{
    gobin::layout::SIZE_CLASSES,
    probe::{self, Program},
    profile::{
        self, AGES, Source,
        estimate::{self, Class, Weights},
        ledger::Part,
    },
};

/// Stands for objects of span classes of which no span was used up: how many is known, not by whom.
const NO_SPAN: &str = "[no span used up: who allocated it was not seen]";
/// Stands for what was allocated while a process was not traced, of a kind that was never seen.
const NOT_TRACED: &str = "[not traced for the budget: who allocated it was not seen]";

/// Values of one stack, in the order of the profile's value types.
#[derive(Clone, Debug, PartialEq)]
pub struct Worth {
    pub values: Vec<u64>,
    /// Half-widths of 95 % intervals; empty when values are exact.
    pub error: Vec<f64>,
    pub ages: Option<Box<profile::Ages>>,
}

/// Knows what the stacks of a recording stand for.
pub enum Estimates {
    /// Themselves.
    Exact,
    /// The objects of spans, by entry and span class.
    Span(HashMap<(u32, u64), Class>),
    /// The objects that the runtime's sampler left out: its rate by entry.
    Sample(Vec<u64>),
}

impl Estimates {
    /// From all stacks of a recording.
    pub fn new(source: Source, targets: &Targets) -> Self {
        match source {
            Source::Exact | Source::Records => Estimates::Exact,
            Source::Span => Estimates::Span(classes(targets)),
            Source::Sample => {
                Estimates::Sample(targets.entries.iter().map(|entry| entry.sampler_rate).collect())
            }
        }
    }

    /// What a stack stands for; nothing when it is none of its own.
    pub fn worth(&self, id: &StackId, raw: &Counts) -> Option<Worth> {
        if raw.objects == 0 || id.pcs.is_empty() {
            // The first refill of a span class (nothing was allocated before it), or a class's part
            // without a stack.
            return None;
        }
        let mut worth = self.seen(id, raw);
        worth.add(&raw.part);
        Some(worth)
    }

    /// What was seen stands for.
    fn seen(&self, id: &StackId, raw: &Counts) -> Worth {
        match self {
            Estimates::Exact => {
                Worth { values: vec![raw.objects, raw.bytes], error: Vec::new(), ages: None }
            }
            Estimates::Span(classes) => {
                let class = classes.get(&(id.entry, id.class)).copied().unwrap_or_default();
                let factor = class.factor();
                let objects = raw.objects as f64 * factor;
                let width = estimate::half_width(&weights(raw), &class.seen) * factor;
                // All objects of a class have the same slot.
                let slot = raw.bytes as f64 / raw.objects as f64;
                Worth {
                    values: vec![objects.round() as u64, (objects * slot).round() as u64],
                    error: vec![width, width * slot],
                    ages: None,
                }
            }
            Estimates::Sample(rates) => {
                let size = id.class;
                let rate = rates.get(id.entry as usize).copied().unwrap_or(0);
                let ages = raw.ages.as_deref().copied().unwrap_or_default();
                sampled(raw.hits, size, estimate::chance(size, rate), &ages)
            }
        }
    }

    /// Values, by entry, of what is known to be there without any stack, and the frame that says so.
    pub fn unseen(&self, targets: &Targets) -> Vec<(u32, &'static str, Vec<u64>)> {
        let mut unseen: Vec<(u32, &'static str, Vec<u64>)> = Vec::new();
        for (entry, values) in self.without_span() {
            unseen.push((entry, NO_SPAN, values));
        }
        for (number, entry) in (0..).zip(targets.entries.iter()) {
            let (objects, bytes) = entry.untraced;
            if objects >= 0.5 {
                unseen.push((
                    number,
                    NOT_TRACED,
                    vec![objects.round() as u64, bytes.round() as u64],
                ));
            }
        }
        unseen
    }

    fn without_span(&self) -> Vec<(u32, Vec<u64>)> {
        let Estimates::Span(classes) = self else { return Vec::new() };
        let mut entries: HashMap<u32, Vec<u64>> = HashMap::new();
        for ((entry, class), facts) in classes.iter().filter(|(_, c)| c.seen.objects == 0) {
            let slot = SIZE_CLASSES.get(*class as usize / 2).copied().unwrap_or(0);
            let values = entries.entry(*entry).or_insert_with(|| vec![0, 0]);
            values[0] += facts.objects();
            values[1] += facts.objects() * u64::from(slot);
        }
        entries.retain(|_, values| values[0] > 0);
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort();
        entries
    }
}

impl Worth {
    /// Adds what was allocated while its process was not traced, to the first two values.
    fn add(&mut self, part: &Part) {
        if *part == Part::default() {
            return;
        }
        self.error.resize(self.values.len(), 0.0);
        for (at, (value, width)) in [part.objects, part.bytes].into_iter().enumerate() {
            if let (Some(own), Some(error)) = (self.values.get_mut(at), self.error.get_mut(at)) {
                *own = own.saturating_add(value.round() as u64);
                *error = error.hypot(width);
            }
        }
    }
}

/// What samples of one size stand for: allocated and still live, each as objects and bytes.
fn sampled(hits: u64, size: u64, chance: f64, ages: &probe::Ages) -> Worth {
    let live: u64 = ages.live.iter().sum();
    let (mut values, mut error) = (Vec::new(), Vec::new());
    for hits in [hits, live] {
        let (objects, width) = (hits as f64 / chance, estimate::sampled_half_width(hits, chance));
        values.extend([objects.round() as u64, (objects * size as f64).round() as u64]);
        error.extend([width, width * size as f64]);
    }
    let scaled = |counts: &[u64; AGES]| counts.map(|n| (n as f64 / chance).round() as u64);
    let ages = profile::Ages { freed: scaled(&ages.freed), live: scaled(&ages.live) };
    Worth { values, error, ages: Some(Box::new(ages)) }
}

/// Sums over each span class of each entry. Large objects are class 0.
fn classes(targets: &Targets) -> HashMap<(u32, u64), Class> {
    let mut classes: HashMap<_, Class> = HashMap::new();
    let of_spans = |(id, _): &(&StackId, _)| targets.program(id) == Some(Program::Span);
    for (id, raw) in targets.held.stacks.iter().filter(of_spans) {
        let class = classes.entry((id.entry, id.class)).or_default();
        if id.pcs.is_empty() {
            // Taken back by a collection before it was used up.
            class.unseen += raw.objects as i64;
        } else {
            class.seen.add(&weights(raw));
        }
    }
    for (number, entry) in (0..).zip(targets.entries.iter()) {
        for (class, objects) in &entry.unseen {
            classes.entry((number, *class)).or_default().unseen += objects;
        }
    }
    classes
}

fn weights(raw: &Counts) -> Weights {
    Weights { hits: raw.hits, objects: raw.objects, squares: raw.weight_squares }
}

//! What a raw stack stands for, by source: its values and how sure they are.
//!
//! In: all raw stacks, and what else was read of their processes. Out: values of each stack, and of
//! what was seen without one. Names nothing.

use std::collections::HashMap;

use tracer_common::StackKey;

use super::targets::Targets;
use crate::{
    gobin::layout::SIZE_CLASSES,
    probe::{self, Program, RawStack},
    profile::{
        self, AGES, Source,
        estimate::{self, Class, Weights},
    },
};

/// What a recording left in the kernel.
#[derive(Debug, Default)]
pub struct Drained {
    pub stacks: Vec<RawStack>,
    /// Empty but in mode sample.
    pub ages: HashMap<StackKey, probe::Ages>,
    /// Profiler labels by image and hash; empty unless they are wanted.
    pub labels: probe::LabelTexts,
}

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
    /// The objects of spans, by image and span class.
    Span(HashMap<(u32, u64), Class>),
    /// The objects that the runtime's sampler left out: its rate by image, and what became of samples.
    Sample { rates: HashMap<u32, u64>, ages: HashMap<StackKey, probe::Ages> },
}

impl Estimates {
    /// From all stacks of a recording.
    pub fn new(source: Source, raw: &Drained, targets: &Targets) -> Self {
        match source {
            Source::Exact | Source::Records => Estimates::Exact,
            Source::Span => Estimates::Span(classes(&raw.stacks, targets)),
            Source::Sample => {
                let images = targets.images.iter().zip(1..);
                let rates = images.map(|(image, number)| (number, image.sampler_rate)).collect();
                Estimates::Sample { rates, ages: raw.ages.clone() }
            }
        }
    }

    /// What a stack stands for; nothing when it is none of its own.
    pub fn worth(&self, raw: &RawStack) -> Option<Worth> {
        if raw.objects == 0 || raw.pcs.is_empty() {
            // The first refill of a span class (nothing was allocated before it), or a class's part
            // without a stack.
            return None;
        }
        match self {
            Estimates::Exact => {
                Some(Worth { values: vec![raw.objects, raw.bytes], error: Vec::new(), ages: None })
            }
            Estimates::Span(classes) => {
                let class = classes.get(&class_of(raw)).copied().unwrap_or_default();
                let factor = class.factor();
                let objects = raw.objects as f64 * factor;
                let width = estimate::half_width(&weights(raw), &class.seen) * factor;
                // All objects of a class have the same slot.
                let slot = raw.bytes as f64 / raw.objects as f64;
                Some(Worth {
                    values: vec![objects.round() as u64, (objects * slot).round() as u64],
                    error: vec![width, width * slot],
                    ages: None,
                })
            }
            Estimates::Sample { rates, ages } => {
                let size = raw.key.class;
                let rate = rates.get(&raw.key.image).copied().unwrap_or(0);
                let ages = ages.get(&raw.key).copied().unwrap_or_default();
                Some(sampled(raw.hits, size, estimate::chance(size, rate), &ages))
            }
        }
    }

    /// Values, by image, of what is known to be there without any stack.
    pub fn unseen(&self) -> Vec<(u32, Vec<u64>)> {
        let Estimates::Span(classes) = self else { return Vec::new() };
        let mut images: HashMap<u32, Vec<u64>> = HashMap::new();
        for ((image, class), facts) in classes.iter().filter(|(_, c)| c.seen.objects == 0) {
            let slot = SIZE_CLASSES.get(*class as usize / 2).copied().unwrap_or(0);
            let values = images.entry(*image).or_insert_with(|| vec![0, 0]);
            values[0] += facts.objects();
            values[1] += facts.objects() * u64::from(slot);
        }
        images.retain(|_, values| values[0] > 0);
        let mut images: Vec<_> = images.into_iter().collect();
        images.sort();
        images
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

/// Sums over each span class of each image. Large objects are class 0.
fn classes(raw: &[RawStack], targets: &Targets) -> HashMap<(u32, u64), Class> {
    let mut classes: HashMap<_, Class> = HashMap::new();
    for raw in raw {
        let class = classes.entry(class_of(raw)).or_default();
        match targets.program(raw) {
            Some(Program::SpanRelease) => class.unseen += raw.objects as i64,
            _ => class.seen.add(&weights(raw)),
        }
    }
    for (index, image) in targets.images.iter().enumerate() {
        for (cached, sign) in [(&image.cached.at_start, -1), (&image.cached.at_end, 1)] {
            for (class, objects) in cached.iter().flatten().enumerate().filter(|(_, n)| **n > 0) {
                let key = (index as u32 + 1, class as u64);
                classes.entry(key).or_default().unseen += sign * *objects as i64;
            }
        }
    }
    classes
}

fn class_of(raw: &RawStack) -> (u32, u64) {
    (raw.key.image, raw.key.class)
}

fn weights(raw: &RawStack) -> Weights {
    Weights { hits: raw.hits, objects: raw.objects, squares: raw.weight_squares }
}

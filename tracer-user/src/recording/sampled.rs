//! Values of the runtime's heap profile as what was sampled: two counts for each stack instead of four large
//! numbers, of which the values follow.
//!
//! In: a profile. Out: its counts, if they give exactly its values; and back.

use std::collections::HashMap;

use crate::profile::exp::Exp;
use crate::profile::scale::Scale;
use crate::profile::{
    ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE, LabelValue, Meta, Profile, SPACE,
    Sample, Source, ValueType,
};

/// Allocations and objects in use of a sample, as the sampler saw them.
pub type Counts = [u64; 2];

/// The values that follow from them.
const TYPES: [ValueType; 4] = [ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE];
/// The label that says how large a sample's objects are.
const SIZE: &str = "bytes";

/// How values follow from counts.
pub struct Sampled {
    rate: u64,
    exp: Exp,
    /// By size of objects.
    scales: HashMap<u64, Scale>,
}

impl Sampled {
    /// With what a profile says of its sampler; nothing: its values are no such ones.
    pub fn new(meta: &Meta, exp: Exp) -> Option<Self> {
        let period = meta.period.filter(|period| period.of == SPACE)?;
        let is_heap = meta.source == Source::Records && meta.value_types == TYPES;
        is_heap.then(|| Self { rate: period.length, exp, scales: HashMap::new() })
    }

    /// The counts of all samples of a profile that was scaled on this machine.
    pub fn counts(profile: &Profile) -> Option<Vec<Counts>> {
        let mut sampled = Self::new(&profile.meta, Exp::here())?;
        let key = profile.names.get(SIZE)?;
        let count = |sample: &Sample| {
            let size = sample.labels.iter().find(|label| label.key == key)?;
            let LabelValue::Number(size) = size.value else { return None };
            let scale = sampled.scale(size);
            let [objects, bytes, alive, space] = sample.values[..] else { return None };
            Some([scale.count(objects, bytes)?, scale.count(alive, space)?])
        };
        profile.samples.iter().map(count).collect()
    }

    /// The values of a sample of objects of a size.
    pub fn values(&mut self, size: u64, [allocs, alive]: Counts) -> Vec<u64> {
        let scale = self.scale(size);
        let ((objects, bytes), (alive, space)) = (scale.values(allocs), scale.values(alive));
        vec![objects, bytes, alive, space]
    }

    fn scale(&mut self, size: u64) -> &Scale {
        let Self { rate, exp, scales } = self;
        scales.entry(size).or_insert_with(|| Scale::new(size, *rate, *exp))
    }
}

/// The size of a sample's objects.
pub fn size(profile: &Profile, sample: &Sample) -> Option<u64> {
    let label = sample.labels.iter().find(|label| profile.names.text(label.key) == SIZE)?;
    match label.value {
        LabelValue::Number(size) => Some(size),
        LabelValue::Text(_) => None,
    }
}

//! Which kinds of values there are, and what each is: what happened since a beginning, or what there is at a
//! moment. In: words. Out: a [`ValueType`].

use super::{
    ALLOC_OBJECTS, ALLOC_SPACE, BOX_OBJECTS, BOX_SPACE, BOX_VALUES, CONTENTIONS, DELAY,
    GC_ASSIST_MARKING, GC_ASSIST_TIME, GC_ASSISTS, GOROUTINE, GOROUTINES_CREATED, GOROUTINES_ENDED,
    GOROUTINES_LIVE, INUSE_OBJECTS, INUSE_SPACE, MAP_ELEMENTS, MAP_ITERATIONS, MAP_STEPS, MAP_TIME,
    MAPPED_SPACE, OF_OS, POOL_GETS, POOL_MISSES, POOL_PUTS, SLICE_CALLS, SLICE_COPIED, SLICE_SPACE,
    SPACE, STACK_COPIED, STACK_GROWTHS, STACK_SHRINKS, ValueType,
};

/// All but those of what the kernel did.
const OTHERS: [ValueType; 30] = [
    ALLOC_OBJECTS,
    ALLOC_SPACE,
    INUSE_OBJECTS,
    INUSE_SPACE,
    CONTENTIONS,
    DELAY,
    MAP_ITERATIONS,
    MAP_STEPS,
    MAP_ELEMENTS,
    MAP_TIME,
    BOX_VALUES,
    BOX_OBJECTS,
    BOX_SPACE,
    SLICE_CALLS,
    SLICE_COPIED,
    SLICE_SPACE,
    POOL_GETS,
    POOL_MISSES,
    POOL_PUTS,
    GC_ASSISTS,
    GC_ASSIST_TIME,
    GC_ASSIST_MARKING,
    GOROUTINE,
    GOROUTINES_CREATED,
    GOROUTINES_ENDED,
    GOROUTINES_LIVE,
    STACK_GROWTHS,
    STACK_SHRINKS,
    STACK_COPIED,
    SPACE,
];

/// Those that say what there is at a moment.
const LEVELS: [ValueType; 5] =
    [INUSE_OBJECTS, INUSE_SPACE, MAPPED_SPACE, GOROUTINE, GOROUTINES_LIVE];

impl ValueType {
    /// The one of these words; nothing: this heaptap measures no such thing.
    pub fn known(kind: &str, unit: &str) -> Option<Self> {
        OTHERS.into_iter().chain(OF_OS).find(|of| of.kind == kind && of.unit == unit)
    }

    /// Whether it says what there is at a moment. All others add up what happened since a beginning.
    pub fn is_level(self) -> bool {
        LEVELS.contains(&self)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::cli::probes::Value;

    #[test]
    fn every_value_of_every_probe_is_known() {
        for value in Value::value_variants() {
            let of = value.value_type();
            assert_eq!(ValueType::known(of.kind, of.unit), Some(of), "{value:?}");
        }
        assert_eq!(ValueType::known("alloc_space", "count"), None);
        assert!(INUSE_SPACE.is_level() && !ALLOC_SPACE.is_level());
    }
}

//! What a runtime has counted of its own allocations, between two looks.
//!
//! In: its statistics. Out: objects and bytes for each **stratum** (what stacks divide among themselves:
//! in span mode the objects of a size class, else all), and how far off that can be. No trap is needed
//! for it.

use crate::{
    profile::Source,
    runtime::{
        Live, ProcessMemory,
        stats::{Allocated, Stats},
    },
};

/// One look.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    allocated: Allocated,
    /// Whether what the caches hold is included.
    exact: bool,
    procs: u64,
}

/// What was allocated in a stratum between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stratum {
    pub objects: f64,
    pub bytes: f64,
    /// Objects by which it may be off.
    pub off: f64,
}

/// Bytes of a span of small objects; those of some classes are larger.
const SPAN: u64 = 8 << 10;

impl Totals {
    /// Looks at a process; nothing when it can't be read.
    pub fn read(live: &Live<ProcessMemory>) -> Option<Self> {
        live.stats().ok().map(Self::of)
    }

    /// The same in as little time as can be: what the caches hold is left out.
    pub fn glance(live: &Live<ProcessMemory>) -> Option<Self> {
        live.stats_at_once().ok().map(Self::of)
    }

    fn of(stats: Stats) -> Self {
        Self { allocated: stats.allocated, exact: stats.exact, procs: stats.procs }
    }

    /// How much was allocated in its life, in what rates are told by.
    pub fn amount(&self, source: Source) -> f64 {
        match source {
            Source::Sample => self.allocated.bytes as f64,
            _ => self.allocated.objects as f64,
        }
    }

    /// What was allocated since an earlier look, by stratum.
    pub fn since(&self, before: &Totals, source: Source) -> Vec<Stratum> {
        let (now, then) = (&self.allocated, &before.allocated);
        let more = |now: u64, then: u64| now.saturating_sub(then) as f64;
        // At each look the caches may hold up to a span of each class for each P.
        let looks = u64::from(!self.exact) + u64::from(!before.exact);
        let classes: Vec<Stratum> = (now.classes.iter().zip(&then.classes))
            .map(|(now, then)| {
                let objects = more(now.objects, then.objects);
                let held = (SPAN / u64::from(now.size).max(1)).max(1) * self.procs * looks;
                let off = objects.min(held as f64);
                Stratum { objects, bytes: objects * f64::from(now.size), off }
            })
            .collect();
        let large = Stratum {
            objects: more(now.large.objects, then.large.objects),
            bytes: more(now.large.bytes, then.large.bytes),
            off: 0.0,
        };
        match source {
            Source::Span => std::iter::once(large).chain(classes).collect(),
            _ => vec![Stratum {
                objects: more(now.objects, then.objects),
                bytes: more(now.bytes, then.bytes),
                off: classes.iter().map(|class| class.off).sum(),
            }],
        }
    }
}

impl Stratum {
    /// Objects, or bytes where those are what is sampled.
    pub fn amount(&self, source: Source) -> f64 {
        if source == Source::Sample { self.bytes } else { self.objects }
    }

    /// So many times as much.
    pub fn times(&self, factor: f64) -> Self {
        Self { objects: self.objects * factor, bytes: self.bytes * factor, off: self.off }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::stats::{Class, Large};

    fn totals(objects: [u64; 2], large: u64, exact: bool) -> Totals {
        let class = |size, objects| Class { size, objects, frees: 0 };
        let allocated = Allocated {
            bytes: 16 * objects[0] + 4096 * objects[1] + 40_000 * large,
            objects: objects[0] + objects[1] + large,
            large: Large { bytes: 40_000 * large, objects: large, ..Large::default() },
            classes: vec![class(16, objects[0]), class(4096, objects[1])],
            ..Allocated::default()
        };
        Totals { allocated, exact, procs: 2 }
    }

    #[test]
    fn strata_are_size_classes_in_span_mode_and_one_otherwise() {
        let (before, after) = (totals([100, 10], 1, true), totals([2100, 40], 3, true));
        let all = after.since(&before, Source::Exact);
        let bytes = 2000.0 * 16.0 + 30.0 * 4096.0 + 80_000.0;
        assert_eq!(all, [Stratum { objects: 2032.0, bytes, off: 0.0 }]);
        let spans = after.since(&before, Source::Span);
        let objects: Vec<f64> = spans.iter().map(|stratum| stratum.objects).collect();
        assert_eq!(objects, [2.0, 2000.0, 30.0]);
        assert_eq!(spans[0].bytes, 80_000.0);
        assert_eq!(all[0].amount(Source::Sample), bytes);
        assert_eq!(after.amount(Source::Span), 2143.0);
        assert_eq!(after.amount(Source::Sample) - before.amount(Source::Sample), bytes);
        assert_eq!(all[0].times(2.0).objects, 4064.0);
    }

    #[test]
    fn what_caches_hold_is_uncertain() {
        let (before, after) = (totals([0, 0], 0, true), totals([9000, 1], 0, false));
        let off: Vec<f64> =
            after.since(&before, Source::Span).iter().map(|stratum| stratum.off).collect();
        assert_eq!(off, [0.0, 1024.0, 1.0]);
        // Counters do not run backwards.
        assert_eq!(before.since(&after, Source::Exact)[0].objects, 0.0);
    }
}

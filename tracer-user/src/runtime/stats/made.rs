//! Made-up statistics for tests.

use super::{Allocated, Class, Collector, Heap, Large, Pause, Phase, Stats};

const MIB: u64 = 1 << 20;

/// Of a program with some history.
pub fn stats() -> Stats {
    Stats {
        exact: true,
        heap: Heap {
            alloc: 12 * MIB,
            objects: 123_456,
            sys: 24 * MIB,
            in_use: 14 * MIB,
            idle: 10 * MIB,
            released: 3 * MIB,
            marked: 9 * MIB,
            live: 13 * MIB,
            goal: Some(18 * MIB),
            trigger: Some(17 * MIB),
        },
        collector: Collector {
            percent: Some(100),
            memory_limit: Some(512 * MIB),
            limit_binds: false,
            phase: Phase::Off,
            cycles: 2,
            forced: 1,
            last_unix_ns: 1_700_000_000_000_000_000,
            pause_total_ns: 150_000,
            pauses: vec![
                Pause { end_unix_ns: 1_700_000_000_000_000_000, ns: 90_000 },
                Pause { end_unix_ns: 1_699_999_990_000_000_000, ns: 60_000 },
            ],
            cpu_fraction: 0.0125,
        },
        allocated: Allocated {
            bytes: 400 * MIB,
            objects: 5_000_000,
            frees: 4_876_544,
            tiny: 1000,
            large: Large { bytes: 99 * MIB, objects: 9, freed_bytes: 90 * MIB, frees: 8 },
            classes: vec![
                Class { size: 8, objects: 10, frees: 10 },
                Class { size: 16, objects: 4_000_000, frees: 3_900_000 },
                Class { size: 24, objects: 0, frees: 0 },
            ],
        },
        stacks_in_use: MIB,
        stacks_sys: 2 * MIB,
        spans_in_use: 100_000,
        spans_sys: 200_000,
        caches_in_use: 4800,
        caches_sys: 15600,
        buckets_sys: 4000,
        gc_sys: 3 * MIB,
        other_sys: 50_000,
        sys: 30 * MIB,
        sampler_rate: 524_288,
        procs: 8,
    }
}

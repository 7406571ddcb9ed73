//! What comes out of the kernel: records of its rings and tables, its own types, collections that a trap has caught, and
//! stacks as they are walked.

use crate::gobin::layout::LAYOUTS;
use crate::runtime::cycles::{Caught, Watcher};

pub fn open(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    crate::probe::any_records(*which, rest);
    caught(rest);
}

/// Collections, one behind the other, of each release.
fn caught(bytes: &[u8]) {
    let mut watchers: Vec<Watcher> = LAYOUTS.iter().map(|_| Watcher::default()).collect();
    for bytes in bytes.chunks_exact(size_of::<tracer_common::collection::Collection>()).take(16) {
        let [end, rest] = [&bytes[8..16], &bytes[16..]];
        let end = end.try_into().map_or(0, u64::from_le_bytes);
        let (counters, rest) = rest.split_at(8 * tracer_common::collection::COUNTER_WORDS);
        let (work, controller) = rest.split_at(8 * tracer_common::collection::WORK_WORDS);
        for (layout, watcher) in LAYOUTS.iter().zip(&mut watchers) {
            let cycle =
                watcher.caught(layout, Caught { end_unix_ns: end, counters, work, controller });
            if let Some(cycle) = cycle {
                let _told = (cycle.cpu_share(), cycle.detail.map(|detail| detail.length_ns()));
            }
        }
    }
}

//! Counters that do not go back.
//!
//! A look at a runtime that allocates all the time misses what the caches of its Ps hold (see `runtime::stats`), and
//! so tells less than one before that found a quiet moment. What was counted once stays counted: a counter that goes
//! back would be taken for one that began anew.

use crate::runtime::stats::{Allocated, Stats};

/// The highest that was seen.
#[derive(Default)]
pub struct Counters {
    allocated: Allocated,
    pause_total_ns: u64,
}

impl Counters {
    /// Raises what is lower than it was.
    pub fn raise(&mut self, stats: &mut Stats) {
        let (now, before) = (&mut stats.allocated, &self.allocated);
        let pairs = [
            (&mut now.bytes, before.bytes),
            (&mut now.objects, before.objects),
            (&mut now.frees, before.frees),
            (&mut now.tiny, before.tiny),
            (&mut now.large.bytes, before.large.bytes),
            (&mut now.large.objects, before.large.objects),
            (&mut now.large.freed_bytes, before.large.freed_bytes),
            (&mut now.large.frees, before.large.frees),
            (&mut stats.collector.pause_total_ns, self.pause_total_ns),
        ];
        for (now, before) in pairs {
            *now = (*now).max(before);
        }
        for (now, before) in now.classes.iter_mut().zip(&before.classes) {
            now.objects = now.objects.max(before.objects);
            now.frees = now.frees.max(before.frees);
        }
        self.allocated.clone_from(&stats.allocated);
        self.pause_total_ns = stats.collector.pause_total_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::stats::made;

    #[test]
    fn what_was_counted_stays_counted() {
        let mut counters = Counters::default();
        let (first, mut second) = (made::stats(), made::stats());
        let mut now = first.clone();
        counters.raise(&mut now);
        assert_eq!(now, first);
        second.allocated.bytes -= 1000;
        second.allocated.objects += 5;
        second.allocated.classes[0].objects = 0;
        counters.raise(&mut second);
        assert_eq!(second.allocated.bytes, first.allocated.bytes);
        assert_eq!(second.allocated.objects, first.allocated.objects + 5);
        assert_eq!(second.allocated.classes, first.allocated.classes);
    }
}

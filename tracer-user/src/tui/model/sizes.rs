//! Allocations by size class, as rates. In: statistics, round by round. Out: rows.

use std::time::SystemTime;

use crate::runtime::stats::{Allocated, Class, Stats};

/// What one size class does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SizeRow {
    /// Nothing: objects above 32 KiB.
    pub size: Option<u16>,
    /// Objects and bytes allocated in a second; nothing before the second look.
    pub rates: Option<(f64, f64)>,
    pub live: u64,
    pub live_bytes: u64,
}

/// The last looks at what was allocated.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    /// Without what caches hold, and with it: the two differ by more than what was allocated.
    last: [Option<(SystemTime, Allocated)>; 2],
    pub rows: Vec<SizeRow>,
}

impl Sizes {
    pub fn add(&mut self, now: SystemTime, stats: &Stats) {
        let before = self.last[usize::from(stats.exact)].replace((now, stats.allocated.clone()));
        let before = before.and_then(|(then, allocated)| {
            let elapsed = now.duration_since(then).ok()?.as_secs_f64();
            (elapsed > 0.0).then_some((elapsed, allocated))
        });
        let allocated = &stats.allocated;
        let small = allocated.classes.iter().enumerate().map(|(at, class)| {
            let old = |(elapsed, before): &(f64, Allocated)| {
                let old = before.classes.get(at).map_or(0, |class| class.objects);
                let objects = class.objects.saturating_sub(old) as f64 / elapsed;
                (objects, objects * f64::from(class.size))
            };
            let live = class.objects.saturating_sub(class.frees);
            let live_bytes = live.saturating_mul(class.size.into());
            let rates = before.as_ref().map(old);
            (*class, SizeRow { size: Some(class.size), rates, live, live_bytes })
        });
        let used = |class: &Class| class.objects > 0;
        self.rows = small.filter(|(class, _)| used(class)).map(|(_, row)| row).collect();
        let large = &allocated.large;
        if large.objects > 0 {
            let rates = before.as_ref().map(|(elapsed, before)| {
                let per_second = |now: u64, old: u64| now.saturating_sub(old) as f64 / elapsed;
                let old = &before.large;
                (per_second(large.objects, old.objects), per_second(large.bytes, old.bytes))
            });
            self.rows.push(SizeRow {
                size: None,
                rates,
                live: large.objects.saturating_sub(large.frees),
                live_bytes: large.bytes.saturating_sub(large.freed_bytes),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::stats::made::stats;

    #[test]
    fn rates_are_between_two_looks_of_one_kind() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut sizes = Sizes::default();
        let mut now = stats();
        sizes.add(at(1), &now);
        assert_eq!(sizes.rows.len(), 3, "two classes that were used, and large ones");
        assert!(sizes.rows.iter().all(|row| row.rates.is_none()));
        now.allocated.classes[1].objects += 100;
        now.allocated.large.objects += 2;
        now.allocated.large.bytes += 1 << 20;
        sizes.add(at(3), &now);
        assert_eq!(sizes.rows[1].rates, Some((50.0, 800.0)));
        assert_eq!(sizes.rows[2].rates, Some((1.0, f64::from(1 << 19))));
        assert_eq!((sizes.rows[1].live, sizes.rows[1].live_bytes), (100_100, 1_601_600));
        now.exact = false;
        sizes.add(at(4), &now);
        assert!(sizes.rows.iter().all(|row| row.rates.is_none()), "the first of its kind");
    }
}

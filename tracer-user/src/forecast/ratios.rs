//! Ratios of a heap and its collector (docs/forecast.md has what each is of what).
//!
//! In: readings. Out: [`Ratios`]. What can't be told is nothing.

use super::figures::{Figures, grew};

/// Parts from 0 to 1, rates a second, sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ratios {
    /// What survived the last collection, of the goal.
    pub live_of_goal: Option<f64>,
    /// The goal, in times of what survived: 1 is a collector that never stops.
    pub goal_of_live: Option<f64>,
    /// Objects, of the spans that hold them: the rest is slots that are free or too large. In the mean of all readings.
    pub spans_filled: Option<f64>,
    /// Spans without objects that were not given back, of all of the heap that is mapped; in the mean as well.
    pub idle: Option<f64>,
    /// Given back to the system, of all of the heap.
    pub released: Option<f64>,
    /// Stacks, of what is mapped.
    pub stacks: Option<f64>,
    /// Resident and not the runtime's, of what is resident.
    pub off_heap: Option<f64>,
    /// The collector's part of the CPU time that the program could have had, and of what it took; in the time
    /// that was looked at.
    pub gc_of_available: Option<f64>,
    pub gc_of_used: Option<f64>,
    pub collections: Option<f64>,
    /// Readings at which GOMEMLIMIT made the goal.
    pub limit_binds: Option<f64>,
    /// Allocated a second, and of what survives.
    pub allocated: Option<f64>,
    pub turnover: Option<f64>,
    /// Of what was allocated in that time.
    pub mean_object: Option<f64>,
    pub large_allocated: Option<f64>,
    /// Of the objects that are there.
    pub large_there: Option<f64>,
}

impl Ratios {
    pub fn of(readings: &[Figures]) -> Self {
        let (Some(first), Some(last)) = (readings.first(), readings.last()) else {
            return Self::default();
        };
        let part = |part: f64, whole: f64| (whole > 0.0).then_some(part / whole);
        let has_marked = last.cycles > 0 && last.marked > 0;
        let marked = last.marked as f64;
        let goal = last.goal.filter(|_| has_marked).map(|goal| goal as f64);
        let heap = (last.in_use + last.idle) as f64;
        let sum = |of: fn(&Figures) -> u64| readings.iter().map(|one| of(one) as f64).sum::<f64>();
        let allocated = grew(readings, |one| Some(one.allocated));
        let objects = grew(readings, |one| Some(one.objects)).filter(|(objects, _)| *objects > 0.0);
        let large = grew(readings, |one| Some(one.large));
        let rate = allocated.map(|(bytes, seconds)| bytes / seconds);
        let of_allocated = |count: f64| allocated.and_then(|(bytes, _)| part(count, bytes));
        let bound = readings.iter().filter(|one| one.limit_binds).count() as f64;
        let seconds = last.at - first.at;
        let gc = Gc::of(first, last);
        Self {
            live_of_goal: goal.and_then(|goal| part(marked, goal)),
            goal_of_live: goal.and_then(|goal| part(goal, marked)),
            spans_filled: part(sum(|one| one.alloc), sum(|one| one.in_use)),
            idle: part(sum(Figures::kept_idle), sum(|one| one.in_use + one.kept_idle())),
            released: part(last.released as f64, heap),
            stacks: part(last.stacks as f64, last.mapped() as f64),
            off_heap: last
                .off_heap()
                .zip(last.resident)
                .and_then(|(off, resident)| part(off.max(0.0), resident as f64)),
            gc_of_available: gc.as_ref().map(|gc| gc.available),
            gc_of_used: gc.and_then(|gc| gc.used),
            collections: part(f64::from(last.cycles.saturating_sub(first.cycles)), seconds),
            limit_binds: last.memory_limit.and_then(|_| part(bound, readings.len() as f64)),
            allocated: rate,
            turnover: rate.filter(|_| has_marked).and_then(|rate| part(rate, marked)),
            mean_object: objects.and_then(|(objects, _)| part(allocated?.0, objects)),
            large_allocated: large.and_then(|(large, _)| of_allocated(large)),
            large_there: part(last.large_there as f64, last.alloc as f64),
        }
    }
}

/// The collector's part of CPU time.
struct Gc {
    available: f64,
    used: Option<f64>,
}

impl Gc {
    /// The runtime keeps its share since the start, as of the end of the last collection: what lies between two
    /// of them is the difference.
    fn of(first: &Figures, last: &Figures) -> Option<Self> {
        let procs = last.procs as f64;
        let since =
            |one: &Figures| one.collected.map_or((0.0, None), |at| (one.gc_share * at, Some(at)));
        let ((before, from), (after, until)) = (since(first), since(last));
        let seconds = last.at - first.at;
        if last.procs != first.procs || seconds <= 0.0 {
            return None;
        }
        if last.cycles == first.cycles {
            return Some(Self { available: 0.0, used: Some(0.0) });
        }
        let elapsed = until? - from.unwrap_or(0.0);
        let available = (elapsed > 0.0).then(|| ((after - before) / elapsed).clamp(0.0, 1.0))?;
        let taken = first.cpu.zip(last.cpu).map(|(first, last)| last - first);
        let used = taken.filter(|taken| *taken > 0.0).map(|taken| {
            // As much in the time that was looked at as between the collections.
            (available * seconds * procs / taken).min(1.0)
        });
        Some(Self { available, used })
    }
}

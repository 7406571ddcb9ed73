//! Iterations over maps that are over, by the stack that began them; and which were nested in which.
//!
//! In: the kernel programs' ring of iterations that are over, what a trap costs. Out: sums by stack. An
//! iteration is nested in another one of its goroutine that began before it and took a step after it
//! had begun. Whether that step comes is not known yet when the inner one is over: until then what is
//! known of its depth is kept with the outer one, of which only the last step counts.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use tracer_common::{
    StackKey,
    iteration::{COMPLETE, Goroutine, Iteration, NEST},
};

use super::Kernel;
use crate::profile::iterations::{Ended, Iterations as Sums, Worst};

/// All iterations of a recording.
pub(super) struct Iterations {
    ring: RingBuf<MapData>,
    known: Known,
}

/// How many, by the stack that began them and how deep they are in what is not over.
type Depths = HashMap<(StackKey, u32), u64>;

/// Image, goroutine, when it began.
type Id = (u32, u64, u64);

/// What is known of iterations that are over.
#[derive(Default)]
struct Known {
    sums: HashMap<StackKey, Sums>,
    /// Those that may be nested in one that is not over, by that one and by its calls when they were
    /// over. All but the last of its calls were followed by another step.
    inner: HashMap<Id, BTreeMap<u64, Depths>>,
    /// Nanoseconds of one trap, by image.
    traps: HashMap<u32, u64>,
}

impl Kernel {
    /// What a trap costs an image, whose iterations are followed from now on.
    pub fn follow_iterations(&mut self, image: u32, trap: Duration) {
        if let Some(iterations) = &mut self.iterations {
            iterations.known.traps.insert(image, trap.as_nanos() as u64);
        }
    }
}

impl Iterations {
    pub fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, known: Known::default() }
    }

    pub fn drain(&mut self) {
        while let Some(item) = self.ring.next() {
            if let Some(iteration) = decode(&item) {
                self.known.add(&iteration);
            }
        }
    }

    /// Those of a goroutine that were under way when recording it ended, with what is known of them.
    pub fn left_open(&mut self, goroutine: &Goroutine) {
        for iteration in under_way(goroutine) {
            self.known.add(&iteration);
        }
    }

    /// All of some images, which are over.
    pub fn take(&mut self, wanted: impl Fn(u32) -> bool) -> HashMap<StackKey, Sums> {
        self.known.take(wanted)
    }
}

impl Known {
    fn add(&mut self, iteration: &Iteration) {
        let of = &iteration.of;
        let (image, stack) = (of.stack.image, of.stack);
        let trap = self.traps.get(&image).copied().unwrap_or(0);
        let ended = ended(iteration, trap);
        self.sums.entry(stack).or_default().add_one(&ended);
        let inner = self.inner.remove(&(image, iteration.goid, of.began));
        if iteration.parent == 0 && inner.is_none() {
            // Most are neither nested nor have others in them.
            self.sums.entry(stack).or_default().add_depth(1, 1);
            return;
        }
        let mut depths = Depths::from([((stack, 1), 1)]);
        for (calls, inner) in inner.into_iter().flatten() {
            let nested = u32::from(of.calls > calls);
            for ((stack, depth), count) in inner {
                *depths.entry((stack, depth + nested)).or_default() += count;
            }
        }
        if iteration.parent == 0 {
            self.resolve(depths);
            return;
        }
        let outer = self.inner.entry((image, iteration.goid, iteration.parent)).or_default();
        let outer = outer.entry(iteration.parent_calls).or_default();
        for (key, count) in depths {
            *outer.entry(key).or_default() += count;
        }
    }

    fn resolve(&mut self, depths: Depths) {
        for ((stack, depth), count) in depths {
            self.sums.entry(stack).or_default().add_depth(depth, count);
        }
    }

    fn take(&mut self, wanted: impl Fn(u32) -> bool) -> HashMap<StackKey, Sums> {
        // What these may be nested in was lost, and with it their depth.
        self.inner.retain(|(image, ..), _| !wanted(*image));
        self.traps.retain(|image, _| !wanted(*image));
        self.sums.extract_if(|stack, _| wanted(stack.image)).collect()
    }
}

/// What one iteration was like, less what recording took of its time.
fn ended(iteration: &Iteration, trap: u64) -> Ended {
    let of = &iteration.of;
    let length = of.last.saturating_sub(of.began);
    let traps = of.traps[1].saturating_sub(of.traps[0]);
    let handled = of.handled[1].saturating_sub(of.handled[0]);
    let cost = traps.saturating_mul(trap).saturating_add(handled).min(length);
    let (goroutine, steps) = (iteration.goid, iteration.steps());
    let what = Worst { goroutine, steps, time: length - cost };
    let is_complete = iteration.flags & COMPLETE != 0;
    Ended { what, is_complete, cost, between: (of.began, of.last) }
}

/// The youngest first, so that each is told before what it is nested in.
fn under_way(goroutine: &Goroutine) -> Vec<Iteration> {
    let count = goroutine.top.wrapping_sub(goroutine.bottom).min(NEST as u64);
    let place = |k: u64| goroutine.top.wrapping_sub(1 + k) as usize % NEST;
    let mut all: Vec<Iteration> = Vec::new();
    for open in (0..count).map(|k| goroutine.open[place(k)]).filter(|open| open.iterator != 0) {
        if let Some(inner) = all.last_mut() {
            (inner.parent, inner.parent_calls) = (open.began, open.calls);
        }
        let (goid, flags) = (goroutine.goid, 0);
        all.push(Iteration { of: open, goid, parent: 0, parent_calls: 0, flags });
    }
    all
}

/// Iterations as if they had come through the ring, and a goroutine as if it were left ([`crate::doors`]).
#[cfg(any(test, fuzzing))]
pub(super) fn any(iterations: &[Iteration], goroutines: &[Goroutine]) {
    let mut known = Known::default();
    known.traps.insert(0, u64::MAX);
    iterations.iter().for_each(|iteration| known.add(iteration));
    goroutines.iter().flat_map(under_way).for_each(|iteration| known.add(&iteration));
    for (stack, sums) in known.take(|_| true) {
        assert!(
            sums.complete <= sums.count && sums.depth_classes().iter().sum::<u64>() <= sums.count
        );
        let mut twice = sums.clone();
        twice.add(&sums);
        assert!(!known.sums.contains_key(&stack));
    }
}

/// An iteration's bytes; nothing when they are not one.
pub(super) fn decode(bytes: &[u8]) -> Option<Iteration> {
    if bytes.len() != size_of::<Iteration>() {
        return None;
    }
    // SAFETY: as many bytes as it has; integers only, any bytes are a value.
    Some(unsafe { bytes.as_ptr().cast::<Iteration>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::iteration::Open;

    const IMAGE: u32 = 3;

    fn stack(hash: u64) -> StackKey {
        StackKey { image: IMAGE, site: 0, class: 0, hash }
    }

    /// An iteration of goroutine 7 by when it began, which is its stack too.
    fn iteration(began: u64, calls: u64, (parent, parent_calls): (u64, u64)) -> Iteration {
        let of = Open {
            iterator: 8,
            stack: stack(began),
            began,
            last: began + 1_000,
            calls,
            traps: [5, 8],
            handled: [1_000, 1_200],
        };
        Iteration { of, goid: 7, parent, parent_calls, flags: COMPLETE }
    }

    const NONE: (u64, u64) = (0, 0);

    /// Depths of each stack, in order.
    fn depths(iterations: &[Iteration]) -> Vec<Vec<(u32, u64)>> {
        let mut known = Known::default();
        iterations.iter().for_each(|iteration| known.add(iteration));
        let sums: BTreeMap<u64, Sums> =
            known.take(|_| true).into_iter().map(|(stack, sums)| (stack.hash, sums)).collect();
        assert!(known.inner.is_empty() && known.sums.is_empty());
        sums.into_values().map(|sums| sums.by_depth.into_iter().collect()).collect()
    }

    #[test]
    fn what_recording_took_is_not_the_iterations_time() {
        let ended = ended(&iteration(1, 5, NONE), 100);
        assert_eq!((ended.what.time, ended.cost, ended.what.steps), (500, 500, 4));
        assert_eq!(super::ended(&iteration(1, 5, NONE), 1 << 40).what.time, 0);
        let left = Iteration { flags: 0, ..iteration(1, 5, NONE) };
        assert_eq!(super::ended(&left, 0).what.steps, 5);
    }

    #[test]
    fn nested_is_what_a_later_step_follows() {
        // 2 and 3 in each step of 1, and 4 after 1 was left.
        let all = [
            iteration(2, 9, (1, 1)),
            iteration(3, 9, (1, 1)),
            iteration(2, 9, (1, 2)),
            iteration(4, 9, (1, 3)),
            iteration(1, 3, NONE),
        ];
        assert_eq!(depths(&all), [vec![(1, 1)], vec![(2, 2)], vec![(2, 1)], vec![(1, 1)]]);
    }

    #[test]
    fn depth_adds_up_whatever_is_left_between() {
        // 3 in 2 in 1; and 5 in 4, which began after 1 was left.
        let all = [
            iteration(3, 2, (2, 1)),
            iteration(2, 3, (1, 1)),
            iteration(5, 2, (4, 1)),
            iteration(4, 3, (1, 2)),
            iteration(1, 2, NONE),
        ];
        let expected = [vec![(1, 1)], vec![(2, 1)], vec![(3, 1)], vec![(1, 1)], vec![(2, 1)]];
        assert_eq!(depths(&all), expected);
    }

    #[test]
    fn of_an_outer_one_that_is_not_told_the_inner_ones_have_no_depth() {
        let all = [iteration(2, 4, (1, 1)), iteration(3, 4, NONE)];
        assert_eq!(depths(&all), [vec![], vec![(1, 1)]]);
    }

    #[test]
    fn images_are_taken_one_by_one() {
        let mut known = Known::default();
        let mut other = iteration(1, 4, NONE);
        other.of.stack.image = 9;
        known.add(&iteration(1, 4, NONE));
        known.add(&other);
        assert_eq!(known.take(|image| image == 9).len(), 1);
        assert_eq!(known.take(|_| true).len(), 1);
    }

    #[test]
    fn what_is_under_way_is_told_from_the_inside() {
        let mut goroutine = Goroutine { goid: 7, bottom: 14, top: 18, ..Goroutine::EMPTY };
        for (at, iterator) in [(14, 8), (15, 0), (0, 8), (1, 8)] {
            let began = 100 + at as u64;
            goroutine.open[at] = Open { iterator, began, calls: 2, ..Open::default() };
        }
        let all = under_way(&goroutine);
        let told: Vec<_> = all.iter().map(|i| (i.of.began, i.parent, i.parent_calls)).collect();
        assert_eq!(told, [(101, 100, 2), (100, 114, 2), (114, 0, 0)]);
        goroutine.top = u64::MAX;
        assert!(under_way(&goroutine).len() <= NEST);
    }

    #[test]
    fn only_whole_iterations_are_decoded() {
        let bytes = [1u8; size_of::<Iteration>()];
        assert_eq!(decode(&bytes).unwrap().parent, 0x0101_0101_0101_0101);
        assert_eq!(decode(&bytes[1..]), None);
        assert_eq!(decode(&[]), None);
    }
}

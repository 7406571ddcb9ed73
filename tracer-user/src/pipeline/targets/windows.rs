//! What was seen of one program that was traced in windows, and what that says about all of it.
//!
//! In: what each window saw, and what the runtime itself has counted. Out: each stack with its counts
//! and its part of what was not seen. Knows no process and no clock.

use std::collections::HashMap;

use super::{
    Counts, StackId,
    rates::{Rates, Time},
    totals::Stratum,
};
use crate::{
    probe::Text,
    profile::{
        Rest, Source, estimate,
        ledger::{Ledger, Part, Seen},
    },
};

/// The windows of one program.
#[derive(Default)]
pub struct Windows {
    /// What was seen, and the stack's number in the ledgers.
    stacks: HashMap<StackId, (u32, Counts)>,
    /// Profiler labels by [`StackId::labels`].
    pub labels: HashMap<u64, Vec<[Text; 2]>>,
    /// Windows at random moments, by stratum.
    random: HashMap<u32, Ledger<u32>>,
    /// The first stretch, which began when the recording did: for want of windows.
    first: HashMap<u32, Ledger<u32>>,
    /// Windows at random moments, of what no runtime counts.
    rates: Rates,
    /// For how long the program went on while it was seen, in nanoseconds.
    observed: f64,
    /// Events for whose stacks there was no room.
    pub lost: u64,
}

/// What all size classes together are under.
const WHOLE: u32 = u32::MAX;

/// How a program is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub source: Source,
    /// Which sites count what no runtime counts: that is scaled by time.
    pub counted: &'a [bool],
    /// `runtime.MemProfileRate` (mode sample).
    pub sampler_rate: u64,
}

/// What is known of a program at its end.
#[derive(Default)]
pub struct Resolved {
    pub stacks: Vec<(StackId, Counts)>,
    /// Objects and bytes in strata of which nothing was seen.
    pub unseen: (f64, f64),
    /// Whether what time alone tells is estimated, or what was seen.
    pub rest: Rest,
}

impl View<'_> {
    fn is_counted(self, id: &StackId) -> bool {
        self.counted.get(id.site as usize).copied().unwrap_or(false)
    }

    /// What stacks divide among themselves.
    fn stratum(self, id: &StackId) -> u32 {
        if self.source == Source::Span { id.class as u32 / 2 } else { 0 }
    }

    /// What counts of a window stand for.
    fn seen(self, id: &StackId, counts: &Counts) -> Seen {
        let (objects, bytes) = match self.source {
            Source::Sample => {
                let objects = counts.hits as f64 / estimate::chance(id.class, self.sampler_rate);
                (objects, objects * id.class as f64)
            }
            _ => (counts.objects as f64, counts.bytes as f64),
        };
        let amount = if self.source == Source::Sample { bytes } else { objects };
        Seen { hits: counts.hits, amount, objects, bytes }
    }

    /// Adds what was seen to what is known to have been allocated.
    pub fn add_seen(self, allocated: &mut [Stratum], window: &[(StackId, Counts)]) {
        let own = |(id, _): &&(StackId, Counts)| !id.pcs.is_empty() && !self.is_counted(id);
        for (id, counts) in window.iter().filter(own) {
            let seen = self.seen(id, counts);
            if let Some(stratum) = allocated.get_mut(self.stratum(id) as usize) {
                stratum.objects += seen.objects;
                stratum.bytes += seen.bytes;
            }
        }
    }
}

impl Windows {
    /// How many stacks it keeps.
    pub fn len(&self) -> usize {
        self.stacks.len()
    }

    /// Takes down a window. `weight` is how much was allocated around it for each such window; nothing
    /// for the first stretch. At most `room` further stacks are kept.
    pub fn add(
        &mut self,
        view: View<'_>,
        weight: Option<f64>,
        time: Option<Time>,
        window: impl IntoIterator<Item = (StackId, Counts)>,
        mut room: usize,
    ) {
        let mut seen: HashMap<u32, Vec<(u32, Seen)>> = HashMap::new();
        let mut timed: Vec<(u32, Counts)> = Vec::new();
        let mut events = 0;
        for (id, mut counts) in window {
            let is_counted = view.is_counted(&id);
            events += counts.hits;
            // A class's part without a stack: the runtime's own counts include it.
            if id.pcs.is_empty() || (counts.objects == 0 && !is_counted) {
                continue;
            }
            // What was not followed to its end says nothing about its age.
            counts.ages = None;
            let next = self.stacks.len() as u32;
            if !self.stacks.contains_key(&id) {
                if room == 0 {
                    self.lost += counts.hits;
                    continue;
                }
                room -= 1;
            }
            let (stratum, one) = (view.stratum(&id), view.seen(&id, &counts));
            let (number, kept) = self.stacks.entry(id).or_insert((next, Counts::default()));
            if is_counted {
                timed.push((*number, counts.clone()));
                kept.add(counts);
                continue;
            }
            kept.add(counts);
            seen.entry(stratum).or_default().push((*number, one));
        }
        if let Some(time) = time {
            self.rates.add(time, events, timed.iter().map(|(number, counts)| (*number, counts)));
            self.observed += time.progress(events).0;
        }
        let amount = |window: &[(u32, Seen)]| window.iter().map(|(_, s)| s.amount).sum::<f64>();
        let all: f64 = seen.values().map(|window| amount(window)).sum();
        let mut whole: Vec<(u32, Seen)> = Vec::new();
        for (stratum, window) in seen {
            let ledgers = if weight.is_some() { &mut self.random } else { &mut self.first };
            // What was allocated around it divides among strata as it does in it.
            let part = weight.unwrap_or(1.0) * amount(&window) / all.max(1e-9);
            let ledger = ledgers.entry(stratum).or_insert_with(|| Ledger::new(usize::MAX));
            ledger.add(part, window.iter().map(|(number, seen)| (number, *seen)));
            whole.extend(window);
        }
        if view.source == Source::Span
            && let Some(weight) = weight
        {
            let ledger = self.random.entry(WHOLE).or_insert_with(|| Ledger::new(usize::MAX));
            ledger.add(weight, whole.iter().map(|(number, seen)| (number, *seen)));
        }
    }

    /// What each stack stands for. `allocated` is what the runtime has counted meanwhile, by stratum;
    /// without it nothing is known about what was not seen of that. `progress` is for how long the program
    /// went on in all, in nanoseconds; nothing: its events came too fast for that to be known.
    pub fn resolve(
        self,
        view: View<'_>,
        allocated: Option<&[Stratum]>,
        progress: Option<f64>,
    ) -> Resolved {
        let mut resolved = Resolved::default();
        let mut seen: HashMap<u32, f64> = HashMap::new();
        for (id, (_, counts)) in self.stacks.iter().filter(|(id, _)| !view.is_counted(id)) {
            *seen.entry(view.stratum(id)).or_default() += view.seen(id, counts).amount;
        }
        let strata = (0..).zip(allocated.unwrap_or_default());
        let mut missing: HashMap<u32, (f64, f64, Option<&Ledger<u32>>)> = HashMap::new();
        for (number, stratum) in strata {
            let amount = stratum.amount(view.source);
            let unseen = (amount - seen.get(&number).copied().unwrap_or(0.0)).max(0.0);
            let windows = |ledgers: &'_ HashMap<u32, Ledger<u32>>| {
                ledgers.get(&number).map_or(0, Ledger::windows)
            };
            let ledger = if windows(&self.random) > 0 {
                self.random.get(&number)
            } else if windows(&self.first) > 0 {
                self.first.get(&number)
            } else {
                let part = if amount > 0.0 { unseen / amount } else { 0.0 };
                resolved.unseen.0 += stratum.objects * part;
                resolved.unseen.1 += stratum.bytes * part;
                None
            };
            let off = if amount > 0.0 { stratum.off / stratum.objects.max(1.0) } else { 0.0 };
            missing.insert(number, (unseen, off * amount, ledger));
        }
        let whole = self.random.get(&WHOLE).filter(|ledger| ledger.windows() > 1);
        let unseen_in_all: f64 = missing.values().map(|(unseen, ..)| unseen).sum();
        let unseen_progress = progress.unwrap_or_default() - self.observed;
        if self.stacks.keys().any(|id| view.is_counted(id)) {
            resolved.rest = match (progress, self.rates.rest()) {
                (None, Rest::Estimated) => Rest::TooDense,
                (_, rest) => rest,
            };
        }
        for (id, (number, mut counts)) in self.stacks {
            if view.is_counted(&id) {
                if resolved.rest == Rest::Estimated {
                    counts.part = self.rates.part(number, unseen_progress, &counts, self.observed);
                }
                resolved.stacks.push((id, counts));
                continue;
            }
            if let Some((unseen, off, Some(ledger))) = missing.get(&view.stratum(&id)) {
                let own = view.seen(&id, &counts);
                let per = |value: f64| if own.amount > 0.0 { value / own.amount } else { 0.0 };
                let per = (per(own.objects), per(own.bytes));
                let mut part = ledger.part(&number, *unseen, per);
                // A class has few windows of its own, and those that weigh most in it tell most of them.
                if let Some(whole) = whole
                    && part.objects.0 < 0.999 * unseen
                {
                    let wide = whole.part(&number, unseen_in_all, per);
                    part.objects.1 = part.objects.1.max(wide.objects.1);
                    part.bytes.1 = part.bytes.1.max(wide.bytes.1);
                }
                // What the whole may be off by, the part may be off by in proportion.
                let wider = |(value, width): (f64, f64)| {
                    (value, width + if *unseen > 0.0 { off * value / unseen } else { 0.0 })
                };
                let (objects, bytes) = (wider(part.objects), wider(part.bytes));
                counts.part = Part { objects, bytes, ..part };
            }
            resolved.stacks.push((id, counts));
        }
        resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::RuntimeAddr;

    fn id(pc: u64, class: u64) -> StackId {
        let pcs = if pc == 0 { Box::default() } else { Box::from([RuntimeAddr(pc)]) };
        StackId { entry: u32::MAX, site: 0, class, labels: 0, flags: 0, pcs }
    }

    fn counts(hits: u64, weight: u64, size: u64) -> Counts {
        let objects = hits * weight;
        Counts { hits, objects, bytes: objects * size, ..Counts::default() }
    }

    fn stratum(objects: f64, size: f64) -> Stratum {
        Stratum { objects, bytes: objects * size, off: 0.0 }
    }

    fn view(source: Source) -> View<'static> {
        View { source, counted: &[], sampler_rate: 1000 }
    }

    /// Value and width of a stack's part, in objects.
    fn part(resolved: &Resolved, pc: u64) -> (f64, f64) {
        let of = resolved.stacks.iter().find(|(id, _)| id.pcs[0].0 == pc);
        of.map(|(_, counts)| counts.part.objects).unwrap()
    }

    #[test]
    fn what_was_not_seen_is_divided_as_windows_were() {
        let view = view(Source::Exact);
        let mut windows = Windows::default();
        // The first stretch saw something else: it began with the recording.
        windows.add(view, None, None, [(id(9, 0), counts(1000, 1, 16))], 10);
        for weight in [1.0, 3.0] {
            let window = [(id(1, 0), counts(750, 1, 16)), (id(2, 0), counts(250, 1, 64))];
            windows.add(view, Some(weight), None, window, 10);
        }
        assert_eq!(windows.len(), 3);
        let resolved = windows.resolve(view, Some(&[stratum(13_000.0, 28.0)]), Some(0.0));
        let (value, width) = part(&resolved, 1);
        assert!((value - 7_500.0).abs() < 1e-6 && width > 0.0, "{value} ± {width}");
        assert!((part(&resolved, 2).0 - 2_500.0).abs() < 1e-6);
        let (value, width) = part(&resolved, 9);
        assert!(value == 0.0 && (1_000.0..9_990.0).contains(&width), "{value} ± {width}");
        assert_eq!(resolved.unseen, (0.0, 0.0));
        let all: u64 = resolved.stacks.iter().map(|(_, counts)| counts.objects).sum();
        assert_eq!(all, 3_000);
    }

    #[test]
    fn for_want_of_windows_the_first_stretch_has_to_do_and_says_little() {
        let view = view(Source::Exact);
        let mut windows = Windows::default();
        windows.add(
            view,
            None,
            None,
            [(id(1, 0), counts(10, 1, 8)), (id(2, 0), counts(30, 1, 8))],
            10,
        );
        let resolved = windows.resolve(view, Some(&[stratum(140.0, 8.0)]), Some(0.0));
        assert_eq!(part(&resolved, 1), (25.0, 75.0));
        assert_eq!(part(&resolved, 2), (75.0, 75.0));
    }

    #[test]
    fn classes_of_spans_are_strata_and_what_has_no_stack_is_left_out() {
        let view = view(Source::Span);
        let mut windows = Windows::default();
        for _ in 0..3 {
            let window = [
                (id(1, 2), counts(10, 100, 8)),
                (id(2, 3), counts(10, 300, 8)),
                (id(3, 4), counts(10, 100, 16)),
                (id(0, 2), counts(9, 100, 8)),
            ];
            windows.add(view, Some(1.0), None, window, 10);
        }
        let allocated = [
            stratum(0.0, 0.0),
            stratum(52_000.0, 8.0),
            stratum(13_000.0, 16.0),
            stratum(7.0, 24.0),
        ];
        let resolved = windows.resolve(view, Some(&allocated), Some(0.0));
        assert_eq!(part(&resolved, 1).0, 10_000.0);
        assert_eq!(part(&resolved, 2).0, 30_000.0);
        assert_eq!(part(&resolved, 3).0, 10_000.0);
        // Of that class nothing was ever seen.
        assert_eq!(resolved.unseen, (7.0, 168.0));
    }

    #[test]
    fn samples_divide_bytes() {
        let view = view(Source::Sample);
        let mut windows = Windows::default();
        for _ in 0..2 {
            let window = [(id(1, 1 << 20), counts(5, 1, 1 << 20)), (id(2, 16), counts(5, 1, 16))];
            windows.add(view, Some(1.0), None, window, 10);
        }
        let mut allocated = [Stratum { objects: 0.0, bytes: 1e9, off: 0.0 }];
        let seen = counts(1, 1, 1 << 20);
        view.add_seen(&mut allocated, &[(id(1, 1 << 20), seen)]);
        assert!((allocated[0].bytes - 1e9 - f64::from(1 << 20)).abs() < 1.0);
        let resolved = windows.resolve(view, Some(&allocated), Some(0.0));
        let bytes: f64 = resolved.stacks.iter().map(|(_, counts)| counts.part.bytes.0).sum();
        let sampled = 10.0 * f64::from(1 << 20) + 10.0 * 16.0 / estimate::chance(16, 1000);
        assert!((bytes + sampled - allocated[0].bytes).abs() < 10.0, "{bytes}");
    }

    #[test]
    fn without_counters_nothing_is_said_and_without_room_it_is_counted() {
        let view = view(Source::Exact);
        let mut windows = Windows::default();
        let window = [(id(1, 0), counts(5, 1, 8)), (id(2, 0), counts(6, 1, 8))];
        windows.add(view, Some(1.0), None, window, 1);
        assert_eq!((windows.len(), windows.lost), (1, 6));
        let resolved = windows.resolve(view, None, Some(0.0));
        assert_eq!(resolved.stacks[0].1.part, Part::default());
    }

    #[test]
    fn what_the_whole_may_be_off_by_a_part_may_be_too() {
        let view = view(Source::Exact);
        let mut windows = Windows::default();
        for _ in 0..200 {
            windows.add(view, Some(1.0), None, [(id(1, 0), counts(100, 1, 8))], 10);
        }
        let all = Stratum { off: 50.0, ..stratum(21_000.0, 8.0) };
        let resolved = windows.resolve(view, Some(&[all]), Some(0.0));
        let (value, width) = part(&resolved, 1);
        assert!((value - 1_000.0).abs() < 1e-6 && (50.0..52.0).contains(&width), "{width}");
    }
}

//! What looks and a trap tell of the same collections, put together.
//!
//! In: collections as looks find them, in order and perhaps not in full, and as the trap catches them,
//! in full. Out: each once, in order.

use std::collections::BTreeMap;

use crate::runtime::cycles::Cycle;

#[derive(Debug, Default)]
pub struct Merge {
    /// What the trap has caught and no look has found yet.
    caught: BTreeMap<u32, Cycle>,
    /// What looks have found, not in full: the trap may tell the rest.
    waiting: Vec<Cycle>,
    /// The last one that was given out.
    told: u32,
}

impl Merge {
    /// Takes one from the trap.
    pub fn catch(&mut self, cycle: Cycle) {
        if cycle.number > self.told {
            self.caught.insert(cycle.number, cycle);
        }
    }

    /// Takes what a look has found and gives out what is known as well as it will be. One that is not
    /// known in full waits for the trap until the next look, where there is one to `wait` for, and those
    /// behind it with it.
    pub fn found(&mut self, cycles: Vec<Cycle>, wait: bool) -> Vec<Cycle> {
        // What has waited once waits no more.
        let once = self.waiting.len();
        self.waiting.extend(cycles);
        for cycle in &mut self.waiting {
            if let Some(caught) = self.caught.remove(&cycle.number) {
                cycle.complete(caught);
            }
        }
        let behind = self.waiting.iter().skip(once);
        let ready = match behind.map(|cycle| cycle.detail.is_none()).position(|waits| waits) {
            Some(at) if wait => once + at,
            _ => self.waiting.len(),
        };
        let ready: Vec<Cycle> = self.waiting.drain(..ready).collect();
        if let Some(last) = ready.last() {
            self.told = last.number;
            // Looks find them in order: older ones come no more.
            self.caught = self.caught.split_off(&self.told.saturating_add(1));
        }
        ready
    }

    /// The rest, when there will be no look any more: also what the trap alone has seen.
    pub fn rest(&mut self) -> Vec<Cycle> {
        let mut rest = self.found(Vec::new(), false);
        rest.extend(std::mem::take(&mut self.caught).into_values());
        self.told = rest.last().map_or(self.told, |cycle| cycle.number);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::gc::made::cycle;

    fn partly(number: u32) -> Cycle {
        Cycle { detail: None, ..cycle(number) }
    }

    #[test]
    fn without_a_trap_nothing_waits() {
        let mut merge = Merge::default();
        assert_eq!(merge.found(vec![cycle(7), partly(8)], false), [cycle(7), partly(8)]);
        assert_eq!(merge.rest(), []);
    }

    #[test]
    fn what_the_trap_has_caught_completes_what_a_look_has_found() {
        let mut merge = Merge::default();
        (7..=9).for_each(|number| merge.catch(cycle(number)));
        let found = merge.found(vec![partly(7), partly(8), cycle(9)], true);
        assert_eq!(found, [cycle(7), cycle(8), cycle(9)]);
        assert_eq!(merge.rest(), []);
    }

    #[test]
    fn the_trap_is_waited_for_once() {
        let mut merge = Merge::default();
        assert_eq!(merge.found(vec![cycle(7), partly(8), cycle(9)], true), [cycle(7)]);
        merge.catch(cycle(8));
        assert_eq!(merge.found(vec![partly(10)], true), [cycle(8), cycle(9)]);
        // It never came.
        assert_eq!(merge.found(vec![], true), [partly(10)]);
    }

    #[test]
    fn none_is_told_twice_and_what_came_after_the_last_look_is_told() {
        let mut merge = Merge::default();
        assert_eq!(merge.found(vec![cycle(7)], true), [cycle(7)]);
        merge.catch(cycle(7));
        merge.catch(cycle(8));
        assert_eq!(merge.found(vec![partly(9)], true), []);
        merge.catch(cycle(9));
        merge.catch(cycle(10));
        assert_eq!(merge.rest(), [cycle(9), cycle(10)]);
        assert_eq!(merge.rest(), []);
    }
}

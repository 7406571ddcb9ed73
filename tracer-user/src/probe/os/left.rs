//! What of mappings is left: bytes by the stack that mapped them, when parts are unmapped or mapped over.
//!
//! In: changes, roughly in the order in which they took place. Out: sums by stack. What was mapped before
//! the recording is nobody's, and unmapping it changes nothing here.

use std::collections::{BTreeMap, HashMap};

use tracer_common::{StackKey, os::Mapping};

/// Mappings of all images.
#[derive(Default)]
pub(in crate::probe) struct Left {
    /// Changes that others may still precede.
    waiting: Vec<Mapping>,
    /// By image: start of each mapping, its end and the stack that mapped it.
    mapped: HashMap<u32, BTreeMap<u64, (u64, StackKey)>>,
}

/// What is left of a stack's mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::probe) struct Sum {
    /// How many pieces.
    pub mappings: u64,
    pub bytes: u64,
}

impl Left {
    /// A change has been told.
    pub fn come(&mut self, mapping: Mapping) {
        self.waiting.push(mapping);
    }

    /// Nothing comes any more that took place before `until`.
    pub fn settle(&mut self, until: u64) {
        self.waiting.sort_by_key(|mapping| mapping.at);
        let settled = self.waiting.partition_point(|mapping| mapping.at <= until);
        for mapping in self.waiting.drain(..settled).collect::<Vec<_>>() {
            self.change(&mapping);
        }
    }

    fn change(&mut self, mapping: &Mapping) {
        let mapped = self.mapped.entry(mapping.stack.image).or_default();
        if mapping.old_length > 0 {
            remove(mapped, mapping.old_address, mapping.old_length);
        }
        if mapping.length > 0 {
            // What was there is mapped over (MAP_FIXED).
            remove(mapped, mapping.address, mapping.length);
            let end = mapping.address.saturating_add(mapping.length);
            mapped.insert(mapping.address, (end, mapping.stack));
        }
    }

    /// All of some images, which are over.
    pub fn take(&mut self, wanted: impl Fn(u32) -> bool) -> HashMap<StackKey, Sum> {
        let mut sums: HashMap<StackKey, Sum> = HashMap::new();
        for (_, mapped) in self.mapped.extract_if(|image, _| wanted(*image)) {
            for (start, (end, stack)) in mapped {
                let sum = sums.entry(stack).or_default();
                sum.mappings += 1;
                sum.bytes += end - start;
            }
        }
        sums
    }
}

/// Takes a range out of what is mapped; of mappings that reach beyond it the rest stays.
fn remove(mapped: &mut BTreeMap<u64, (u64, StackKey)>, start: u64, length: u64) {
    let end = start.saturating_add(length);
    let before = mapped.range(..start).next_back().map(|(at, of)| (*at, *of));
    if let Some((at, (to, stack))) = before.filter(|(_, (to, _))| *to > start) {
        mapped.insert(at, (start, stack));
        if to > end {
            mapped.insert(end, (to, stack));
        }
    }
    let within: Vec<u64> = mapped.range(start..end).map(|(at, _)| *at).collect();
    for at in within {
        if let Some((to, stack)) = mapped.remove(&at)
            && to > end
        {
            mapped.insert(end, (to, stack));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(hash: u64) -> StackKey {
        StackKey { image: 1, site: 0, class: 0, hash }
    }

    fn map(at: u64, address: u64, length: u64, hash: u64) -> Mapping {
        Mapping { stack: stack(hash), at, address, length, ..Mapping::default() }
    }

    fn unmap(at: u64, old_address: u64, old_length: u64) -> Mapping {
        Mapping { stack: stack(99), at, old_address, old_length, ..Mapping::default() }
    }

    fn left(changes: &[Mapping]) -> Vec<(u64, u64, u64)> {
        let mut left = Left::default();
        changes.iter().for_each(|change| left.come(*change));
        left.settle(u64::MAX);
        let mut sums: Vec<_> = left
            .take(|_| true)
            .into_iter()
            .map(|(stack, sum)| (stack.hash, sum.mappings, sum.bytes))
            .collect();
        sums.sort_unstable();
        sums
    }

    #[test]
    fn what_is_unmapped_is_not_left() {
        assert_eq!(left(&[map(1, 100, 50, 1), unmap(2, 100, 50)]), []);
        assert_eq!(left(&[map(1, 100, 50, 1), unmap(2, 120, 10)]), [(1, 2, 40)]);
        assert_eq!(left(&[map(1, 100, 50, 1), unmap(2, 140, 100)]), [(1, 1, 40)]);
        assert_eq!(left(&[map(1, 100, 50, 1), unmap(2, 0, 110)]), [(1, 1, 40)]);
        let both = [map(1, 100, 50, 1), map(1, 200, 50, 2), unmap(2, 140, 80)];
        assert_eq!(left(&both), [(1, 1, 40), (2, 1, 30)]);
        assert_eq!(left(&[unmap(1, 0, 1 << 40)]), []);
        assert_eq!(left(&[map(1, u64::MAX - 10, 100, 1), unmap(2, 0, u64::MAX)]), []);
    }

    #[test]
    fn what_is_mapped_over_is_the_later_ones() {
        // As the runtime reserves and then maps.
        let changes = [map(1, 0, 100, 1), map(2, 0, 30, 2), map(3, 10, 5, 3)];
        assert_eq!(left(&changes), [(1, 1, 70), (2, 2, 25), (3, 1, 5)]);
    }

    #[test]
    fn changes_are_told_in_any_order() {
        assert_eq!(
            left(&[map(5, 100, 50, 2), unmap(3, 100, 50), map(1, 100, 50, 1)]),
            [(2, 1, 50)]
        );
        let mut late = Left::default();
        late.come(map(5, 100, 50, 2));
        late.settle(4);
        late.come(unmap(3, 100, 50));
        late.settle(u64::MAX);
        assert_eq!(late.take(|_| true).len(), 1);
    }

    #[test]
    fn images_are_taken_one_by_one() {
        let mut left = Left::default();
        let mut other = map(1, 100, 50, 1);
        other.stack.image = 2;
        left.come(map(1, 100, 50, 1));
        left.come(other);
        left.settle(u64::MAX);
        assert_eq!(left.take(|image| image == 2).len(), 1);
        assert_eq!(left.take(|_| true)[&stack(1)], Sum { mappings: 1, bytes: 50 });
    }
}

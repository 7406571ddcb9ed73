//! How old a stack's objects became. In: objects by class of age. Out: sums, and the age in the
//! middle. Classes are powers of two of about a millisecond.

use std::time::Duration;

use super::{ALLOC_SPACE, Profile};

pub use tracer_common::record::AGES;

/// Objects of a stack by age; estimates as its values are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// Those that were freed, by the age that they reached.
    pub freed: [u64; AGES],
    /// Those that were not, by the age that they have.
    pub live: [u64; AGES],
}

impl Ages {
    /// Where a class ends and the next begins; the last has no end.
    pub fn bound(class: usize) -> Duration {
        Duration::from_nanos(1 << (20 + class.min(AGES - 1)))
    }

    /// Adds those of another stack.
    pub fn add(&mut self, other: &Ages) {
        for (to, from) in [(&mut self.freed, &other.freed), (&mut self.live, &other.live)] {
            for (to, from) in to.iter_mut().zip(from) {
                *to = to.saturating_add(*from);
            }
        }
    }

    /// The class that the middle one of the freed objects is in; nothing when none was freed.
    pub fn median_life(&self) -> Option<usize> {
        let all: u64 = self.freed.iter().fold(0, |sum, n| sum.saturating_add(*n));
        let mut before = 0u64;
        (0..AGES).find(|class| {
            before = before.saturating_add(self.freed[*class]);
            all > 0 && before.saturating_mul(2) >= all
        })
    }
}

impl Profile {
    /// Leaves only stacks of which every object that was followed was freed again, and says how much
    /// was left out.
    pub fn keep_short_lived(&mut self) {
        let Some(space) = self.value_of_kind(ALLOC_SPACE) else { return };
        let (all, bytes) = (self.samples.len(), self.total(space));
        self.samples.retain(|sample| {
            let ages = sample.ages.as_deref();
            ages.is_some_and(|a| a.live.iter().all(|n| *n == 0) && a.freed.iter().any(|n| *n > 0))
        });
        let left = 100.0 * self.total(space) as f64 / bytes.max(1) as f64;
        self.meta.notes.push(format!(
            "only stacks that keep nothing: {} of {all}, {left:.1} % of the bytes allocated",
            self.samples.len()
        ));
    }
}

/// Adds what only some samples have; `both` adds one to the other.
pub fn add<T: Clone>(
    to: &mut Option<Box<T>>,
    from: &Option<Box<T>>,
    both: impl FnOnce(&mut T, &T),
) {
    match (to, from) {
        (Some(to), Some(from)) => both(to, from),
        (to @ None, Some(from)) => *to = Some(from.clone()),
        (_, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_lives() {
        let mut ages = Ages::default();
        assert_eq!(ages.median_life(), None);
        (ages.freed[3], ages.freed[9]) = (10, 9);
        assert_eq!(ages.median_life(), Some(3));
        let mut other = Ages::default();
        other.freed[9] = 2;
        ages.add(&other);
        assert_eq!(ages.median_life(), Some(9));
        assert_eq!(Ages::bound(0), Duration::from_nanos(1 << 20));
    }

    #[test]
    fn ages_come_with_the_first_that_has_them() {
        let mut none = None;
        add(&mut none, &None, Ages::add);
        assert_eq!(none, None);
        let mut some = Ages::default();
        some.live[0] = 1;
        let some = Some(Box::new(some));
        add(&mut none, &some, Ages::add);
        add(&mut none, &some, Ages::add);
        assert_eq!(none.map(|a| a.live[0]), Some(2));
    }
}

//! What was allocated since the last profile of a process, for receivers that add profiles up.
//!
//! In: heap profiles of processes as their runtimes have them: allocation since the program began. Out: the same with
//! allocation since the profile before; what is in use stays. Of each stack two numbers are kept, under 128 bits
//! of its addresses, however deep it is.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use ahash::RandomState;

use crate::host::Identity;
use crate::output::pprof::proto::Profile;
use crate::profile::{ALLOC_OBJECTS, ALLOC_SPACE};

/// A stack and the size of its objects.
type Key = (u64, u64);
/// Objects and bytes, as they were scaled.
type Allocated = [i64; 2];

/// What was there before, of each process.
pub struct Deltas {
    hashers: [RandomState; 2],
    last: HashMap<Identity, Last>,
}

struct Last {
    at: SystemTime,
    /// Of the runtime's sampler, by which all values are scaled.
    period: i64,
    allocated: HashMap<Key, Allocated>,
}

impl Deltas {
    pub fn new() -> Self {
        Self { hashers: [RandomState::new(), RandomState::new()], last: HashMap::new() }
    }

    /// Makes a profile tell what was allocated since the last one of its process, or since the process began if that is
    /// not longer ago than `recent`; says since when. Nothing of the first one of a process that is
    /// older: what it has allocated before is nobody's interval.
    pub fn apply(
        &mut self,
        id: Identity,
        profile: &mut Profile,
        at: SystemTime,
        age: Duration,
        recent: Duration,
    ) -> Option<SystemTime> {
        let values = [ALLOC_OBJECTS, ALLOC_SPACE].map(|of| value_of(profile, of.kind));
        let [Some(objects), Some(bytes)] = values else { return None };
        let keys = self.keys(profile);
        let mut now: HashMap<Key, Allocated> = HashMap::with_capacity(keys.len());
        for (key, sample) in keys.iter().zip(&profile.sample) {
            let allocated = now.entry(*key).or_default();
            allocated[0] = allocated[0].saturating_add(sample.value[objects]);
            allocated[1] = allocated[1].saturating_add(sample.value[bytes]);
        }
        let last = Last { at, period: profile.period, allocated: now };
        // Values that were scaled by another rate can't be compared.
        let before = self.last.remove(&id).filter(|before| before.period == last.period);
        let since = match &before {
            Some(before) => Some(before.at),
            None if age <= recent => Some(at.checked_sub(age).unwrap_or(at)),
            None => None,
        };
        // Of several samples with the same key the first one has all of it.
        let mut left = last.allocated.clone();
        for (key, sample) in keys.iter().zip(&mut profile.sample) {
            let now = left.remove(key).unwrap_or_default();
            let then = before.as_ref().and_then(|before| before.allocated.get(key));
            let then = then.copied().unwrap_or_default();
            let more = [0, 1].map(|at| now[at].saturating_sub(then[at]).max(0));
            (sample.value[objects], sample.value[bytes]) = (more[0], more[1]);
        }
        profile.sample.retain(|sample| sample.value.iter().any(|value| *value != 0));
        self.last.insert(id, last);
        since
    }

    /// Forgets processes.
    pub fn retain(&mut self, is_there: impl Fn(&Identity) -> bool) {
        self.last.retain(|id, _| is_there(id));
    }

    fn keys(&self, profile: &Profile) -> Vec<Key> {
        let address = |id: &u64| {
            let at = usize::try_from(*id).ok()?.checked_sub(1)?;
            profile.location.get(at).map(|location| location.address)
        };
        let mut words = Vec::new();
        let key = |sample: &crate::output::pprof::proto::Sample| {
            words.clear();
            words.extend(sample.location_id.iter().filter_map(address));
            words.extend(sample.label.iter().map(|label| label.num as u64));
            let [one, two] = &self.hashers;
            (one.hash_one(&words), two.hash_one(&words))
        };
        profile.sample.iter().map(key).collect()
    }
}

/// Where in samples a kind of value is.
pub fn value_of(profile: &Profile, kind: &str) -> Option<usize> {
    let text = |at: i64| usize::try_from(at).ok().and_then(|at| profile.string_table.get(at));
    profile.sample_type.iter().position(|of| text(of.kind).is_some_and(|text| text == kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{pprof, sample};

    const ID: Identity = Identity { pid: 4242, start: 1 };

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn heap() -> Profile {
        pprof::of_one(&sample::heap(), 3)
    }

    fn values(profile: &Profile) -> Vec<&[i64]> {
        profile.sample.iter().map(|sample| &sample.value[..]).collect()
    }

    #[test]
    fn allocation_is_since_the_last_one_and_what_is_in_use_stays() {
        let mut deltas = Deltas::new();
        let (old, recent) = (Duration::from_secs(1000), Duration::from_secs(30));
        let mut first = heap();
        assert_eq!(deltas.apply(ID, &mut first, at(100), old, recent), None);
        let mut second = heap();
        second.sample[0].value = vec![34, 17 << 20, 20, 10 << 20];
        assert_eq!(deltas.apply(ID, &mut second, at(115), old, recent), Some(at(100)));
        // The other stack has allocated nothing and has nothing in use.
        assert_eq!(values(&second), [[10, 5 << 20, 20, 10 << 20]]);
        let mut third = heap();
        third.sample[0].value = vec![34, 17 << 20, 0, 0];
        assert_eq!(deltas.apply(ID, &mut third, at(130), old, recent), Some(at(115)));
        assert!(third.sample.is_empty());
    }

    #[test]
    fn a_new_process_has_allocated_all_of_it_since_it_began() {
        let mut deltas = Deltas::new();
        let seconds = Duration::from_secs;
        let mut first = heap();
        let since = deltas.apply(ID, &mut first, at(100), seconds(4), seconds(30));
        assert_eq!((since, values(&first)), (Some(at(96)), values(&heap())));
        deltas.retain(|_| false);
        let mut other = heap();
        assert_eq!(deltas.apply(ID, &mut other, at(200), seconds(104), seconds(30)), None);
    }

    #[test]
    fn another_rate_begins_anew_and_less_is_nothing() {
        let mut deltas = Deltas::new();
        let (old, recent) = (Duration::from_secs(1000), Duration::from_secs(30));
        deltas.apply(ID, &mut heap(), at(1), old, recent);
        let mut other = Profile { period: 1, ..heap() };
        assert_eq!(deltas.apply(ID, &mut other, at(2), old, recent), None);
        let mut less = Profile { period: 1, ..heap() };
        less.sample[0].value[0] -= 1;
        assert_eq!(deltas.apply(ID, &mut less, at(3), old, recent), Some(at(2)));
        assert_eq!(values(&less), [[0, 0, 24, 12 << 20]]);
    }

    #[test]
    fn samples_of_one_key_are_added_up() {
        let mut deltas = Deltas::new();
        let (old, recent) = (Duration::from_secs(1000), Duration::from_secs(30));
        let twice = || {
            let mut profile = heap();
            let again = profile.sample[0].clone();
            profile.sample.push(again);
            profile
        };
        deltas.apply(ID, &mut twice(), at(1), old, recent);
        let mut later = twice();
        later.sample[2].value[0] += 5;
        deltas.apply(ID, &mut later, at(2), old, recent);
        let sum: i64 = later.sample.iter().map(|sample| sample.value[0]).sum();
        assert_eq!(sum, 5);
    }
}

//! Who appears in the profile: processes by themselves, and ended ones that share an entry.
//!
//! In: what is known of a process when it ends, or when the recording does. Out: the number of its
//! entry. Ended processes have entries of their own up to a limit; beyond that those of the same
//! binary, command name and container are one entry that says how many it stands for. So memory is
//! bounded however many processes come and go.

use std::{collections::HashMap, ffi::OsString};

use super::meters::Spent;
use crate::{host, profile::Rest};

/// One process, or several that ended.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The first of them, if there are several.
    pub process: host::Process,
    /// Index in [`super::Targets::binaries`].
    pub binary: usize,
    /// How many processes it stands for.
    pub processes: u64,
    /// `runtime.MemProfileRate` (mode sample; else 0).
    pub sampler_rate: u64,
    /// The same at the end, when it was another.
    pub other_rate: Option<u64>,
    /// Objects allocated from spans that were not used up, beyond those that the span probes have
    /// counted, by span class (span mode).
    pub unseen: HashMap<u64, i64>,
    /// What it was caused, where that is accounted for.
    pub spent: Option<Spent>,
    /// Objects and bytes that were allocated while it was not traced, and of which nothing of their kind
    /// was ever seen.
    pub untraced: (f64, f64),
}

impl Entry {
    /// Of one process.
    pub fn new(process: host::Process, binary: usize, sampler_rate: u64) -> Self {
        let (other_rate, unseen) = (None, HashMap::new());
        let (spent, untraced) = (None, (0.0, 0.0));
        Self { process, binary, processes: 1, sampler_rate, other_rate, unseen, spent, untraced }
    }

    /// Adds the objects by span class that caches had given.
    pub fn add_cached(&mut self, objects: Option<&Vec<u64>>, sign: i64) {
        for (class, objects) in (0..).zip(objects.into_iter().flatten()) {
            if *objects > 0 {
                *self.unseen.entry(class).or_default() += sign * *objects as i64;
            }
        }
    }
}

/// What processes have in common that share an entry: binary, command name, container, rate, and
/// whether they were traced all the time.
type Common = (usize, OsString, Option<String>, u64, bool);

/// All entries. An index is for good.
#[derive(Default)]
pub struct Entries {
    list: Vec<Entry>,
    shared: HashMap<Common, usize>,
    own: usize,
    limit: usize,
}

impl Entries {
    /// With room for so many ended processes, and as many entries that several share.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), ..Self::default() }
    }

    /// In the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.list.iter()
    }

    pub fn get(&self, number: u32) -> Option<&Entry> {
        self.list.get(number as usize)
    }

    /// The entry of a process that has ended; `room` says whether there is room for its own stacks.
    pub fn ended(&mut self, entry: Entry, room: bool) -> u32 {
        if self.own < self.limit && room {
            self.own += 1;
            return self.push(entry);
        }
        let container = entry.process.container.as_ref().ok().and_then(Option::as_ref);
        let container = container.map(|container| container.id.clone());
        let whole = entry.spent.as_ref().is_none_or(Spent::is_whole);
        let rate = entry.sampler_rate;
        let mut common = (entry.binary, entry.process.comm.clone(), container, rate, whole);
        if self.shared.len() >= self.limit && !self.shared.contains_key(&common) {
            // A host of names: what is left to tell is the binary.
            common = (entry.binary, OsString::from("(others)"), None, rate, whole);
        }
        match self.shared.get(&common) {
            Some(at) => {
                let shared = &mut self.list[*at];
                shared.processes += entry.processes;
                match (&mut shared.spent, entry.spent) {
                    (Some(spent), Some(more)) => spent.add(&more),
                    (spent, more) => *spent = spent.take().or(more),
                }
                for (class, objects) in entry.unseen {
                    *shared.unseen.entry(class).or_default() += objects;
                }
                *at as u32
            }
            None => {
                let mut entry = entry;
                entry.process.comm.clone_from(&common.1);
                if common.2.is_none() {
                    entry.process.container = Ok(None);
                }
                self.shared.insert(common, self.list.len());
                self.push(entry)
            }
        }
    }

    /// More of what nothing is known of but how much it is.
    pub fn add_untraced(&mut self, number: u32, (objects, bytes): (f64, f64)) {
        if let Some(entry) = self.list.get_mut(number as usize) {
            entry.untraced.0 += objects;
            entry.untraced.1 += bytes;
        }
    }

    /// What a process was caused whose recording had ended before it, or before the whole recording did.
    pub fn cost(&mut self, number: u32, spent: Option<Spent>) {
        if let Some(entry) = self.list.get_mut(number as usize) {
            entry.spent = spent;
        }
    }

    /// Leaves the first ones, as many as there were before others were pushed.
    pub fn truncate(&mut self, len: usize) {
        self.list.truncate(len);
    }

    /// What can be said of what was not seen of it.
    pub fn leaves(&mut self, number: u32, rest: Rest) {
        let entry = self.list.get_mut(number as usize);
        if let Some(spent) = entry.and_then(|entry| entry.spent.as_mut()) {
            spent.rest = spent.rest.max(rest);
        }
    }

    /// The entry of a process that still runs at the end of the recording.
    pub fn push(&mut self, entry: Entry) -> u32 {
        self.list.push(entry);
        self.list.len() as u32 - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: u32, comm: &str, binary: usize) -> Entry {
        let process = host::Process {
            id: host::Identity { pid, start: 1 },
            comm: comm.into(),
            uid: Ok(0),
            user: None,
            exe: Err(host::Error::Gone { pid }),
            container: Ok(None),
            unit: None,
            inner_pid: None,
        };
        let mut entry = Entry::new(process, binary, 0);
        entry.add_cached(Some(&vec![0, u64::from(pid)]), 1);
        entry
    }

    #[test]
    fn beyond_the_limit_ended_processes_share_entries() {
        let mut entries = Entries::new(2);
        let numbers: Vec<u32> =
            (1..=6).map(|pid| entries.ended(entry(pid, "job", (pid % 2) as usize), true)).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 2, 3]);
        let counts: Vec<u64> = entries.iter().map(|entry| entry.processes).collect();
        assert_eq!(counts, [1, 1, 2, 2]);
        assert_eq!(entries.get(2).unwrap().unseen[&1], 3 + 5);
        assert_eq!(entries.get(2).unwrap().process.id.pid, 3);
        // One that lives is always itself.
        assert_eq!(entries.push(entry(9, "job", 1)), 4);
        assert!(entries.get(5).is_none());
    }

    #[test]
    fn without_room_for_more_stacks_they_share_at_once() {
        let mut entries = Entries::new(9);
        let rooms = [true, false, false, true];
        let numbers = rooms.map(|room| entries.ended(entry(7, "job", 0), room));
        assert_eq!(numbers, [0, 1, 1, 2]);
    }

    #[test]
    fn a_host_of_names_takes_bounded_memory() {
        let mut entries = Entries::new(3);
        for pid in 0..1000 {
            entries.ended(entry(pid, &format!("job-{pid}"), 0), true);
        }
        // Own ones, shared ones, and one for all the others.
        assert_eq!(entries.iter().count(), 3 + 3 + 1);
        assert_eq!(entries.iter().map(|entry| entry.processes).sum::<u64>(), 1000);
        assert_eq!(entries.iter().last().unwrap().process.comm, "(others)");
    }
}

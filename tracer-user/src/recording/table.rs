//! What a segment of a recording has said already, by number.
//!
//! In: things as bytes. Out: their numbers, in the order in which they came, and those that are new.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ahash::RandomState;

use super::wire::Put;

/// Things of one kind.
#[derive(Default)]
pub struct Table {
    known: HashMap<Box<[u8]>, Same, RandomState>,
    len: u32,
    /// Those that the next record has to say, and how many.
    new: Put,
    added: usize,
}

/// Those that are equal, several of which may be in one snapshot.
#[derive(Default)]
struct Same {
    first: u32,
    others: Vec<u32>,
    /// How many of them a snapshot has used, and which one.
    used: usize,
    shot: u64,
}

impl Table {
    /// One that has something from the beginning.
    pub fn with(key: &[u8]) -> Self {
        let mut table = Self { len: 1, ..Self::default() };
        table.known.insert(key.into(), Same::default());
        table
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// The number of what `key` says; `write` says it when it is new.
    pub fn id(&mut self, key: &[u8], write: impl FnOnce(&mut Put)) -> u32 {
        match self.known.get(key) {
            Some(same) => same.first,
            None => {
                let first = self.add(write);
                self.known.insert(key.into(), Same { first, ..Same::default() });
                first
            }
        }
    }

    /// As [`Self::id`], of one that is not any that had this key in the same snapshot.
    pub fn next_id(&mut self, key: &[u8], shot: u64, write: impl FnOnce(&mut Put)) -> u32 {
        let Some(same) = self.known.get_mut(key) else {
            let first = self.add(write);
            let same = Same { first, others: Vec::new(), used: 1, shot };
            self.known.insert(key.into(), same);
            return first;
        };
        if same.shot != shot {
            (same.used, same.shot) = (0, shot);
        }
        same.used += 1;
        match same.used {
            1 => return same.first,
            used if used - 2 < same.others.len() => return same.others[used - 2],
            _ => {}
        }
        let id = self.add(write);
        if let Entry::Occupied(mut same) = self.known.entry(key.into()) {
            same.get_mut().others.push(id);
        }
        id
    }

    /// Says what is new, and that it is none any more.
    pub fn put_new(&mut self, into: &mut Put) {
        into.count(self.added);
        into.raw(self.new.bytes());
        self.new.clear();
        self.added = 0;
    }

    fn add(&mut self, write: impl FnOnce(&mut Put)) -> u32 {
        write(&mut self.new);
        self.added += 1;
        self.len += 1;
        self.len - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_have_one_number_or_one_for_each_in_a_snapshot() {
        let mut table = Table::default();
        let write = |put: &mut Put| put.raw(b"x");
        assert_eq!([b"a", b"b", b"a"].map(|key| table.id(key, write)), [0, 1, 0]);
        let mut next = |shot| table.next_id(b"c", shot, write);
        assert_eq!([next(1), next(1), next(1)], [2, 3, 4]);
        assert_eq!([next(2), next(2), next(3)], [2, 3, 2]);
        let mut put = Put::default();
        table.put_new(&mut put);
        assert_eq!(put.take(), b"\x05xxxxx");
        table.put_new(&mut put);
        assert_eq!((put.take(), table.len()), (vec![0], 5));
    }
}

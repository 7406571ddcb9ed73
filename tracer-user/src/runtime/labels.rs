//! Go's own profiler labels (`pprof.Do`, `pprof.SetGoroutineLabels`), as goroutines point to them.
//!
//! In: what [`super::g::G::labels`] says. Out: pairs of texts. Sets are never changed once they are made
//! (runtime/pprof/label.go), so that nothing has to agree but that a goroutine held its set all the
//! while, which the caller finds out. Up to Go 1.23 a set is a map, since then a list.

use std::collections::HashMap;

use super::goroutines::Labeled;
use super::live::{Error, Live, Record};
use super::memory::{Batch, Memory, Range};
use crate::address::RuntimeAddr;

/// Labels of one goroutine: keys and values, by key.
pub type Labels = Vec<(String, String)>;

/// Most labels of a set, and most bytes of all its texts; more can't be read.
const MAX_LABELS: u64 = 256;
const MAX_TEXT: u64 = 16 << 10;

/// Since this release a set is a struct with a slice of pairs of strings.
const LISTS_SINCE: u32 = 24;
/// Bytes of a slice header, of a string header, and of a pair of strings.
const SLICE: usize = 24;
const STRING: usize = 16;
const PAIR: usize = 2 * STRING;

/// `hmap` and `bmap` of a `map[string]string` (runtime/map.go, Go 1.18 to 1.23).
const HMAP: usize = 48;
const HMAP_FLAGS: u32 = 8;
const HMAP_B: u32 = 9;
const HMAP_BUCKETS: u32 = 16;
const HMAP_OLD_BUCKETS: u32 = 24;
/// The map grows into as many buckets as it had.
const SAME_SIZE_GROW: u8 = 8;
const SLOTS: usize = 8;
const KEYS: usize = 8;
const VALUES: usize = KEYS + SLOTS * STRING;
const OVERFLOW: u32 = (VALUES + SLOTS * STRING) as u32;
const BUCKET: usize = OVERFLOW as usize + 8;
/// A slot's mark when there is something in it; below are empty ones, and those moved to new buckets.
const FILLED: u8 = 5;
/// 2 to this power buckets hold more labels than are read.
const MAX_B: u8 = 7;

/// Reads sets.
#[derive(Debug, Default)]
pub struct Reader {
    batch: Batch,
}

/// What [`Reader::read`] found.
#[derive(Debug)]
pub struct Found {
    /// For each that was asked for.
    pub of: Vec<Labeled>,
    /// Bytes that the new sets take.
    pub bytes: usize,
}

/// A set that is being read.
#[derive(Default)]
struct Set {
    at: RuntimeAddr,
    /// Where the texts are: a key, its value, and so on.
    texts: Vec<Range>,
    damaged: bool,
}

impl Reader {
    /// Reads the sets at these addresses, each once; 0 is none. New ones go to `sets`.
    ///
    /// # Errors
    /// The process is gone or may not be read.
    pub fn read<M: Memory>(
        &mut self,
        live: &Live<M>,
        wanted: &[RuntimeAddr],
        sets: &mut Vec<Labels>,
    ) -> Result<Found, Error> {
        let mut known: HashMap<RuntimeAddr, usize> = HashMap::new();
        let mut new: Vec<Set> = Vec::new();
        for at in wanted.iter().filter(|at| at.0 != 0) {
            known.entry(*at).or_insert_with(|| {
                new.push(Set { at: *at, ..Set::default() });
                new.len() - 1
            });
        }
        if new.is_empty() {
            return Ok(Found { of: vec![Labeled::None; wanted.len()], bytes: 0 });
        }
        match live.layout().minor {
            minor if minor >= LISTS_SINCE => self.lists(live, &mut new)?,
            _ => self.maps(live, &mut new)?,
        }
        let (numbers, bytes) = self.texts(live, &mut new, sets)?;
        let of = |at: &RuntimeAddr| known.get(at).map_or(Labeled::None, |set| numbers[*set]);
        Ok(Found { of: wanted.iter().map(of).collect(), bytes })
    }

    /// `struct { list []struct { key, value string } }`.
    fn lists<M: Memory>(&mut self, live: &Live<M>, sets: &mut [Set]) -> Result<(), Error> {
        let headers: Vec<Range> = sets.iter().map(|set| range(set.at.0, SLICE)).collect();
        live.memory.read_many(&headers, &mut self.batch)?;
        let lists: Vec<Range> = self
            .batch
            .iter()
            .zip(&mut *sets)
            .map(|(header, set)| {
                let header = Record(header.unwrap_or_default());
                let count = header.u64(8);
                set.damaged |= count > MAX_LABELS || header.0.is_empty();
                range(header.u64(0), if set.damaged { 0 } else { count as usize * PAIR })
            })
            .collect();
        live.memory.read_many(&lists, &mut self.batch)?;
        for (list, set) in self.batch.iter().zip(sets) {
            let Some(list) = list else {
                set.damaged = true;
                continue;
            };
            set.texts.extend(list.chunks_exact(STRING).map(text));
        }
        Ok(())
    }

    /// `*map[string]string`: buckets of eight, each with a chain of more, and while it grows the old
    /// ones, which hold what is not moved yet.
    fn maps<M: Memory>(&mut self, live: &Live<M>, sets: &mut [Set]) -> Result<(), Error> {
        let words: Vec<Range> = sets.iter().map(|set| range(set.at.0, 8)).collect();
        live.memory.read_many(&words, &mut self.batch)?;
        let word = |bytes: Option<&[u8]>| Record(bytes.unwrap_or_default()).u64(0);
        let maps: Vec<Range> = self.batch.iter().map(|bytes| range(word(bytes), HMAP)).collect();
        live.memory.read_many(&maps, &mut self.batch)?;
        let mut buckets: Vec<(usize, Range)> = Vec::new();
        for (index, (map, set)) in self.batch.iter().zip(&mut *sets).enumerate() {
            let map = Record(map.unwrap_or_default());
            let (b, count) = (map.u8(HMAP_B), map.u64(0));
            // A set may be a nil map, which has no labels.
            if maps[index].at.0 == 0 {
                continue;
            }
            set.damaged |= map.0.is_empty() || b > MAX_B || count > MAX_LABELS;
            if set.damaged {
                continue;
            }
            let old = map.u64(HMAP_OLD_BUCKETS);
            let same = map.u8(HMAP_FLAGS) & SAME_SIZE_GROW != 0;
            let old_b = if same { b } else { b.saturating_sub(1) };
            for (at, b) in [(map.u64(HMAP_BUCKETS), b), (old, old_b)] {
                if at != 0 {
                    buckets.push((index, range(at, BUCKET << b)));
                }
            }
        }
        // A chain has an end; one that has none runs into the limit of labels or of rounds.
        for _ in 0..MAX_LABELS {
            if buckets.is_empty() {
                return Ok(());
            }
            let ranges: Vec<Range> = buckets.iter().map(|(_, range)| *range).collect();
            live.memory.read_many(&ranges, &mut self.batch)?;
            let asked = std::mem::take(&mut buckets);
            for (bytes, (index, _)) in self.batch.iter().zip(asked) {
                let set = &mut sets[index];
                set.damaged |= bytes.is_none();
                for bucket in bytes.unwrap_or_default().chunks_exact(BUCKET) {
                    for slot in (0..SLOTS).filter(|slot| bucket[*slot] >= FILLED) {
                        let string = |from: usize| &bucket[from + slot * STRING..][..STRING];
                        set.texts.extend([text(string(KEYS)), text(string(VALUES))]);
                    }
                    let more = Record(bucket).u64(OVERFLOW);
                    if more != 0 {
                        buckets.push((index, range(more, BUCKET)));
                    }
                }
                set.damaged |= set.texts.len() as u64 > 2 * MAX_LABELS;
            }
            buckets.retain(|(index, _)| !sets[*index].damaged);
        }
        buckets.iter().for_each(|(index, _)| sets[*index].damaged = true);
        Ok(())
    }

    /// Reads the texts; for each set its number, and the bytes of all.
    fn texts<M: Memory>(
        &mut self,
        live: &Live<M>,
        sets: &mut [Set],
        found: &mut Vec<Labels>,
    ) -> Result<(Vec<Labeled>, usize), Error> {
        for set in &mut *sets {
            let bytes = set.texts.iter().map(|text| text.len as u64);
            set.damaged |= bytes.fold(0, u64::saturating_add) > MAX_TEXT;
            if set.damaged {
                set.texts.clear();
            }
        }
        let ranges: Vec<Range> = sets.iter().flat_map(|set| &set.texts).copied().collect();
        live.memory.read_many(&ranges, &mut self.batch)?;
        let mut texts = self.batch.iter();
        let (mut numbers, mut bytes) = (Vec::with_capacity(sets.len()), 0);
        for set in sets {
            let mut next = || {
                let text = texts.next().flatten();
                set.damaged |= text.is_none();
                String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
            };
            let mut labels: Labels = (0..set.texts.len() / 2).map(|_| (next(), next())).collect();
            numbers.push(match (set.damaged, labels.is_empty()) {
                (true, _) => Labeled::Unreadable,
                (false, true) => Labeled::None,
                (false, false) => {
                    labels.sort();
                    let texts = labels.iter().map(|(k, v)| k.len() + v.len());
                    bytes += texts.sum::<usize>() + labels.len() * size_of::<(String, String)>();
                    found.push(labels);
                    Labeled::With(found.len() as u32 - 1)
                }
            });
        }
        Ok((numbers, bytes))
    }
}

fn range(at: u64, len: usize) -> Range {
    Range { at: RuntimeAddr(at), len }
}

/// Where a string header's text is.
fn text(header: &[u8]) -> Range {
    let header = Record(header);
    range(header.u64(0), usize::try_from(header.u64(8)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::layout::{LAYOUTS, Layout};
    use crate::runtime::live::fake::live;
    use crate::runtime::memory::fake::FakeMemory;

    const SET: u64 = 0x1000;
    const MORE: u64 = 0x2000;
    const TEXT: u64 = 0x9000;

    /// Of Go 1.23 (maps) and 1.27 (lists), with texts "keyvalue" at [`TEXT`].
    fn process(list: bool) -> Live<FakeMemory> {
        let minor = if list { 27 } else { 23 };
        let layout: &Layout = LAYOUTS.iter().find(|l| l.minor == minor).unwrap();
        let live = live(layout, &[]);
        live.memory.map(TEXT, b"keyvalue".to_vec());
        live
    }

    fn pair(memory: &FakeMemory, key: u64, value: u64) {
        for (at, place, len) in [(key, TEXT, 3), (value, TEXT + 3, 5)] {
            memory.put_u64(at, place);
            memory.put_u64(at + 8, len);
        }
    }

    fn read(live: &Live<FakeMemory>) -> (Labeled, Vec<Labels>) {
        let mut sets = Vec::new();
        let wanted = [RuntimeAddr(0), RuntimeAddr(SET), RuntimeAddr(SET)];
        let found = Reader::default().read(live, &wanted, &mut sets).unwrap();
        assert_eq!((found.of[0], found.of[1]), (Labeled::None, found.of[2]));
        (found.of[1], sets)
    }

    fn expected() -> Vec<Labels> {
        vec![vec![("key".to_owned(), "value".to_owned())]]
    }

    #[test]
    fn lists() {
        let live = process(true);
        live.memory.map(SET, vec![0; SLICE]);
        live.memory.map(MORE, vec![0; PAIR]);
        live.memory.put_u64(SET, MORE);
        live.memory.put_u64(SET + 8, 1);
        pair(&live.memory, MORE, MORE + 16);
        assert_eq!(read(&live), (Labeled::With(0), expected()));
        // More than there is, than is read, than can be; a text beyond what is read.
        for count in [2, MAX_LABELS + 1, u64::MAX] {
            live.memory.put_u64(SET + 8, count);
            assert_eq!(read(&live), (Labeled::Unreadable, vec![]), "{count}");
        }
        live.memory.put_u64(SET + 8, 1);
        for len in [9, MAX_TEXT + 1, u64::MAX] {
            live.memory.put_u64(MORE + 8, len);
            assert_eq!(read(&live), (Labeled::Unreadable, vec![]), "{len}");
        }
        live.memory.put_u64(SET + 8, 0);
        assert_eq!(read(&live), (Labeled::None, vec![]));
    }

    /// A map of one bucket, with one pair in its last slot.
    fn map(live: &Live<FakeMemory>) {
        let memory = &live.memory;
        memory.map(SET, (SET + 8).to_le_bytes().to_vec());
        memory.map(SET + 8, vec![0; HMAP]);
        memory.put_u64(SET + 8, 1);
        memory.put_u64(SET + 8 + u64::from(HMAP_BUCKETS), MORE);
        memory.map(MORE, vec![0; BUCKET]);
        memory.put(MORE + 7, &[FILLED]);
        pair(memory, MORE + (KEYS + 7 * STRING) as u64, MORE + (VALUES + 7 * STRING) as u64);
    }

    #[test]
    fn maps() {
        let live = process(false);
        map(&live);
        assert_eq!(read(&live), (Labeled::With(0), expected()));
        // What was moved to new buckets is in them.
        live.memory.put(MORE + 7, &[FILLED - 1]);
        assert_eq!(read(&live), (Labeled::None, vec![]));
    }

    #[test]
    fn a_chain_of_buckets_without_an_end_ends() {
        let live = process(false);
        map(&live);
        live.memory.put_u64(MORE + u64::from(OVERFLOW), MORE);
        assert_eq!(read(&live), (Labeled::Unreadable, vec![]));
        live.memory.put(MORE + 7, &[0]);
        assert_eq!(read(&live), (Labeled::Unreadable, vec![]));
        live.memory.put_u64(MORE + u64::from(OVERFLOW), 0xdead_0000);
        assert_eq!(read(&live), (Labeled::Unreadable, vec![]));
        live.memory.put(SET + 8 + u64::from(HMAP_B), &[60]);
        assert_eq!(read(&live), (Labeled::Unreadable, vec![]));
    }
}

//! What was allocated from the spans that the Ps hold at this moment: the part of the runtime's exact
//! counts that is not in its counters yet.

use std::collections::BTreeMap;

use super::live::Record;
use super::memory::Neighbours;
use super::{Batch, Error, Live, Memory, Range};
use crate::address::RuntimeAddr;
use crate::gobin::bytes::u64_at;
use crate::gobin::symbols::Symbol;

/// More Ps than Go allows (runtime/runtime2.go, `_MaxGomaxprocs`, went up once).
const MOST_PS: u64 = 1 << 16;

/// What the caches of all Ps hold that is not in the counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caches {
    /// Objects allocated from cached spans since they were cached, for each span class.
    pub by_span_class: Vec<u64>,
    /// Objects below 16 bytes without pointers.
    pub tiny: u64,
    /// Nothing of it was unreadable, or under way from one P to another.
    pub whole: bool,
}

impl<M: Memory> Live<M> {
    /// Reads the caches.
    ///
    /// The process runs on meanwhile: each number is right for some moment during the call.
    ///
    /// # Errors
    /// The process is gone or can't be read; there are more Ps than there can be.
    pub fn caches(&self) -> Result<Caches, Error> {
        let slice = self.bytes(self.address(Symbol::AllP)?, 16)?;
        let caches =
            self.caches_of((u64_at(&slice, 0).unwrap_or(0), u64_at(&slice, 8).unwrap_or(0)))?;
        self.memory.check()?;
        Ok(caches)
    }

    /// The same of these Ps: where the list of them is, and how many there are. Who calls it asks for the process.
    ///
    /// # Errors
    /// As above.
    pub fn caches_of(&self, (at, count): (u64, u64)) -> Result<Caches, Error> {
        let layout = self.layout();
        if count > MOST_PS {
            return Err(Error::TooMany { what: "Ps", count, limit: MOST_PS });
        }
        let range = |at: u64, offset: u32, len: u32| Range {
            at: RuntimeAddr(at.wrapping_add(offset.into())),
            len: len as usize,
        };
        let mut batch = Batch::default();
        let ps = self.bytes(RuntimeAddr(at), count as usize * 8)?;
        let ranges: Vec<Range> = words(&ps).map(|p| range(p, layout.p.mcache, 8)).collect();
        self.memory.read_many(&ranges, &mut batch)?;
        // A P without a cache is not in use.
        let mcaches = batch.iter().flatten().flat_map(words).filter(|at| *at != 0);
        let mcache = &layout.mcache;
        let size = mcache.alloc + mcache.alloc_count * 8;
        let ranges: Vec<Range> = mcaches.map(|at| range(at, 0, size)).collect();
        self.memory.read_many(&ranges, &mut batch)?;
        let by_span_class = vec![0; mcache.alloc_count as usize];
        let mut caches = Caches { by_span_class, tiny: 0, whole: true };
        // By address: the empty span stands in every free place.
        let mut spans = BTreeMap::new();
        for cache in batch.iter() {
            caches.whole &= cache.is_some();
            let cache = cache.unwrap_or_default();
            caches.tiny = caches.tiny.wrapping_add(Record(cache).u64(mcache.tiny_allocs));
            let alloc = words(cache.get(mcache.alloc as usize..).unwrap_or_default());
            spans.extend(alloc.enumerate().map(|(class, at)| (at, class)));
        }
        let span = &layout.mspan;
        let places = spans.keys().map(|at| RuntimeAddr(*at));
        let neighbours = Neighbours::new(places, span.elemsize as usize + 8);
        self.memory.read_many(neighbours.ranges(), &mut batch)?;
        for (class, bytes) in spans.values().zip(neighbours.of(&batch)) {
            let record = Record(bytes.unwrap_or_default());
            // Both counts are u16 in every release.
            let now = record.u16(span.alloc_count);
            let used = now.checked_sub(record.u16(span.alloc_count_before_cache));
            // A span that was given back meanwhile may be of another class already.
            let same = usize::from(record.u8(span.spanclass)) == *class;
            match used {
                Some(0) if bytes.is_some() => {}
                Some(used) if same => caches.by_span_class[*class] += u64::from(used),
                _ => caches.whole = false,
            }
        }
        Ok(caches)
    }
}

/// The words that bytes are.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::layout::LAYOUTS;
    use crate::runtime::live::fake;

    #[test]
    fn what_cached_spans_gave_is_summed_by_class() {
        let layout = LAYOUTS.last().unwrap();
        let live = fake::live(layout, &[(Symbol::AllP, 0x1000)]);
        let word = |n: u64| n.to_le_bytes().to_vec();
        live.memory.map(0x1000, [word(0x2000), word(2)].concat());
        live.memory.map(0x2000, [word(0x3000), word(0x4000)].concat());
        for (p, mcache) in [(0x3000, 0x10_0000), (0x4000, 0)] {
            live.memory.map(p, vec![0; 0x100]);
            live.memory.put_u64(p + u64::from(layout.p.mcache), mcache);
        }
        live.memory.map(0x10_0000, vec![0; 0x1000]);
        for (class, span, now, before) in [(5, 0x20_0000, 100, 30), (135, 0x30_0000, 7, 7)] {
            let slot = 0x10_0000 + u64::from(layout.mcache.alloc) + class * 8;
            live.memory.put_u64(slot, span);
            live.memory.map(span, vec![0; 0x200]);
            let at = |offset: u32| span + u64::from(offset);
            live.memory.put(at(layout.mspan.spanclass), &[class as u8]);
            live.memory.put(at(layout.mspan.alloc_count), &[now, 0]);
            live.memory.put(at(layout.mspan.alloc_count_before_cache), &[before, 0]);
        }
        live.memory.put_u64(0x10_0000 + u64::from(layout.mcache.tiny_allocs), 9);
        let caches = live.caches().unwrap();
        let allocated = caches.by_span_class;
        assert_eq!((allocated.len(), allocated[5], allocated[135]), (136, 70, 0));
        assert_eq!((allocated.iter().sum::<u64>(), caches.tiny), (70, 9));
        // The free places of this cache lead nowhere.
        assert!(!caches.whole);
    }

    #[test]
    fn more_ps_than_there_can_be_are_refused() {
        let live = fake::live(&LAYOUTS[0], &[(Symbol::AllP, 0x1000)]);
        live.memory.map(0x1000, [0x2000u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat());
        let error = live.caches().unwrap_err();
        assert!(error.to_string().contains("Ps"), "{error}");
    }
}

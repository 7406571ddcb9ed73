//! What was allocated from the spans that the Ps hold at this moment, by span class: the part of the
//! runtime's exact counts that is not in its counters yet.

use super::live::Record;
use super::{Batch, Error, Live, Memory, Range};
use crate::address::RuntimeAddr;
use crate::gobin::bytes::u64_at;
use crate::gobin::symbols::Symbol;

/// More Ps than Go allows (runtime/runtime2.go, `_MaxGomaxprocs`, went up once).
const MOST_PS: u64 = 1 << 16;

impl<M: Memory> Live<M> {
    /// Objects allocated from cached spans since they were cached, for each span class.
    ///
    /// The process runs on meanwhile: each number is right for some moment during the call.
    ///
    /// # Errors
    /// The process is gone or can't be read; there are more Ps than there can be.
    pub fn allocated_from_caches(&self) -> Result<Vec<u64>, Error> {
        let layout = self.layout();
        let slice = self.bytes(self.address(Symbol::AllP)?, 16)?;
        let (at, count) = (u64_at(&slice, 0).unwrap_or(0), u64_at(&slice, 8).unwrap_or(0));
        if count > MOST_PS {
            return Err(Error::TooMany { what: "Ps", count, limit: MOST_PS });
        }
        let ps = self.bytes(RuntimeAddr(at), count as usize * 8)?;
        let mcaches = self.pointers(&words(&ps), layout.p.mcache)?;
        let classes = layout.mcache.alloc_count as usize;
        let alloc = |at: &u64| Range {
            at: RuntimeAddr(at.wrapping_add(u64::from(layout.mcache.alloc))),
            len: classes * 8,
        };
        // A P without a cache is not in use.
        let ranges: Vec<Range> = mcaches.iter().filter(|at| **at != 0).map(alloc).collect();
        let mut cached = Batch::default();
        self.memory.read_many(&ranges, &mut cached)?;
        let spans: Vec<u64> = cached.iter().flatten().flat_map(words).collect();
        let size = layout.mspan.elemsize as usize + 8;
        let whole = |at: &u64| Range { at: RuntimeAddr(*at), len: size };
        let ranges: Vec<Range> = spans.iter().map(whole).collect();
        let mut read = Batch::default();
        self.memory.read_many(&ranges, &mut read)?;
        self.memory.check()?;
        let mut allocated = vec![0; classes];
        for (index, span) in read.iter().enumerate() {
            let span = Record(span.unwrap_or_default());
            // Both counts are u16 in every release.
            let now = span.u32(layout.mspan.alloc_count) as u16;
            let before = span.u32(layout.mspan.alloc_count_before_cache) as u16;
            allocated[index % classes] += u64::from(now.saturating_sub(before));
        }
        Ok(allocated)
    }

    /// The word at an offset of each structure; 0 where there is none.
    fn pointers(&self, structures: &[u64], offset: u32) -> Result<Vec<u64>, Error> {
        let field = |at: &u64| Range { at: RuntimeAddr(at + u64::from(offset)), len: 8 };
        let ranges: Vec<Range> = structures.iter().map(field).collect();
        let mut batch = Batch::default();
        self.memory.read_many(&ranges, &mut batch)?;
        Ok(batch.iter().map(|word| word.and_then(|w| u64_at(w, 0)).unwrap_or(0)).collect())
    }
}

/// The words that bytes are.
fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).filter_map(|word| u64_at(word, 0)).collect()
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
            live.memory.put(at(layout.mspan.alloc_count), &[now, 0]);
            live.memory.put(at(layout.mspan.alloc_count_before_cache), &[before, 0]);
        }
        let allocated = live.allocated_from_caches().unwrap();
        assert_eq!((allocated.len(), allocated[5], allocated[135]), (136, 70, 0));
        assert_eq!(allocated.iter().sum::<u64>(), 70);
    }

    #[test]
    fn more_ps_than_there_can_be_are_refused() {
        let live = fake::live(&LAYOUTS[0], &[(Symbol::AllP, 0x1000)]);
        live.memory.map(0x1000, [0x2000u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat());
        let error = live.allocated_from_caches().unwrap_err();
        assert!(error.to_string().contains("Ps"), "{error}");
    }
}

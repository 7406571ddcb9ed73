//! Every goroutine of a live process, as its `g` says.
//!
//! In: a [`Live`] process. Out: one [`G`] for each goroutine that is not dead: numbers and addresses.
//! Walks no stack and names nothing.

use super::live::{Error, Live, Record};
use super::memory::{Batch, Memory, Range};
use crate::address::RuntimeAddr;
use crate::gobin::symbols::Symbol;

/// Most entries of `allgs` that are looked at, unless the caller wants fewer.
pub const MAX_GOROUTINES: u64 = 20_000_000;
/// Goroutines read at once: bounds memory and keeps each from getting old.
const CHUNK: usize = 4096;

/// States of a goroutine (runtime2.go); the bit says that its stack is being scanned.
const SCAN: u32 = 0x1000;
const DEAD: u32 = 6;
/// Go 1.26: an unused g of a thread that C made.
const DEAD_EXTRA: u32 = 11;
/// Highest state that a release has.
const LAST_STATE: u32 = 11;

/// A goroutine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct G {
    /// Address of the `g`.
    pub at: RuntimeAddr,
    pub id: u64,
    /// 0 idle, 1 runnable, 2 running, 3 syscall, 4 waiting, 8 copying its stack, 9 preempted, 10
    /// leaked; without the bit for scanning.
    pub status: u32,
    pub wait_reason: u8,
    /// When a collection first found it blocked, in `nanotime`; 0 when none did.
    pub wait_since: u64,
    /// Its creator; nothing up to Go 1.20, and for those that the runtime began.
    pub parent: Option<u64>,
    /// Return address of the `go` statement that made it.
    pub gopc: RuntimeAddr,
    /// Its first function.
    pub startpc: RuntimeAddr,
    /// Profiler labels; 0 when there are none.
    pub labels: RuntimeAddr,
    pub m: RuntimeAddr,
    pub stack: (RuntimeAddr, RuntimeAddr),
    /// Where it goes on when it runs again.
    pub sched: Place,
    /// Where it is in a system call; the stack pointer is 0 when it is in none.
    pub syscall: Place,
}

impl G {
    /// Whether it has ended; the runtime keeps it to use it again.
    pub fn is_dead(&self) -> bool {
        matches!(self.status, DEAD | DEAD_EXTRA)
    }
}

/// Where a goroutine stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub pc: RuntimeAddr,
    pub sp: RuntimeAddr,
    /// Frame pointer; 0 where a release does not keep it.
    pub bp: RuntimeAddr,
}

/// All goroutines, and what could not be read.
#[derive(Debug, Default)]
pub struct Goroutines {
    pub live: Vec<G>,
    pub dead: usize,
    /// Entries that could not be read or can't be a goroutine.
    pub unreadable: usize,
}

impl<M: Memory> Live<M> {
    /// Reads every goroutine.
    ///
    /// Goroutines begin and end meanwhile: each is as it was at some moment of the reading.
    ///
    /// # Errors
    /// More than `limit` goroutines ever lived at once, or the list can't be read consistently.
    pub fn goroutines(&self, limit: u64) -> Result<Goroutines, Error> {
        let mut found = Goroutines::default();
        self.each_goroutine(limit, |g| match g {
            Some(g) if g.is_dead() => found.dead += 1,
            Some(g) => found.live.push(g),
            None => found.unreadable += 1,
        })?;
        Ok(found)
    }

    /// The same, one after the other, the dead ones too; nothing for entries that can't be read. What
    /// was seen is to be believed only when this ends well.
    ///
    /// # Errors
    /// As [`Live::goroutines`].
    pub fn each_goroutine(&self, limit: u64, mut each: impl FnMut(Option<G>)) -> Result<(), Error> {
        let (list, count) = self.steady("the list of goroutines", || {
            // The array grows by copying: its address is written before its length (proc.go,
            // allgadd), so that the length is read first.
            let [count] = self.words([Symbol::AllGLen])?;
            let [list] = self.words([Symbol::AllGPtr])?;
            let [again] = self.words([Symbol::AllGLen])?;
            Ok((list != 0 && count != 0 && again >= count).then_some((list, count)))
        })?;
        if count > limit {
            return Err(Error::TooMany { what: "goroutines", count, limit });
        }
        let size = self.layout().g.size as usize;
        let mut batch = Batch::default();
        let mut next = 0;
        while next < count {
            let chunk = (count - next).min(CHUNK as u64) as usize;
            let pointers = self.bytes(RuntimeAddr(list.wrapping_add(next * 8)), chunk * 8)?;
            let pointers = pointers.as_chunks().0.iter();
            let pointers = pointers.map(|p| RuntimeAddr(u64::from_le_bytes(*p)));
            let ranges: Vec<Range> = pointers.map(|at| Range { at, len: size }).collect();
            self.memory.read_many(&ranges, &mut batch)?;
            for (range, bytes) in ranges.iter().zip(batch.iter()) {
                each(bytes.and_then(|bytes| self.decode(range.at, Record(bytes))));
            }
            next += chunk as u64;
        }
        Ok(self.memory.check()?)
    }

    /// Nothing when this can't be a goroutine.
    fn decode(&self, at: RuntimeAddr, g: Record) -> Option<G> {
        let fields = &self.layout().g;
        let address = |offset| RuntimeAddr(g.u64(offset));
        let optional = |offset: Option<u32>| RuntimeAddr(offset.map_or(0, |o| g.u64(o)));
        let status = g.u32(fields.atomicstatus) & !SCAN;
        let stack = (address(fields.stack_lo), address(fields.stack_hi));
        (status <= LAST_STATE && stack.0 <= stack.1).then(|| G {
            at,
            id: g.u64(fields.goid),
            status,
            wait_reason: g.u8(fields.waitreason),
            wait_since: g.u64(fields.waitsince),
            parent: fields.parent_goid.map(|o| g.u64(o)).filter(|id| *id != 0),
            gopc: address(fields.gopc),
            startpc: address(fields.startpc),
            labels: address(fields.labels),
            m: address(fields.m),
            stack,
            sched: Place {
                pc: address(fields.sched_pc),
                sp: address(fields.sched_sp),
                bp: address(fields.sched_bp),
            },
            syscall: Place {
                pc: address(fields.syscallpc),
                sp: address(fields.syscallsp),
                bp: optional(fields.syscallbp),
            },
        })
    }

    /// Whether a goroutine is the runtime's own (traceback.go, `isSystemGoroutine`). That of
    /// finalizers and cleanups counts as the runtime's: what it runs for the program is short.
    pub fn is_system(&self, g: &G) -> bool {
        const OF_THE_PROGRAM: [&str; 3] =
            ["runtime.main", "runtime.corostart", "runtime.handleAsyncEvent"];
        let start = self.program.go.function_at(self.bias.to_vaddr(g.startpc));
        start.is_some_and(|f| f.name.starts_with("runtime.") && !OF_THE_PROGRAM.contains(&f.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::layout::LAYOUTS;
    use crate::runtime::live::fake::live;

    const LEN: u64 = 0x60_0000;
    const PTR: u64 = 0x60_0008;
    const LIST: u64 = 0xc000;
    const GS: u64 = 0x10_0000;

    /// Five entries: waiting, dead, a broken one, running while scanned, one that is not mapped.
    fn made(index: usize) -> Live<crate::runtime::memory::fake::FakeMemory> {
        let layout = &LAYOUTS[index];
        let live = live(layout, &[(Symbol::AllGLen, LEN), (Symbol::AllGPtr, PTR)]);
        let memory = &live.memory;
        memory.map(LEN, vec![0; 16]);
        memory.put_u64(LEN, 5);
        memory.put_u64(PTR, LIST);
        memory.map(LIST, vec![0; 40]);
        for (i, status) in [4u32, DEAD, 77, SCAN | 2].into_iter().enumerate() {
            let at = GS + i as u64 * 0x1000;
            memory.put_u64(LIST + i as u64 * 8, at);
            memory.map(at, vec![0; layout.g.size as usize]);
            memory.put(at + u64::from(layout.g.atomicstatus), &status.to_le_bytes());
            memory.put_u64(at + u64::from(layout.g.goid), 17 + i as u64);
            memory.put_u64(at + u64::from(layout.g.sched_pc), 0x40_1000);
        }
        memory.put_u64(LIST + 32, 0xdead_0000);
        live
    }

    #[test]
    fn goroutines_of_every_release() {
        for index in 0..LAYOUTS.len() {
            let found = made(index).goroutines(MAX_GOROUTINES).unwrap();
            let ids: Vec<(u64, u32)> = found.live.iter().map(|g| (g.id, g.status)).collect();
            assert_eq!(ids, [(17, 4), (20, 2)]);
            assert_eq!((found.dead, found.unreadable), (1, 2));
            assert_eq!(found.live[0].sched.pc, RuntimeAddr(0x40_1000));
        }
    }

    #[test]
    fn a_list_that_is_too_long_or_gone_is_refused() {
        let live = made(0);
        assert!(matches!(live.goroutines(4), Err(Error::TooMany { count: 5, limit: 4, .. })));
        live.memory.put_u64(LEN, u64::MAX);
        assert!(live.goroutines(MAX_GOROUTINES).is_err());
        live.memory.put_u64(LEN, 0);
        assert!(matches!(live.goroutines(4), Err(Error::Unsteady { .. })));
        live.memory.gone.set(true);
        assert!(matches!(live.goroutines(4), Err(Error::Memory(_))));
    }
}

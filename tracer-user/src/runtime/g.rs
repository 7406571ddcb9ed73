//! Every goroutine of a live process, as its `g` says.
//!
//! In: a [`Live`] process. Out: one [`G`] for each goroutine that lives: numbers and addresses.
//! Walks no stack and names nothing.

use std::collections::HashMap;

use super::live::{Error, Live, Record};
use super::memory::{Batch, Memory, Neighbours};
use crate::address::RuntimeAddr;
use crate::gobin::symbols::Symbol;

/// Most entries of `allgs` that are looked at, unless the caller wants fewer.
pub const MAX_GOROUTINES: u64 = 10_000_000;
/// Goroutines read at once: bounds memory and keeps each from getting old.
const CHUNK: usize = 4096;

/// States of a goroutine (runtime2.go); the bit says that its stack is being scanned.
const SCAN: u32 = 0x1000;
pub const IDLE: u32 = 0;
pub const RUNNABLE: u32 = 1;
pub const RUNNING: u32 = 2;
pub const SYSCALL: u32 = 3;
pub const WAITING: u32 = 4;
const DEAD: u32 = 6;
pub const COPYSTACK: u32 = 8;
pub const PREEMPTED: u32 = 9;
/// Go 1.26: blocked for ever, as the leak profile found.
pub const LEAKED: u32 = 10;
/// Go 1.26: an unused g of a thread that C made.
const DEAD_EXTRA: u32 = 11;
/// Highest state that a release has.
const LAST_STATE: u32 = 11;

/// A goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct G {
    /// Address of the `g`.
    pub at: RuntimeAddr,
    pub id: u64,
    /// One of the states above, without the bit for scanning.
    pub status: u32,
    pub wait_reason: u8,
    /// When a collection first found it blocked, in `nanotime`; 0 when none did.
    pub wait_since: u64,
    /// Changes whenever it stops running (proc.go, `casgstatus`).
    pub stops: u8,
    /// Whether it is bound to its thread (`runtime.LockOSThread`).
    pub locked: bool,
    /// Whether it is the runtime's own, as Go's own profiles tell them apart.
    pub system: bool,
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

/// Where a goroutine stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub pc: RuntimeAddr,
    pub sp: RuntimeAddr,
    /// Frame pointer; 0 where a release does not keep it.
    pub bp: RuntimeAddr,
    /// The register of return addresses, on machines that have one; else 0.
    pub link: RuntimeAddr,
}

/// What an entry of `allgs` is.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    Live(G),
    /// Ended, or not begun yet.
    Dead,
    Unreadable,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Goroutines {
    /// As `runtime.NumGoroutine` counts.
    pub program: u64,
    /// The runtime's own.
    pub runtime: u64,
    /// Entries that could not be read.
    pub unreadable: u64,
}

/// Where `allgs` lies.
#[derive(Clone, Copy, Debug)]
pub struct List {
    at: RuntimeAddr,
    pub count: u64,
}

/// What tells the runtime's goroutines from the program's (traceback.go, `isSystemGoroutine`), by
/// their first functions. That of finalizers and those of cleanups are the program's while they run
/// its code.
#[derive(Debug, Default)]
pub struct Kinds {
    known: HashMap<RuntimeAddr, Kind>,
    finalizing: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Program,
    Runtime,
    Finalizers,
    Cleanups,
}

/// Bit of `fingStatus` (mfinal.go, `fingRunningFinalizer`).
const RUNNING_FINALIZER: u32 = 2;

impl<M: Memory> Live<M> {
    /// Reads every goroutine; what was seen is to be believed only when this ends well.
    ///
    /// Goroutines begin and end meanwhile: each is as it was at some moment of the reading.
    ///
    /// # Errors
    /// More than `limit` goroutines ever lived at once, or the list can't be read consistently.
    pub fn each_goroutine(&self, limit: u64, mut each: impl FnMut(Entry)) -> Result<(), Error> {
        let list = self.goroutine_list(limit)?;
        let mut kinds = Kinds::default();
        let (mut batch, mut next) = (Batch::default(), 0);
        while next < list.count {
            let places = self.goroutine_places(list, next, CHUNK)?;
            self.goroutines_at(&places, &mut kinds, &mut batch, |_, entry| each(entry))?;
            next += places.len() as u64;
        }
        Ok(self.memory.check()?)
    }

    /// Counts every goroutine.
    ///
    /// # Errors
    /// As [`Live::each_goroutine`].
    pub fn count_goroutines(&self) -> Result<Goroutines, Error> {
        let mut found = Goroutines::default();
        self.each_goroutine(MAX_GOROUTINES, |entry| match entry {
            Entry::Unreadable => found.unreadable += 1,
            Entry::Dead => {}
            Entry::Live(g) if g.system => found.runtime += 1,
            Entry::Live(_) => found.program += 1,
        })?;
        Ok(found)
    }

    /// Where the list of goroutines is, ended ones included.
    ///
    /// # Errors
    /// It is longer than `limit`, or can't be read consistently.
    pub fn goroutine_list(&self, limit: u64) -> Result<List, Error> {
        let list = self.steady("the list of goroutines", || {
            // The array grows by copying: its address is written before its length (proc.go,
            // allgadd), so that the length is read first.
            let [count, list, again] =
                self.words([Symbol::AllGLen, Symbol::AllGPtr, Symbol::AllGLen])?;
            let list = List { at: RuntimeAddr(list), count };
            Ok((list.at.0 != 0 && count != 0 && again >= count).then_some(list))
        })?;
        match list.count {
            count if count > limit => Err(Error::TooMany { what: "goroutines", count, limit }),
            _ => Ok(list),
        }
    }

    /// Where the `g`s are, up to `most` of them from the one numbered `first` on.
    ///
    /// # Errors
    /// The list can't be read.
    pub fn goroutine_places(
        &self,
        list: List,
        first: u64,
        most: usize,
    ) -> Result<Vec<RuntimeAddr>, Error> {
        let count = list.count.saturating_sub(first).min(most as u64) as usize;
        let pointers = self.bytes(RuntimeAddr(list.at.0.wrapping_add(first * 8)), count * 8)?;
        Ok(pointers.as_chunks().0.iter().map(|p| RuntimeAddr(u64::from_le_bytes(*p))).collect())
    }

    /// Reads the `g`s at these places; `each` gets their positions.
    ///
    /// # Errors
    /// The process is gone or may not be read, or has a goroutine that can't be told apart.
    pub fn goroutines_at(
        &self,
        places: &[RuntimeAddr],
        kinds: &mut Kinds,
        batch: &mut Batch,
        mut each: impl FnMut(usize, Entry),
    ) -> Result<(), Error> {
        let len = self.layout().g.size as usize;
        let neighbours = Neighbours::new(places.iter().copied(), len);
        self.memory.read_many(neighbours.ranges(), batch)?;
        for (index, bytes) in neighbours.of(batch).enumerate() {
            let entry = match bytes {
                Some(bytes) => self.decode(places[index], Record(bytes), kinds)?,
                None => Entry::Unreadable,
            };
            each(index, entry);
        }
        Ok(())
    }

    fn decode(&self, at: RuntimeAddr, g: Record, kinds: &mut Kinds) -> Result<Entry, Error> {
        let fields = &self.layout().g;
        let address = |offset| RuntimeAddr(g.u64(offset));
        let optional = |offset: Option<u32>| RuntimeAddr(offset.map_or(0, |o| g.u64(o)));
        let status = g.u32(fields.atomicstatus) & !SCAN;
        let stack = (address(fields.stack_lo), address(fields.stack_hi));
        match status {
            IDLE | DEAD | DEAD_EXTRA => return Ok(Entry::Dead),
            status if status > LAST_STATE || stack.0 > stack.1 => return Ok(Entry::Unreadable),
            _ => {}
        }
        let startpc = address(fields.startpc);
        let cleans = fields.running_cleanups.is_some_and(|o| g.u8(o) != 0);
        Ok(Entry::Live(G {
            at,
            id: g.u64(fields.goid),
            status,
            wait_reason: g.u8(fields.waitreason),
            wait_since: g.u64(fields.waitsince),
            stops: g.u8(fields.tracking_seq),
            locked: g.u64(fields.lockedm) != 0,
            system: self.of_runtime(startpc, cleans, kinds)?,
            parent: fields.parent_goid.map(|o| g.u64(o)).filter(|id| *id != 0),
            gopc: address(fields.gopc),
            startpc,
            labels: address(fields.labels),
            m: address(fields.m),
            stack,
            sched: Place {
                pc: address(fields.sched_pc),
                sp: address(fields.sched_sp),
                bp: address(fields.sched_bp),
                link: address(fields.sched_lr),
            },
            syscall: Place {
                pc: address(fields.syscallpc),
                sp: address(fields.syscallsp),
                bp: optional(fields.syscallbp),
                link: RuntimeAddr(0),
            },
        }))
    }

    /// `cleans` says whether the goroutine runs a cleanup of the program's.
    fn of_runtime(
        &self,
        startpc: RuntimeAddr,
        cleans: bool,
        kinds: &mut Kinds,
    ) -> Result<bool, Error> {
        let kind = kinds.known.entry(startpc).or_insert_with(|| {
            let start = self.program.go.function_at(self.bias.to_vaddr(startpc));
            start.map_or(Kind::Program, |function| kind(function.name))
        });
        Ok(match kind {
            Kind::Program => false,
            Kind::Runtime => true,
            Kind::Cleanups => !cleans,
            Kind::Finalizers => match kinds.finalizing {
                Some(finalizing) => !finalizing,
                None => !*kinds.finalizing.insert(self.finalizing()?),
            },
        })
    }

    /// Whether the finalizer goroutine runs the program's code now.
    fn finalizing(&self) -> Result<bool, Error> {
        let at = self.address(Symbol::FingStatus)?;
        if self.layout().minor < 21 {
            let mut running = [0];
            self.memory.read(at, &mut running)?;
            return Ok(running != [0]);
        }
        Ok(self.u32(at)? & RUNNING_FINALIZER != 0)
    }
}

fn kind(start: &str) -> Kind {
    match start {
        "runtime.main" | "runtime.corostart" | "runtime.handleAsyncEvent" => Kind::Program,
        // Up to Go 1.24, and since.
        "runtime.runfinq" | "runtime.runFinalizers" => Kind::Finalizers,
        "runtime.runCleanups" => Kind::Cleanups,
        name if name.starts_with("runtime.") => Kind::Runtime,
        _ => Kind::Program,
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
            let (mut found, mut dead, mut unreadable) = (Vec::new(), 0, 0);
            let each = |entry| match entry {
                Entry::Live(g) => found.push((g.id, g.status, g.sched.pc.0)),
                Entry::Dead => dead += 1,
                Entry::Unreadable => unreadable += 1,
            };
            made(index).each_goroutine(MAX_GOROUTINES, each).unwrap();
            assert_eq!(found, [(17, 4, 0x40_1000), (20, 2, 0x40_1000)]);
            assert_eq!((dead, unreadable), (1, 2));
        }
    }

    #[test]
    fn neighbours_are_read_together() {
        let layout = &LAYOUTS[7];
        let live = live(layout, &[]);
        let size = u64::from(layout.g.size);
        // Nine in two pages, of which one lies in both; behind them there is nothing.
        let first = GS + 4096 - 5 * size - 8;
        live.memory.map(GS, vec![0; 8192]);
        let mut places: Vec<RuntimeAddr> = (0..9).map(|i| RuntimeAddr(first + i * size)).collect();
        for (id, at) in places.iter().enumerate() {
            live.memory.put_u64(at.0 + u64::from(layout.g.goid), id as u64);
            live.memory.put(at.0 + u64::from(layout.g.atomicstatus), &[4]);
        }
        places.swap(1, 7);
        places.push(RuntimeAddr(GS + 8192));
        let mut ids = Vec::new();
        let each = |index, entry| match entry {
            Entry::Live(g) => ids.push((index, g.id)),
            other => assert!(matches!(other, Entry::Unreadable) && index == 9),
        };
        let (mut kinds, mut batch) = (Kinds::default(), Batch::default());
        live.goroutines_at(&places, &mut kinds, &mut batch, each).unwrap();
        let expected = [0, 7, 2, 3, 4, 5, 6, 1, 8].into_iter().enumerate();
        assert_eq!(ids, expected.collect::<Vec<_>>());
        assert!(live.memory.reads.get() < 9, "{} reads", live.memory.reads.get());
    }

    #[test]
    fn the_runtimes_own_goroutines() {
        for (start, runs, system) in [
            ("main.main", false, false),
            ("runtime/pprof.profileWriter", false, false),
            ("runtime.main", false, false),
            ("runtime.corostart", false, false),
            ("runtime.bgsweep", true, true),
            ("runtime.runfinq", false, true),
            ("runtime.runfinq", true, false),
            ("runtime.runFinalizers", true, false),
            ("runtime.runCleanups", false, true),
            ("runtime.runCleanups", true, false),
        ] {
            let live = live(&LAYOUTS[7], &[]);
            let mut kinds = Kinds { finalizing: Some(runs), ..Kinds::default() };
            kinds.known.insert(RuntimeAddr(7), kind(start));
            let found = live.of_runtime(RuntimeAddr(7), runs, &mut kinds).unwrap();
            assert_eq!(found, system, "{start} {runs}");
        }
    }

    #[test]
    fn whether_finalizers_run_is_a_bool_up_to_go_1_20_and_a_bit_since() {
        for (index, value, running) in [(0, 1, true), (0, 0, false), (1, 1, false), (1, 3, true)] {
            let live = live(&LAYOUTS[index], &[(Symbol::FingStatus, LEN)]);
            live.memory.map(LEN, vec![value, 0, 0, 0]);
            assert_eq!(live.finalizing().unwrap(), running, "{index} {value}");
        }
    }

    #[test]
    fn a_list_that_is_too_long_or_gone_is_refused() {
        let live = made(0);
        let read = |live: &Live<_>| live.each_goroutine(4, |_| {});
        assert!(matches!(read(&live), Err(Error::TooMany { count: 5, limit: 4, .. })));
        live.memory.put_u64(LEN, u64::MAX);
        assert!(live.each_goroutine(MAX_GOROUTINES, |_| {}).is_err());
        live.memory.put_u64(LEN, 0);
        assert!(matches!(read(&live), Err(Error::Unsteady { .. })));
        live.memory.gone.set(true);
        assert!(matches!(read(&live), Err(Error::Memory(_))));
    }
}

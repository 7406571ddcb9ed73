//! All goroutines of a live process with their stacks and labels.
//!
//! In: a [`Live`] process. Out: a [`Snapshot`]: numbers and addresses, each different stack once. The
//! goroutines run on while they are read: a stack is believed when its goroutine has not run between
//! the look at its `g` before and the one after; one that has is looked at again, and counted when it
//! runs too often. Those that run have no readable stack. Names nothing.

use std::collections::HashMap;

use super::g::{self, Entry, G, Kinds};
use super::labels::{Labels, Reader as LabelReader};
use super::live::{Error, Live};
use super::memory::{Batch, Memory, Range};
use super::unwind::{Frames, Step, Walk};
use crate::address::RuntimeAddr;

/// Goroutines looked at together: bounds memory, and the time in which one may run.
const CHUNK: usize = 2048;
/// Bytes of a stack read at first, which is enough for most, and then.
const FIRST_PART: u64 = 1024;
const NEXT_PART: u64 = 16 << 10;
/// How often a goroutine is looked at that runs meanwhile.
const LOOKS: usize = 8;

/// What is read at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Goroutines that ever lived at once.
    pub goroutines: u64,
    /// Frames of a stack, inlined calls not counted.
    pub frames: usize,
    /// Bytes that the snapshot takes in heaptap's memory.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { goroutines: g::MAX_GOROUTINES, frames: 1000, memory: 512 << 20 }
    }
}

/// All goroutines of a process.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// In the order of the runtime's list.
    pub goroutines: Vec<Goroutine>,
    /// Each different one once.
    pub stacks: Vec<Stack>,
    /// Sets of labels; of those that were made apart some may be equal.
    pub labels: Vec<Labels>,
    /// Entries of the runtime's list that could not be read or can't be a goroutine.
    pub unreadable: usize,
}

/// One goroutine.
#[derive(Clone, Debug)]
pub struct Goroutine {
    pub id: u64,
    /// As in [`G`]; so are the others.
    pub status: u32,
    pub wait_reason: u8,
    pub wait_since: u64,
    pub locked: bool,
    pub system: bool,
    pub parent: Option<u64>,
    pub gopc: RuntimeAddr,
    pub startpc: RuntimeAddr,
    pub labels: Labeled,
    /// Index in [`Snapshot::stacks`], or why there is none.
    pub stack: Result<u32, NoStack>,
}

/// Labels of a goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labeled {
    None,
    /// Index in [`Snapshot::labels`].
    With(u32),
    /// It has some, and they can't be read.
    Unreadable,
}

/// Why a goroutine's stack is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoStack {
    /// It runs: what it does is in a processor's registers.
    Running,
    /// It ran each time that it was looked at.
    Moving,
    /// Where it stopped is outside of its stack, or there is no memory.
    Unreadable,
}

/// A stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Return addresses, innermost first: see [`Walk::pcs`].
    pub pcs: Box<[RuntimeAddr]>,
    pub end: End,
}

/// How a stack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// With its outermost frame.
    Whole,
    /// It has more frames than were read.
    Cut,
    /// With what can't be a frame.
    Broken,
}

impl<M: Memory> Live<M> {
    /// Reads every goroutine and its stack.
    ///
    /// # Errors
    /// There are more of them, or they take more memory, than the limits allow; the list can't be
    /// read consistently; the process is gone or may not be read.
    pub fn snapshot(&self, limits: Limits) -> Result<Snapshot, Error> {
        let list = self.goroutine_list(limits.goroutines)?;
        let mut reader = Reader::new(self, limits)?;
        let mut moved = Vec::new();
        let mut next = 0;
        while next < list.count {
            let places = self.goroutine_places(list, next, CHUNK)?;
            reader.look(&places, &mut moved, false)?;
            next += places.len() as u64;
        }
        for look in 2..=LOOKS {
            let again = std::mem::take(&mut moved);
            for places in again.chunks(CHUNK) {
                reader.look(places, &mut moved, look == LOOKS)?;
            }
        }
        self.memory.check()?;
        Ok(reader.found)
    }
}

/// A snapshot in the making.
struct Reader<'a, M> {
    live: &'a Live<M>,
    limits: Limits,
    frames: Frames<'a>,
    kinds: Kinds,
    found: Snapshot,
    /// By how it ends: the stacks found, and their numbers.
    known: [HashMap<Box<[RuntimeAddr]>, u32>; 3],
    labels: LabelReader,
    gs: Batch,
    parts: Batch,
    /// The wait reason of a coroutine that another one goes on for.
    coroutine: Option<usize>,
    /// Bytes of frames and labels.
    memory: usize,
}

/// A goroutine that is looked at.
#[derive(PartialEq)]
struct Look {
    g: G,
    walk: Result<Walk, NoStack>,
    end: Option<End>,
}

impl<'a, M: Memory> Reader<'a, M> {
    fn new(live: &'a Live<M>, limits: Limits) -> Result<Self, Error> {
        let reasons = live.wait_reasons()?;
        Ok(Self {
            live,
            limits,
            frames: Frames::new(&live.program.go, live.bias),
            kinds: Kinds::default(),
            found: Snapshot::default(),
            known: Default::default(),
            labels: LabelReader::default(),
            gs: Batch::default(),
            parts: Batch::default(),
            coroutine: reasons.iter().position(|reason| reason == "coroutine"),
            memory: 0,
        })
    }

    /// Reads the goroutines at these places; those that ran meanwhile go to `moved`, or are taken as
    /// they are when it is the last look.
    fn look(
        &mut self,
        places: &[RuntimeAddr],
        moved: &mut Vec<RuntimeAddr>,
        last: bool,
    ) -> Result<(), Error> {
        let (mut looks, mut unreadable) = (Vec::with_capacity(places.len()), Vec::new());
        self.live.goroutines_at(
            places,
            &mut self.kinds,
            &mut self.gs,
            |at, entry| match entry {
                Entry::Live(g) => looks.push(Look { g, walk: start(&g), end: None }),
                Entry::Dead => {}
                Entry::Unreadable => unreadable.push(places[at]),
            },
        )?;
        self.walk(&mut looks)?;
        let sets: Vec<RuntimeAddr> = looks.iter().map(|look| look.g.labels).collect();
        let labels = self.labels.read(self.live, &sets, &mut self.found.labels)?;
        self.memory += labels.bytes;
        let places: Vec<RuntimeAddr> = looks.iter().map(|look| look.g.at).collect();
        let mut after = Vec::with_capacity(places.len());
        self.live.goroutines_at(&places, &mut self.kinds, &mut self.gs, |_, entry| {
            after.push(match entry {
                Entry::Live(g) => Some(g),
                Entry::Dead | Entry::Unreadable => None,
            });
        })?;
        let differs = self.compare(&looks)?;
        for (((look, after), labels), differs) in
            looks.into_iter().zip(after).zip(labels.of).zip(differs)
        {
            let Look { g, walk, end } = look;
            let runs = g.status == g::RUNNING;
            let steady = !differs && after.is_some_and(|after| is_same(&g, &after));
            let walked = matches!(end, Some(End::Whole | End::Cut));
            let settled = runs || last || steady && walked;
            if !settled {
                moved.push(g.at);
                continue;
            }
            let stack = match (walk, end) {
                (Err(NoStack::Running), _) => Err(NoStack::Running),
                _ if !steady => Err(NoStack::Moving),
                (Ok(walk), Some(end)) => Ok(self.number(walk.pcs, end)),
                (Err(why), _) => Err(why),
                (Ok(_), None) => Err(NoStack::Unreadable),
            };
            let held = after.is_some_and(|after| after.labels == g.labels);
            let labels = match labels {
                Labeled::With(_) if !held => Labeled::Unreadable,
                labels => labels,
            };
            self.found.goroutines.push(Goroutine {
                id: g.id,
                status: g.status,
                wait_reason: g.wait_reason,
                wait_since: g.wait_since,
                locked: g.locked,
                system: g.system,
                parent: g.parent,
                gopc: g.gopc,
                startpc: g.startpc,
                labels,
                stack,
            });
        }
        match last {
            true => self.found.unreadable += unreadable.len(),
            false => moved.extend(unreadable),
        }
        let goroutines = self.found.goroutines.capacity() * size_of::<Goroutine>();
        if self.memory + goroutines > self.limits.memory {
            let limit = self.limits.memory;
            return Err(Error::TooBig { what: "what is kept of its goroutines", limit });
        }
        Ok(())
    }

    /// Walks those again whose `g` would not tell that they have run: since Go 1.26 a system call
    /// begins and ends without a trace in it, and coroutines hand over to each other so since they
    /// exist (proc.go, `reentersyscall`; coro.go, `coroswitch_m`). True for each that now is another.
    fn compare(&mut self, looks: &[Look]) -> Result<Vec<bool>, Error> {
        let untold = |g: &G| {
            let coroutine = Some(usize::from(g.wait_reason)) == self.coroutine;
            g.status == g::SYSCALL || g.status == g::WAITING && coroutine
        };
        let untold: Vec<usize> = (0..looks.len()).filter(|at| untold(&looks[*at].g)).collect();
        let again = |at: &usize| Look { g: looks[*at].g, walk: start(&looks[*at].g), end: None };
        let mut again: Vec<Look> = untold.iter().map(again).collect();
        self.walk(&mut again)?;
        let mut differs = vec![false; looks.len()];
        for (at, again) in untold.into_iter().zip(again) {
            differs[at] = again != looks[at];
        }
        Ok(differs)
    }

    /// Walks all stacks, a part of each at a time.
    fn walk(&mut self, looks: &mut [Look]) -> Result<(), Error> {
        let mut ranges = Vec::new();
        let mut pending: Vec<(usize, RuntimeAddr)> = Vec::new();
        for (index, look) in looks.iter().enumerate() {
            if look.walk.is_ok() {
                pending.push((index, stopped(&look.g).0.sp));
            }
        }
        let mut part = FIRST_PART;
        while !pending.is_empty() {
            ranges.clear();
            ranges.extend(pending.iter().map(|(index, at)| {
                let left = looks[*index].g.stack.1.0.saturating_sub(at.0);
                Range { at: *at, len: left.min(part) as usize }
            }));
            self.live.memory.read_many(&ranges, &mut self.parts)?;
            let mut nth = 0;
            pending.retain_mut(|(index, at)| {
                let look = &mut looks[*index];
                let bytes = self.parts.get(nth);
                nth += 1;
                let (Ok(walk), Some(bytes)) = (&mut look.walk, bytes) else { return false };
                match walk.on(bytes, *at, &mut self.frames, self.limits.frames) {
                    // What was just read is not there: the part ends at the end of the stack.
                    Step::Needs(next) if next == *at => look.end = Some(End::Broken),
                    Step::Needs(next) => {
                        *at = next;
                        return true;
                    }
                    Step::Whole => look.end = Some(End::Whole),
                    Step::Cut => look.end = Some(End::Cut),
                    Step::Broken => look.end = Some(End::Broken),
                }
                false
            });
            part = NEXT_PART;
        }
        Ok(())
    }

    /// The number of a stack.
    fn number(&mut self, pcs: Vec<RuntimeAddr>, end: End) -> u32 {
        let known = &mut self.known[end as usize];
        if let Some(number) = known.get(&pcs[..]) {
            return *number;
        }
        let number = self.found.stacks.len() as u32;
        let pcs: Box<[RuntimeAddr]> = pcs.into();
        // Twice: in the list and in the table.
        self.memory += 2 * size_of_val(&*pcs) + 2 * size_of::<Stack>();
        self.found.stacks.push(Stack { pcs: pcs.clone(), end });
        known.insert(pcs, number);
        number
    }
}

/// Where a goroutine stopped, and whether that is a system call.
fn stopped(g: &G) -> (g::Place, bool) {
    if g.syscall.sp.0 == 0 { (g.sched, false) } else { (g.syscall, true) }
}

/// The begin of a walk.
fn start(g: &G) -> Result<Walk, NoStack> {
    match g.status {
        g::RUNNING => Err(NoStack::Running),
        g::COPYSTACK => Err(NoStack::Moving),
        _ => {
            let (place, in_syscall) = stopped(g);
            Walk::new(place.pc, place.sp, g.stack, in_syscall).ok_or(NoStack::Unreadable)
        }
    }
}

/// Whether a goroutine has not run between two looks, and nobody has moved its stack.
fn is_same(before: &G, after: &G) -> bool {
    let key = |g: &G| (g.id, g.status, g.stops, g.stack, g.sched, g.syscall, g.labels);
    key(before) == key(after)
}

#[cfg(test)]
mod tests;

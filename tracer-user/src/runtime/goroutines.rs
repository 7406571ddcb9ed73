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

/// What one snapshot of a process leaves for the next one: goroutines that wait, as they were.
///
/// A goroutine in `gopark` goes on by way of `execute` alone (proc.go), which clears `waitsince`; a
/// later collection, not an earlier one, sets it again (mgcmark.go, `markroot`). So one that a
/// collection has found there, and whose `g` is the same in all, has not run in between: its stack
/// and its labels are what they were.
#[derive(Debug, Default)]
pub struct Waiting {
    /// By number in the runtime's list: what the `g` said, its stack and its labels.
    of: Vec<Option<(G, u32, Labeled)>>,
    stacks: Vec<Stack>,
    labels: Vec<Labels>,
}

impl<M: Memory> Live<M> {
    /// Reads every goroutine and its stack.
    ///
    /// # Errors
    /// There are more of them, or they take more memory, than the limits allow; the list can't be
    /// read consistently; the process is gone or may not be read.
    pub fn snapshot(&self, limits: Limits) -> Result<Snapshot, Error> {
        self.snapshot_after(limits, None)
    }

    /// As [`Live::snapshot`], which may be one of many of this process: what still waits as it did is
    /// not read again.
    ///
    /// # Errors
    /// Those of [`Live::snapshot`].
    pub fn snapshot_after(
        &self,
        limits: Limits,
        before: Option<&mut Waiting>,
    ) -> Result<Snapshot, Error> {
        let list = self.goroutine_list(limits.goroutines)?;
        let known = before.as_deref().map(Known::new);
        let mut reader = Reader::new(self, limits, known)?;
        let mut moved = Vec::new();
        let mut next = 0;
        while next < list.count {
            let places = self.goroutine_places(list, next, CHUNK)?;
            reader.look(&places, Some(next as usize), &mut moved, false)?;
            next += places.len() as u64;
        }
        for look in 2..=LOOKS {
            let again = std::mem::take(&mut moved);
            for places in again.chunks(CHUNK) {
                reader.look(places, None, &mut moved, look == LOOKS)?;
            }
        }
        self.memory.check()?;
        let Reader { found, waiting, .. } = reader;
        if let Some(before) = before {
            let (stacks, labels) = (found.stacks.clone(), found.labels.clone());
            *before = Waiting { of: waiting, stacks, labels };
        }
        Ok(found)
    }
}

/// What is known from a snapshot before, with the numbers that it has in the one in the making.
struct Known<'b> {
    before: &'b Waiting,
    stacks: Vec<Option<u32>>,
    labels: Vec<Option<u32>>,
}

impl<'b> Known<'b> {
    fn new(before: &'b Waiting) -> Self {
        let stacks = vec![None; before.stacks.len()];
        Self { before, stacks, labels: vec![None; before.labels.len()] }
    }

    /// The stack and the labels of a goroutine that still waits as it did.
    fn of(&self, number: usize, g: &G) -> Option<(u32, Labeled)> {
        let (before, stack, labels) = self.before.of.get(number)?.as_ref()?;
        (before == g).then_some((*stack, *labels))
    }
}

/// A snapshot in the making.
struct Reader<'a, M> {
    live: &'a Live<M>,
    /// Nothing when there was no snapshot before and will be none.
    before: Option<Known<'a>>,
    /// For the next one.
    waiting: Vec<Option<(G, u32, Labeled)>>,
    /// Addresses in `gopark`, or not.
    parked: HashMap<RuntimeAddr, bool>,
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
    /// In the runtime's list, where that is known.
    number: Option<usize>,
    /// What is known from the snapshot before; then it is not walked.
    known: Option<(u32, Labeled)>,
    walk: Result<Walk, NoStack>,
    end: Option<End>,
}

impl Look {
    fn new(g: G, number: Option<usize>) -> Self {
        Self { g, number, known: None, walk: start(&g), end: None }
    }
}

impl<'a, M: Memory> Reader<'a, M> {
    fn new(live: &'a Live<M>, limits: Limits, before: Option<Known<'a>>) -> Result<Self, Error> {
        let reasons = live.wait_reasons()?;
        Ok(Self {
            live,
            before,
            waiting: Vec::new(),
            parked: HashMap::new(),
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

    /// Reads the goroutines at these places, `first` being the number of the first in the runtime's
    /// list; those that ran meanwhile go to `moved`, or are taken as they are when it is the last look.
    fn look(
        &mut self,
        places: &[RuntimeAddr],
        first: Option<usize>,
        moved: &mut Vec<RuntimeAddr>,
        last: bool,
    ) -> Result<(), Error> {
        let (mut looks, mut unreadable) = (Vec::with_capacity(places.len()), Vec::new());
        let before = self.before.as_ref();
        self.live.goroutines_at(
            places,
            &mut self.kinds,
            &mut self.gs,
            |at, entry| match entry {
                Entry::Live(g) => {
                    let number = first.map(|first| first + at);
                    let known = number.and_then(|number| before?.of(number, &g));
                    looks.push(match known {
                        Some(_) => Look { g, number, known, walk: Err(NoStack::Moving), end: None },
                        None => Look::new(g, number),
                    });
                }
                Entry::Dead => {}
                Entry::Unreadable => unreadable.push(places[at]),
            },
        )?;
        self.walk(&mut looks)?;
        // What is known is known with its labels.
        let set = |look: &Look| if look.known.is_some() { RuntimeAddr(0) } else { look.g.labels };
        let sets: Vec<RuntimeAddr> = looks.iter().map(set).collect();
        let labels = self.labels.read(self.live, &sets, &mut self.found.labels)?;
        self.memory += labels.bytes;
        let unknown = looks.iter().filter(|look| look.known.is_none());
        let places: Vec<RuntimeAddr> = unknown.map(|look| look.g.at).collect();
        let mut after = Vec::with_capacity(places.len());
        self.live.goroutines_at(&places, &mut self.kinds, &mut self.gs, |_, entry| {
            after.push(match entry {
                Entry::Live(g) => Some(g),
                Entry::Dead | Entry::Unreadable => None,
            });
        })?;
        let differs = self.compare(&looks)?;
        let mut after = after.into_iter();
        for ((look, labels), differs) in looks.into_iter().zip(labels.of).zip(differs) {
            let Look { g, number, known, walk, end } = look;
            let (stack, labels) = match known {
                Some(known) => self.renumber(known),
                None => {
                    let after = after.next().flatten();
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
                    (stack, labels)
                }
            };
            if let (Some(number), Ok(stack)) = (number, stack) {
                self.keep(number, g, stack, labels);
            }
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
        let again = |at: &usize| Look::new(looks[*at].g, looks[*at].number);
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

    /// What is known of a goroutine, by the numbers of this snapshot.
    fn renumber(&mut self, known: (u32, Labeled)) -> (Result<u32, NoStack>, Labeled) {
        // Taken out, so that what it refers to can be added.
        let Some(mut before) = self.before.take() else {
            return (Err(NoStack::Moving), Labeled::Unreadable);
        };
        let stack = match before.stacks[known.0 as usize] {
            Some(number) => number,
            None => {
                let stack = &before.before.stacks[known.0 as usize];
                let number = self.number(stack.pcs.to_vec(), stack.end);
                *before.stacks[known.0 as usize].insert(number)
            }
        };
        let labels = match known.1 {
            Labeled::With(set) => {
                Labeled::With(*before.labels[set as usize].get_or_insert_with(|| {
                    self.found.labels.push(before.before.labels[set as usize].clone());
                    self.found.labels.len() as u32 - 1
                }))
            }
            other => other,
        };
        self.before = Some(before);
        (Ok(stack), labels)
    }

    /// Keeps a goroutine for the next snapshot, if it is one that can be told to have waited.
    fn keep(&mut self, number: usize, g: G, stack: u32, labels: Labeled) {
        let told = g.status == g::WAITING && g.wait_since != 0 && labels != Labeled::Unreadable;
        if self.before.is_none() || !told || !self.parked(g.sched.pc) {
            return;
        }
        let size = size_of::<Option<(G, u32, Labeled)>>();
        if self.waiting.len() <= number {
            let more = number + 1 - self.waiting.len();
            if self.memory + more * size > self.limits.memory / 2 {
                return;
            }
            self.memory += more * size;
            self.waiting.resize(number + 1, None);
        }
        self.waiting[number] = Some((g, stack, labels));
    }

    /// Whether a goroutine that goes on there waits in `gopark`.
    fn parked(&mut self, pc: RuntimeAddr) -> bool {
        *self.parked.entry(pc).or_insert_with(|| {
            let function = self.live.program.go.function_at(self.live.bias.to_vaddr(pc));
            function.is_some_and(|function| function.name == "runtime.gopark")
        })
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
            let from = (place.sp, place.link);
            Walk::new(place.pc, from, g.stack, in_syscall).ok_or(NoStack::Unreadable)
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

//! Goroutines in memories made by hand: torn, absurd, endless.

use super::*;
use crate::gobin::fake::MAIN;
use crate::gobin::layout::{LAYOUTS, Layout};
use crate::gobin::symbols::Symbol;
use crate::runtime::live::fake::live;
use crate::runtime::memory::MemoryError;
use crate::runtime::memory::fake::FakeMemory;

const LEN: u64 = 0x70_0000;
const LIST: u64 = 0xc000;
const GS: u64 = 0x10_0000;
const STACKS: u64 = 0x20_0000;
const SIZE: u64 = 0x8000;
/// In `main.main`, which has a frame of 8 bytes, and in `main.run`, the outermost.
const INNER: u64 = MAIN + 4;
const OUTER: u64 = MAIN + 0x48;

/// A memory in which something happens whenever it is read.
struct Moving<F> {
    memory: FakeMemory,
    happens: F,
}

impl<F: Fn(&FakeMemory, RuntimeAddr)> Memory for Moving<F> {
    fn read(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError> {
        (self.happens)(&self.memory, at);
        self.memory.read(at, into)
    }

    fn check(&self) -> Result<(), MemoryError> {
        self.memory.check()
    }
}

fn g(index: u64) -> u64 {
    GS + index * 0x1000
}

fn put(memory: &FakeMemory, index: u64, offset: u32, value: u64) {
    memory.put_u64(g(index) + u64::from(offset), value);
}

fn status(layout: &Layout, memory: &FakeMemory, index: u64, status: u32) {
    memory.put(g(index) + u64::from(layout.g.atomicstatus), &status.to_le_bytes());
}

/// Goroutines that wait in `main.main`, called by `main.run`.
fn parked(layout: &'static Layout, count: u64) -> Live<FakeMemory> {
    let symbols =
        [(Symbol::AllGLen, LEN), (Symbol::AllGPtr, LEN + 8), (Symbol::WaitReasonStrings, LEN)];
    let live = live(layout, &symbols);
    let memory = &live.memory;
    memory.map(LEN, vec![0; 16]);
    memory.put_u64(LEN, count);
    memory.put_u64(LEN + 8, LIST);
    memory.map(LIST, vec![0; 8 * count as usize]);
    for index in 0..count {
        memory.put_u64(LIST + index * 8, g(index));
        memory.map(g(index), vec![0; layout.g.size as usize]);
        status(layout, memory, index, g::WAITING);
        let stack = STACKS + index * SIZE;
        memory.map(stack, vec![0; SIZE as usize]);
        let sp = stack + SIZE - 0x40;
        for (offset, value) in [
            (layout.g.goid, index + 1),
            (layout.g.stack_lo, stack),
            (layout.g.stack_hi, stack + SIZE),
            (layout.g.sched_sp, sp),
            (layout.g.sched_pc, INNER),
        ] {
            put(memory, index, offset, value);
        }
        memory.put_u64(sp + 8, OUTER);
    }
    live
}

fn moving<F: Fn(&FakeMemory, RuntimeAddr)>(live: Live<FakeMemory>, happens: F) -> Live<Moving<F>> {
    let memory = Moving { memory: live.memory, happens };
    Live { program: live.program, bias: live.bias, memory }
}

fn pcs(stack: &Stack) -> Vec<u64> {
    stack.pcs.iter().map(|pc| pc.0).collect()
}

#[test]
fn equal_stacks_are_kept_once_in_every_release() {
    for layout in &LAYOUTS {
        let live = parked(layout, 3);
        put(&live.memory, 2, layout.g.sched_pc, MAIN);
        let found = live.snapshot(Limits::default()).unwrap();
        assert_eq!(found.stacks.len(), 2);
        assert_eq!(pcs(&found.stacks[0]), [INNER, OUTER]);
        assert_eq!(found.stacks[0].end, End::Whole);
        // Nothing of main.main has run: less one it is still in it.
        assert_eq!(pcs(&found.stacks[1]), [MAIN + 1, OUTER]);
        let stacks: Vec<_> = found.goroutines.iter().map(|g| (g.id, g.stack)).collect();
        assert_eq!(stacks, [(1, Ok(0)), (2, Ok(0)), (3, Ok(1))]);
    }
}

#[test]
fn the_place_in_a_system_call_counts() {
    let layout = &LAYOUTS[7];
    let live = parked(layout, 1);
    status(layout, &live.memory, 0, g::SYSCALL);
    put(&live.memory, 0, layout.g.syscallpc, MAIN + 8);
    put(&live.memory, 0, layout.g.syscallsp, STACKS + SIZE - 0x40);
    let found = live.snapshot(Limits::default()).unwrap();
    assert_eq!(pcs(&found.stacks[0]), [MAIN + 8, OUTER]);
}

#[test]
fn running_ones_have_no_stack_and_ended_ones_do_not_count() {
    let layout = &LAYOUTS[0];
    let live = parked(layout, 4);
    status(layout, &live.memory, 0, g::RUNNING);
    status(layout, &live.memory, 1, 6);
    status(layout, &live.memory, 2, 77);
    let found = live.snapshot(Limits::default()).unwrap();
    let stacks: Vec<_> = found.goroutines.iter().map(|g| (g.id, g.stack)).collect();
    assert_eq!(stacks.len(), 2);
    assert!(stacks.contains(&(1, Err(NoStack::Running))) && stacks.contains(&(4, Ok(0))));
    assert_eq!(found.unreadable, 1);
}

#[test]
fn one_that_ran_while_it_was_read_is_read_again() {
    let layout = &LAYOUTS[5];
    let live = parked(layout, 1);
    let reads = std::cell::Cell::new(0u8);
    let stops = g(0) + u64::from(layout.g.tracking_seq);
    // Its stack is that of another call while it is read for the first time.
    let live = moving(live, |memory, at| {
        reads.set(reads.get() + u8::from((STACKS..STACKS + SIZE).contains(&at.0)));
        let sp = STACKS + SIZE - 0x40;
        memory.put_u64(sp + 8, if reads.get() == 1 { INNER } else { OUTER });
        memory.put_u64(sp + 24, OUTER);
        memory.put(stops, &[reads.get().min(1)]);
    });
    let found = live.snapshot(Limits::default()).unwrap();
    assert_eq!((found.stacks.len(), reads.get()), (1, 2));
    assert_eq!(pcs(&found.stacks[0]), [INNER, OUTER]);
}

#[test]
fn one_that_never_stands_still_is_said_so() {
    let layout = &LAYOUTS[7];
    let stops = g(0) + u64::from(layout.g.tracking_seq);
    let reads = std::cell::Cell::new(0u8);
    let live = moving(parked(layout, 2), |memory, _| {
        reads.set(reads.get().wrapping_add(1));
        memory.put(stops, &[reads.get()]);
    });
    let found = live.snapshot(Limits::default()).unwrap();
    let stacks: Vec<_> = found.goroutines.iter().map(|g| (g.id, g.stack)).collect();
    assert_eq!(stacks, [(2, Ok(0)), (1, Err(NoStack::Moving))]);
}

#[test]
fn a_system_call_that_ends_without_a_trace_is_noticed() {
    let layout = &LAYOUTS[7];
    let live = parked(layout, 1);
    status(layout, &live.memory, 0, g::SYSCALL);
    put(&live.memory, 0, layout.g.syscallpc, INNER);
    put(&live.memory, 0, layout.g.syscallsp, STACKS + SIZE - 0x40);
    let reads = std::cell::Cell::new(0u64);
    let live = moving(live, |memory, at| {
        reads.set(reads.get() + u64::from(at.0 >= STACKS && at.0 < STACKS + SIZE));
        memory.put_u64(
            STACKS + SIZE - 0x38,
            if reads.get().is_multiple_of(2) { INNER } else { OUTER },
        );
        memory.put_u64(STACKS + SIZE - 0x28, OUTER);
    });
    let found = live.snapshot(Limits::default()).unwrap();
    for stack in &found.stacks {
        assert!(pcs(stack) == [INNER, OUTER] || pcs(stack) == [INNER, INNER, OUTER]);
    }
    assert_eq!(found.goroutines.len(), 1);
}

#[test]
fn absurd_places_make_no_stack() {
    let layout = &LAYOUTS[6];
    for (offset, value, expected) in [
        (layout.g.sched_sp, 0, Err(NoStack::Unreadable)),
        (layout.g.sched_sp, u64::MAX - 7, Err(NoStack::Unreadable)),
        (layout.g.sched_sp, STACKS + 0x101, Err(NoStack::Unreadable)),
        (layout.g.sched_sp, STACKS + SIZE, Err(NoStack::Unreadable)),
        (layout.g.stack_lo, STACKS + SIZE, Err(NoStack::Unreadable)),
        (layout.g.sched_pc, 0xdead, Ok(End::Broken)),
        (layout.g.sched_pc, u64::MAX, Ok(End::Broken)),
    ] {
        let live = parked(layout, 1);
        put(&live.memory, 0, offset, value);
        let found = live.snapshot(Limits::default()).unwrap();
        let stack = found.goroutines[0].stack;
        let end = stack.map(|number| found.stacks[number as usize].end);
        assert_eq!(end, expected, "{offset} {value:#x}");
    }
    // A stack that is said to be as long as there are addresses, without memory there.
    let live = parked(layout, 1);
    put(&live.memory, 0, layout.g.stack_lo, 8);
    put(&live.memory, 0, layout.g.stack_hi, u64::MAX - 7);
    put(&live.memory, 0, layout.g.sched_sp, 0x5000_0000);
    let found = live.snapshot(Limits::default()).unwrap();
    assert_eq!(found.goroutines[0].stack, Err(NoStack::Unreadable));
}

#[test]
fn a_stack_of_itself_alone_ends() {
    let layout = &LAYOUTS[3];
    let live = parked(layout, 1);
    put(&live.memory, 0, layout.g.sched_sp, STACKS);
    live.memory.map(STACKS, INNER.to_le_bytes().repeat(SIZE as usize / 8));
    let limits = Limits { frames: 100, ..Limits::default() };
    let found = live.snapshot(limits).unwrap();
    assert_eq!(found.stacks[0].end, End::Cut);
    assert_eq!(found.stacks[0].pcs.len(), 100);
    let limits = Limits { frames: usize::MAX, ..Limits::default() };
    let found = live.snapshot(limits).unwrap();
    assert_eq!(found.stacks[0].end, End::Broken);
    assert_eq!(found.stacks[0].pcs.len() as u64, SIZE / 16);
}

#[test]
fn too_many_goroutines_are_refused_before_memory_is_taken() {
    let live = parked(&LAYOUTS[0], 4);
    let few = Limits { goroutines: 3, ..Limits::default() };
    assert!(matches!(live.snapshot(few), Err(Error::TooMany { count: 4, limit: 3, .. })));
    let little = Limits { memory: 100, ..Limits::default() };
    let error = live.snapshot(little).unwrap_err();
    assert!(matches!(error, Error::TooBig { limit: 100, .. }), "{error}");
    live.memory.put_u64(LEN, 1 << 40);
    assert!(matches!(live.snapshot(Limits::default()), Err(Error::TooMany { .. })));
}

#[test]
fn a_process_that_ends_gives_nothing() {
    let live = parked(&LAYOUTS[0], 1);
    live.memory.gone.set(true);
    assert!(matches!(live.snapshot(Limits::default()), Err(Error::Memory(_))));
}

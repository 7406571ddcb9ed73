//! The memory of a program that lies: everything that is read from it, over an image that changes while it is read.
//!
//! In: which release, where variables lie, and pieces of memory, some of which are written only after so many reads. An
//! address has 32 bits, of which the highest is its sign, so that the ends of the address space can be reached.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::address::{LoadBias, RuntimeAddr, VAddr};
use crate::exit::Exit;
use crate::gobin::GoBinary;
use crate::gobin::fake::{Fake, open as opened};
use crate::gobin::layout::LAYOUTS;
use crate::gobin::symbols::{Symbol, Symbols};
use crate::runtime::buckets::{self, Contention, Known};
use crate::runtime::cycles::Watcher;
use crate::runtime::goroutines::{self, Labeled, Snapshot, Waiting};
use crate::runtime::{Error, Live, Memory, MemoryError, Program};

#[cfg(test)]
mod made;

const PAGE: u64 = 4096;
/// Most pages of an image.
const MOST_PAGES: usize = 256;
/// What is read of a program at most.
const BUCKETS: buckets::Limits = buckets::Limits { buckets: 1000, memory: 4 << 20 };
const GOROUTINES: goroutines::Limits =
    goroutines::Limits { goroutines: 10_000, frames: 200, memory: 4 << 20 };

pub fn open(bytes: &[u8]) {
    let Some(live) = live(bytes) else { return };
    collections(&live);
    heap(&live);
    told(live.stats().map(|stats| assert!(!stats.collector.phase.word().is_empty())));
    told(live.stats_at_once());
    told(live.caches());
    told(live.sampler_rate());
    told(live.wait_reasons());
    told(live.each_goroutine(GOROUTINES.goroutines, |_| ()));
    let mut waiting = Waiting::default();
    for _ in 0..2 {
        if let Some(snapshot) = told(live.snapshot_after(GOROUTINES, Some(&mut waiting))) {
            is_whole(&snapshot);
        }
    }
}

/// What was read; what is refused is refused in words, and ends a command.
fn told<T>(read: Result<T, Error>) -> Option<T> {
    let refused = |err: Error| assert!(!err.to_string().is_empty() && err.exit() != Exit::Ok);
    read.map_err(refused).ok()
}

fn collections(live: &Live<Image>) {
    let mut watcher = Watcher::default();
    for _ in 0..3 {
        for cycle in told(watcher.look(live)).into_iter().flat_map(|look| look.cycles) {
            let _told = (cycle.cpu_share(), cycle.detail.map(|detail| detail.length_ns()));
        }
    }
}

fn heap(live: &Live<Image>) {
    let (one, two) = (live.heap_records(BUCKETS), live.heap_records(BUCKETS));
    if let (Ok(one), Ok(two)) = (&one, &two) {
        let _goes_on = two.goes_on_from(one);
        assert!(one.buckets.iter().all(|bucket| bucket.stack.end <= one.stacks.bytes() / 8));
    }
    for which in [Contention::Block, Contention::Mutex] {
        told(live.contention_records(which, BUCKETS));
    }
    told(live.newest_heap());
    let mut known = Known::default();
    let looks = [(); 2].map(|()| live.heap_as_of(&mut known, BUCKETS));
    if let [Ok(Some(one)), Ok(Some(two))] = &looks {
        for change in two.since(one) {
            assert!(known.bucket(change.bucket).is_some());
        }
    }
}

/// Every number in it stands for something.
fn is_whole(snapshot: &Snapshot) {
    for goroutine in &snapshot.goroutines {
        assert!(goroutine.stack.map_or(true, |stack| (stack as usize) < snapshot.stacks.len()));
        if let Labeled::With(set) = goroutine.labels {
            assert!((set as usize) < snapshot.labels.len());
        }
    }
}

/// The program that the bytes are of; nothing when they are too few.
fn live(bytes: &[u8]) -> Option<Live<Image>> {
    static BINARY: OnceLock<Arc<GoBinary>> = OnceLock::new();
    let go = match BINARY.get() {
        Some(go) => go,
        None => {
            let go = Arc::new(opened(&Fake::new().bytes).ok()?);
            BINARY.get_or_init(|| go)
        }
    };
    let ([layout, gone], rest) = bytes.split_first_chunk()?;
    let layout = &LAYOUTS[usize::from(*layout) % LAYOUTS.len()];
    let (places, mut rest) = rest.split_first_chunk::<{ 4 * Symbol::ALL.len() }>()?;
    let places = places.as_chunks().0.iter().map(|at| address(*at));
    let places: Vec<(Symbol, VAddr)> =
        Symbol::ALL.into_iter().zip(places.map(VAddr)).filter(|(_, at)| at.0 != 0).collect();
    let mut pieces = Vec::new();
    while let Some((piece, more)) = Piece::decode(rest) {
        pieces.push(piece);
        rest = more;
    }
    // The last one is taken first: the earliest of those that came first.
    pieces.reverse();
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.since));
    let image = Image {
        pages: RefCell::default(),
        pieces: RefCell::new(pieces),
        reads: Cell::new(0),
        gone: (*gone != 0).then_some(u32::from(*gone) * 16),
    };
    let program = Program { go: Arc::clone(go), layout, symbols: Symbols::made(&places) };
    Some(Live::new(Arc::new(program), LoadBias(0), image))
}

fn address(bytes: [u8; 4]) -> u64 {
    i64::from(i32::from_le_bytes(bytes)) as u64
}

/// Bytes at an address, after so many reads.
struct Piece {
    at: u64,
    since: u16,
    bytes: Vec<u8>,
}

impl Piece {
    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (at, rest) = bytes.split_first_chunk()?;
        let (since, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
        let since = u16::from_le_bytes(*since);
        Some((Self { at: address(*at), since, bytes: bytes.to_vec() }, rest))
    }
}

/// Memory that changes by being read.
struct Image {
    pages: RefCell<BTreeMap<u64, Box<[u8]>>>,
    /// Those that are not written yet, the next one last.
    pieces: RefCell<Vec<Piece>>,
    reads: Cell<u32>,
    /// The process ends after so many reads.
    gone: Option<u32>,
}

impl Image {
    /// Writes what is due.
    fn change(&self) {
        let (mut pages, mut pieces) = (self.pages.borrow_mut(), self.pieces.borrow_mut());
        while let Some(piece) = pieces.pop_if(|piece| u32::from(piece.since) <= self.reads.get()) {
            for (byte, at) in piece.bytes.iter().zip(0..) {
                let at = piece.at.wrapping_add(at);
                let room = pages.len() < MOST_PAGES;
                let page = match pages.entry(at / PAGE) {
                    std::collections::btree_map::Entry::Vacant(_) if !room => break,
                    entry => entry.or_insert_with(|| vec![0; PAGE as usize].into()),
                };
                page[(at % PAGE) as usize] = *byte;
            }
        }
    }
}

impl Memory for Image {
    fn read(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError> {
        self.check()?;
        self.reads.set(self.reads.get() + 1);
        self.change();
        let pages = self.pages.borrow();
        let unmapped = MemoryError::Unmapped { pid: 1, at, len: into.len() };
        let mut at = at.0;
        let mut rest = into;
        while !rest.is_empty() {
            let Some(page) = pages.get(&(at / PAGE)) else { return Err(unmapped) };
            let from = (at % PAGE) as usize;
            let (part, more) = rest.split_at_mut(rest.len().min(PAGE as usize - from));
            part.copy_from_slice(&page[from..from + part.len()]);
            let Some(next) = at.checked_add(part.len() as u64) else {
                // The end of the address space, with nothing behind it.
                return if more.is_empty() { Ok(()) } else { Err(unmapped) };
            };
            (at, rest) = (next, more);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), MemoryError> {
        match self.gone {
            Some(gone) if self.reads.get() >= gone => Err(MemoryError::Gone { pid: 1 }),
            _ => Ok(()),
        }
    }
}

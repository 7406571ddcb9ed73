//! Any bytes, as records of each kind that comes from the kernel ([`crate::doors`]).

use std::cell::Cell;

use aya::Pod;
use tracer_common::record::{Labels, MAX_DEPTH, StackKey, StackValue};
use tracer_common::walk::{UserMemory, WINDOW, walk, walk_interrupted, walk_left};

use super::os::left::Left;
use super::{decode, ends, iterations, os};

/// Records of one kind that are made of the same bytes.
const MOST: usize = 256;

/// Which kind says the first number.
pub fn records(which: u8, bytes: &[u8]) {
    match which % 7 {
        0 => {
            let _known = bytes.chunks(24).filter_map(decode::decode_notice).count();
        }
        1 => iterations::any(
            &bytes.chunks(120).filter_map(iterations::decode).collect::<Vec<_>>(),
            &[],
        ),
        2 => iterations::any(&[], &each(bytes)),
        3 => mappings(bytes),
        4 => stacks(bytes),
        5 => walks(bytes),
        // The kernel's own types.
        _ => {
            let _found = (os::Offsets::find(bytes).is_ok(), ends::Offsets::find(bytes));
        }
    }
}

/// As many whole records as there are.
fn each<T: Pod>(bytes: &[u8]) -> Vec<T> {
    let whole = bytes.chunks_exact(size_of::<T>()).take(MOST);
    // SAFETY: as many bytes as it has; any bytes are a value of a `Pod`.
    whole.map(|bytes| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }).collect()
}

fn mappings(bytes: &[u8]) {
    let mut left = Left::default();
    for mapping in bytes.chunks(64).filter_map(os::decode) {
        left.come(mapping);
        left.settle(mapping.at / 2);
    }
    left.settle(u64::MAX);
    for sum in left.take(|_| true).values() {
        assert!(sum.mappings > 0);
    }
}

fn stacks(bytes: &[u8]) {
    for value in each::<StackValue>(bytes) {
        assert!(decode::raw_stack(StackKey::default(), &value).pcs.len() <= MAX_DEPTH);
    }
    for labels in each::<Labels>(bytes) {
        for text in decode::texts(&labels).iter().flatten() {
            assert!(text.bytes.len() <= tracer_common::record::LABEL_TEXT);
        }
    }
}

/// A stack of which each word is the next one of the bytes, wherever it is read.
struct Lies<'a>(Cell<&'a [u8]>);

impl Lies<'_> {
    fn next(&self) -> Option<u64> {
        let (word, rest) = self.0.get().split_first_chunk()?;
        self.0.set(rest);
        Some(u64::from_le_bytes(*word))
    }
}

impl UserMemory for Lies<'_> {
    fn window(&self, _: u64, into: &mut [u64; WINDOW]) -> bool {
        // One in two can't be read whole.
        self.next().is_some_and(|word| word % 2 == 0)
            && into.iter_mut().all(|to| self.next().map(|word| *to = word).is_some())
    }

    fn pair(&self, _: u64, into: &mut [u64; WINDOW]) -> bool {
        into[..2].iter_mut().all(|to| self.next().map(|word| *to = word).is_some())
    }
}

fn walks(bytes: &[u8]) {
    let memory = Lies(Cell::new(bytes));
    let next = || memory.next().unwrap_or(0);
    let (sp, fp, pc, low, high) = (next(), next(), next(), next(), next());
    let link = if low % 2 == 0 { 0 } else { low };
    let (mut window, mut pcs) = ([0; WINDOW], [0; MAX_DEPTH]);
    let bounds = Some((low, high));
    let walked = [
        walk(&memory, link, (sp, fp), &mut window, &mut pcs),
        walk_interrupted(&memory, (sp, fp), None, (low, high), &mut window, &mut pcs),
        walk_interrupted(&memory, (sp, fp), bounds, (low, high), &mut window, &mut pcs),
        walk_left(&memory, pc, Some((link, sp)), fp, &mut window, &mut pcs),
        walk_left(&memory, pc, None, fp, &mut window, &mut pcs),
    ];
    assert!(walked.iter().all(|walked| walked.depth as usize <= MAX_DEPTH));
}

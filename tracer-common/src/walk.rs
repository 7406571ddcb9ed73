//! The stack walk, once, for the kernel programs and for unit tests.
//!
//! In: a return address or a stack pointer that points at it, the caller's frame pointer, and a way to
//! read the target's memory. Out: return addresses, innermost first, and their hash. It knows no Go
//! version; what the chain's end means (goexit, mcall, C code) is decided when addresses get names.
//!
//! A frame is two words at the frame pointer: the caller's frame pointer and the return address.
//! Reading two words at a time costs a call into the kernel per frame; so the stack is read in
//! windows of [`WINDOW`] words and walked inside them.

use crate::record::{MAX_DEPTH, STACK_BROKEN, STACK_TRUNCATED};

/// Words read at once: 2 KiB.
pub const WINDOW: usize = 256;

const WINDOW_BYTES: u64 = WINDOW as u64 * 8;

/// A distance from every address that is sure to be outside a window.
const FAR: u64 = 1 << 62;

/// Reads another program's memory.
pub trait UserMemory {
    /// Fills the whole window from `at`; false when any byte of it can't be read.
    fn window(&self, at: u64, into: &mut [u64; WINDOW]) -> bool;
    /// Reads the two words at `at` into the start of the window.
    fn pair(&self, at: u64, into: &mut [u64; WINDOW]) -> bool;
    /// The address. The verifier of kernel programs is not to know that it is: since Linux 7 it reckons with what it knows of
    /// two that are the same, and would follow the rest of the walk again for each frame. `unknown` is a number that it
    /// knows nothing of.
    #[inline(always)]
    fn apart(&self, at: u64, unknown: u64) -> u64 {
        let _ = unknown;
        at
    }
}

/// What a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Number of addresses written; 0 when not even the first could be read.
    pub depth: u32,
    /// [`STACK_TRUNCATED`], [`STACK_BROKEN`].
    pub flags: u32,
    pub hash: u64,
}

/// Walks from the return address, which is `link` or, where that is 0, the word at `sp`, along the chain that
/// starts at `fp`.
///
/// At the first instruction of a Go function and at P the frame pointer still belongs to the
/// caller: without the return address the immediate caller would be missing.
#[inline(always)]
pub fn walk(
    memory: &impl UserMemory,
    link: u64,
    (sp, fp): (u64, u64),
    window: &mut [u64; WINDOW],
    pcs: &mut [u64; MAX_DEPTH],
) -> Walked {
    if sp & 7 != 0 {
        return Walked { depth: 0, flags: STACK_BROKEN, hash: 0 };
    }
    let Some(base) = first_window(memory, sp, window) else {
        return Walked { depth: 0, flags: STACK_BROKEN, hash: 0 };
    };
    let first = if link != 0 { link } else { window[0] };
    pcs[0] = first;
    let on = On { base, depth: 1, hash: mix(0, first), bounds: None };
    follow(memory, on, fp, window, pcs)
}

/// Walks a stack that was interrupted at any instruction, within `bounds` if there are some, beyond
/// which another stack lies. The word at `sp` is a return address if the function has no frame there;
/// what is not in `code` (where it begins, its length) is none for sure, and is written as 0.
#[inline(always)]
pub fn walk_interrupted<const N: usize>(
    memory: &impl UserMemory,
    (sp, fp): (u64, u64),
    bounds: Option<(u64, u64)>,
    code: (u64, u64),
    window: &mut [u64; WINDOW],
    pcs: &mut [u64; N],
) -> Walked {
    let (mut base, mut first) = (sp.wrapping_add(FAR), 0);
    if sp & 7 == 0
        && let Some(at) = first_window(memory, sp, window)
    {
        base = at;
        if window[0].wrapping_sub(code.0) < code.1 {
            first = window[0];
        }
    }
    pcs[0] = first;
    follow(memory, On { base, depth: 1, hash: mix(0, first), bounds }, fp, window, pcs)
}

/// Walks the stack of a goroutine that does not run, from where it was left: `pc`, then, where link and stack
/// pointer are given, the return address that [`walk`] would begin with, then the chain that starts at `fp`.
#[inline(always)]
pub fn walk_left(
    memory: &impl UserMemory,
    pc: u64,
    called: Option<(u64, u64)>,
    fp: u64,
    window: &mut [u64; WINDOW],
    pcs: &mut [u64; MAX_DEPTH],
) -> Walked {
    pcs[0] = pc;
    let hash = mix(0, pc);
    let Some((link, sp)) = called else {
        let on = On { base: fp.wrapping_add(FAR), depth: 1, hash, bounds: None };
        return follow(memory, on, fp, window, pcs);
    };
    let read = if sp & 7 == 0 { first_window(memory, sp, window) } else { None };
    let Some(base) = read else {
        return Walked { depth: 1, flags: STACK_BROKEN, hash: hash ^ (hash >> 29) };
    };
    let second = if link != 0 { link } else { window[0] };
    pcs[1] = second;
    let on = On { base, depth: 2, hash: mix(hash, second), bounds: None };
    follow(memory, on, fp, window, pcs)
}

/// Reads the window at `sp`, and says where it lies; nothing when there is nothing to be read.
#[inline(always)]
fn first_window(memory: &impl UserMemory, sp: u64, window: &mut [u64; WINDOW]) -> Option<u64> {
    if memory.window(sp, window) {
        return Some(sp);
    }
    // The window reaches beyond what is mapped: the first pair alone.
    memory.pair(sp, window).then(|| sp.wrapping_add(FAR))
}

/// What a chain of frames is followed on.
struct On {
    /// Where the window lies in the target.
    base: u64,
    /// How many addresses were found already, and their hash.
    depth: usize,
    hash: u64,
    bounds: Option<(u64, u64)>,
}

/// Follows the chain of frames from `fp`, behind what was found already.
#[inline(always)]
fn follow<const N: usize>(
    memory: &impl UserMemory,
    on: On,
    mut fp: u64,
    window: &mut [u64; WINDOW],
    pcs: &mut [u64; N],
) -> Walked {
    let On { mut base, mut depth, mut hash, .. } = on;
    let mut flags = 0;
    // The inner loop calls nothing and has one way out for "elsewhere", the end of the chain
    // included: it is most of what an event costs.
    'windows: while depth < N && fp != 0 {
        if on.is_beyond(fp) {
            break;
        }
        if fp.wrapping_sub(base) > WINDOW_BYTES - 16 {
            if memory.window(fp, window) {
                base = memory.apart(fp, hash);
            } else if memory.pair(fp, window) {
                base = memory.apart(fp, hash).wrapping_add(FAR);
            } else {
                flags = STACK_BROKEN;
                break;
            }
        }
        // A pair alone lies at the window's start although it is far from its base.
        let mut offset = fp.wrapping_sub(base);
        if offset > WINDOW_BYTES - 16 {
            offset = 0;
        }
        while offset <= WINDOW_BYTES - 16 {
            if fp & 7 != 0 {
                flags = STACK_BROKEN;
                break 'windows;
            }
            // SAFETY: offset <= WINDOW_BYTES - 16, so both words lie in the window, and it is a
            // multiple of 8, because fp and base are. Not a slice access, because a bounds check
            // panics and kernel programs have no panic; not an index, because the division is one
            // step more between two frames, and those steps are what the walk takes.
            let (next, pc) = unsafe {
                let at = window.as_ptr().byte_add(offset as usize);
                (*at, *at.add(1))
            };
            if pc == 0 {
                break 'windows;
            }
            if next == fp {
                flags = STACK_BROKEN;
                break 'windows;
            }
            // SAFETY: the loops' conditions.
            unsafe { *pcs.as_mut_ptr().add(depth) = pc };
            hash = mix(hash, pc);
            depth += 1;
            fp = next;
            if depth == N || on.is_beyond(fp) {
                break 'windows;
            }
            offset = fp.wrapping_sub(base);
        }
    }
    if depth == N && fp != 0 && !on.is_beyond(fp) {
        flags = STACK_TRUNCATED;
    }
    Walked { depth: depth as u32, flags, hash: hash ^ (hash >> 29) }
}

impl On {
    /// Whether a frame lies on another stack.
    #[inline(always)]
    fn is_beyond(&self, fp: u64) -> bool {
        match self.bounds {
            Some((low, high)) => fp.wrapping_sub(low) >= high.wrapping_sub(low),
            None => false,
        }
    }
}

/// One step of the stack's hash. Stacks are compared in full, so this must only spread well.
#[inline(always)]
fn mix(hash: u64, pc: u64) -> u64 {
    (hash ^ pc).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::HashMap;
    use std::vec::Vec;

    /// Words by address; what is not there can't be read.
    struct Fake(HashMap<u64, u64>);

    impl Fake {
        /// A stack from `start` of `words` zero words.
        fn stack(start: u64, words: u64) -> Self {
            Self((0..words).map(|i| (start + i * 8, 0)).collect())
        }

        /// Lays a chain of frames `gap` bytes apart; returns the first frame pointer.
        fn chain(&mut self, first: u64, gap: u64, pcs: &[u64]) -> u64 {
            for (i, pc) in pcs.iter().enumerate() {
                let at = first + i as u64 * gap;
                let next = if i + 1 == pcs.len() { 0 } else { at + gap };
                self.0.insert(at, next);
                self.0.insert(at + 8, *pc);
            }
            first
        }
    }

    impl UserMemory for Fake {
        fn window(&self, at: u64, into: &mut [u64; WINDOW]) -> bool {
            for (i, word) in into.iter_mut().enumerate() {
                match self.0.get(&(at + i as u64 * 8)) {
                    Some(value) => *word = *value,
                    None => return false,
                }
            }
            true
        }

        fn pair(&self, at: u64, into: &mut [u64; WINDOW]) -> bool {
            match (self.0.get(&at), self.0.get(&(at + 8))) {
                (Some(a), Some(b)) => {
                    (into[0], into[1]) = (*a, *b);
                    true
                }
                _ => false,
            }
        }
    }

    const SP: u64 = 0xc000_0000;

    fn run(memory: &Fake, fp: u64) -> (Walked, Vec<u64>) {
        let (mut window, mut pcs) = ([0; WINDOW], [0; MAX_DEPTH]);
        let walked = walk(memory, 0, (SP, fp), &mut window, &mut pcs);
        (walked, pcs[..walked.depth as usize].to_vec())
    }

    fn pcs(n: u64) -> Vec<u64> {
        (0..n).map(|i| 0x40_0000 + i).collect()
    }

    #[test]
    fn the_immediate_caller_comes_from_the_stack_pointer() {
        let mut memory = Fake::stack(SP, 4096);
        memory.0.insert(SP, 0x1234);
        let fp = memory.chain(SP + 64, 96, &pcs(5));
        let (walked, got) = run(&memory, fp);
        assert_eq!(walked.flags, 0);
        assert_eq!(got[0], 0x1234);
        assert_eq!(got[1..], pcs(5));
    }

    #[test]
    fn a_return_address_in_a_register_is_taken_instead() {
        let mut memory = Fake::stack(SP, 4096);
        memory.0.insert(SP, 0x1234);
        let fp = memory.chain(SP + 64, 96, &pcs(5));
        let (mut window, mut found) = ([0; WINDOW], [0; MAX_DEPTH]);
        let walked = walk(&memory, 0x77, (SP, fp), &mut window, &mut found);
        assert_eq!((walked.depth, walked.flags, found[0]), (6, 0, 0x77));
        assert_eq!(found[1..6], pcs(5));
    }

    #[test]
    fn frames_beyond_the_window_are_found() {
        let mut memory = Fake::stack(SP, 400_000);
        memory.0.insert(SP, 0x1234);
        let fp = memory.chain(SP + 64, 3000 * 8, &pcs(100));
        let (walked, got) = run(&memory, fp);
        assert_eq!(walked.flags, 0);
        assert_eq!(got[1..], pcs(100));
    }

    #[test]
    fn a_window_that_reaches_unmapped_memory_loses_nothing() {
        let mut memory = Fake::stack(SP, 40);
        memory.0.insert(SP, 0x1234);
        let fp = memory.chain(SP + 16, 32, &pcs(8));
        let (walked, got) = run(&memory, fp);
        assert_eq!(walked.flags, 0);
        assert_eq!(got[1..], pcs(8));
    }

    #[test]
    fn deep_stacks_are_cut_and_marked() {
        let mut memory = Fake::stack(SP, 40_000);
        memory.0.insert(SP, 0x1234);
        let fp = memory.chain(SP + 64, 96, &pcs(300));
        let (walked, _) = run(&memory, fp);
        assert_eq!((walked.depth, walked.flags), (MAX_DEPTH as u32, STACK_TRUNCATED));
    }

    #[test]
    fn a_stack_of_exactly_the_limit_is_not_marked() {
        let mut memory = Fake::stack(SP, 40_000);
        memory.0.insert(SP, 0x1234);
        let fp = memory.chain(SP + 64, 96, &pcs(MAX_DEPTH as u64 - 1));
        let (walked, _) = run(&memory, fp);
        assert_eq!((walked.depth, walked.flags), (MAX_DEPTH as u32, 0));
    }

    #[test]
    fn a_frame_pointer_that_points_nowhere_is_marked() {
        let mut memory = Fake::stack(SP, 4096);
        memory.0.insert(SP, 0x1234);
        let (walked, got) = run(&memory, 0xdead_0000);
        assert_eq!((walked.flags, got.len()), (STACK_BROKEN, 1));
        let (walked, _) = run(&memory, SP + 3);
        assert_eq!((walked.flags, walked.depth), (STACK_BROKEN, 1), "no frame lies there");
        let (walked, _) = run(&memory, SP + 64);
        assert_eq!((walked.flags, walked.depth), (0, 1), "zero words end the chain");
    }

    #[test]
    fn a_frame_that_points_at_itself_ends_the_walk() {
        let mut memory = Fake::stack(SP, 4096);
        memory.0.extend([(SP, 0x1234), (SP + 64, SP + 64), (SP + 72, 0x99)]);
        let (walked, _) = run(&memory, SP + 64);
        assert_eq!((walked.flags, walked.depth), (STACK_BROKEN, 1));
    }

    /// Walks a stack that was interrupted, whose code is that of [`pcs`].
    fn interrupted(memory: &Fake, fp: u64, bounds: Option<(u64, u64)>) -> (Walked, Vec<u64>) {
        let (mut window, mut pcs) = ([0; WINDOW], [0; 7]);
        let code = (0x40_0000, 0x1000);
        let walked = walk_interrupted(memory, (SP, fp), bounds, code, &mut window, &mut pcs);
        (walked, pcs[..walked.depth as usize].to_vec())
    }

    #[test]
    fn the_first_word_of_an_interrupted_stack_may_be_a_return_address() {
        let mut memory = Fake::stack(SP, 4096);
        let fp = memory.chain(SP + 64, 96, &pcs(3));
        memory.0.insert(SP, 0x40_0fff);
        assert_eq!(interrupted(&memory, fp, None).1[0], 0x40_0fff);
        memory.0.insert(SP, 0x40_1000);
        let (walked, got) = interrupted(&memory, fp, None);
        assert_eq!((walked.flags, got[0]), (0, 0));
        assert_eq!(got[1..], pcs(3));
        memory.0.remove(&SP);
        assert_eq!(interrupted(&memory, fp, None), (walked, got));
    }

    #[test]
    fn another_stack_is_not_walked() {
        let mut memory = Fake::stack(SP, 4096);
        let fp = memory.chain(SP + 64, 96, &pcs(5));
        let bounds = Some((SP, SP + 64 + 3 * 96));
        let (walked, got) = interrupted(&memory, fp, bounds);
        assert_eq!((walked.flags, &got[1..]), (0, &pcs(3)[..]));
        assert_eq!(interrupted(&memory, SP + 8000, bounds).0.depth, 1);
    }

    #[test]
    fn an_interrupted_stack_is_cut_where_its_room_ends() {
        let mut memory = Fake::stack(SP, 4096);
        let fp = memory.chain(SP + 64, 96, &pcs(20));
        let (walked, got) = interrupted(&memory, fp, None);
        assert_eq!((walked.flags, &got[1..]), (STACK_TRUNCATED, &pcs(6)[..]));
    }

    #[test]
    fn what_was_left_is_the_innermost() {
        let mut memory = Fake::stack(SP, 4096);
        memory.0.insert(SP, 0x1234);
        let fp = memory.chain(SP + 64, 96, &pcs(5));
        let left = |memory: &Fake, called, fp| {
            let (mut window, mut pcs) = ([0; WINDOW], [0; MAX_DEPTH]);
            let walked = walk_left(memory, 0x99, called, fp, &mut window, &mut pcs);
            (walked, pcs[..walked.depth as usize].to_vec())
        };
        let (called, got) = left(&memory, Some((0, SP)), fp);
        assert_eq!((called.flags, &got[..2], &got[2..]), (0, &[0x99, 0x1234][..], &pcs(5)[..]));
        let (linked, got) = left(&memory, Some((0x77, SP)), fp);
        assert_eq!((linked.flags, &got[..2], &got[2..]), (0, &[0x99, 0x77][..], &pcs(5)[..]));
        let (midway, got) = left(&memory, None, fp);
        assert_eq!((midway.flags, got[0], &got[1..]), (0, 0x99, &pcs(5)[..]));
        assert_ne!(called.hash, midway.hash);
        let (begun, got) = left(&memory, None, 0);
        assert_eq!((begun.flags, got), (0, std::vec![0x99]));
        let (lost, got) = left(&Fake(HashMap::new()), Some((0, SP)), fp);
        assert_eq!((lost.flags, got), (STACK_BROKEN, std::vec![0x99]));
    }

    #[test]
    fn an_unreadable_stack_yields_nothing() {
        let (walked, _) = run(&Fake(HashMap::new()), SP + 64);
        assert_eq!(walked.depth, 0);
    }
}

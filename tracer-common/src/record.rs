//! The records themselves: what a site carries, what the process table says, how a stack is keyed.

use crate::walk::WINDOW;

/// Deepest stack kept, as in Go's own profiles since 1.23.
pub const MAX_DEPTH: usize = 128;

/// Set in [`StackValue::flags`] when the stack went on beyond [`MAX_DEPTH`].
pub const STACK_TRUNCATED: u32 = 1;

/// Set in [`StackValue::flags`] when the frame chain ended in memory that could not be read.
pub const STACK_BROKEN: u32 = 2;

/// Set in [`StackValue::flags`] when the addresses are those of a stack that was interrupted, as probe
/// `os` keeps them: [`crate::os::SYSTEM_FRAMES`] places for a system stack, then the goroutine's. Each
/// begins with where it was interrupted, and a word that may be a return address.
pub const STACK_INTERRUPTED: u32 = 4;

/// Set in [`StackValue::flags`] when it is no stack, but the address of a function that belongs to the
/// class: the New of a pool.
pub const STACK_IS_FUNCTION: u32 = 8;

/// [`ProcEntry::state`]: traced.
pub const PROC_LIVE: u32 = 1;
/// [`ProcEntry::state`]: has exec'd since it was inspected; its addresses mean nothing now.
pub const PROC_STALE: u32 = 2;

/// What the kernel hands a program with each hit: which binary and which site it attached.
///
/// Layout, high to low: binary id (32 bits), whether the site is at a stack check's jump (1 bit), site
/// index (15 bits), kind of site (16 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub binary: u32,
    /// At most [`Cookie::MAX_SITE`].
    pub site: u16,
    /// The site is the jump of a function's stack check: a hit whose check fails comes back.
    pub at_check: bool,
    /// What a program that sits at several kinds of sites must know of this one. Of an allocation: no
    /// size up to this is counted here, or [`Cookie::NESTED`]; in span mode [`Cookie::SPAN_REFILL`] and its
    /// like; at a map's start [`crate::iteration::MAP_CLASSIC`] or 0; of the probes box and slice what its
    /// arguments are ([`crate::boxed`], [`crate::slice`]). 0 for all other programs.
    pub kind: u16,
}

impl Cookie {
    /// Highest index of a site.
    pub const MAX_SITE: u16 = AT_CHECK - 1;
    /// Instead of a size: a call from [`ProcEntry::mallocgc`] is counted there, all others here.
    pub const NESTED: u16 = u16::MAX;
    /// Span mode: P of `runtime.(*mcache).refill`, `releaseAll` and `allocLarge`.
    pub const SPAN_REFILL: u16 = 0;
    pub const SPAN_RELEASE: u16 = 1;
    pub const SPAN_LARGE: u16 = 2;

    pub const fn pack(self) -> u64 {
        let at_check = if self.at_check { AT_CHECK } else { 0 };
        let site = self.site & Self::MAX_SITE | at_check;
        (self.binary as u64) << 32 | (site as u64) << 16 | self.kind as u64
    }

    pub const fn unpack(raw: u64) -> Self {
        let site = (raw >> 16) as u16;
        Self {
            binary: (raw >> 32) as u32,
            site: site & Self::MAX_SITE,
            at_check: site & AT_CHECK != 0,
            kind: raw as u16,
        }
    }
}

/// The bit beside the site index.
const AT_CHECK: u16 = 1 << 15;

/// A process that is traced; the process table's value, keyed by tgid.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcEntry {
    /// One exec of one process, numbered by the loader: pid, start time, binary, load bias.
    pub image: u32,
    /// The binary that this image runs; must equal the cookie's.
    pub binary: u32,
    /// [`PROC_LIVE`] or [`PROC_STALE`].
    pub state: u32,
    /// Byte offset of `alloc` in `runtime.mcache`; used by the span probe only.
    pub mcache_alloc: u32,
    /// Byte offsets in `runtime.mspan`; used by the span probe only.
    pub span_alloc_count: u32,
    pub span_alloc_count_before: u32,
    pub span_elemsize: u32,
    /// Byte offset of `kind` (u8) in `runtime.special`, and the kind of a sampled object; used by the
    /// sample probe only.
    pub special_kind: u32,
    pub special_is_profile: u32,
    /// Byte offset of `labels` in `runtime.g`; used with `--labels` only.
    pub g_labels: u32,
    /// [`LABELS_LIST`] or [`LABELS_MAP`].
    pub labels_are: u32,
    /// Where its traps are counted and allowed; 0: nowhere.
    pub slot: u32,
    /// Byte offsets of `stack.hi` and `goid` in `runtime.g`; used by the probes map and stack.
    pub g_stack_hi: u32,
    pub g_goid: u32,
    /// Byte offset of `startpc` in `runtime.g`; used by the goroutine probe only.
    pub g_startpc: u32,
    /// Byte offsets of `stack.lo` and `sched` in `runtime.g`; used by the probes stack and os. 0 where
    /// they are not known.
    pub g_stack_lo: u32,
    pub g_sched_sp: u32,
    pub g_sched_pc: u32,
    pub g_sched_bp: u32,
    /// Byte offsets of `m` in `runtime.g`, and of `curg` in `runtime.m`; used by the os probe only. 0
    /// where they are not known.
    pub g_m: u32,
    pub m_curg: u32,
    /// Byte offset of `sched.lr` in `runtime.g`; used by the stack probe only.
    pub g_sched_lr: u32,
    /// Where the process has `runtime.mallocgc`, and its length; used by nested sites only.
    pub mallocgc: u64,
    pub mallocgc_len: u64,
    /// Where the process has its Go code, and its length; used by the os probe only.
    pub code: u64,
    pub code_len: u64,
    /// Where it has `runtime.morestack` and `morestack_noctxt`; used by the stack probe only.
    pub morestack: [u64; 2],
}

/// What the traps of a process cost, beyond the traps themselves; by CPU and [`ProcEntry::slot`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds inside of the kernel programs, from one event in [`TIMED`].
    pub handler_ns: u64,
    /// Events that `handler_ns` stands for.
    pub timed: u64,
    /// Passes of the kernel's tracepoints that heaptap has a program at (probe os), and how many of them took a
    /// token as a trap does.
    pub passes: u64,
    pub tokens: u64,
    /// When the last event was timed, and how many were timed that came so soon after the one before on their CPU that
    /// nothing but events can have been in between: [`DENSE`].
    pub timed_at: u64,
    pub dense: u64,
}

/// When the gate of a process is shut, by [`ProcEntry::slot`]: when the program has gone on for long enough without
/// what its events cost.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closes {
    /// In nanoseconds of CLOCK_MONOTONIC, if no event comes; 0: never.
    pub until: u64,
    /// Traps that it had taken before, and by how many nanoseconds each one puts it off.
    pub traps: u64,
    pub each: u64,
    /// What an event costs the thread that it hits, in nanoseconds; 0: not known.
    pub event: u64,
}

/// One event in this many is timed; a power of two.
pub const TIMED: u64 = 64;

/// Events that are timed one after the other are dense if the time between them is less than that of so many
/// events: for less than a quarter of it the program went on.
pub const DENSE: u64 = TIMED * 5 / 4;

/// An event that takes longer, in nanoseconds, was interrupted, and counts as this: it stands for others.
pub const TIMED_AT_MOST: u64 = 30_000;

/// A class below this is no type's address, but a word of the probe's own: no type lies in the first page.
pub const NO_TYPES: u64 = 4096;

/// What one counter of events is kept under.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StackKey {
    /// [`ProcEntry::image`].
    pub image: u32,
    /// [`Cookie::site`].
    pub site: u32,
    /// What splits one stack further: the type word (`--by type`; or see [`NO_TYPES`]), the span class
    /// (span mode), the slot's size (sample mode), where a goroutine starts (probe goroutine), the sizes that
    /// a stack is moved between (probe stack; see [`Moved`]), the pool's address (probe pool), or 0.
    pub class: u64,
    /// Hash of the stack's addresses and of its labels; the stack itself is compared before anything is added.
    pub hash: u64,
}

/// Counts of one stack, and the stack.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StackValue {
    /// Events.
    pub hits: u64,
    /// Objects beyond one for each hit, modulo 2^64: 0 in exact mode; in span mode a hit stands for
    /// the objects of a span.
    pub more_objects: u64,
    /// Bytes: requested in exact mode, of slots in span mode.
    pub bytes: u64,
    /// Sum of squared weights over hits whose weight is not 1, for the variance of span estimates.
    pub weight_squares: u64,
    /// [`LabelsKey::hash`] of the goroutine's profiler labels; 0 without any.
    pub labels: u64,
    /// Number of addresses in `pcs`.
    pub depth: u32,
    /// [`STACK_TRUNCATED`], [`STACK_BROKEN`], [`STACK_IS_FUNCTION`].
    pub flags: u32,
    /// Return addresses, innermost first.
    pub pcs: [u64; MAX_DEPTH],
}

/// Bytes of the stacks that a goroutine's is moved between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub old: u32,
    pub new: u32,
}

impl Moved {
    /// As a [`StackKey::class`].
    pub const fn class(self) -> u64 {
        (self.old as u64) << 32 | self.new as u64
    }

    /// What a class says.
    pub const fn of(class: u64) -> Self {
        Self { old: (class >> 32) as u32, new: class as u32 }
    }
}

/// Something that lives and has not ended yet: a sampled object, a goroutine.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    /// [`ProcEntry::image`].
    pub image: u32,
    pub _pad: u32,
    /// Address of the object; of a goroutine's `g`, which is nobody else's as long as it lives.
    pub address: u64,
}

/// Who made it, and when.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ObjectValue {
    pub stack: StackKey,
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub born: u64,
}

/// How many of one stack have ended, by how long they lived.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreedValue {
    /// See [`age_class`].
    pub by_age: [u64; AGES],
}

/// Classes of age: see [`age_class`].
pub const AGES: usize = 24;

/// The class of an age: 0 is below 2^20 ns (about 1 ms), each next one is twice as wide, and the
/// last has no end (above about 1.2 hours).
#[inline(always)]
pub const fn age_class(nanoseconds: u64) -> usize {
    let mut rest = nanoseconds >> 20;
    let mut class = 0;
    while class < AGES - 1 && rest != 0 {
        rest >>= 1;
        class += 1;
    }
    class
}

/// [`ProcEntry::labels_are`]: a slice of pairs of strings (Go 1.24 and later).
pub const LABELS_LIST: u32 = 1;
/// [`ProcEntry::labels_are`]: a map of strings, of one bucket if it is small (up to Go 1.23).
pub const LABELS_MAP: u32 = 2;

/// Labels kept of a goroutine: as many as a map's bucket holds.
pub const MAX_LABELS: usize = 8;
/// Bytes kept of a label's name and of its value.
pub const LABEL_TEXT: usize = 64;

/// What profiler labels are kept under.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelsKey {
    /// [`ProcEntry::image`].
    pub image: u32,
    pub _pad: u32,
    /// Hash of the texts; never 0.
    pub hash: u64,
}

/// A goroutine's profiler labels: their texts, because the memory that holds them is soon another's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// Another hash of the same texts: one alone is no identity.
    pub check: u64,
    pub count: u32,
    pub _pad: u32,
    /// Bytes of name and value of each, which may be more than are kept.
    pub lengths: [[u32; 2]; MAX_LABELS],
    /// Names and values in turn, padded with zeros.
    pub texts: [[u64; LABEL_TEXT / 8]; 2 * MAX_LABELS],
}

/// One event's working memory, one of [`SCRATCH_SLOTS`] of a CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    /// 1 while an event owns it.
    pub taken: u64,
    /// Events that were counted under a stack by its owners: [`crate::Counter::Recorded`]. An owner
    /// is alone, so this takes no atomic addition.
    pub recorded: u64,
    pub window: [u64; WINDOW],
    pub value: StackValue,
    pub labels: Labels,
}

/// Buffers per CPU.
pub const SCRATCH_SLOTS: u32 = 4;

/// What a process did that the loader must know of; travels through the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// One of `NOTICE_…`.
    pub kind: u32,
    pub pid: u32,
    /// The image that the process was running, 0 when it was not traced.
    pub image: u32,
    /// How it ended, as `task_struct.exit_code` has it: [`NOTICE_END`] only; [`NO_CODE`]: not known.
    pub code: u32,
    /// When, in nanoseconds of CLOCK_MONOTONIC.
    pub at: u64,
}

/// No exit code.
pub const NO_CODE: u32 = u32::MAX;

pub const NOTICE_EXEC: u32 = 1;
pub const NOTICE_EXIT: u32 = 2;
/// The process has taken the last trap that it was allowed.
pub const NOTICE_DRY: u32 = 3;
pub const NOTICE_LATE: u32 = 4;
/// The process has ended, and how.
pub const NOTICE_END: u32 = 5;
/// The kernel kills the process because memory has run out; 0: it is not known which.
pub const NOTICE_VICTIM: u32 = 6;

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<ProcEntry>() == 136);
    assert!(size_of::<StackKey>() == 24);
    assert!(size_of::<ObjectKey>() == 16);
    assert!(size_of::<LabelsKey>() == 16);
    assert!(size_of::<Labels>() == 16 + 8 * MAX_LABELS + 2 * MAX_LABELS * LABEL_TEXT);
    assert!(size_of::<ObjectValue>() == 32);
    assert!(size_of::<FreedValue>() == 8 * AGES);
    assert!(offset_of!(StackKey, hash) == 16);
    assert!(size_of::<StackValue>() == 48 + 8 * MAX_DEPTH);
    assert!(offset_of!(StackValue, pcs) == 48);
    assert!(size_of::<Notice>() == 24);
    assert!(size_of::<Usage>() == 48);
    assert!(
        size_of::<Scratch>() == 16 + 8 * WINDOW + size_of::<StackValue>() + size_of::<Labels>()
    );
};

#[cfg(feature = "user")]
mod pod {
    // SAFETY: repr(C), integers only, no padding (sizes asserted above); any bytes are a value.
    unsafe impl aya::Pod for super::ProcEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::StackKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::StackValue {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Notice {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Usage {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Closes {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Scratch {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::LabelsKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Labels {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ObjectKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ObjectValue {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::FreedValue {}
}

#[cfg(test)]
mod tests {
    use super::{AGES, Cookie, Moved, age_class};

    #[test]
    fn ages_are_classes_that_double() {
        assert_eq!([0, (1 << 20) - 1, 1 << 20, 1 << 21].map(age_class), [0, 0, 1, 2]);
        assert_eq!(age_class((1 << 42) - 1), AGES - 2);
        assert_eq!([1 << 42, u64::MAX].map(age_class), [AGES - 1; 2]);
    }

    #[test]
    fn sizes_survive_the_trip() {
        let moved = Moved { old: 0xffff_f000, new: 2048 };
        assert_eq!(Moved::of(moved.class()), moved);
    }

    #[test]
    fn cookie_survives_the_trip() {
        for at_check in [false, true] {
            let cookie = Cookie { binary: 0xdead_beef, site: 0x7ffe, at_check, kind: 80 };
            assert_eq!(Cookie::unpack(cookie.pack()), cookie);
        }
    }
}

//! What the probe `os` keeps of what the kernel does for a process: memory that it maps, pages that it
//! has resident, pages that are taken from the kernel's free ones.
//!
//! Its stacks are kept as those of other probes are, under sites of their own ([`Happening`]); mappings
//! are told one by one too, because only their order tells what of them is left.

use crate::StackKey;

/// [`StackKey::site`] of the first [`Happening`]: above those of cookies.
pub const OS_SITE: u32 = 1 << 16;

/// What happened; [`StackKey::site`] less [`OS_SITE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Happening {
    /// mmap(2); bytes are those mapped.
    Mmap = 0,
    /// munmap(2); bytes are those that were to be unmapped.
    Munmap = 1,
    /// madvise(2); the class is the advice.
    Madvise = 2,
    /// mremap(2); bytes are those of the new mapping.
    Mremap = 3,
    /// brk(2); bytes are those by which the heap of C grew.
    Brk = 4,
    /// More pages are resident; the class is of which kind.
    Grow = 5,
    /// Fewer pages are resident; the class is of which kind.
    Shrink = 6,
    /// Pages were taken from the kernel's free ones; the class is order and node.
    Pages = 7,
    /// Mappings that were still there at the end. No program counts them: the loader works them out.
    Left = 8,
    /// The runtime got a span from its page heap; bytes are nanoseconds.
    Span = 9,
    /// The kernel worked for that; bytes are nanoseconds, the class says for what.
    SpanKernel = 10,
}

impl Happening {
    pub const ALL: [Happening; 11] = [
        Happening::Mmap,
        Happening::Munmap,
        Happening::Madvise,
        Happening::Mremap,
        Happening::Brk,
        Happening::Grow,
        Happening::Shrink,
        Happening::Pages,
        Happening::Left,
        Happening::Span,
        Happening::SpanKernel,
    ];

    /// As [`StackKey::site`].
    pub const fn site(self) -> u32 {
        OS_SITE + self as u32
    }

    /// What a [`StackKey::site`] says, if it is of this probe.
    pub fn of_site(site: u32) -> Option<Self> {
        Self::ALL.get(site.checked_sub(OS_SITE)? as usize).copied()
    }
}

/// Set in the class of a system call that failed: it has no bytes.
pub const FAILED: u64 = 1 << 63;

/// Set in the class of what did not happen in the process itself: pages that the kernel took back, or
/// that others brought in.
pub const BY_OTHERS: u64 = 1 << 62;

/// Kinds of resident pages (include/linux/mm_types_task.h): of files, without a file, of shared memory.
/// Number 2 are pages that were swapped out, which are not resident.
pub const FILE_PAGES: u32 = 0;
pub const ANON_PAGES: u32 = 1;
pub const SHMEM_PAGES: u32 = 3;
pub const KINDS: usize = 4;

/// The class of pages that were taken: their order, and the node of the CPU that took them.
pub const fn page_class(order: u32, node: u32) -> u64 {
    (order & 0xff) as u64 | (node as u64) << 8
}

/// Bytes of a page, as a power of two (x86).
pub const PAGE_SHIFT: u32 = 12;

/// Most CPUs that counts are summed up over.
pub const CPUS_AT_MOST: u32 = 512;

/// How many pages a process had resident when it was looked at last; by its `mm_struct`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Resident {
    pub image: u32,
    pub pid: u32,
    /// By kind.
    pub pages: [u64; KINDS],
    /// Anonymous pages that two CPUs counted twice between them; the next ones are not counted.
    pub twice: u64,
}

/// What a thread is at.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Calling {
    /// When its system call began, in nanoseconds of CLOCK_MONOTONIC.
    pub began: u64,
    /// Where the heap of C ended before.
    pub brk: u64,
}

/// Classes of [`Happening::SpanKernel`]: in system calls for memory, in page faults.
pub const IN_CALLS: u64 = 0;
pub const IN_FAULTS: u64 = 1;

/// A thread that allocates slowly. Nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Slow {
    /// When it began (CLOCK_MONOTONIC).
    pub began: u64,
    /// What the kernel has worked, in system calls for memory and in page faults.
    pub calls: u64,
    pub faults: u64,
    /// What heaptap's programs have taken.
    pub handled: u64,
    /// Since when the kernel works, 0: it does not; and what was taken up to then.
    pub since: u64,
    pub since_handled: u64,
}

/// A system call that changed what is mapped; travels through the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// What it was; [`StackKey::image`] says whose.
    pub stack: StackKey,
    /// When it took place at the latest, for what unmaps at the earliest: then no order of two threads
    /// shows memory mapped again before it was unmapped.
    pub at: u64,
    /// What is mapped or unmapped from then on.
    pub address: u64,
    pub length: u64,
    /// What is unmapped by mremap(2).
    pub old_address: u64,
    pub old_length: u64,
}

/// Most frames that are kept of a system stack. Those of the goroutine behind it come after as many
/// places, used or not.
pub const SYSTEM_FRAMES: usize = 24;

const _: () = {
    assert!(size_of::<Resident>() == 48);
    assert!(size_of::<Calling>() == 16);
    assert!(size_of::<Mapping>() == 64);
    assert!(size_of::<Slow>() == 48);
};

#[cfg(feature = "user")]
mod pod {
    // SAFETY: repr(C), integers only, no padding (sizes asserted above); any bytes are a value.
    unsafe impl aya::Pod for super::Resident {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Calling {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Mapping {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Slow {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_told_from_those_of_cookies() {
        for (number, happening) in (0..).zip(Happening::ALL) {
            assert_eq!(happening as u32, number);
            assert_eq!(Happening::of_site(happening.site()), Some(happening));
        }
        assert_eq!(Happening::of_site(u32::from(u16::MAX)), None);
        assert_eq!(Happening::of_site(OS_SITE + 11), None);
    }

    #[test]
    fn order_and_node_share_a_class() {
        assert_eq!(page_class(9, 1), 0x109);
    }
}

//! What the trap at the end of a collection reads out of the runtime, as it stands there.

/// Where a process has what is read; by [`crate::ProcEntry::image`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collector {
    /// Addresses of `memstats.numgc`, `memstats.last_gc_unix`, `work.cycles` and `gcController`.
    pub counters: u64,
    pub end_unix: u64,
    pub work: u64,
    pub controller: u64,
}

/// Words from `memstats.numgc` to `memstats.last_gc_nanotime`.
pub const COUNTER_WORDS: usize = 3;
/// Words from `work.cycles` to `work.heap2`, in every release.
pub const WORK_WORDS: usize = 11;
/// Words of `gcController` up to `mappedReady`, in every release.
pub const CONTROLLER_WORDS: usize = 44;

/// A collection that has ended, while the next can't begin yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    pub image: u32,
    pub _pad: u32,
    /// `memstats.last_gc_unix`.
    pub end_unix_ns: u64,
    pub counters: [u64; COUNTER_WORDS],
    pub work: [u64; WORK_WORDS],
    pub controller: [u64; CONTROLLER_WORDS],
}

const _: () = {
    assert!(size_of::<Collector>() == 32);
    assert!(size_of::<Collection>() == 16 + 8 * (COUNTER_WORDS + WORK_WORDS + CONTROLLER_WORDS));
};

#[cfg(feature = "user")]
mod pod {
    // SAFETY: repr(C), integers only, no padding (sizes asserted above); any bytes are a value.
    unsafe impl aya::Pod for super::Collector {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Collection {}
}

//! What the assist probe keeps of assists under way.

/// A goroutine that helps the collector; or, under the `g` of a thread's own stack, one that marks there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assist {
    /// Nanoseconds of CLOCK_MONOTONIC when it began; 0 of a call on a thread's own stack, which is no assist.
    pub began: u64,
    /// For how long it has marked.
    pub marking: u64,
    /// Address of the goroutine's `g` that is marked for.
    pub goroutine: u64,
    /// Calls within it that have not returned: ending a collection may allocate. Their time is its own.
    pub nested: u64,
}

const _: () = assert!(size_of::<Assist>() == 32);

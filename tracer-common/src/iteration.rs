//! What the map probe keeps of iterations under way, and what it tells of those that are over.

use crate::record::StackKey;

/// Iterations of one goroutine that are followed at once; when there are more, the oldest is let go.
pub const NEST: usize = 16;

/// [`crate::Cookie::kind`] of a map's start: type, map, iterator are the arguments (Go up to 1.23).
pub const MAP_CLASSIC: u16 = 1;

/// Set in [`Open::iterator`] of one that does not lie on its goroutine's stack: the rest is its address.
pub const OFF_STACK: u64 = 1 << 63;

/// What a goroutine's iterations are kept under.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GoroutineKey {
    /// [`crate::ProcEntry::image`].
    pub image: u32,
    pub _pad: u32,
    /// Address of its `g`, which the runtime uses again for others.
    pub g: u64,
}

/// An iteration that has begun and, as far as is known, not ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// How far its iterator lies below the upper end of the goroutine's stack, which stays the same
    /// when the stack is moved; or [`OFF_STACK`]. 0: none.
    pub iterator: u64,
    /// Who began it.
    pub stack: StackKey,
    /// Nanoseconds of CLOCK_MONOTONIC when it began, by which it is told from others of its goroutine,
    /// and at its last step.
    pub began: u64,
    pub last: u64,
    /// Calls of the function that steps: one for each element visited, and one that finds the end.
    pub calls: u64,
    /// The goroutine's [`Goroutine::traps`] and [`Goroutine::handled`] at both times.
    pub traps: [u64; 2],
    pub handled: [u64; 2],
}

/// Iterations of a goroutine that are under way; there is none without any.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Goroutine {
    /// Whose they are: `g.goid`.
    pub goid: u64,
    /// Places in `open`, modulo its length: the oldest, and one past the youngest.
    pub bottom: u64,
    pub top: u64,
    /// Traps of the map probe that the goroutine has taken, and nanoseconds in its kernel programs.
    pub traps: u64,
    pub handled: u64,
    /// In the order in which they began; some may be over.
    pub open: [Open; NEST],
}

/// An iteration that is over.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Iteration {
    pub of: Open,
    pub goid: u64,
    /// [`Open::began`] of the youngest older one of the goroutine that was not over, and its
    /// [`Open::calls`]; 0 without one.
    pub parent: u64,
    pub parent_calls: u64,
    /// [`COMPLETE`] or 0: it was left, or nobody saw its end.
    pub flags: u64,
}

/// [`Iteration::flags`]: it came to its end.
pub const COMPLETE: u64 = 1;

impl Goroutine {
    /// With nothing under way.
    pub const EMPTY: Self = Self {
        goid: 0,
        bottom: 0,
        top: 0,
        traps: 0,
        handled: 0,
        open: [Open {
            iterator: 0,
            stack: StackKey { image: 0, site: 0, class: 0, hash: 0 },
            began: 0,
            last: 0,
            calls: 0,
            traps: [0; 2],
            handled: [0; 2],
        }; NEST],
    };
}

impl Iteration {
    /// Elements visited.
    pub fn steps(&self) -> u64 {
        self.of.calls.saturating_sub(u64::from(self.flags & COMPLETE != 0))
    }
}

const _: () = {
    use core::mem::size_of;
    assert!(NEST.is_power_of_two());
    assert!(size_of::<GoroutineKey>() == 16);
    assert!(size_of::<Open>() == 88);
    assert!(size_of::<Goroutine>() == 40 + NEST * 88);
    assert!(size_of::<Iteration>() == 88 + 32);
};

#[cfg(feature = "user")]
mod pod {
    // SAFETY: repr(C), integers only, no padding (sizes asserted above); any bytes are a value.
    unsafe impl aya::Pod for super::GoroutineKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Goroutine {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Iteration {}
}

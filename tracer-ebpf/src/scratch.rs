//! Per-CPU buffers with owners.
//!
//! A uprobe program may be preempted, and the task that runs next on that CPU may hit a uprobe
//! too: one buffer per CPU would be torn. Each CPU has a few, each with a flag that is taken
//! atomically; an event that finds all taken is counted as lost.

use tracer_common::{
    Counter,
    record::{SCRATCH_SLOTS, Scratch},
};

use crate::{atomic, count::count, maps::SCRATCH};

/// A buffer that this program run owns until it gives it back.
pub struct Owned(*mut Scratch);

impl Owned {
    /// Takes a free buffer of this CPU.
    #[inline(always)]
    pub fn take() -> Option<Self> {
        for slot in 0..SCRATCH_SLOTS {
            let scratch = SCRATCH.get_ptr_mut(slot)?;
            // SAFETY: points into the map value, which lives as long as the program.
            if unsafe { atomic::swap(&raw mut (*scratch).taken, 1) } == 0 {
                return Some(Self(scratch));
            }
        }
        count(Counter::ScratchBusy);
        None
    }

    #[inline(always)]
    pub fn get(&mut self) -> &mut Scratch {
        // SAFETY: `taken` is ours, so nobody else uses this buffer.
        unsafe { &mut *self.0 }
    }
}

impl Drop for Owned {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: as in `take`. A plain store will do: only this CPU reads the flag.
        unsafe { (&raw mut (*self.0).taken).write_volatile(0) };
    }
}

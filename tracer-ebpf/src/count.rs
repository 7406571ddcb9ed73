//! Counts ways to leave.

use tracer_common::Counter;

use crate::{atomic, maps::COUNTERS};

/// Adds one to a counter. Atomic, because a task can be preempted between load and store by
/// another one on the same CPU that counts too.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a word of the map.
        unsafe { atomic::add(slot, 1) };
    }
}

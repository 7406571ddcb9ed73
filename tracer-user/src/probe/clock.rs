//! The clocks that heaptap shares with the kernel programs, and CPU time of its own threads.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// As the kernel programs see it (CLOCK_MONOTONIC).
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// What the calling thread has used; zero when the kernel does not say.
pub fn cpu_of_thread() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

//! CPU time of heaptap's own threads.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What the calling thread has used; zero when the kernel does not say.
pub fn cpu_of_thread() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

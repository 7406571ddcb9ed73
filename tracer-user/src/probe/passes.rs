//! What it costs to pass one of the kernel's tracepoints that have a program, before anything is kept.
//!
//! In: the kernel, with and without programs at them. Out: time for one pass, told by what heaptap's own thread
//! takes longer for system calls and for page faults. What programs take beyond that, for those who are traced,
//! is timed where it happens.

use std::ptr;
use std::time::{Duration, Instant};

use nix::libc;
use tracer_common::{ProcEntry, record::PROC_LIVE};

use super::{Error, Kernel};

/// The slot that heaptap has meanwhile, in which nothing is allowed and nothing is kept.
const SLOT: u32 = 1;
/// Rounds of which the median counts, and what is done in one.
const ROUNDS: usize = 21;
const CALLS: u32 = 200;
const PAGES: usize = 64;
const PAGE: usize = 4096;
/// More than this it can't be: heaptap was interrupted.
const MOST: Duration = Duration::from_micros(1);

/// What a round takes.
#[derive(Clone, Copy)]
pub(super) struct Rounds {
    calls: Duration,
    faults: Duration,
}

impl Rounds {
    pub(super) fn now() -> Self {
        Self { calls: median(calls), faults: median(faults) }
    }
}

impl Kernel {
    /// What a pass costs, as it was without programs before. They are attached.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) fn cost_of_pass(&mut self, before: Rounds) -> Result<Duration, Error> {
        let own = std::process::id();
        let nobody = ProcEntry { state: PROC_LIVE, slot: SLOT, ..ProcEntry::default() };
        self.allow(SLOT, 0)?;
        self.select(own, &nobody)?;
        let rounds = |does: fn()| -> Result<(Duration, f64), Error> {
            let first = self.traps(SLOT)?.passes;
            let took = median(does);
            let passes = self.traps(SLOT)?.passes.saturating_sub(first);
            Ok((took, passes as f64 / ROUNDS as f64))
        };
        let measured = rounds(calls).and_then(|calls| Ok([calls, rounds(faults)?]));
        self.deselect(own)?;
        let [(calls, of_calls), (faults, of_faults)] = measured?;
        Ok(of_pass(calls, before.calls, of_calls).max(of_pass(faults, before.faults, of_faults)))
    }
}

fn of_pass(with: Duration, without: Duration, passes: f64) -> Duration {
    with.saturating_sub(without).div_f64(passes.max(1.0)).min(MOST)
}

fn median(does: fn()) -> Duration {
    let mut rounds = [Duration::ZERO; ROUNDS];
    for round in &mut rounds {
        let began = Instant::now();
        does();
        *round = began.elapsed();
    }
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}

fn calls() {
    for _ in 0..CALLS {
        // SAFETY: a call without arguments and effects.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
}

fn faults() {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, which nobody else knows of.
    let memory = unsafe { libc::mmap(ptr::null_mut(), PAGES * PAGE, protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return;
    }
    for page in 0..PAGES {
        // SAFETY: a byte of that memory.
        unsafe { memory.cast::<u8>().add(page * PAGE).write_volatile(1) };
    }
    // SAFETY: that memory, to which nothing points any more.
    unsafe { libc::munmap(memory, PAGES * PAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_what_takes_longer() {
        let micros = Duration::from_micros;
        assert_eq!(of_pass(micros(30), micros(20), 100.0), Duration::from_nanos(100));
        assert_eq!(of_pass(micros(20), micros(30), 100.0), Duration::ZERO);
        assert_eq!(of_pass(micros(9_000), micros(20), 0.0), MOST);
        let rounds = Rounds::now();
        assert!(rounds.calls > Duration::ZERO && rounds.faults > Duration::ZERO);
    }
}

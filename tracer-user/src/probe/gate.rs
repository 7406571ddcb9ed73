//! The kernel's side of the budget: what the processes' traps come to, and how many more they may take.
//!
//! In: slots of the process table's entries. Out: counts, as of now. What they cost and what is
//! allowed is decided in [`super::budget`].

use aya::maps::{Array, MapData, MapError, PerCpuArray};
use tracer_common::record::{Closes, Usage};

use super::{Error, Kernel, load::map};

/// What a process's traps come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// All tokens that were asked for, also by those that found the gate closed.
    pub tokens: u64,
    /// Those of them that were no traps, but programs at the kernel's tracepoints (probe os).
    pub at_tracepoints: u64,
    /// How often it passed such a tracepoint, whatever came of it.
    pub passes: u64,
    /// Nanoseconds inside of the kernel programs, of the events that were timed, and how many.
    pub timed_ns: u64,
    pub timed: u64,
    /// Those of them that were dense ([`tracer_common::record::DENSE`]).
    pub dense: u64,
}

impl Taken {
    /// All traps.
    pub fn traps(&self) -> u64 {
        self.tokens.saturating_sub(self.at_tracepoints)
    }

    /// Whether its events followed each other with next to nothing in between, more often than now and then. A
    /// clock does not tell that where the program had no CPU for a part of the time.
    pub fn is_dense(&self) -> bool {
        self.dense * 3 > self.timed
    }

    /// Since another time, of a slot whose count of tokens was set to 0 then.
    pub fn since(self, base: &Self) -> Self {
        Self {
            tokens: self.tokens,
            at_tracepoints: self.at_tracepoints.saturating_sub(base.at_tracepoints),
            passes: self.passes.saturating_sub(base.passes),
            timed_ns: self.timed_ns.saturating_sub(base.timed_ns),
            timed: self.timed.saturating_sub(base.timed),
            dense: self.dense.saturating_sub(base.dense),
        }
    }
}

impl Kernel {
    /// What a slot's process has taken.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn traps(&self, slot: u32) -> Result<Taken, Error> {
        let failed = |source: MapError| Error::Map { map: "TAKEN", source };
        let taken: Array<&MapData, u64> = map(&self.ebpf, "TAKEN")?;
        let usage: PerCpuArray<&MapData, Usage> = map(&self.ebpf, "USAGE")?;
        let usage = usage.get(&slot, 0).map_err(failed)?;
        Ok(Taken {
            tokens: taken.get(&slot, 0).map_err(failed)?,
            at_tracepoints: usage.iter().map(|usage| usage.tokens).sum(),
            passes: usage.iter().map(|usage| usage.passes).sum(),
            timed_ns: usage.iter().map(|usage| usage.handler_ns).sum(),
            timed: usage.iter().map(|usage| usage.timed).sum(),
            dense: usage.iter().map(|usage| usage.dense).sum(),
        })
    }

    /// How many of a slot's events were timed, by CPU.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn timed_by_cpu(&self, slot: u32) -> Result<Vec<u64>, Error> {
        let failed = |source: MapError| Error::Map { map: "USAGE", source };
        let usage: PerCpuArray<&MapData, Usage> = map(&self.ebpf, "USAGE")?;
        let usage = usage.get(&slot, 0).map_err(failed)?;
        Ok(usage.iter().map(|usage| usage.timed).collect())
    }

    /// Lets a slot's process go on until it has taken so many traps in all.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn allow(&mut self, slot: u32, traps: u64) -> Result<(), Error> {
        let failed = |source: MapError| Error::Map { map: "ALLOWED", source };
        let map = self.ebpf.map_mut("ALLOWED").ok_or(Error::Missing("ALLOWED"))?;
        let mut allowed: Array<&mut MapData, u64> = map.try_into().map_err(failed)?;
        allowed.set(slot, traps, 0).map_err(failed)
    }

    /// Shuts a slot's gate at some time.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn close_at(&mut self, slot: u32, closes: Closes) -> Result<(), Error> {
        let failed = |source: MapError| Error::Map { map: "CLOSES", source };
        let map = self.ebpf.map_mut("CLOSES").ok_or(Error::Missing("CLOSES"))?;
        let mut times: Array<&mut MapData, Closes> = map.try_into().map_err(failed)?;
        times.set(slot, closes, 0).map_err(failed)
    }

    /// A slot that another process takes over: its counts begin anew.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn clear_slot(&mut self, slot: u32) -> Result<(), Error> {
        let failed = |source: MapError| Error::Map { map: "TAKEN", source };
        let map = self.ebpf.map_mut("TAKEN").ok_or(Error::Missing("TAKEN"))?;
        let mut taken: Array<&mut MapData, u64> = map.try_into().map_err(failed)?;
        taken.set(slot, 0, 0).map_err(failed)?;
        self.close_at(slot, Closes::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_dense_when_more_than_now_and_then_they_are() {
        let taken = |dense, timed| Taken { dense, timed, ..Taken::default() };
        assert!(!taken(0, 0).is_dense() && !taken(33, 100).is_dense() && taken(34, 100).is_dense());
        // What the process before it in its slot did is not its own.
        assert!(!taken(34, 200).since(&taken(34, 100)).is_dense());
    }
}

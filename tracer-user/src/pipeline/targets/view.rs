//! What the runtime itself holds of memory, beside what the kernel does for it (probe os).
//!
//! In: the runtime's own records at the beginning and at the end. Out: a sentence.

use crate::{
    host,
    output::text::bytes,
    runtime::{Live, ProcessMemory},
};

/// The runtime's books at one moment. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Spans of the heap in use, those that are free, and what of those was given back.
    in_use: u64,
    idle: u64,
    released: u64,
    stacks: u64,
    /// Everything that it has from the system and did not give back.
    ready: u64,
    /// What the process has resident, as the kernel tells it.
    resident: Option<u64>,
}

impl View {
    /// Nothing where it can't be read.
    pub fn of(pid: u32, records: Option<&Live<ProcessMemory>>) -> Option<Self> {
        let stats = records?.stats_at_once().ok()?;
        let heap = &stats.heap;
        Some(Self {
            in_use: heap.in_use,
            idle: heap.idle.saturating_sub(heap.released),
            released: heap.released,
            stacks: stats.stacks_in_use,
            ready: stats.sys.saturating_sub(heap.released),
            resident: host::memory_use(pid).ok().and_then(|memory| memory.resident),
        })
    }

    /// What has changed since `from`.
    pub fn since(&self, from: &Self, who: &str) -> String {
        let change = |of: fn(&Self) -> u64| match (bytes(of(from)), bytes(of(self))) {
            (before, after) if before == after => after,
            (before, after) => format!("{before} to {after}"),
        };
        let off_heap = self.resident.map(|resident| {
            let rest = bytes(resident.saturating_sub(self.ready));
            format!("; of {} resident at least {rest} is not the runtime's", bytes(resident))
        });
        format!(
            "the runtime's own view of {who}: heap in use {}, free {}, given back {}; stacks {}; all that \
             it has and did not give back {}{}",
            change(|view| view.in_use),
            change(|view| view.idle),
            change(|view| view.released),
            change(|view| view.stacks),
            change(|view| view.ready),
            off_heap.unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_with_both_ends() {
        let from = View { in_use: 1 << 20, stacks: 4096, ready: 2 << 20, ..View::default() };
        let to = View { in_use: 9 << 20, ready: 10 << 20, resident: Some(12 << 20), ..from };
        let text = to.since(&from, "server (pid 7)");
        assert!(
            text.starts_with("the runtime's own view of server (pid 7): heap in use 1.0 MiB to")
        );
        assert!(text.contains("in use 1.0 MiB to 9.0 MiB, free 0 B, "), "{text}");
        assert!(
            text.ends_with("12.0 MiB resident at least 2.0 MiB is not the runtime's"),
            "{text}"
        );
    }
}

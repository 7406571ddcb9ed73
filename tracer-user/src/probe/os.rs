//! What the kernel does for a process (probe `os`): the programs at tracepoints, and what of mappings is
//! left at the end.
//!
//! In: the running kernel's own structures, the ring of mappings. Out: programs that are attached, and
//! stacks of what is still mapped.

pub(super) mod left;
mod offsets;

use std::{collections::HashMap, time::Duration};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
    programs::{RawTracePoint, raw_trace_point::RawTracePointLink},
};
use tracer_common::{
    StackKey,
    os::{Happening, Mapping},
};

use super::{Error, Kernel, RawStack, passes::Rounds, syscall::wait_for_programs};
use left::Left;
pub use offsets::{Offsets, Unsuited};

/// Programs, and the tracepoints that they are attached to.
const PROGRAMS: [(&str, &str); 4] = [
    ("os_enter", "sys_enter"),
    ("os_exit", "sys_exit"),
    ("os_resident", "rss_stat"),
    ("os_pages", "mm_page_alloc"),
];

/// The same, where slow allocations are timed.
const OF_SLOW: (&str, &str) = ("os_fault", "page_fault_user");

/// Changes may come out of the order in which they took place by so many nanoseconds.
const SETTLED: u64 = 1_000_000_000;

/// What is attached, and what has come of it.
pub(super) struct Os {
    ring: RingBuf<MapData>,
    links: Vec<RawTracePointLink>,
    left: Left,
}

impl Os {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, links: Vec::new(), left: Left::default() }
    }

    /// Takes changes of what is mapped out of the ring.
    pub(super) fn drain(&mut self) {
        let mut newest = 0;
        while let Some(item) = self.ring.next() {
            if let Some(mapping) = decode(&item) {
                newest = newest.max(mapping.at);
                self.left.come(mapping);
            }
        }
        self.left.settle(newest.saturating_sub(SETTLED));
    }

    /// Stacks of what some images have mapped and not unmapped; they are over.
    pub(super) fn take(&mut self, wanted: impl Fn(u32) -> bool, stacks: &mut Vec<RawStack>) {
        self.drain();
        self.left.settle(u64::MAX);
        let left = self.left.take(wanted);
        let by_key: HashMap<StackKey, usize> =
            stacks.iter().enumerate().map(|(at, stack)| (stack.key, at)).collect();
        for (key, sum) in left {
            // A stack that found no room has been counted as lost.
            let Some(of) = by_key.get(&key).map(|at| &stacks[*at]) else { continue };
            let key = StackKey { site: Happening::Left.site(), ..key };
            let (hits, bytes) = (sum.mappings, sum.bytes);
            stacks.push(RawStack { key, hits, objects: hits, bytes, ..of.clone() });
        }
    }
}

impl Kernel {
    /// Attaches to the tracepoints, which every process of the host passes from now on. What passing one costs,
    /// where that is counted.
    pub fn watch_os(&mut self) -> Result<Option<Duration>, Error> {
        let times_slow = self.options.os.is_some_and(|offsets| offsets.trap.is_some());
        let Some(os) = &mut self.os else { return Ok(None) };
        let before = self.options.budget.then(Rounds::now);
        for at in PROGRAMS.into_iter().chain(times_slow.then_some(OF_SLOW)) {
            os.links.push(attached(&mut self.ebpf, at)?);
        }
        before.map(|before| self.cost_of_pass(before)).transpose()
    }

    /// Tries each tracepoint, whether the one before was refused or not; whether it is for slow allocations
    /// alone. Nothing stays attached.
    pub fn try_os(&mut self) -> Vec<(&'static str, bool, Result<(), Error>)> {
        let all = PROGRAMS.into_iter().map(|at| (at, false)).chain([(OF_SLOW, true)]);
        let ebpf = &mut self.ebpf;
        all.map(|(at, of_slow)| (at.1, of_slow, attached(ebpf, at).map(drop))).collect()
    }

    /// Takes the programs off. When this returns none is running any more.
    pub fn unwatch_os(&mut self) {
        let Some(os) = &mut self.os else { return };
        if !os.links.is_empty() {
            os.links.clear();
            if let Err(refused) = wait_for_programs() {
                log::debug!("{refused}");
            }
        }
    }
}

/// A program at its tracepoint.
fn attached(
    ebpf: &mut Ebpf,
    (program, tracepoint): (&'static str, &str),
) -> Result<RawTracePointLink, Error> {
    let refused = |source| Error::Program { program, source };
    let found = ebpf.program_mut(program).ok_or(Error::Missing(program))?;
    let raw: &mut RawTracePoint = found.try_into().map_err(refused)?;
    raw.load().map_err(refused)?;
    let link = raw.attach(tracepoint).map_err(refused)?;
    raw.take_link(link).map_err(refused)
}

/// A change's bytes; nothing when they are not one.
pub(super) fn decode(bytes: &[u8]) -> Option<Mapping> {
    if bytes.len() != size_of::<Mapping>() {
        return None;
    }
    // SAFETY: as many bytes as it has; integers only, any bytes are a value.
    Some(unsafe { bytes.as_ptr().cast::<Mapping>().read_unaligned() })
}

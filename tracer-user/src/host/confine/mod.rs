//! What this process gives up for good: capabilities, what a program that it starts could gain, and system calls that it has no
//! use for.
//!
//! In: the capabilities that it acts with, and those that it keeps for what it starts. Out: a process that can never do more than
//! that, whatever becomes of it. Nothing here can be taken back; what could not be given up is told.

mod calls;

use std::fs;
use std::io;

use caps::{CapSet, Capability as Cap, CapsHashSet};

use super::{Capabilities, Capability};

/// What is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// In force all the time.
    pub acts_with: Vec<Capability>,
    /// Not in force here, but in what is started.
    pub passes_on: Vec<Capability>,
}

/// What could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("capabilities could not be given up: {0}")]
    Capabilities(caps::errors::CapsError),
    #[error("it has {0} threads already, of which each keeps its capabilities")]
    Threads(usize),
    #[error("/proc/self/task can't be read: {0}")]
    NoProc(io::Error),
    #[error("system calls could not be given up: {0}")]
    Calls(#[from] calls::Error),
}

/// Gives up all else, of this thread and of all that it will start. It must be the only one.
///
/// # Errors
/// Something could not be given up. What comes after it was given up all the same, where that could be.
pub fn confine(kept: &Kept) -> Result<(), Error> {
    let capabilities = only_thread().and_then(|()| give_up_capabilities(kept));
    let calls = calls::give_up().map_err(Error::Calls);
    capabilities.and(calls)
}

/// What a program that this process starts can have at most.
pub fn permitted() -> Option<Capabilities> {
    let held = caps::read(None, CapSet::Permitted).ok()?;
    Some(Capabilities(held.iter().fold(0, |mask, one| mask | one.bitmask())))
}

/// Capabilities are a thread's.
fn only_thread() -> Result<(), Error> {
    let threads = fs::read_dir("/proc/self/task").map_err(Error::NoProc)?.count();
    if threads == 1 { Ok(()) } else { Err(Error::Threads(threads)) }
}

fn give_up_capabilities(kept: &Kept) -> Result<(), Error> {
    let of = |list: &[Capability]| -> CapsHashSet {
        let meant = |cap: &Cap| list.iter().any(|one| *one as u8 == cap.index());
        caps::all().into_iter().filter(meant).collect()
    };
    let acts_with = of(&kept.acts_with);
    let keeps: CapsHashSet = acts_with.union(&of(&kept.passes_on)).copied().collect();
    let held = |set| caps::read(None, set).map_err(Error::Capabilities);
    let limit = |set, to: &CapsHashSet| {
        let rest = held(set)?.intersection(to).copied().collect();
        caps::set(None, set, &rest).map_err(Error::Capabilities)
    };
    // Whoever may not take away from the bounding set (CAP_SETPCAP) can't add by it either: what is started has no new privileges.
    if caps::has_cap(None, CapSet::Effective, Cap::CAP_SETPCAP).map_err(Error::Capabilities)? {
        for one in held(CapSet::Bounding)?.difference(&keeps) {
            caps::drop(None, CapSet::Bounding, *one).map_err(Error::Capabilities)?;
        }
    }
    limit(CapSet::Effective, &acts_with)?;
    // What is ambient goes with what is inheritable.
    limit(CapSet::Inheritable, &keeps)?;
    limit(CapSet::Permitted, &keeps)
}

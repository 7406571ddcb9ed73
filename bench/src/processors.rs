//! Which processor somebody runs on.

use anyhow::{Result, bail};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// Does something on one processor: whoever is started stays there.
pub fn on_processor<T>(cpu: usize, what: impl FnOnce() -> Result<T>) -> Result<T> {
    let all = sched_getaffinity(Pid::from_raw(0))?;
    let mut one = CpuSet::new();
    one.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &one)?;
    let done = what();
    sched_setaffinity(Pid::from_raw(0), &all)?;
    done
}

/// The first two that there are.
pub fn two_processors() -> Result<[usize; 2]> {
    let all = sched_getaffinity(Pid::from_raw(0))?;
    let mut known = (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap_or(false));
    let (Some(first), Some(second)) = (known.next(), known.next()) else {
        bail!("it takes two processors");
    };
    Ok([first, second])
}

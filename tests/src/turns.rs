//! Which CPU a program's threads run on, and who goes first there.
//!
//! In: its process id. What threads it makes later inherit it.

use std::fs;
use std::io;
use std::mem::{size_of, zeroed};

use anyhow::{Context, Result, ensure};
use nix::libc;

/// Lets a program run on the first CPU alone.
pub fn on_first_cpu(pid: u32) -> Result<()> {
    // SAFETY: a set of CPUs is an array of bits, and CPU 0 is within it.
    let first = unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(0, &mut set);
        set
    };
    each_thread(pid, |thread| {
        // SAFETY: the set has the length that is given.
        unsafe { libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const first) }
    })
}

/// Lets a program run before all others as soon as it can. Its own threads take turns: one of a Go program may spin until
/// another one has run.
pub fn before_others(pid: u32) -> Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    each_thread(pid, |thread| {
        // SAFETY: the parameters live until the call returns.
        unsafe { libc::sched_setscheduler(thread, libc::SCHED_RR, &raw const parameters) }
    })
}

fn each_thread(pid: u32, call: impl Fn(libc::pid_t) -> libc::c_int) -> Result<()> {
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = entry?.file_name().to_string_lossy().parse().context("a thread's number")?;
        let failed = call(thread) != 0;
        ensure!(!failed, "can't say when {pid} is to run: {}", io::Error::last_os_error());
    }
    Ok(())
}

//! Helpers of the integration tests: Go programs to trace, and running heaptap on them.
//!
//! A test that can't run (no root, no toolchain, no binary) fails and says what to do; none is
//! skipped in silence. Tests wait on pipes, never on a clock.

pub mod agent;
pub mod browser;
pub mod catalog;
pub mod cgroup;
pub mod check;
pub mod churn;
pub mod code;
pub mod devtools;
pub mod fixture;
pub mod heaptap;
pub mod holding;
pub mod leaks;
pub mod lines;
#[cfg(target_arch = "x86_64")]
pub mod machine_code;
pub mod manifests;
pub mod own_profile;
pub mod owned;
pub mod page;
pub mod patch;
pub mod podman;
pub mod pprof;
pub mod privileges;
pub mod profile;
pub mod prometheus;
pub mod pushing;
pub mod real;
pub mod receivers;
pub mod report;
pub mod running;
pub mod storm;
pub mod stress;
pub mod terminal;
pub mod told;
pub mod turns;
pub mod watching;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

pub use fixture::{Fixture, Variant};
pub use heaptap::{Ended, Recording};
pub use running::Running;
pub use terminal::Terminal;

/// Fails the test when it can't attach probes.
pub fn require_root() -> anyhow::Result<()> {
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    anyhow::ensure!(root, "this test attaches real probes: run it as root");
    Ok(())
}

/// Copies a program that will be run. Another process writes it: what is open for writing here, every
/// child that another thread starts at that moment holds open until its exec, and the kernel runs no file
/// that somebody may write to (text file busy).
pub fn copy(program: impl AsRef<Path>, to: impl AsRef<Path>) -> anyhow::Result<()> {
    let (program, to) = (program.as_ref(), to.as_ref());
    let copied = Command::new("cp").arg(program).arg(to).status().context("can't run cp")?;
    anyhow::ensure!(copied.success(), "can't copy {} to {}", program.display(), to.display());
    Ok(())
}

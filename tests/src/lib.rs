//! Helpers of the integration tests: Go programs to trace, and running heaptap on them.
//!
//! A test that can't run (no root, no toolchain, no binary) fails and says what to do; none is
//! skipped in silence. Tests wait on pipes, never on a clock.

pub mod catalog;
pub mod check;
pub mod fixture;
pub mod heaptap;
pub mod holding;
pub mod lines;
pub mod own_profile;
pub mod patch;
pub mod podman;
pub mod pprof;
pub mod profile;
pub mod report;
pub mod running;
pub mod storm;
pub mod terminal;

use std::fs;
use std::os::unix::fs::MetadataExt;

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

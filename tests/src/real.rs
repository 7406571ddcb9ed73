//! Real programs that the agent speaks to in tests; `cargo xtask setup` has unpacked them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use xtask::programs::RealProgram;

pub fn prometheus() -> Result<PathBuf> {
    found(RealProgram::Prometheus, RealProgram::Prometheus.path()?)
}

pub fn promtool() -> Result<PathBuf> {
    found(RealProgram::Prometheus, RealProgram::Prometheus.beside("promtool")?)
}

/// A command that runs it: it looks for its templates where its package would have put them, which it has for itself.
pub fn alertmanager() -> Result<Command> {
    let program = found(RealProgram::Alertmanager, RealProgram::Alertmanager.path()?)?;
    let share = RealProgram::Alertmanager.root()?.join("usr/share");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(
        "mount -t overlay overlay -o \"lowerdir=$1:/usr/share\" /usr/share && shift && exec \"$@\"",
    );
    command.arg("sh").arg(share).arg(program);
    Ok(command)
}

fn found(program: RealProgram, path: Option<PathBuf>) -> Result<PathBuf> {
    path.with_context(|| format!("no {}: run `cargo xtask setup`", program.name()))
}

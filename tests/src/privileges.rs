//! Commands that run as root with a part of root's privileges, and what processes have of them.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

/// Capabilities of a thread, and what else it can't get rid of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    pub effective: u64,
    pub permitted: u64,
    pub bounding: u64,
    pub no_new: bool,
    /// A filter of system calls is in force.
    pub filtered: bool,
}

/// A command that runs what comes after it with these capabilities (`bpf`, `sys_ptrace`) and no others.
pub fn with(capabilities: &[String]) -> Command {
    let kept: String = capabilities.iter().map(|one| format!(",+{one}")).collect();
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set=-all{kept}")).arg("--inh-caps=-all");
    command
}

/// A capability as a bit, by its number (include/uapi/linux/capability.h).
pub const fn bit(number: u32) -> u64 {
    1 << number
}

impl Privileges {
    /// Of each thread of a process.
    pub fn of(pid: u32) -> Result<Vec<Self>> {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).context("it has ended")?;
        // A thread may end meanwhile.
        let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status")).ok();
        threads.flatten().filter_map(status).map(|text| Self::parse(&text)).collect()
    }

    fn parse(status: &str) -> Result<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.strip_prefix(':')).map(str::trim).context("no such line")
        };
        let set = |name: &str| -> Result<u64> { Ok(u64::from_str_radix(field(name)?, 16)?) };
        Ok(Self {
            effective: set("CapEff")?,
            permitted: set("CapPrm")?,
            bounding: set("CapBnd")?,
            no_new: field("NoNewPrivs")? == "1",
            filtered: field("Seccomp")? == "2",
        })
    }
}

//! How processes end: attaches the kernel programs that tell it.
//!
//! In: which processes, by [`Kernel::select`]. Out: notices. Where the running kernel does not tell of its own types,
//! ends are told without how they were.

use std::fs;

use super::{Error, Kernel, attach, btf::Btf};

/// Where the running kernel has what the programs read, in bytes of its `task_struct`; 0: it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    pub exit_code: u32,
    pub tgid: u32,
}

impl Offsets {
    /// Of the running kernel, as far as it tells.
    pub fn of_kernel() -> Self {
        fs::read("/sys/kernel/btf/vmlinux").map_or_else(|_| Self::default(), |b| Self::find(&b))
    }

    pub(super) fn find(bytes: &[u8]) -> Self {
        let Some(btf) = Btf::parse(bytes) else { return Self::default() };
        let task = btf.structs(&["task_struct"]).get("task_struct").copied();
        let offset = |name| task.and_then(|task| btf.member(task, name)).map_or(0, |m| m.offset);
        Self { exit_code: offset("exit_code"), tgid: offset("tgid") }
    }
}

impl Kernel {
    /// Tells from now on how selected processes end, and whom the kernel kills because memory has run out.
    ///
    /// # Errors
    /// The kernel has no such tracepoint, or refused.
    pub fn watch_ends(&mut self) -> Result<(), Error> {
        attach::raw_tracepoint(&mut self.ebpf, "process_ends", "sched_process_exit")?;
        attach::raw_tracepoint(&mut self.ebpf, "oom_victim", "mark_victim")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_does_not_tell_is_not_guessed_at() {
        assert_eq!(Offsets::find(b"no types"), Offsets::default());
        let own = Offsets::of_kernel();
        assert!(own == Offsets::default() || own.exit_code != own.tgid, "{own:?}");
    }
}

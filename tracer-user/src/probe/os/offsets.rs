//! Where the running kernel has what the programs of the probe `os` read.

use std::fs;

use aya::util::nr_cpus;
use tracer_common::os::CPUS_AT_MOST;

use super::super::btf::Btf;

/// Where the kernel tells of its own types.
const PATH: &str = "/sys/kernel/btf/vmlinux";

/// Byte offsets in the running kernel's structures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `task_struct.mm`.
    pub task_mm: u32,
    /// `task_struct.thread.fsbase`.
    pub task_fsbase: u32,
    /// `mm_struct.brk`.
    pub mm_brk: u32,
    /// `mm_struct.rss_stat`, of `percpu_counter`s.
    pub mm_rss: u32,
    /// Bytes of a `percpu_counter`, its `count` and `counters`.
    pub counter_size: u32,
    pub count: u32,
    pub local: u32,
    /// `bpf_array.pptrs`.
    pub array_pptrs: u32,
    /// How many CPUs there can be.
    pub cpus: u32,
    /// Nanoseconds of a trap, where slow allocations are timed; nothing where they are not.
    pub trap: Option<u32>,
}

/// Why the probe can't be used here.
#[derive(Debug, thiserror::Error)]
pub enum Unsuited {
    #[error(
        "probe os needs the kernel's type information, and {PATH} can't be read: {0} (a kernel \
         built with CONFIG_DEBUG_INFO_BTF has it)"
    )]
    NoTypes(std::io::Error),
    #[error("probe os needs the kernel's type information, and {PATH} is damaged")]
    Damaged,
    #[error(
        "probe os can't count resident pages on this kernel, which has no exact count of them by CPU \
         (mm_struct.rss_stat, since Linux 6.2)"
    )]
    NoCounts,
    #[error("probe os can add up the counts of {CPUS_AT_MOST} CPUs at most, and there can be {0}")]
    TooManyCpus(usize),
    #[error("how many CPUs there can be is not known: {0}")]
    Cpus(std::io::Error),
    #[error("probe os works on x86-64 only")]
    Machine,
    #[error("probe os needs {0}, which this kernel does not have")]
    Missing(&'static str),
}

impl Unsuited {
    /// Whether a privilege would help.
    pub fn is_permission(&self) -> bool {
        matches!(self, Unsuited::NoTypes(err) if err.kind() == std::io::ErrorKind::PermissionDenied)
    }
}

impl Offsets {
    /// Of the running kernel.
    ///
    /// # Errors
    /// It does not tell, or can't do what the probe needs.
    pub fn of_kernel() -> Result<Self, Unsuited> {
        // How threads are interrupted there was not tried elsewhere.
        if cfg!(not(target_arch = "x86_64")) {
            return Err(Unsuited::Machine);
        }
        let cpus = nr_cpus().map_err(|(_, err)| Unsuited::Cpus(err))?;
        let known = u32::try_from(cpus).ok().filter(|cpus| *cpus <= CPUS_AT_MOST);
        let cpus = known.ok_or(Unsuited::TooManyCpus(cpus))?;
        let found = Self::find(&fs::read(PATH).map_err(Unsuited::NoTypes)?)?;
        Ok(Self { cpus, ..found })
    }

    pub(in crate::probe) fn find(bytes: &[u8]) -> Result<Self, Unsuited> {
        let btf = Btf::parse(bytes).ok_or(Unsuited::Damaged)?;
        let found = btf.structs(&["task_struct", "mm_struct", "percpu_counter", "bpf_array"]);
        let member = |of: &str, name: &'static str| {
            let member = found.get(of).and_then(|of| btf.member(*of, name));
            member.ok_or(Unsuited::Missing(name))
        };
        let rss = member("mm_struct", "rss_stat").map_err(|_| Unsuited::NoCounts)?;
        let counter = found.get("percpu_counter").copied().ok_or(Unsuited::NoCounts)?;
        if btf.array(rss).is_none_or(|(of, count)| of != counter || count < 4) {
            return Err(Unsuited::NoCounts);
        }
        let thread = member("task_struct", "thread")?;
        let fsbase = btf.member_of(thread, "fsbase").ok_or(Unsuited::Missing("fsbase"))?;
        Ok(Self {
            task_mm: member("task_struct", "mm")?.offset,
            task_fsbase: fsbase.offset,
            mm_brk: member("mm_struct", "brk")?.offset,
            mm_rss: rss.offset,
            counter_size: btf.size(counter).ok_or(Unsuited::NoCounts)?,
            count: member("percpu_counter", "count")?.offset,
            local: member("percpu_counter", "counters")?.offset,
            array_pptrs: member("bpf_array", "pptrs")?.offset,
            cpus: 0,
            trap: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_cannot_do_it_is_refused_in_words() {
        let damaged = Offsets::find(b"no types").unwrap_err().to_string();
        assert!(damaged.contains("is damaged"), "{damaged}");
        // Well-formed, and without any type.
        let words = [24u32, 0, 0, 0, 1].map(u32::to_le_bytes);
        let empty = [&[0x9f, 0xeb, 1, 0][..], words.as_flattened(), b"\0"].concat();
        let old = Offsets::find(&empty).unwrap_err().to_string();
        assert!(old.contains("since Linux 6.2"), "{old}");
    }
}

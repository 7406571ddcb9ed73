//! Texts about memory: of a process, and of its control group.
//!
//! In: `status`, `statm` and `cgroup` of a process, `memory.stat` of a control group. Out: bytes, and where a control
//! group's files lie. Opens nothing.

use std::path::{Path, PathBuf};

/// A limit from here on is none: cgroup v1 writes the largest number of pages for "unlimited".
pub const NO_LIMIT: u64 = 1 << 62;
/// Most ancestors of a control group that are asked for their limit.
const MAX_DEPTH: usize = 64;

/// Memory of a process, as the kernel counts it. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    pub resident: Option<u64>,
    /// Of that: not backed by a file.
    pub anonymous: Option<u64>,
    pub swapped: Option<u64>,
    pub cgroup: Option<CgroupMemory>,
}

/// Memory of a control group with all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupMemory {
    pub usage: u64,
    /// The lowest limit of the group and those above it; nothing: none.
    pub limit: Option<u64>,
}

pub fn of_status(status: &str) -> MemoryUse {
    let field = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
        kib.checked_mul(1024)
    };
    MemoryUse {
        resident: field("VmRSS"),
        anonymous: field("RssAnon"),
        swapped: field("VmSwap"),
        cgroup: None,
    }
}

/// Lines of `memory.stat` that are dropped when memory is short, in both versions of control groups.
const V1: &[&str] = &["total_inactive_file", "total_active_file"];
const V2: &[&str] = &["inactive_file", "active_file", "slab_reclaimable"];

/// Files of a hierarchy that has the memory controller.
pub struct Files {
    pub root: PathBuf,
    pub usage: &'static str,
    pub limit: &'static str,
    /// Lines of `memory.stat` that are dropped when memory is short.
    pub droppable: &'static [&'static str],
}

/// The hierarchy in which memory is counted, v1's where there is one, and the group in it.
pub fn counted_in<'a>(root: &Path, groups: &'a str) -> Option<(Files, &'a str)> {
    let path_of = |wanted: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            // What begins with a slash again would lead out of the hierarchy.
            let inside = path.strip_prefix('/').filter(|inside| !inside.starts_with('/'))?;
            // A process outside of heaptap's cgroup namespace is shown with a way up.
            (wanted(controllers) && !inside.split('/').any(|c| c == "..")).then_some(inside)
        })
    };
    if let Some(path) = path_of(&|c| c.split(',').any(|c| c == "memory")) {
        let files = Files {
            root: root.join("memory"),
            usage: "memory.usage_in_bytes",
            limit: "memory.limit_in_bytes",
            droppable: V1,
        };
        return Some((files, path));
    }
    let files = Files {
        root: root.to_owned(),
        usage: "memory.current",
        limit: "memory.max",
        droppable: V2,
    };
    Some((files, path_of(&str::is_empty)?))
}

impl Files {
    /// A group and those above it.
    pub fn up(&self, path: &str) -> impl Iterator<Item = PathBuf> {
        let next = |group: &PathBuf| {
            let above = group.parent().filter(|_| *group != self.root);
            above.map(Path::to_path_buf)
        };
        std::iter::successors(Some(self.root.join(path)), next).take(MAX_DEPTH)
    }
}

/// The second number of a `statm`.
pub fn pages_of(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The sum of some lines of `memory.stat`; of the first two all are known, or nothing is.
pub fn droppable(text: &str, lines: &[&str]) -> Option<u64> {
    let of = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(' '))?;
        line.trim().parse::<u64>().ok()
    };
    lines.iter().enumerate().try_fold(0u64, |sum, (at, name)| match of(name) {
        Some(bytes) => Some(sum.saturating_add(bytes)),
        None if at < 2 => None,
        None => Some(sum),
    })
}

/// `max`, which means no limit, is no number.
pub fn number_of(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Any text, as each of the files ([`crate::doors`]).
#[cfg(any(test, fuzzing))]
pub fn any_text(text: &str) {
    let _memory = (of_status(text), pages_of(text), number_of(text));
    if let Some((files, path)) = counted_in(Path::new("/groups"), text) {
        let up: Vec<PathBuf> = files.up(path).collect();
        assert!(up.len() <= MAX_DEPTH && up.iter().all(|group| group.starts_with(&files.root)));
    }
    let _droppable = (droppable(text, V1), droppable(text, V2));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_status() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t 1024 kB\nVmSwap:\t0 kB\n";
        let memory = of_status(status);
        assert_eq!(memory.resident, Some(2 << 20));
        assert_eq!((memory.anonymous, memory.swapped), (Some(1 << 20), Some(0)));
        let odd = of_status("VmRSS:\t18446744073709551615 kB\nRssAnon:\tx kB\nVmSwap: 1 MB\n");
        assert_eq!(odd, MemoryUse::default());
    }

    #[test]
    fn a_sum_that_cannot_be_is_the_largest_there_is() {
        let stat = format!("inactive_file {0}\nactive_file {0}\nslab_reclaimable 7\n", u64::MAX);
        assert_eq!(droppable(&stat, V2), Some(u64::MAX));
        assert_eq!(droppable("inactive_file 5\nslab_reclaimable 7\n", V2), None);
        assert_eq!(droppable("inactive_file 5\nactive_file 1\n", V2), Some(6));
    }
}

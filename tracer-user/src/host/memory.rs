//! How much memory a process has resident, and how much its control group lets it have.
//!
//! In: /proc/PID/status, /proc/PID/cgroup and the control group's files. Out: bytes. A figure that the
//! kernel does not tell is nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::read;

/// A limit from here on is none: cgroup v1 writes the largest number of pages for "unlimited".
const NO_LIMIT: u64 = 1 << 62;
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

/// Memory of processes at one time: each control group is asked once, however many it holds.
#[derive(Debug, Default)]
pub struct MemoryReader {
    /// By what /proc/PID/cgroup says.
    groups: HashMap<Vec<u8>, Option<CgroupMemory>>,
}

impl MemoryReader {
    /// Memory of a process.
    ///
    /// # Errors
    /// It is gone or may not be looked at.
    pub fn of(&mut self, pid: u32) -> Result<MemoryUse, Error> {
        let mut memory = memory_use(pid)?;
        let groups = read::bounded(&super::process::dir(pid).join("cgroup")).unwrap_or_default();
        let of_groups = |groups: &Vec<u8>| {
            cgroup_memory(Path::new("/sys/fs/cgroup"), &String::from_utf8_lossy(groups))
        };
        memory.cgroup = *self.groups.entry(groups).or_insert_with_key(of_groups);
        Ok(memory)
    }
}

/// Memory of a process, without that of its control group.
///
/// # Errors
/// It is gone or may not be looked at.
pub fn memory_use(pid: u32) -> Result<MemoryUse, Error> {
    let dir = super::process::dir(pid);
    let status = read::bounded(&dir.join("status")).map_err(|e| Error::read(pid, "status", &e))?;
    Ok(of_status(&String::from_utf8_lossy(&status)))
}

fn of_status(status: &str) -> MemoryUse {
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

/// The group whose memory is counted: that of v1's memory controller where there is one.
fn cgroup_memory(root: &Path, groups: &str) -> Option<CgroupMemory> {
    let path_of = |wanted: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let inside = path.strip_prefix('/')?;
            // A process outside of heaptap's cgroup namespace is shown with a way up.
            (wanted(controllers) && !inside.split('/').any(|c| c == "..")).then_some(inside)
        })
    };
    if let Some(path) = path_of(&|c| c.split(',').any(|c| c == "memory")) {
        let names = ["memory.usage_in_bytes", "memory.limit_in_bytes"];
        return in_tree(&root.join("memory"), path, names);
    }
    in_tree(root, path_of(&str::is_empty)?, ["memory.current", "memory.max"])
}

fn in_tree(root: &Path, path: &str, [usage, limit]: [&str; 2]) -> Option<CgroupMemory> {
    let mut group: PathBuf = root.join(path);
    let usage = number(&group.join(usage))?;
    let mut lowest = None;
    for _ in 0..MAX_DEPTH {
        let here = number(&group.join(limit)).filter(|limit| *limit < NO_LIMIT);
        lowest = lowest.into_iter().chain(here).min();
        if group == root || !group.pop() {
            break;
        }
    }
    Some(CgroupMemory { usage, limit: lowest })
}

/// `max`, which means no limit, is no number.
fn number(file: &Path) -> Option<u64> {
    String::from_utf8_lossy(&read::bounded(file).ok()?).trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn figures_of_a_status() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t 1024 kB\nVmSwap:\t0 kB\n";
        let memory = of_status(status);
        assert_eq!(memory.resident, Some(2 << 20));
        assert_eq!((memory.anonymous, memory.swapped), (Some(1 << 20), Some(0)));
        let odd = of_status("VmRSS:\t18446744073709551615 kB\nRssAnon:\tx kB\nVmSwap: 1 MB\n");
        assert_eq!(odd, MemoryUse::default());
    }

    fn write(root: &Path, group: &str, files: &[(&str, &str)]) {
        fs::create_dir_all(root.join(group)).unwrap();
        for (name, text) in files {
            fs::write(root.join(group).join(name), text).unwrap();
        }
    }

    #[test]
    fn the_lowest_limit_of_all_ancestors_holds() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let file = |usage, max| [("memory.current", usage), ("memory.max", max)];
        write(root, "pods/pod1", &file("300\n", "max\n"));
        write(root, "pods", &file("900\n", "1000\n"));
        let groups = "0::/pods/pod1\n";
        let expected = CgroupMemory { usage: 300, limit: Some(1000) };
        assert_eq!(cgroup_memory(root, groups), Some(expected));
        write(root, "pods/pod1", &file("300\n", "500\n"));
        assert_eq!(cgroup_memory(root, groups).unwrap().limit, Some(500));
        assert_eq!(cgroup_memory(root, "0::/gone\n"), None);
        assert_eq!(cgroup_memory(root, "0::/../pods\n"), None);
        assert_eq!(cgroup_memory(root, ""), None);
    }

    #[test]
    fn the_old_hierarchy_is_asked_where_it_has_the_controller() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let unlimited = "9223372036854771712\n";
        let files = [("memory.usage_in_bytes", "77\n"), ("memory.limit_in_bytes", unlimited)];
        write(root, "memory/docker/a", &files);
        let groups = "5:cpu:/x\n4:memory:/docker/a\n0::/\n";
        assert_eq!(cgroup_memory(root, groups), Some(CgroupMemory { usage: 77, limit: None }));
    }

    #[test]
    fn a_process_has_memory() {
        let memory = memory_use(std::process::id()).unwrap();
        assert!(memory.resident.unwrap() > memory.anonymous.unwrap());
    }
}

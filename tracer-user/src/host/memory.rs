//! How much memory a process has resident, and how much its control group lets it have.
//!
//! In: /proc/PID/status, /proc/PID/cgroup and the control group's files. Out: bytes. A figure that the
//! kernel does not tell is nothing.

mod texts;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::error::Error;
use super::maps::page_size;
use super::{pressure, read};
#[cfg(any(test, fuzzing))]
pub(super) use texts::any_text;
pub use texts::{CgroupMemory, MemoryUse};
use texts::{Files, NO_LIMIT, counted_in, droppable, number_of, of_status, pages_of};

const GROUPS: &str = "/sys/fs/cgroup";

/// The control group that is nearest to its limit, of a process's own and those above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// As /proc/PID/cgroup has it.
    pub path: String,
    pub usage: u64,
    /// Of that: what the kernel drops before it kills, pages of files and its own caches; nothing: it does not tell.
    pub droppable: Option<u64>,
    pub limit: u64,
}

/// What tells of a process's memory, open to be read again and again.
#[derive(Debug)]
pub struct MemoryFiles {
    pid: u32,
    status: read::Again,
    groups: read::Again,
}

impl MemoryFiles {
    /// Opens them.
    ///
    /// # Errors
    /// It is gone or may not be looked at.
    pub fn open(pid: u32) -> Result<Self, Error> {
        let dir = super::process::dir(pid);
        let open =
            |what| read::Again::open(&dir.join(what)).map_err(|err| Error::read(pid, what, &err));
        Ok(Self { pid, status: open("status")?, groups: open("cgroup")? })
    }
}

/// Memory of processes at one time: each control group is asked once, however many it holds.
#[derive(Debug, Default)]
pub struct MemoryReader {
    /// By what /proc/PID/cgroup says.
    groups: HashMap<Vec<u8>, Option<CgroupMemory>>,
    nearest: HashMap<Vec<u8>, Option<Nearest>>,
    brakes: HashMap<Vec<u8>, Brakes>,
}

/// What the kernel does before it kills, and how much of that it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brakes {
    /// Beyond this usage tasks are slowed down: the lowest `memory.high` of the group and those above it.
    pub high: Option<u64>,
    /// For how long some task of the group has waited for memory; of the host where the group does not tell.
    pub stalled: Option<Duration>,
}

impl MemoryReader {
    /// Memory of a process.
    ///
    /// # Errors
    /// It is gone or may not be looked at.
    pub fn of(&mut self, pid: u32) -> Result<MemoryUse, Error> {
        let mut memory = memory_use(pid)?;
        memory.cgroup = self.cgroup(&groups_of(pid));
        Ok(memory)
    }

    /// The same of a process whose files are open.
    ///
    /// # Errors
    /// It is gone.
    pub fn of_open(&mut self, files: &MemoryFiles) -> Result<MemoryUse, Error> {
        let status = files.status.read().map_err(|err| Error::read(files.pid, "status", &err))?;
        let mut memory = of_status(&String::from_utf8_lossy(&status));
        memory.cgroup = self.cgroup(&files.groups.read().unwrap_or_default());
        Ok(memory)
    }

    /// What of it is resident, and that of these control groups: cheaper than all of it.
    ///
    /// # Errors
    /// It is gone or may not be looked at.
    pub fn resident(&mut self, pid: u32, groups: &[u8]) -> Result<MemoryUse, Error> {
        let (resident, cgroup) = (resident(pid)?, self.cgroup(groups));
        Ok(MemoryUse { resident, cgroup, ..MemoryUse::default() })
    }

    /// Memory of a control group, asked once.
    fn cgroup(&mut self, groups: &[u8]) -> Option<CgroupMemory> {
        if let Some(known) = self.groups.get(groups) {
            return *known;
        }
        let found = cgroup_memory(Path::new(GROUPS), &String::from_utf8_lossy(groups));
        self.groups.insert(groups.to_vec(), found);
        found
    }

    /// The control group that is nearest to its limit; nothing: there is no limit, or none that can be read.
    pub fn nearest(&mut self, pid: u32) -> Option<Nearest> {
        let of_groups =
            |groups: &Vec<u8>| nearest(Path::new(GROUPS), &String::from_utf8_lossy(groups));
        self.nearest.entry(groups_of(pid)).or_insert_with_key(of_groups).clone()
    }

    /// What holds the control group of a process back.
    pub fn brakes(&mut self, pid: u32) -> Brakes {
        let of_groups = |groups: &Vec<u8>| {
            let host = Path::new(pressure::OF_HOST);
            brakes(Path::new(GROUPS), host, &String::from_utf8_lossy(groups))
        };
        *self.brakes.entry(groups_of(pid)).or_insert_with_key(of_groups)
    }
}

/// What holds a group back; `host` is the host's file of pressure.
fn brakes(root: &Path, host: &Path, groups: &str) -> Brakes {
    let counted = counted_in(root, groups);
    let (mut high, mut stalled) = (None, None);
    if let Some((files, path)) = counted {
        high = files.up(path).filter_map(|group| number(&group.join("memory.high"))).min();
        stalled = pressure::stalled(&files.root.join(path).join("memory.pressure"));
    }
    Brakes { high, stalled: stalled.or_else(|| pressure::stalled(host)) }
}

/// What /proc/PID/cgroup says.
pub fn groups_of(pid: u32) -> Vec<u8> {
    read::bounded(&super::process::dir(pid).join("cgroup")).unwrap_or_default()
}

/// Bytes that a process has resident; nothing of one that has no memory any more.
fn resident(pid: u32) -> Result<Option<u64>, Error> {
    let what = "statm";
    let file = super::process::dir(pid).join(what);
    let statm = read::bounded(&file).map_err(|err| Error::read(pid, what, &err))?;
    let pages = pages_of(&String::from_utf8_lossy(&statm));
    Ok(pages.and_then(|pages| pages.checked_mul(page_size())).filter(|bytes| *bytes > 0))
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

fn cgroup_memory(root: &Path, groups: &str) -> Option<CgroupMemory> {
    let (files, path) = counted_in(root, groups)?;
    let usage = number(&files.root.join(path).join(files.usage))?;
    let limit = files.up(path).filter_map(|group| limit_of(&files, &group)).min();
    Some(CgroupMemory { usage, limit })
}

fn nearest(root: &Path, groups: &str) -> Option<Nearest> {
    let (files, path) = counted_in(root, groups)?;
    let limited = files.up(path).filter_map(|group| {
        let limit = limit_of(&files, &group)?;
        let path = group.strip_prefix(&files.root).unwrap_or(&group);
        Some(Nearest {
            path: format!("/{}", path.to_string_lossy()),
            usage: number(&group.join(files.usage))?,
            droppable: droppable_of(&files, &group),
            limit,
        })
    });
    limited.min_by_key(|one| {
        one.limit.saturating_sub(one.usage.saturating_sub(one.droppable.unwrap_or(0)))
    })
}

fn limit_of(files: &Files, group: &Path) -> Option<u64> {
    number(&group.join(files.limit)).filter(|limit| *limit < NO_LIMIT)
}

fn droppable_of(files: &Files, group: &Path) -> Option<u64> {
    let text = read::bounded(&group.join("memory.stat")).ok()?;
    droppable(&String::from_utf8_lossy(&text), files.droppable)
}

fn number(file: &Path) -> Option<u64> {
    number_of(&String::from_utf8_lossy(&read::bounded(file).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    #[test]
    fn what_is_resident_is_the_same_in_all_forms() {
        let own = std::process::id();
        let groups = groups_of(own);
        let all = MemoryReader::default().of(own).unwrap();
        let some = MemoryReader::default().resident(own, &groups).unwrap();
        // It allocates meanwhile.
        let (all_of_it, same) = (all.resident.unwrap(), some.resident.unwrap());
        assert!(same.abs_diff(all_of_it) < 16 << 20, "{same} {all_of_it}");
        assert_eq!(some.cgroup.is_some(), all.cgroup.is_some());
        assert!(matches!(resident(u32::MAX), Err(Error::Gone { .. })));
    }

    #[test]
    fn open_files_tell_the_same_until_their_process_ends() {
        let piped = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = piped.unwrap();
        let files = MemoryFiles::open(child.id()).unwrap();
        // It has started when it answers, and takes no more when it waits again.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let same = || {
            let by_name = MemoryReader::default().of(child.id()).unwrap();
            let open = MemoryReader::default().of_open(&files).unwrap();
            let own = |of: &MemoryUse| (of.resident, of.anonymous, of.swapped, of.cgroup.is_some());
            by_name.resident > Some(0) && own(&by_name) == own(&open)
        };
        assert!((0..10_000).any(|_| same()));
        child.kill().unwrap();
        child.wait().unwrap();
        let gone = MemoryReader::default().of_open(&files);
        assert!(matches!(gone, Err(Error::Gone { .. })), "{gone:?}");
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
        let outside = format!("0::/{}/pods\n", root.display());
        assert_eq!(cgroup_memory(root, &outside), None);
        assert_eq!(cgroup_memory(root, ""), None);
    }

    #[test]
    fn the_group_with_the_least_room_is_nearest() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let stat = "anon 5\nfile 90\ninactive_file 30\nactive_file 10\nslab_reclaimable 2\n";
        let pod = [("memory.current", "300\n"), ("memory.max", "500\n"), ("memory.stat", stat)];
        write(root, "pods/pod1", &pod);
        write(root, "pods", &[("memory.current", "900\n"), ("memory.max", "1000\n")]);
        let found = nearest(root, "0::/pods/pod1\n").unwrap();
        let all = Nearest { path: "/pods".into(), usage: 900, droppable: None, limit: 1000 };
        assert_eq!(found, all);
        write(root, "pods", &[("memory.max", "max\n")]);
        let found = nearest(root, "0::/pods/pod1\n").unwrap();
        let own =
            Nearest { path: "/pods/pod1".into(), usage: 300, droppable: Some(42), limit: 500 };
        assert_eq!(found, own);
        assert_eq!(nearest(root, "0::/\n"), None);
        assert_eq!(nearest(root, ""), None);
        let stat = "inactive_file 1\ntotal_inactive_file 7\ntotal_active_file 3\n";
        let old = [
            ("memory.usage_in_bytes", "77\n"),
            ("memory.limit_in_bytes", "80\n"),
            ("memory.stat", stat),
        ];
        write(root, "memory/docker/a", &old);
        let found = nearest(root, "4:memory:/docker/a\n").unwrap();
        assert_eq!((found.droppable, found.limit), (Some(10), 80));
    }

    #[test]
    fn what_slows_down_is_the_lowest_of_all_ancestors() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let host = root.join("host");
        fs::write(&host, "some avg10=0.00 total=7\n").unwrap();
        write(root, "pods/pod1", &[("memory.high", "max\n")]);
        write(root, "pods", &[("memory.high", "900\n")]);
        let of_host = Some(Duration::from_micros(7));
        let found = brakes(root, &host, "0::/pods/pod1\n");
        assert_eq!(found, Brakes { high: Some(900), stalled: of_host });
        let pressure = ("memory.pressure", "some avg10=9.00 total=5000\nfull total=1\n");
        write(root, "pods/pod1", &[("memory.high", "800\n"), pressure]);
        let stalled = Some(Duration::from_millis(5));
        let found = brakes(root, &host, "0::/pods/pod1\n");
        assert_eq!(found, Brakes { high: Some(800), stalled });
        // v1 has neither.
        write(root, "memory/docker/a", &[]);
        let found = brakes(root, &host, "4:memory:/docker/a\n");
        assert_eq!(found, Brakes { high: None, stalled: of_host });
        assert_eq!(brakes(root, &root.join("none"), ""), Brakes::default());
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

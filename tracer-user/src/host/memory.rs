//! How much memory a process has resident, and how much its control group lets it have.
//!
//! In: /proc/PID/status, /proc/PID/cgroup and the control group's files. Out: bytes. A figure that the
//! kernel does not tell is nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Error;
use super::maps::page_size;
use super::{pressure, read};

/// A limit from here on is none: cgroup v1 writes the largest number of pages for "unlimited".
const NO_LIMIT: u64 = 1 << 62;
/// Most ancestors of a control group that are asked for their limit.
const MAX_DEPTH: usize = 64;
const GROUPS: &str = "/sys/fs/cgroup";

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

/// The second number of a `statm`.
fn pages_of(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
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

/// Lines of `memory.stat` that are dropped when memory is short, in both versions of control groups.
const V1: &[&str] = &["total_inactive_file", "total_active_file"];
const V2: &[&str] = &["inactive_file", "active_file", "slab_reclaimable"];

/// Files of a hierarchy that has the memory controller.
struct Files {
    root: PathBuf,
    usage: &'static str,
    limit: &'static str,
    /// Lines of `memory.stat` that are dropped when memory is short.
    droppable: &'static [&'static str],
}

/// The hierarchy in which memory is counted, v1's where there is one, and the group in it.
fn counted_in<'a>(root: &Path, groups: &'a str) -> Option<(Files, &'a str)> {
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

fn cgroup_memory(root: &Path, groups: &str) -> Option<CgroupMemory> {
    let (files, path) = counted_in(root, groups)?;
    let usage = number(&files.root.join(path).join(files.usage))?;
    let limit = files.up(path).filter_map(|group| files.limit_of(&group)).min();
    Some(CgroupMemory { usage, limit })
}

fn nearest(root: &Path, groups: &str) -> Option<Nearest> {
    let (files, path) = counted_in(root, groups)?;
    let limited = files.up(path).filter_map(|group| {
        let limit = files.limit_of(&group)?;
        let path = group.strip_prefix(&files.root).unwrap_or(&group);
        Some(Nearest {
            path: format!("/{}", path.to_string_lossy()),
            usage: number(&group.join(files.usage))?,
            droppable: files.droppable_of(&group),
            limit,
        })
    });
    limited.min_by_key(|one| {
        one.limit.saturating_sub(one.usage.saturating_sub(one.droppable.unwrap_or(0)))
    })
}

impl Files {
    /// A group and those above it.
    fn up(&self, path: &str) -> impl Iterator<Item = PathBuf> {
        let next = |group: &PathBuf| {
            let above = group.parent().filter(|_| *group != self.root);
            above.map(Path::to_path_buf)
        };
        std::iter::successors(Some(self.root.join(path)), next).take(MAX_DEPTH)
    }

    fn limit_of(&self, group: &Path) -> Option<u64> {
        number(&group.join(self.limit)).filter(|limit| *limit < NO_LIMIT)
    }

    fn droppable_of(&self, group: &Path) -> Option<u64> {
        let text = read::bounded(&group.join("memory.stat")).ok()?;
        droppable(&String::from_utf8_lossy(&text), self.droppable)
    }
}

/// The sum of some lines of `memory.stat`; of the first two all are known, or nothing is.
fn droppable(text: &str, lines: &[&str]) -> Option<u64> {
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
fn number(file: &Path) -> Option<u64> {
    String::from_utf8_lossy(&read::bounded(file).ok()?).trim().parse().ok()
}

/// Any text, as each of the files ([`crate::doors`]).
#[cfg(any(test, fuzzing))]
pub(super) fn any_text(text: &str) {
    let _memory = (of_status(text), pages_of(text));
    if let Some((files, path)) = counted_in(Path::new(GROUPS), text) {
        let up: Vec<PathBuf> = files.up(path).collect();
        assert!(up.len() <= MAX_DEPTH && up.iter().all(|group| group.starts_with(&files.root)));
    }
    let _droppable = (droppable(text, V1), droppable(text, V2));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
    fn a_sum_that_cannot_be_is_the_largest_there_is() {
        let stat = format!("inactive_file {0}\nactive_file {0}\nslab_reclaimable 7\n", u64::MAX);
        assert_eq!(droppable(&stat, V2), Some(u64::MAX));
        assert_eq!(droppable("inactive_file 5\nslab_reclaimable 7\n", V2), None);
        assert_eq!(droppable("inactive_file 5\nactive_file 1\n", V2), Some(6));
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

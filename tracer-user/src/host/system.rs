//! What this kernel and this user may do, as far as files tell. Nothing is tried here.

use std::fmt;
use std::path::{Path, PathBuf};

use nix::sys::utsname::uname;

use super::read::{self, Status};

/// The initial namespaces have fixed inodes (include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";

/// This host, this kernel, this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub machine: String,
    pub capabilities: Capabilities,
    /// The kernel describes its own types: /sys/kernel/btf/vmlinux.
    pub btf: bool,
    pub tracefs: Tracefs,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i64>,
    /// `kernel.kptr_restrict`.
    pub kptr_restrict: Option<i64>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<i64>,
    /// `none`, `integrity` or `confidentiality`; nothing where the kernel has no lockdown or hides it.
    pub lockdown: Option<String>,
    pub cgroups: Cgroups,
    /// Bytes that may be locked; nothing means no limit, or that it could not be read.
    pub memlock: Option<u64>,
    /// A seccomp filter is in force, which may refuse bpf(2) and perf_event_open(2).
    pub seccomp: bool,
    /// Kernel programs see pids of the initial namespace; in another one heaptap's pids are not the
    /// kernel's. Nothing when it can't be told.
    pub initial_pid_namespace: Option<bool>,
    /// Outside the initial one, capabilities do not count for bpf and perf.
    pub initial_user_namespace: Option<bool>,
}

/// Where tracefs is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracefs {
    Mounted(PathBuf),
    NotMounted,
    /// There, but not to be read.
    Denied(PathBuf),
}

/// How control groups are mounted, as far as heaptap's own are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cgroups(pub Option<CgroupMode>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    V1,
    V2,
    /// Controllers in v1, the tree of processes in v2 as well.
    Hybrid,
}

impl fmt::Display for Cgroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self.0 {
            Some(CgroupMode::V1) => "v1",
            Some(CgroupMode::V2) => "v2",
            Some(CgroupMode::Hybrid) => "hybrid",
            None => "none",
        })
    }
}

/// A capability that heaptap has use for (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    DacReadSearch = 2,
    SysPtrace = 19,
    SysAdmin = 21,
    SysNice = 23,
    SysResource = 24,
    Perfmon = 38,
    Bpf = 39,
    CheckpointRestore = 40,
}

impl Capability {
    pub const ALL: [Capability; 8] = [
        Capability::Bpf,
        Capability::Perfmon,
        Capability::SysAdmin,
        Capability::SysPtrace,
        Capability::DacReadSearch,
        Capability::CheckpointRestore,
        Capability::SysNice,
        Capability::SysResource,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Capability::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Capability::SysPtrace => "CAP_SYS_PTRACE",
            Capability::SysAdmin => "CAP_SYS_ADMIN",
            Capability::SysNice => "CAP_SYS_NICE",
            Capability::SysResource => "CAP_SYS_RESOURCE",
            Capability::Perfmon => "CAP_PERFMON",
            Capability::Bpf => "CAP_BPF",
            Capability::CheckpointRestore => "CAP_CHECKPOINT_RESTORE",
        }
    }

    /// What heaptap does with it.
    pub fn purpose(self) -> &'static str {
        match self {
            Capability::Bpf => "loads kernel programs and makes their maps",
            Capability::Perfmon => "lets kernel programs read memory and lets them be attached",
            Capability::SysAdmin => "attaches uprobes on kernels before 6.6, through perf events",
            Capability::SysPtrace => "looks at other users' programs: file, memory map, container",
            Capability::DacReadSearch => "reads files that belong to other users",
            Capability::CheckpointRestore => "opens the libraries that programs have mapped",
            Capability::SysNice => "comes before others when a program starts",
            Capability::SysResource => "raises the limit of locked memory (kernels before 5.11)",
        }
    }

    /// What its absence costs.
    pub fn without(self) -> &'static str {
        match self {
            Capability::Bpf => "without it no kernel program is loaded",
            Capability::Perfmon => "without it kernel programs may not read memory",
            Capability::SysAdmin => "kernels before 6.6 attach no uprobe without it",
            Capability::SysPtrace => "without it only programs of your own can be looked at",
            Capability::DacReadSearch => {
                "without it binaries that only their owner may read can't be opened"
            }
            Capability::CheckpointRestore => {
                "without it functions of C libraries have no names in recordings"
            }
            Capability::SysNice => "without it programs that start on a busy host are traced later",
            Capability::SysResource => "kernels before 5.11 wanted it to lock more memory",
        }
    }
}

/// Effective capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Whether it is held. CAP_SYS_ADMIN stands for those that were split from it in 5.8 and 5.9; on
    /// kernels before that it is the only one of them.
    pub fn has(self, capability: Capability) -> bool {
        let bit = |c: Capability| self.0 & (1 << (c as u8)) != 0;
        match capability {
            Capability::Bpf | Capability::Perfmon | Capability::CheckpointRestore => {
                bit(capability) || bit(Capability::SysAdmin)
            }
            _ => bit(capability),
        }
    }

    /// Those of [`Capability::ALL`] that are not held.
    pub fn missing(self) -> Vec<Capability> {
        Capability::ALL.into_iter().filter(|c| !self.has(*c)).collect()
    }
}

/// Looks at this host.
pub fn system() -> System {
    let status = read::bounded(Path::new("/proc/self/status")).unwrap_or_default();
    let status = Status::parse(&status);
    let (kernel, machine) = uname()
        .map_or_else(|_| Default::default(), |name| (lossy(name.release()), lossy(name.machine())));
    let number = |path| read::text(path).and_then(|text| text.parse().ok());
    System {
        kernel,
        machine,
        capabilities: Capabilities(status.capabilities.unwrap_or(0)),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        tracefs: tracefs(),
        perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
        kptr_restrict: number("/proc/sys/kernel/kptr_restrict"),
        unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
        lockdown: read::text("/sys/kernel/security/lockdown").and_then(|text| lockdown(&text)),
        cgroups: Cgroups(read::text("/proc/self/cgroup").and_then(|text| cgroup_mode(&text))),
        memlock: read::text("/proc/self/limits").and_then(|text| memlock(&text)),
        seccomp: status.seccomp.is_some_and(|mode| mode != 0),
        initial_pid_namespace: is_namespace("pid", INITIAL_PID_NAMESPACE),
        initial_user_namespace: is_namespace("user", INITIAL_USER_NAMESPACE),
    }
}

fn lossy(text: &std::ffi::OsStr) -> String {
    text.to_string_lossy().into_owned()
}

fn is_namespace(kind: &str, initial: &str) -> Option<bool> {
    let link = std::fs::read_link(Path::new("/proc/self/ns").join(kind)).ok()?;
    Some(link.as_os_str() == initial)
}

/// Whether a process counts time as heaptap does: it is in the same time namespace, or this kernel
/// has none.
pub fn same_clock(pid: u32) -> bool {
    let of = |who: &str| std::fs::read_link(Path::new("/proc").join(who).join("ns/time")).ok();
    of(&pid.to_string()) == of("self")
}

fn tracefs() -> Tracefs {
    for root in ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"] {
        let root = Path::new(root);
        match std::fs::metadata(root.join("events")) {
            Ok(_) => return Tracefs::Mounted(root.to_owned()),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                return Tracefs::Denied(root.to_owned());
            }
            Err(_) => {}
        }
    }
    Tracefs::NotMounted
}

/// The word in brackets of `none [integrity] confidentiality`.
fn lockdown(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

fn cgroup_mode(text: &str) -> Option<CgroupMode> {
    let v2 = text.lines().any(|line| line.starts_with("0::"));
    let v1 = text.lines().any(|line| !line.starts_with("0::") && line.contains(':'));
    match (v1, v2) {
        (true, true) => Some(CgroupMode::Hybrid),
        (true, false) => Some(CgroupMode::V1),
        (false, true) => Some(CgroupMode::V2),
        (false, false) => None,
    }
}

/// The soft limit in `Max locked memory   8388608   8388608   bytes`.
fn memlock(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Any text, as each of the files ([`crate::doors`]).
#[cfg(any(test, fuzzing))]
pub(super) fn any_text(text: &str) {
    let _known = (lockdown(text), cgroup_mode(text), memlock(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_of_lockdown_is_the_one_in_brackets() {
        assert_eq!(lockdown("none [integrity] confidentiality").as_deref(), Some("integrity"));
        assert_eq!(lockdown("[none] integrity confidentiality").as_deref(), Some("none"));
        assert_eq!(lockdown("none"), None);
        assert_eq!(lockdown("[x"), None);
    }

    #[test]
    fn cgroup_modes() {
        assert_eq!(cgroup_mode("0::/\n"), Some(CgroupMode::V2));
        assert_eq!(cgroup_mode("4:memory:/\n1:name=systemd:/\n"), Some(CgroupMode::V1));
        assert_eq!(cgroup_mode("4:memory:/\n0::/\n"), Some(CgroupMode::Hybrid));
        assert_eq!(cgroup_mode(""), None);
    }

    #[test]
    fn locked_memory() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max processes             96365                96365                processes\n\
                      Max locked memory         8388608              16777216             bytes\n";
        assert_eq!(memlock(limits), Some(8 << 20));
        assert_eq!(memlock(&limits.replace("8388608", "unlimited")), None);
        assert_eq!(memlock(""), None);
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        let held = |mask| Capabilities(mask).missing();
        assert_eq!(held(u64::MAX), []);
        assert_eq!(held(0), Capability::ALL);
        let rest = [
            Capability::SysPtrace,
            Capability::DacReadSearch,
            Capability::SysNice,
            Capability::SysResource,
        ];
        assert_eq!(held(1 << 21), rest);
        assert!(held(1 << 38 | 1 << 39).contains(&Capability::SysAdmin));
    }

    #[test]
    fn a_process_that_can_not_be_looked_at_has_its_own_clock() {
        assert!(same_clock(std::process::id()));
        let kernel_has_them = Path::new("/proc/self/ns/time").exists();
        assert_eq!(same_clock(u32::MAX), !kernel_has_them);
    }

    #[test]
    fn this_host_is_told() {
        let system = system();
        assert!(system.kernel.starts_with(|c: char| c.is_ascii_digit()), "{}", system.kernel);
        assert!(!system.machine.is_empty());
        assert!(system.initial_pid_namespace.is_some());
    }
}

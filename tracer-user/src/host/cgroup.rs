//! Which container a process is in, told by its cgroup path.
//!
//! In: the text of /proc/PID/cgroup, of cgroup v1, v2 or both. Out: container id, runtime and pod.
//! Only names that a runtime makes are taken: a wrong container is worse than none.

use std::fmt;

use super::names::Names;

/// A container, as its runtime names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits; for systemd-nspawn the machine's name, which may hold anything.
    pub id: String,
    pub runtime: Runtime,
    /// Kubernetes' pod, where the path has it.
    pub pod_uid: Option<String>,
    /// What it is called; the path does not tell.
    pub names: Names,
}

impl Container {
    /// What it is called, else [`Container::short_id`].
    pub fn called(&self) -> String {
        self.names.container.clone().unwrap_or_else(|| self.short_id())
    }

    /// What tables show: 12 characters, as docker and podman print.
    pub fn short_id(&self) -> String {
        self.id.chars().take(12).collect()
    }
}

/// Who made the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Docker,
    Containerd,
    CriO,
    Podman,
    SystemdNspawn,
    /// The path has a container id and does not say whose.
    Unknown,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Runtime::Docker => "docker",
            Runtime::Containerd => "containerd",
            Runtime::CriO => "cri-o",
            Runtime::Podman => "podman",
            Runtime::SystemdNspawn => "systemd-nspawn",
            Runtime::Unknown => "unknown",
        })
    }
}

/// Finds the container in the text of /proc/PID/cgroup.
///
/// With several hierarchies the unified one is asked first, then memory's: a runtime that manages
/// only some of them (podman on a hybrid host) leaves the others without its mark.
pub(super) fn container(text: &str) -> Option<Container> {
    paths(text).iter().find_map(|path| in_path(path))
}

/// systemd's unit, of a process that is in no container: the innermost service of its path.
pub(super) fn unit(text: &str) -> Option<String> {
    let service = |path: &&str| {
        let service = path.split('/').rev().find(|part| part.ends_with(".service"))?;
        Some(unescape(service)).filter(|name| name.len() <= 256)
    };
    paths(text).iter().find_map(service)
}

/// The paths of all hierarchies, the one that tells most first.
fn paths(text: &str) -> Vec<&str> {
    let mut lines: Vec<(u8, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let rank = match controllers {
                "" => 0,
                c if c.split(',').any(|c| c == "memory") => 1,
                "name=systemd" => 2,
                _ => 3,
            };
            Some((rank, path))
        })
        .collect();
    lines.sort_by_key(|(rank, _)| *rank);
    lines.into_iter().map(|(_, path)| path).collect()
}

/// The innermost container of a path: containers nest (docker in docker, kind).
fn in_path(path: &str) -> Option<Container> {
    let components: Vec<&str> = path.split('/').collect();
    let (at, (id, runtime)) = components.iter().enumerate().rev().find_map(|(at, component)| {
        let parent = at.checked_sub(1).and_then(|at| components.get(at)).copied();
        Some((at, in_component(component, parent)?))
    })?;
    let pod_uid = components[..=at].iter().rev().find_map(|component| pod_uid(component));
    Some(Container { id, runtime, pod_uid, names: Names::default() })
}

fn in_component(component: &str, parent: Option<&str>) -> Option<(String, Runtime)> {
    // The systemd driver makes scopes: docker-<id>.scope, libpod-<id>.scope. The cgroupfs driver
    // makes plain directories: docker/<id>, libpod_parent/libpod-<id>, kubepods/…/pod<uid>/<id>.
    let name = component.strip_suffix(".scope").unwrap_or(component);
    for (prefix, runtime) in [
        ("docker-", Runtime::Docker),
        ("cri-containerd-", Runtime::Containerd),
        ("nerdctl-", Runtime::Containerd),
        ("crio-", Runtime::CriO),
        ("libpod-", Runtime::Podman),
    ] {
        if let Some(id) = name.strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some((id.to_owned(), runtime));
        }
    }
    // A systemd path given to a cgroupfs driver: <slice>:cri-containerd:<id>.
    if let Some((before, id)) = name.rsplit_once(':').filter(|(_, id)| is_id(id)) {
        let runtime = match before.rsplit(':').next() {
            Some("cri-containerd") => Runtime::Containerd,
            Some("crio") => Runtime::CriO,
            Some("docker") => Runtime::Docker,
            _ => Runtime::Unknown,
        };
        return Some((id.to_owned(), runtime));
    }
    if is_id(name) {
        let runtime = match parent {
            Some("docker") => Runtime::Docker,
            Some("default") => Runtime::Containerd,
            _ => Runtime::Unknown,
        };
        return Some((name.to_owned(), runtime));
    }
    machine(component).map(|name| (name, Runtime::SystemdNspawn))
}

/// systemd-nspawn's machine: `systemd-nspawn@NAME.service`, or `machine-NAME.scope` when it was
/// started from a shell. Virtual machines are scopes of that kind too and run no host process.
fn machine(component: &str) -> Option<String> {
    let service =
        component.strip_prefix("systemd-nspawn@").and_then(|n| n.strip_suffix(".service"));
    let scope = component.strip_prefix("machine-").and_then(|n| n.strip_suffix(".scope"));
    let scope = scope.filter(|name| !name.starts_with("qemu\\x2d"));
    let name = unescape(service.or(scope)?);
    (!name.is_empty()).then_some(name)
}

/// Undoes systemd's `\xNN` in unit names.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.strip_prefix(b"x").and_then(|t| t.get(..2)).filter(|_| *first == b'\\');
        let code = code.and_then(|c| std::str::from_utf8(c).ok());
        match code.and_then(|c| u8::from_str_radix(c, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether this is a container id of docker, containerd, cri-o or podman.
fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The pod in `pod<uid>` or `kubepods-burstable-pod<uid with _>.slice`. A static pod's uid is a
/// hash without dashes.
fn pod_uid(component: &str) -> Option<String> {
    let slice = component.split(':').next()?;
    let name = slice.strip_suffix(".slice").unwrap_or(slice);
    let uid = match name.strip_prefix("pod") {
        Some(uid) => uid,
        None if name.starts_with("kube") => name.rsplit_once("-pod")?.1,
        None => return None,
    };
    let uid = uid.replace('_', "-");
    let hex = uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    (hex && matches!(uid.len(), 32 | 36)).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f8a6c0d9e1b2a4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4";
    const OTHER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
    const POD: &str = "2f1c9a54-7d1e-4b7f-9b0a-6a2d7f3c1e55";
    const POD_: &str = "2f1c9a54_7d1e_4b7f_9b0a_6a2d7f3c1e55";

    fn one(text: &str) -> Option<(String, Runtime, Option<String>)> {
        let text = text.replace("{ID}", ID).replace("{OTHER}", OTHER);
        let text = text.replace("{POD}", POD).replace("{POD_}", POD_);
        container(&text).map(|c| (c.id, c.runtime, c.pod_uid))
    }

    fn check(text: &str, runtime: Runtime, pod: Option<&str>) {
        assert_eq!(one(text), Some((ID.into(), runtime, pod.map(Into::into))), "{text}");
    }

    #[test]
    fn docker() {
        check("0::/system.slice/docker-{ID}.scope\n", Runtime::Docker, None);
        check("12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/\n", Runtime::Docker, None);
        check("0::/docker/{ID}\n", Runtime::Docker, None);
        check("0::/system.slice/docker-{ID}.scope/init.scope\n", Runtime::Docker, None);
        let rootless =
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope";
        check(rootless, Runtime::Docker, None);
        // Seen from inside another cgroup namespace.
        check("0::/../docker-{ID}.scope\n", Runtime::Docker, None);
    }

    #[test]
    fn docker_in_docker_is_the_inner_one() {
        check("0::/docker/{OTHER}/docker/{ID}\n", Runtime::Docker, None);
        let kind = "0::/docker/{OTHER}/kubelet.slice/kubelet-kubepods.slice/\
                    kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{POD_}.slice/\
                    cri-containerd-{ID}.scope\n";
        check(kind, Runtime::Containerd, Some(POD));
    }

    #[test]
    fn containerd() {
        let systemd = "0::/kubepods.slice/kubepods-burstable.slice/\
                       kubepods-burstable-pod{POD_}.slice/cri-containerd-{ID}.scope\n";
        check(systemd, Runtime::Containerd, Some(POD));
        let guaranteed = "0::/kubepods.slice/kubepods-pod{POD_}.slice/cri-containerd-{ID}.scope\n";
        check(guaranteed, Runtime::Containerd, Some(POD));
        let mixed = "0::/system.slice/containerd.service/\
                     kubepods-besteffort-pod{POD_}.slice:cri-containerd:{ID}\n";
        check(mixed, Runtime::Containerd, Some(POD));
        check("0::/default/{ID}\n", Runtime::Containerd, None);
        check("0::/system.slice/nerdctl-{ID}.scope\n", Runtime::Containerd, None);
    }

    #[test]
    fn kubernetes_without_a_name_of_the_runtime() {
        let v1 = "11:cpu,cpuacct:/kubepods/burstable/pod{POD}/{ID}\n\
                  4:memory:/kubepods/burstable/pod{POD}/{ID}\n";
        check(v1, Runtime::Unknown, Some(POD));
        let fixed = "0::/kubepods/pod0123456789abcdef0123456789abcdef/{ID}\n";
        check(fixed, Runtime::Unknown, Some("0123456789abcdef0123456789abcdef"));
    }

    #[test]
    fn cri_o() {
        let systemd = "0::/kubepods.slice/kubepods-besteffort.slice/\
                       kubepods-besteffort-pod{POD_}.slice/crio-{ID}.scope/container\n";
        check(systemd, Runtime::CriO, Some(POD));
        check("2:memory:/kubepods/besteffort/pod{POD}/crio-{ID}\n", Runtime::CriO, Some(POD));
        assert_eq!(one("0::/kubepods.slice/crio-conmon-{ID}.scope\n"), None);
    }

    #[test]
    fn podman() {
        check("0::/machine.slice/libpod-{ID}.scope\n", Runtime::Podman, None);
        check("0::/machine.slice/libpod-{ID}.scope/container\n", Runtime::Podman, None);
        let rootless = "0::/user.slice/user-1000.slice/user@1000.service/user.slice/\
                        libpod-{ID}.scope/container\n";
        check(rootless, Runtime::Podman, None);
        let hybrid = "9:name=systemd:/\n8:pids:/\n4:memory:/process_api/1861ac58\n\
                      0::/libpod_parent/libpod-{ID}\n";
        check(hybrid, Runtime::Podman, None);
        let v1 = "9:name=systemd:/libpod_parent/libpod-{ID}\n4:memory:/libpod_parent/libpod-{ID}\n0::/\n";
        check(v1, Runtime::Podman, None);
        assert_eq!(one("0::/machine.slice/libpod-conmon-{ID}.scope\n"), None);
    }

    #[test]
    fn systemd_nspawn() {
        let name = |text| container(text).map(|c| (c.id, c.runtime));
        let service = "0::/machine.slice/systemd-nspawn@build-box.service/payload\n";
        assert_eq!(name(service), Some(("build-box".into(), Runtime::SystemdNspawn)));
        let scope = "1:name=systemd:/machine.slice/machine-web\\x2dfront\\x2d1.scope\n";
        assert_eq!(name(scope), Some(("web-front-1".into(), Runtime::SystemdNspawn)));
        assert_eq!(name("0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope\n"), None);
        assert_eq!(name("0::/machine.slice/machine-.scope\n"), None);
        let odd = "0::/machine-a\\x\\xzz\\xff\\x1b.scope\n";
        assert_eq!(name(odd).map(|(id, _)| id), Some("a\\x\\xzz\u{fffd}\u{1b}".into()));
        let lone = "0::/machine-\u{e9}\\.scope\n";
        assert_eq!(name(lone).map(|(id, _)| id), Some("\u{e9}\\".into()));
    }

    #[test]
    fn units() {
        let unit = |text| unit(text);
        assert_eq!(unit("0::/system.slice/caddy.service\n").as_deref(), Some("caddy.service"));
        let of_user =
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/api.service/sub\n";
        assert_eq!(unit(of_user).as_deref(), Some("api.service"));
        let v1 = "4:memory:/\n1:name=systemd:/system.slice/a\\x2db.service\n0::/\n";
        assert_eq!(unit(v1).as_deref(), Some("a-b.service"));
        for none in ["0::/\n", "0::/user.slice/user-0.slice/session-3.scope\n", ""] {
            assert_eq!(unit(none), None);
        }
    }

    #[test]
    fn what_is_no_container() {
        for text in [
            "",
            "0::/\n",
            "0::/init.scope\n",
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            "0::/system.slice/docker.service\n",
            "4:memory:/process_api/1861ac58c30e21052ee0350305c1e50a\n0::/\n",
            "0::/system.slice/docker-3f8a6c0d9e1b.scope\n",
            "0::/docker/{ID}x\n",
            "garbage\n::\n:::\n0:\n\u{0}\n",
        ] {
            assert_eq!(one(text), None, "{text}");
        }
    }

    #[test]
    fn a_path_of_any_length_is_read_once() {
        let deep = format!("0::{}/docker/{ID}\n", "/a".repeat(500_000));
        check(&deep, Runtime::Docker, None);
    }
}

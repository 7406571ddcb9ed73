//! What a container is called, and its pod, as its runtime has written it down on the host.
//!
//! In: a container's id, a process in it. Out: [`Names`], each of which may be missing. Asked are: the
//! monitor that podman and cri-o leave beside each container (its command line), the bundle that
//! containerd and cri-o made for it (annotations), docker's own record, and kubelet's log directories.
//! Nothing inside of the container is asked: what it says of itself may be a lie. In a container of its
//! own heaptap reads the host's files through /proc/1/root.

mod texts;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::cgroup::{Container, Runtime};
use super::read;
pub use texts::Names;
#[cfg(any(test, fuzzing))]
pub(super) use texts::any_text;
use texts::{Monitor, of_bundle, of_docker, pod_of_logs};

/// How far up a container's monitor is looked for.
const ANCESTORS: usize = 16;
/// Directory entries that are looked at.
const ENTRIES: usize = 4_096;
/// What is known is asked again after this long: containers can be renamed.
const FRESH: Duration = Duration::from_secs(60);
/// What was not found, after this long: a runtime may be about to write it.
const MISSING: Duration = Duration::from_secs(5);
/// Containers that are remembered.
const MOST: usize = 4_096;

/// One look-up for each container, not for each of its processes.
static KNOWN: Mutex<Option<HashMap<String, (Instant, Names)>>> = Mutex::new(None);

/// The names of the container that a process is in.
pub(super) fn of(container: &Container, pid: u32) -> Names {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_with(HashMap::new);
    let now = Instant::now();
    if let Some((asked, names)) = known.get(&container.id) {
        let keep = if names.container.is_some() { FRESH } else { MISSING };
        if now - *asked < keep {
            return names.clone();
        }
    }
    let names = Host::default().names(container, pid);
    if known.len() >= MOST {
        known.clear();
    }
    known.insert(container.id.clone(), (now, names.clone()));
    names
}

/// Where things lie.
struct Host {
    proc: PathBuf,
    /// The host's root directory, as process 1 has it.
    root: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        // A host may protect its first process; then heaptap's own root has to do, which is the host's
        // unless heaptap is in a container. A container's id is found nowhere else by chance.
        let first = PathBuf::from("/proc/1/root");
        let root = if first.join("proc").exists() { first } else { "/".into() };
        Self { proc: "/proc".into(), root }
    }
}

impl Host {
    fn names(&self, container: &Container, pid: u32) -> Names {
        let mut names = match container.runtime {
            Runtime::SystemdNspawn => {
                Names { container: Some(container.id.clone()), ..Names::default() }
            }
            Runtime::Podman | Runtime::CriO => self.by_monitor(&container.id, pid),
            Runtime::Containerd => self.by_containerd(&container.id),
            Runtime::Docker => self.by_docker(&container.id),
            Runtime::Unknown => self
                .by_containerd(&container.id)
                .or(|| self.by_monitor(&container.id, pid))
                .or(|| self.by_docker(&container.id)),
        };
        if let Some(uid) = container.pod_uid.as_deref().filter(|_| names.pod.is_none()) {
            let pod = self.by_kubelet(uid);
            (names.pod, names.namespace) = (pod.pod, pod.namespace);
        }
        names
    }

    /// conmon, an ancestor.
    fn by_monitor(&self, id: &str, pid: u32) -> Names {
        let Some(monitor) = self.monitor(id, pid) else { return Names::default() };
        let bundle = monitor.bundle().and_then(|bundle| self.bundle(Path::new(bundle)));
        bundle.unwrap_or_default().or(|| monitor.names())
    }

    /// The monitor that a process descends from, if it is this container's.
    fn monitor(&self, id: &str, pid: u32) -> Option<Monitor> {
        let mut pid = pid;
        for _ in 0..ANCESTORS {
            let dir = self.proc.join(pid.to_string());
            let line = read::bounded(&dir.join("stat")).ok()?;
            let stat = read::Stat::parse(&line).ok()?;
            if stat.comm == b"conmon" {
                let monitor = Monitor::parse(&read::bounded(&dir.join("cmdline")).ok()?);
                return Some(monitor).filter(|monitor| monitor.is_of(id));
            }
            pid = stat.parent;
        }
        None
    }

    /// A task's bundle in one of containerd's namespaces.
    fn by_containerd(&self, id: &str) -> Names {
        let tasks = Path::new("/run/containerd/io.containerd.runtime.v2.task");
        let Ok(namespaces) = fs::read_dir(self.inside(tasks)) else { return Names::default() };
        namespaces
            .take(ENTRIES)
            .filter_map(|namespace| self.bundle(&tasks.join(namespace.ok()?.file_name()).join(id)))
            .next()
            .unwrap_or_default()
    }

    fn by_docker(&self, id: &str) -> Names {
        let dir = Path::new("/var/lib/docker/containers").join(id);
        self.file(&dir.join("config.v2.json")).and_then(|json| of_docker(&json)).unwrap_or_default()
    }

    /// Where kubelet puts a pod's logs.
    fn by_kubelet(&self, uid: &str) -> Names {
        let Ok(pods) = fs::read_dir(self.inside(Path::new("/var/log/pods"))) else {
            return Names::default();
        };
        let found = pods
            .take(ENTRIES)
            .find_map(|entry| pod_of_logs(&entry.ok()?.file_name().into_string().ok()?, uid));
        found.unwrap_or_default()
    }

    /// The names in the annotations of an OCI bundle; nothing when there is no such bundle.
    fn bundle(&self, bundle: &Path) -> Option<Names> {
        of_bundle(&self.file(&bundle.join("config.json"))?)
    }

    fn file(&self, path: &Path) -> Option<Vec<u8>> {
        read::bounded(&self.inside(path)).ok()
    }

    /// A path of the host.
    fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f8a6c0d9e1b2a4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4";
    const UID: &str = "2f1c9a54-7d1e-4b7f-9b0a-6a2d7f3c1e55";

    struct Made(tempfile::TempDir);

    impl Made {
        fn new(files: &[(&str, &str)]) -> Self {
            let made = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                let path = made.0.path().join(path.replace("{ID}", ID).replace("{UID}", UID));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text.replace("{ID}", ID).replace("{UID}", UID)).unwrap();
            }
            made
        }

        fn names(&self, runtime: Runtime, pod_uid: Option<&str>) -> [Option<String>; 3] {
            let (proc, root) = (self.0.path().join("proc"), self.0.path().join("root"));
            let pod_uid = pod_uid.map(Into::into);
            let container = Container { id: ID.into(), runtime, pod_uid, names: Names::default() };
            let Names { container, pod, namespace } = Host { proc, root }.names(&container, 30);
            [container, pod, namespace]
        }
    }

    fn words(words: [&str; 3]) -> [Option<String>; 3] {
        words.map(|word| Some(word.to_owned()).filter(|word| !word.is_empty()))
    }

    const STAT: &str = "30 (app (x)) S 20 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 1 0 77 0 0\n";
    const SHELL: &str = "20 (sh) S 10 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 1 0 77 0 0\n";
    const CONMON: &str = "10 (conmon) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 1 0 77 0 0\n";

    fn monitored(arguments: &str, config: &str) -> Made {
        Made::new(&[
            ("proc/30/stat", STAT),
            ("proc/20/stat", SHELL),
            ("proc/10/stat", CONMON),
            ("proc/10/cmdline", &arguments.replace(' ', "\0")),
            ("root/store/userdata/config.json", config),
        ])
    }

    #[test]
    fn podman_tells_it_in_the_monitors_command_line() {
        let line = "/usr/bin/conmon --api-version 1 -c {ID} -u {ID} -b /store/userdata -n web-1";
        let config = r#"{"ociVersion":"1.0","annotations":{"io.container.manager":"libpod"}}"#;
        let made = monitored(line, config);
        assert_eq!(made.names(Runtime::Podman, None), words(["web-1", "", ""]));
        // The monitor of a container around this one.
        let other = monitored("/usr/bin/conmon -c ffff -n outer", "{}");
        assert_eq!(other.names(Runtime::Podman, None), words(["", "", ""]));
        let without = monitored("/usr/bin/conmon -c {ID} -n", "no JSON");
        assert_eq!(without.names(Runtime::Podman, None), words(["", "", ""]));
    }

    #[test]
    fn cri_o_tells_it_in_the_bundle_or_in_kubelets_way() {
        let line = "conmon -c {ID} -n k8s_api_orders-7d9_shop_{UID}_0 -b /store/userdata";
        let labels = r#"{"annotations":{"io.kubernetes.cri-o.Labels":"{\"io.kubernetes.container.name\":\"api\",\"io.kubernetes.pod.name\":\"orders-7d9\",\"io.kubernetes.pod.namespace\":\"shop\"}"}}"#;
        for config in [labels, "{}", ""] {
            let made = monitored(line, config);
            assert_eq!(made.names(Runtime::CriO, None), words(["api", "orders-7d9", "shop"]));
        }
    }

    #[test]
    fn containerd_tells_it_in_annotations() {
        let task = "root/run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json";
        let config = r#"{"annotations":{"io.kubernetes.cri.container-name":"api",
            "io.kubernetes.cri.sandbox-name":"orders","io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
        let made = Made::new(&[(task, config)]);
        for runtime in [Runtime::Containerd, Runtime::Unknown] {
            assert_eq!(made.names(runtime, Some(UID)), words(["api", "orders", "shop"]));
        }
    }

    #[test]
    fn docker_tells_it_in_its_record() {
        let record = "root/var/lib/docker/containers/{ID}/config.v2.json";
        let made = Made::new(&[(record, r#"{"Name":"/web","Config":{"Labels":null}}"#)]);
        assert_eq!(made.names(Runtime::Docker, None), words(["web", "", ""]));
        let labels = r#"{"Name":"/k8s_a_b_c_d_0","Config":{"Labels":{
            "io.kubernetes.container.name":"a","io.kubernetes.pod.name":"b",
            "io.kubernetes.pod.namespace":"c"}}}"#;
        let made = Made::new(&[(record, labels)]);
        assert_eq!(made.names(Runtime::Docker, None), words(["a", "b", "c"]));
    }

    #[test]
    fn kubelet_tells_the_pod_where_nobody_else_does() {
        let made = Made::new(&[
            ("root/var/log/pods/shop_orders-1_0123/api/0.log", ""),
            ("root/var/log/pods/shop_orders-2_{UID}/api/0.log", ""),
        ]);
        let names = made.names(Runtime::Containerd, Some(UID));
        assert_eq!(names, words(["", "orders-2", "shop"]));
        assert_eq!(made.names(Runtime::Containerd, None), words(["", "", ""]));
    }

    #[test]
    fn what_is_damaged_names_nobody() {
        let task = "root/run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json";
        let long =
            format!(r#"{{"annotations":{{"io.kubernetes.pod.name":"{}"}}}}"#, "x".repeat(300));
        for config in ["", "{", "[]", r#"{"annotations":7}"#, r#"{"annotations":{}}"#, &long] {
            let made = Made::new(&[(task, config)]);
            assert_eq!(made.names(Runtime::Containerd, None), words(["", "", ""]), "{config}");
        }
    }
}

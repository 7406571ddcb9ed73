//! What container runtimes write down, as they do.
//!
//! In: texts: a monitor's command line, a bundle's configuration, docker's record, names of directories. Out: [`Names`].
//! Opens nothing.

use std::collections::HashMap;

use serde::Deserialize;

/// Longest name that is taken: Kubernetes allows 253 bytes, and docker's record has one more.
const LONGEST: usize = 256;

/// What somebody calls a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The container's own; in a pod that of its specification.
    pub container: Option<String>,
    pub pod: Option<String>,
    pub namespace: Option<String>,
}

/// What docker's record of a container says; nothing when it is none.
pub fn of_docker(json: &[u8]) -> Option<Names> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Record {
        name: String,
        #[serde(default)]
        config: Config,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Config {
        labels: Option<HashMap<String, String>>,
    }
    let record: Record = serde_json::from_slice(json).ok()?;
    let labels = record.config.labels.unwrap_or_default();
    Some(by_labels(&labels).or(|| Names {
        container: name_of(record.name.trim_start_matches('/').to_owned()),
        ..Names::default()
    }))
}

/// What the annotations of an OCI bundle say; nothing when its configuration is none.
pub fn of_bundle(json: &[u8]) -> Option<Names> {
    #[derive(Deserialize)]
    struct Spec {
        #[serde(default)]
        annotations: HashMap<String, String>,
    }
    let spec: Spec = serde_json::from_slice(json).ok()?;
    let get = |key: &str| spec.annotations.get(key).cloned().and_then(name_of);
    let containerd = Names {
        container: get("io.kubernetes.cri.container-name"),
        pod: get("io.kubernetes.cri.sandbox-name"),
        namespace: get("io.kubernetes.cri.sandbox-namespace"),
    };
    let labels = spec.annotations.get("io.kubernetes.cri-o.Labels");
    let labels = labels.and_then(|labels| serde_json::from_str(labels).ok());
    Some(
        containerd
            .or(|| by_labels(&labels.unwrap_or_default()))
            .or(|| by_labels(&spec.annotations)),
    )
}

/// The labels that kubelet gives to containers (pkg/kubelet/types/labels.go).
fn by_labels(labels: &HashMap<String, String>) -> Names {
    let get = |key: &str| labels.get(key).cloned().and_then(name_of);
    Names {
        container: get("io.kubernetes.container.name"),
        pod: get("io.kubernetes.pod.name"),
        namespace: get("io.kubernetes.pod.namespace"),
    }
}

/// `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`; Kubernetes' names have no `_`.
fn kubelet_name(name: &str) -> Option<Names> {
    let mut parts = name.strip_prefix("k8s_")?.split('_').map(str::to_owned);
    let [container, pod, namespace] = [parts.next()?, parts.next()?, parts.next()?].map(name_of);
    (parts.count() == 2).then_some(Names { container, pod, namespace })
}

/// The command line of conmon: `-c ID … -b BUNDLE … -n NAME`. cri-o names as kubelet did with docker:
/// `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`.
pub struct Monitor(Vec<String>);

impl Monitor {
    pub fn parse(line: &[u8]) -> Self {
        let text = |argument: &[u8]| String::from_utf8_lossy(argument).into_owned();
        Self(line.split(|byte| *byte == 0).map(text).collect())
    }

    /// Whether it is that of a container.
    pub fn is_of(&self, id: &str) -> bool {
        self.0.windows(2).any(|pair| pair[0] == "-c" && pair[1] == id)
    }

    /// The bundle that the container was made of.
    pub fn bundle(&self) -> Option<&str> {
        self.after("-b")
    }

    /// The names that it was told itself.
    pub fn names(&self) -> Names {
        let name = self.after("-n");
        let of_pod = name.and_then(kubelet_name).unwrap_or_default();
        let container = || name.and_then(|name| name_of(name.to_owned()));
        of_pod.or(|| Names { container: container(), ..Names::default() })
    }

    fn after(&self, flag: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == flag)?;
        self.0.get(at + 1).map(String::as_str)
    }
}

/// The pod of a directory that is called `NAMESPACE_POD_UID`, if this is its number.
pub fn pod_of_logs(directory: &str, uid: &str) -> Option<Names> {
    let (namespace, rest) = directory.split_once('_')?;
    let (pod, of) = rest.rsplit_once('_')?;
    let (pod, namespace) = (name_of(pod.to_owned()), name_of(namespace.to_owned()));
    (of == uid).then_some(Names { container: None, pod, namespace })
}

/// A name, if it can be one.
fn name_of(name: String) -> Option<String> {
    (!name.is_empty() && name.len() <= LONGEST).then_some(name)
}

impl Names {
    /// These, unless nobody is named; then others.
    pub fn or(self, others: impl FnOnce() -> Names) -> Names {
        if self.container.is_some() || self.pod.is_some() { self } else { others() }
    }
}

/// Any text, as each of the files ([`crate::doors`]).
#[cfg(any(test, fuzzing))]
pub fn any_text(text: &str) {
    let monitor = Monitor::parse(text.as_bytes());
    let _told = (monitor.is_of("0"), monitor.bundle());
    let uid = text.rsplit('_').next().unwrap_or_default();
    let found = [
        of_docker(text.as_bytes()),
        of_bundle(text.as_bytes()),
        Some(monitor.names()),
        pod_of_logs(text, uid),
    ];
    for names in found.into_iter().flatten() {
        let all = [names.container, names.pod, names.namespace];
        assert!(all.into_iter().flatten().all(|name| (1..=LONGEST).contains(&name.len())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_kubelet_has_six_parts() {
        assert!(kubelet_name("k8s_a_b_c_d_0").is_some());
        assert_eq!(kubelet_name("k8s_a_b_c"), None);
        assert_eq!(kubelet_name("web_a_b_c_d_0"), None);
    }
}

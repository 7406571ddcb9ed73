//! What a profile is labelled with at its receiver: the labels that /metrics has for the same process.
//!
//! In: who a process is, and the name of the node. Out: labels, those without a value left out, and the name of the
//! service that the process is one of, made from a pattern.

use crate::agent::node::Who;

/// As much of a container's id as its runtimes' tools show.
const SHORT_ID: usize = 12;

/// Names and values, in a fixed order.
pub type Labels = Vec<(&'static str, String)>;

/// What tells the process from others.
pub fn of(who: &Who, node: &str) -> Labels {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let all = [
        ("pid", who.id.pid.to_string()),
        ("comm", who.comm.clone()),
        ("container", container(who)),
        ("pod", text(&who.workload.pod)),
        ("namespace", text(&who.workload.namespace)),
        ("node", node.to_owned()),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Its container's name, or else as much of its id as is shown; may be empty.
pub fn container(who: &Who) -> String {
    match (&who.workload.container, &who.container) {
        (Some(name), _) if !name.is_empty() => name.clone(),
        (_, Some(id)) => id.get(..SHORT_ID).unwrap_or(id).to_owned(),
        _ => String::new(),
    }
}

/// A text with places for labels: `{namespace}/{comm}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Label(&'static str),
}

/// Labels that a pattern may name.
const NAMES: [&str; 6] = ["pid", "comm", "container", "pod", "namespace", "node"];

impl Pattern {
    /// # Errors
    /// A label that there is none of, or a brace without the other one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("a { without its }")?;
            let known = NAMES.into_iter().find(|known| *known == name);
            let name = known.ok_or_else(|| {
                format!("{{{}}} is no label: there are {}", name.escape_debug(), NAMES.join(", "))
            })?;
            parts.extend([Part::Text(before.to_owned()), Part::Label(name)]);
            rest = after;
        }
        if rest.contains('}') {
            return Err("a } without its {".to_owned());
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// With the labels of a process; what it has none of is empty.
    pub fn fill(&self, labels: &Labels) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Label(name) => {
                let found = labels.iter().find(|(label, _)| label == name);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            }
        };
        self.0.iter().map(part).collect()
    }
}

impl Default for Pattern {
    /// What the process is called.
    fn default() -> Self {
        Self(vec![Part::Label("comm")])
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::host::Identity;
    use crate::profile::Workload;

    /// A process in a pod.
    pub fn who() -> Who {
        Who {
            id: Identity { pid: 77, start: 5000 },
            comm: "orders".to_owned(),
            path: "/app/orders".to_owned(),
            go_version: Some("go1.26.6".to_owned()),
            container: Some("0123456789abcdef0123".to_owned()),
            workload: Workload {
                pod: Some("orders-5d9".to_owned()),
                namespace: Some("shop".to_owned()),
                ..Workload::default()
            },
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let labels = of(&who(), "n1");
        let texts: Vec<(&str, &str)> = labels.iter().map(|(name, v)| (*name, v.as_str())).collect();
        assert_eq!(
            texts,
            [
                ("pid", "77"),
                ("comm", "orders"),
                ("container", "0123456789ab"),
                ("pod", "orders-5d9"),
                ("namespace", "shop"),
                ("node", "n1")
            ]
        );
        let bare = Who { container: None, workload: Workload::default(), ..who() };
        assert_eq!(of(&bare, "").len(), 2);
        let named = Workload { container: Some("web".to_owned()), ..Workload::default() };
        assert_eq!(container(&Who { workload: named, ..who() }), "web");
    }

    #[test]
    fn patterns() {
        let labels = of(&who(), "n1");
        let fill = |text: &str| Pattern::parse(text).unwrap().fill(&labels);
        assert_eq!(fill("{namespace}/{comm}"), "shop/orders");
        assert_eq!(fill("shop"), "shop");
        assert_eq!(Pattern::default().fill(&labels), "orders");
        for wrong in ["{comm", "comm}", "{app}", "{}", "{{comm}}"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}

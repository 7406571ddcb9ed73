//! Labels that say which process a number is of.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelSetEncoder};

use super::Labels;
use crate::agent::node::Process;

/// The last label of every number.
const NODE: &str = "node";

/// What tells a process from others, written once for all its numbers: its labels as the text has them, up to the
/// name of the last one.
#[derive(Clone, Debug)]
pub struct OfProcess(String);

/// As much of a container's id as its runtimes' tools show.
const SHORT_ID: usize = 12;

impl OfProcess {
    /// Those without a value are left out: Prometheus takes both for the same.
    pub fn new(process: &Process) -> Self {
        let who = &*process.who;
        let id = who.container.as_deref().unwrap_or("");
        let container = match who.workload.container.as_deref().unwrap_or("") {
            "" => id.get(..SHORT_ID).unwrap_or(id),
            name => name,
        };
        let mut text = format!("pid=\"{}\",", who.id.pid);
        for (name, value) in [
            ("comm", &*who.comm),
            ("container", container),
            ("pod", who.workload.pod.as_deref().unwrap_or("")),
            ("namespace", who.workload.namespace.as_deref().unwrap_or("")),
        ] {
            if name == "comm" || !value.is_empty() {
                // Writing to a string does not fail.
                let _ = write!(text, "{name}=\"{}\",", Escaped(value));
            }
        }
        Self(text + NODE)
    }
}

/// As a value between quotes has it.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['\\', '"', '\n']) {
            let (plain, end) = match part.as_bytes().last() {
                Some(b'\\') => (&part[..part.len() - 1], "\\\\"),
                Some(b'"') => (&part[..part.len() - 1], "\\\""),
                Some(b'\n') => (&part[..part.len() - 1], "\\n"),
                _ => (part, ""),
            };
            to.write_str(plain)?;
            to.write_str(end)?;
        }
        Ok(())
    }
}

/// All labels of one number.
#[derive(Debug)]
pub struct All<'a> {
    pub process: Option<&'a OfProcess>,
    pub node: &'a str,
    pub own: Labels<'a>,
}

impl EncodeLabelSet for All<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.own {
            label(encoder, name, value)?;
        }
        let last = self.process.map_or(NODE, |process| &process.0);
        label(encoder, last, &self.node)
    }
}

fn label(
    encoder: &mut LabelSetEncoder<'_>,
    name: &str,
    value: &impl EncodeLabelValue,
) -> fmt::Result {
    use fmt::Write as _;

    let mut label = encoder.encode_label();
    let mut key = label.encode_label_key()?;
    key.write_str(name)?;
    let mut to = key.encode_label_value()?;
    value.encode(&mut to)?;
    to.finish()
}

#[cfg(test)]
mod tests {
    use crate::agent::metrics::serve;
    use crate::agent::node::made;
    use std::sync::Arc;

    #[test]
    fn a_name_is_told_as_the_format_has_it() {
        for (name, expected) in [
            ("api", "api"),
            ("", ""),
            ("\"", "\\\""),
            ("a\\", "a\\\\"),
            ("\n\\\"x\n", "\\n\\\\\\\"x\\n"),
            ("é}# TYPE", "é}# TYPE"),
        ] {
            let mut node = made::node();
            let mut process = made::bare(7);
            let mut who = made::who(7);
            who.comm = name.to_owned();
            who.workload.pod = Some(name.to_owned());
            process.who = Arc::new(who);
            (node.processes, node.name) = (vec![Arc::new(process)], name.into());
            let text = serve(&Arc::new(node), 100_000).openmetrics;
            let pod = if name.is_empty() { String::new() } else { format!(",pod=\"{expected}\"") };
            // The node's name is written by who knows the format.
            let labels = format!("{{pid=\"7\",comm=\"{expected}\"{pod},node=\"{expected}\"}} ");
            assert!(text.contains(&labels), "{labels}{text}");
        }
    }
}

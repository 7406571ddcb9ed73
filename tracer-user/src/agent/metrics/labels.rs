//! Labels that say which process a number is of.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelSetEncoder};

use super::Labels;
use crate::agent::node::Process;

/// What tells a process from others, worked out once for all its numbers.
#[derive(Clone, Debug)]
pub struct OfProcess<'p> {
    pid: u32,
    comm: &'p str,
    container: &'p str,
    pod: &'p str,
    namespace: &'p str,
}

/// As much of a container's id as its runtimes' tools show.
const SHORT_ID: usize = 12;

impl<'p> OfProcess<'p> {
    pub fn new(process: &'p Process) -> Self {
        let who = &*process.who;
        let text = |name: &'p Option<String>| name.as_deref().unwrap_or("");
        let id = text(&who.container);
        let container = match text(&who.workload.container) {
            "" => id.get(..SHORT_ID).unwrap_or(id),
            name => name,
        };
        Self {
            pid: who.id.pid,
            comm: &who.comm,
            container,
            pod: text(&who.workload.pod),
            namespace: text(&who.workload.namespace),
        }
    }
}

/// All labels of one number. Those without a value are left out: Prometheus takes both for the same.
#[derive(Debug)]
pub struct All<'a> {
    pub process: Option<&'a OfProcess<'a>>,
    pub node: &'a str,
    pub own: Labels<'a>,
}

impl EncodeLabelSet for All<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.own {
            label(encoder, name, value)?;
        }
        if let Some(process) = self.process {
            label(encoder, "pid", &process.pid)?;
            label(encoder, "comm", &process.comm)?;
            for (name, value) in [
                ("container", process.container),
                ("pod", process.pod),
                ("namespace", process.namespace),
            ] {
                if !value.is_empty() {
                    label(encoder, name, &value)?;
                }
            }
        }
        label(encoder, "node", &self.node)
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

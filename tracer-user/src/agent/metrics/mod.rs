//! Metrics: what a picture of the node says, as numbers with names.
//!
//! In: a [`Node`]. Out: numbers by [`Family`], and all of them as the texts that Prometheus scrapes. A family is
//! declared once: name, unit, help and where its numbers come from; what is served, what rules ask for and what
//! docs/agent.md lists derive from that. Names and units are OpenTelemetry's of Go runtimes where it has them.

mod families;
mod labels;
mod text;

use super::node::{Node, Process};

pub use families::{OF_NODE, OF_PROCESSES};
pub use text::{Served, serve};

/// Metrics of one name.
pub struct Family<Of: 'static> {
    /// Without its unit, and without the `_total` of counters.
    pub name: &'static str,
    pub unit: Option<Unit>,
    pub help: &'static str,
    pub numbers: Numbers<Of>,
}

/// As the end of a name has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Seconds,
    Percent,
    Ratio,
}

impl Unit {
    pub fn word(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
            Unit::Percent => "percent",
            Unit::Ratio => "ratio",
        }
    }
}

/// Where numbers come from. What is not known is not told.
pub enum Numbers<Of: 'static> {
    Gauge(fn(&Of, &mut Tell<'_>)),
    /// Never goes back while a process is there.
    Counter(fn(&Of, &mut Tell<'_>)),
    Histogram(fn(&Of) -> Option<Histogram>),
}

/// Takes a number and the labels that set it apart from others of its family and process.
pub type Tell<'t> = dyn FnMut(Labels<'_>, Number) + 't;

/// Names and values.
pub type Labels<'l> = &'l [(&'static str, &'l str)];

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Int(u64),
    Float(f64),
}

impl Number {
    pub fn value(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Number::Int(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number::Float(value)
    }
}

/// How many values lay in which range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    pub sum: f64,
    pub count: u64,
    /// The upper end of each range, ascending, the last one infinite, and how many lay in it and not below.
    pub buckets: Vec<(f64, u64)>,
}

impl<Of> Family<Of> {
    /// As Prometheus has it: `go_memory_used_bytes`, `go_memory_allocated_bytes_total`.
    pub fn full_name(&self) -> String {
        let mut name = self.name.to_owned();
        if let Some(unit) = self.unit {
            name = format!("{name}_{}", unit.word());
        }
        if matches!(self.numbers, Numbers::Counter(_)) { name + "_total" } else { name }
    }

    /// Calls `tell` with each number, in the same order each time; a histogram has none.
    pub fn each(&self, of: &Of, tell: &mut Tell<'_>) {
        match self.numbers {
            Numbers::Gauge(read) | Numbers::Counter(read) => read(of, tell),
            Numbers::Histogram(_) => {}
        }
    }
}

/// The family of processes with this full name.
pub fn of_processes(full_name: &str) -> Option<&'static Family<Process>> {
    OF_PROCESSES.iter().find(|family| family.full_name() == full_name)
}

/// The family of the node with this full name.
pub fn of_node(full_name: &str) -> Option<&'static Family<Node>> {
    OF_NODE.iter().find(|family| family.full_name() == full_name)
}

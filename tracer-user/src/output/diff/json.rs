//! A comparison as JSON, for scripts. The schema is told in `docs/diff.md`.

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use crate::output::json::unix_ns;
use crate::profile::Sample;
use crate::profile::diff::{By, Diff, Part, Side};

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
pub const SCHEMA: &str = "heaptap.diff/1";

/// Writes the document and a newline.
pub fn write(diff: &Diff, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Document::new(diff)).map_err(io::Error::from)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    before: OneSide<'a>,
    after: OneSide<'a>,
    value_types: Vec<Value<'a>>,
    default_value: usize,
    period: Option<Period<'a>>,
    by: &'static str,
    /// What values before were multiplied by.
    scaled: Option<f64>,
    grown: Several,
    shrunk: Several,
    only_after: Several,
    only_before: Several,
    unchanged: usize,
    moved: usize,
    stacks: Stacks<'a>,
}

#[derive(Serialize)]
struct OneSide<'a> {
    name: &'a str,
    source: &'static str,
    estimate: bool,
    started_unix_ns: u64,
    duration_ns: u64,
    processes: Vec<Who<'a>>,
    totals: &'a [u64],
    lost_events: u64,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Who<'a> {
    pid: u32,
    comm: &'a str,
}

#[derive(Serialize)]
struct Value<'a> {
    kind: &'a str,
    unit: &'a str,
}

#[derive(Serialize)]
struct Period<'a> {
    kind: &'a str,
    unit: &'a str,
    length: u64,
}

#[derive(Serialize)]
struct Several {
    stacks: usize,
    change: u64,
}

struct Stacks<'a>(&'a Diff);

#[derive(Serialize)]
struct Stack<'a> {
    before: &'a [u64],
    after: &'a [u64],
    change: Vec<i64>,
    error: &'a [f64],
    frames: Vec<OneFrame<'a>>,
}

#[derive(Serialize)]
struct OneFrame<'a> {
    function: &'a str,
    file: &'a str,
    line: u32,
    kind: &'static str,
}

impl<'a> Document<'a> {
    fn new(diff: &'a Diff) -> Self {
        let tally = diff.tally();
        let several = |Part { stacks, change }: Part| Several { stacks, change };
        let kinds = diff.types.iter().map(|of| Value { kind: &of.kind, unit: &of.unit });
        Self {
            schema: SCHEMA,
            before: OneSide::new(&diff.before),
            after: OneSide::new(&diff.after),
            value_types: kinds.collect(),
            default_value: diff.value,
            period: diff.period.as_ref().map(|(of, length)| Period {
                kind: &of.kind,
                unit: &of.unit,
                length: *length,
            }),
            by: match diff.by {
                By::Line => "line",
                By::Function => "function",
            },
            scaled: diff.scaled,
            grown: several(tally.grown),
            shrunk: several(tally.shrunk),
            only_after: several(tally.new),
            only_before: several(tally.gone),
            unchanged: tally.same,
            moved: diff.moved,
            stacks: Stacks(diff),
        }
    }
}

impl<'a> OneSide<'a> {
    fn new(Side { name, profile, totals }: &'a Side) -> Self {
        let meta = &profile.meta;
        let who = profile.processes.iter().map(|one| Who { pid: one.pid, comm: &one.comm });
        Self {
            name,
            source: meta.source.word(),
            estimate: meta.is_estimate(),
            started_unix_ns: unix_ns(meta.started),
            duration_ns: u64::try_from(meta.duration.as_nanos()).unwrap_or(u64::MAX),
            processes: who.collect(),
            totals,
            lost_events: meta.lost(),
            notes: &meta.notes,
        }
    }
}

impl Serialize for Stacks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let diff = self.0;
        serializer.collect_seq(diff.all.samples.iter().map(|sample| Stack::new(diff, sample)))
    }
}

impl<'a> Stack<'a> {
    fn new(diff: &'a Diff, sample: &'a Sample) -> Self {
        let (before, after) = sample.values.split_at(diff.types.len());
        let change = |(before, after): (&u64, &u64)| {
            let change = i128::from(*after) - i128::from(*before);
            i64::try_from(change).unwrap_or(if change < 0 { i64::MIN } else { i64::MAX })
        };
        let text = |name| diff.all.names.text(name);
        let frames = diff.all.frames(sample).map(|frame| OneFrame {
            function: text(frame.function),
            file: text(frame.file),
            line: frame.line,
            kind: frame.kind.word(),
        });
        Self {
            before,
            after,
            change: before.iter().zip(after).map(change).collect(),
            error: &sample.error,
            frames: frames.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::diff::sample;

    #[test]
    fn every_field_is_described() {
        let mut out = Vec::new();
        write(&sample::sampled(), &mut out).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let description = include_str!("../../../../docs/diff.md");
        crate::pipeline::assert_described(&document, description, SCHEMA);
    }
}

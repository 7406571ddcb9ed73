//! JSON: all that a profile holds, for scripts. The schema is told in `docs/output.md`.
//!
//! In: a [`Profile`]. Out: one document, written as it is walked; stacks in the order of
//! [`Profile::sorted`]. Names are exact: JSON's own escapes are the only change.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

mod iterations;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use iterations::StackIterations;

use super::identity::Place;
use crate::profile::{
    AGES, Ages, BinaryId, CounterValue, Frame, Label, LabelValue, LocationId, Profile, Rest,
};

/// Changes whenever a field changes its meaning or goes away; new fields alone keep it.
pub const SCHEMA: &str = "heaptap.profile/1";

/// Writes the document and a newline.
pub fn write(profile: &Profile, value: usize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Document::new(profile, value)).map_err(io::Error::from)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    meta: Meta<'a>,
    counters: Vec<Counter<'a>>,
    notes: &'a [String],
    processes: Vec<Process<'a>>,
    binaries: Vec<Binary<'a>>,
    stacks: Stacks<'a>,
}

#[derive(Serialize)]
struct Meta<'a> {
    source: &'static str,
    method: Option<&'a str>,
    estimate: bool,
    started_unix_ns: u64,
    duration_ns: u64,
    value_types: Vec<Value<'a>>,
    default_value: usize,
    period: Option<Period>,
    totals: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    age_bounds_ns: Vec<u64>,
    /// Part of each process's CPU time that recording might cost it.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<f64>,
    lost_events: u64,
}

#[derive(Serialize)]
struct Value<'a> {
    kind: &'a str,
    unit: &'a str,
}

#[derive(Serialize)]
struct Period {
    kind: &'static str,
    unit: &'static str,
    length: u64,
}

#[derive(Serialize)]
pub(super) struct Counter<'a> {
    name: &'a str,
    count: u64,
    is_loss: bool,
    help: &'a str,
}

#[derive(Serialize)]
pub(super) struct Process<'a> {
    /// Null when it stands for several.
    pid: Option<u32>,
    processes: u64,
    comm: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
    go_version: Option<&'a str>,
    binary: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
}

/// What recording cost it, and what was seen of it.
#[derive(Serialize)]
struct Cost {
    traps: u64,
    caused_ns: u64,
    own_ns: u64,
    cpu_ns: u64,
    /// Null when its CPU time could not be read.
    percent: Option<f64>,
    windows: u32,
    observed_ns: u64,
    traced_ns: u64,
    scaled: bool,
    ended_early: bool,
}

#[derive(Serialize)]
pub(super) struct Binary<'a> {
    path: &'a str,
    build_id: &'a str,
    text_start: Hex,
    text_end: Hex,
    text_offset: Hex,
}

#[derive(Serialize)]
struct Stack<'a> {
    process: u32,
    values: &'a [u64],
    error: &'a [f64],
    #[serde(skip_serializing_if = "Option::is_none")]
    ages: Option<StackAges<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iterations: Option<StackIterations>,
    go_type: Option<&'a str>,
    labels: Labels<'a>,
    frames: Frames<'a>,
}

/// Objects by class of age; where classes end is [`Meta::age_bounds_ns`].
#[derive(Serialize)]
struct StackAges<'a> {
    freed: &'a [u64],
    live: &'a [u64],
}

#[derive(Serialize)]
pub(super) struct OneFrame<'a> {
    function: &'a str,
    file: &'a str,
    line: u32,
    start_line: u32,
    kind: &'static str,
    inlined: bool,
    binary: Option<u32>,
    address: Hex,
}

/// An address as `"0x4a5b6c"`: JSON numbers lose bits above 2^53 in many readers.
struct Hex(u64);

struct Stacks<'a>(&'a Profile, usize);

/// The frames of a stack.
pub(super) struct Frames<'a>(pub &'a Profile, pub &'a [LocationId]);

struct Labels<'a>(&'a Profile, &'a [Label]);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl Serialize for Stacks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Stacks(profile, value) = self;
        serializer.collect_seq(profile.sorted(*value).into_iter().map(|sample| Stack {
            process: sample.process.0,
            values: &sample.values,
            error: &sample.error,
            ages: sample.ages.as_deref().map(|a| StackAges { freed: &a.freed, live: &a.live }),
            iterations: sample.iterations.as_deref().map(StackIterations::from),
            go_type: sample.go_type.map(|name| profile.names.text(name)),
            labels: Labels(profile, &sample.labels),
            frames: Frames(profile, &sample.stack),
        }))
    }
}

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = &self.0.names;
        let mut map = serializer.serialize_map(Some(self.1.len()))?;
        for label in self.1 {
            let key = names.text(label.key);
            match label.value {
                LabelValue::Text(text) => map.serialize_entry(key, names.text(text))?,
                LabelValue::Number(number) => map.serialize_entry(key, &number)?,
            }
        }
        map.end()
    }
}

impl Serialize for Frames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Frames(profile, stack) = self;
        let locations = stack.iter().map(|id| &profile.locations[id.0 as usize]);
        serializer.collect_seq(locations.flat_map(|location| {
            let outermost = location.frames.len().saturating_sub(1);
            location.frames.iter().enumerate().map(move |(at, frame)| {
                let binary = location.binary.map(|BinaryId(id)| id);
                one_frame(profile, frame, at < outermost, binary, location.address.0)
            })
        }))
    }
}

pub(super) fn one_frame<'a>(
    profile: &'a Profile,
    frame: &Frame,
    inlined: bool,
    binary: Option<u32>,
    address: u64,
) -> OneFrame<'a> {
    OneFrame {
        function: profile.names.text(frame.function),
        file: profile.names.text(frame.file),
        line: frame.line,
        start_line: frame.start_line,
        kind: frame.kind.word(),
        inlined,
        binary,
        address: Hex(address),
    }
}

impl<'a> Document<'a> {
    fn new(profile: &'a Profile, value: usize) -> Self {
        Self {
            schema: SCHEMA,
            meta: Meta::new(profile, value),
            counters: profile.meta.counters.iter().map(Counter::new).collect(),
            notes: &profile.meta.notes,
            processes: profile.processes.iter().map(Process::new).collect(),
            binaries: profile.binaries.iter().map(Binary::new).collect(),
            stacks: Stacks(profile, value),
        }
    }
}

impl<'a> Meta<'a> {
    fn new(profile: &'a Profile, value: usize) -> Self {
        let meta = &profile.meta;
        let values = 0..meta.value_types.len();
        Self {
            source: meta.source.word(),
            method: meta.method.as_deref(),
            estimate: meta.is_estimate(),
            started_unix_ns: unix_ns(meta.started),
            duration_ns: nanos(meta.duration),
            value_types: meta
                .value_types
                .iter()
                .map(|t| Value { kind: t.kind, unit: t.unit })
                .collect(),
            default_value: value,
            period: meta.period.map(|period| Period {
                kind: period.of.kind,
                unit: period.of.unit,
                length: period.length,
            }),
            age_bounds_ns: age_bounds(profile),
            totals: values.map(|v| profile.total(v)).collect(),
            budget: meta.budget,
            lost_events: meta.lost(),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since 1970.
pub(crate) fn unix_ns(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

impl<'a> Counter<'a> {
    pub(super) fn new(counter: &'a CounterValue) -> Self {
        let CounterValue { name, help, is_loss, count } = counter;
        Self { name, count: *count, is_loss: *is_loss, help }
    }
}

impl<'a> Process<'a> {
    pub(super) fn new(process: &'a crate::profile::Process) -> Self {
        Self {
            pid: (process.processes == 1).then_some(process.pid),
            processes: process.processes,
            comm: &process.comm,
            place: Place::new(process.container.as_deref(), &process.workload),
            go_version: process.go_version.as_deref(),
            binary: process.binary.0,
            cost: process.cost.map(|cost| Cost {
                traps: cost.traps,
                caused_ns: nanos(cost.caused),
                own_ns: nanos(cost.own),
                cpu_ns: nanos(cost.cpu),
                percent: cost.percent(),
                windows: cost.windows,
                observed_ns: nanos(cost.observed),
                traced_ns: nanos(cost.traced),
                scaled: cost.rest == Rest::Estimated,
                ended_early: cost.is_over(),
            }),
        }
    }
}

impl<'a> Binary<'a> {
    pub(super) fn new(binary: &'a crate::profile::Binary) -> Self {
        Self {
            path: &binary.path,
            build_id: &binary.build_id,
            text_start: Hex(binary.text_start.0),
            text_end: Hex(binary.text_end.0),
            text_offset: Hex(binary.text_offset),
        }
    }
}

/// Where classes of age end, the last one excepted; nothing when no ages are known.
fn age_bounds(profile: &Profile) -> Vec<u64> {
    if profile.samples.iter().all(|sample| sample.ages.is_none()) {
        return Vec::new();
    }
    (0..AGES - 1).map(|class| Ages::bound(class).as_nanos() as u64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use crate::output::golden::{check, rendered};
    use crate::output::{Format, sample};

    fn pretty(text: &str) -> String {
        let document: Json = serde_json::from_str(text).unwrap();
        serde_json::to_string_pretty(&document).unwrap() + "\n"
    }

    #[test]
    fn matches_the_golden_files() {
        check("server.json", &pretty(&rendered(&sample::server(), Format::Json)));
        check("fleet.json", &pretty(&rendered(&sample::fleet(), Format::Json)));
        check("empty.json", &pretty(&rendered(&sample::empty(), Format::Json)));
        check("heap.json", &pretty(&rendered(&sample::heap(), Format::Json)));
    }

    #[test]
    fn hostile_names_come_back_as_they_were() {
        let profile = sample::hostile();
        let text = rendered(&profile, Format::Json);
        assert!(!text.trim_end().contains(|c: char| c.is_ascii_control()));
        let document: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(document["processes"][0]["comm"], profile.processes[0].comm.as_str());
        let stacks = document["stacks"].as_array().unwrap();
        assert_eq!(stacks.len(), profile.samples.len());
        for (stack, sample) in stacks.iter().zip(profile.sorted(1)) {
            let frames = stack["frames"].as_array().unwrap();
            for (frame, expected) in frames.iter().zip(profile.frames(sample)) {
                assert_eq!(frame["function"], profile.names.text(expected.function));
            }
        }
    }

    #[test]
    fn fields_come_in_the_documented_order() {
        let text = rendered(&sample::server(), Format::Json);
        let places = ["\"schema\"", "\"meta\"", "\"counters\"", "\"processes\"", "\"stacks\""]
            .map(|field| text.find(field).unwrap());
        assert!(places.is_sorted());
    }
}

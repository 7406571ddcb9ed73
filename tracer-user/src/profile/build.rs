//! Makes profiles by hand, for tests of whatever takes a [`Profile`].
//!
//! In: frames as short texts. Out: a complete profile that is the same every time: recorded on
//! 2026-01-02 at 03:04:05 UTC for 10 s, with objects and bytes, bytes shown by default.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::{
    ALLOC_OBJECTS, ALLOC_SPACE, Ages, Binary, BinaryId, Cost, CounterValue, Frame, FrameKind,
    Iterations, Label, LabelValue, Location, LocationId, Meta, Period, Process, ProcessId, Profile,
    Sample, Source, TRUNCATED, ValueType, Workload,
};
use crate::address::VAddr;

/// A profile in the making.
pub struct Build {
    profile: Profile,
    locations: HashMap<(BinaryId, String), LocationId>,
}

impl Build {
    /// Nothing yet.
    pub fn new(source: Source) -> Self {
        let meta = Meta {
            source,
            method: None,
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045),
            duration: Duration::from_secs(10),
            value_types: vec![ALLOC_OBJECTS, ALLOC_SPACE],
            default_value: 1,
            period: None,
            counters: Vec::new(),
            budget: None,
            in_windows: false,
            notes: Vec::new(),
        };
        Self { profile: Profile::new(meta), locations: HashMap::new() }
    }

    /// A process of a binary of its own, `/usr/bin/COMM`, linked at 0x400000.
    pub fn process(&mut self, pid: u32, comm: &str, go_version: &str) -> ProcessId {
        let binaries = &mut self.profile.binaries;
        let binary = BinaryId(binaries.len() as u32);
        binaries.push(Binary {
            path: format!("/usr/bin/{comm}"),
            build_id: format!("{:040x}", 0xb111_d000 + u64::from(pid)),
            text_start: VAddr(0x40_0000),
            text_end: VAddr(0x80_0000),
            text_offset: 0,
        });
        self.profile.processes.push(Process {
            pid,
            start_ticks: 0,
            comm: comm.to_owned(),
            container: None,
            workload: Workload::default(),
            binary,
            processes: 1,
            cost: None,
            go_version: Some(go_version.to_owned()).filter(|v| !v.is_empty()),
        });
        ProcessId(self.profile.processes.len() as u32 - 1)
    }

    /// Puts a process into a container.
    pub fn container(&mut self, process: ProcessId, id: &str) -> &mut Self {
        self.profile.processes[process.0 as usize].container = Some(id.to_owned());
        self
    }

    /// What a process was caused, with a budget of 1 %.
    pub fn cost(&mut self, process: ProcessId, cost: Cost) -> &mut Self {
        self.profile.meta.budget = Some(0.01);
        self.profile.meta.in_windows |= cost.windows > 0;
        self.profile.processes[process.0 as usize].cost = Some(cost);
        self
    }

    /// Names what a process runs in.
    pub fn workload(&mut self, process: ProcessId, workload: Workload) -> &mut Self {
        self.profile.processes[process.0 as usize].workload = workload;
        self
    }

    /// A stack of `frames`, innermost first, each `function [file:line[:start]] [0xADDRESS]`.
    ///
    /// A `+` in front of a frame says that it is inlined into the next one. The kind follows from
    /// the name as it would in Go, and can be put in front: `native:malloc`, `unknown:[no file]`.
    /// [`TRUNCATED`] is the marker. In names `~` stands for a space.
    pub fn stack(
        &mut self,
        process: ProcessId,
        frames: &[&str],
        objects: u64,
        bytes: u64,
    ) -> &mut Self {
        let binary = self.profile.processes[process.0 as usize].binary;
        let mut stack = Vec::new();
        let mut rest = frames;
        while let Some(first) = rest.iter().position(|f| !f.starts_with('+')) {
            let (of_location, next) = rest.split_at(first + 1);
            stack.push(self.location(binary, of_location));
            rest = next;
        }
        self.profile.samples.push(Sample {
            process,
            stack,
            values: vec![objects, bytes],
            error: Vec::new(),
            go_type: None,
            leaf: None,
            labels: Vec::new(),
            ages: None,
            iterations: None,
        });
        self
    }

    /// What the last stack allocated.
    pub fn go_type(&mut self, text: &str) -> &mut Self {
        let name = self.profile.names.intern(text);
        if let Some(sample) = self.profile.samples.last_mut() {
            sample.go_type = Some(name);
        }
        self
    }

    /// Measures other values than objects and bytes.
    pub fn values(&mut self, types: &[ValueType], default_value: usize) -> &mut Self {
        self.profile.meta.value_types = types.to_vec();
        self.profile.meta.default_value = default_value;
        self
    }

    /// The last stack's values.
    pub fn valued(&mut self, values: &[u64]) -> &mut Self {
        if let Some(sample) = self.profile.samples.last_mut() {
            sample.values = values.to_vec();
        }
        self
    }

    /// How old became what the last stack made.
    pub fn ages(&mut self, ages: &Ages) -> &mut Self {
        if let Some(sample) = self.profile.samples.last_mut() {
            sample.ages = Some(Box::new(ages.clone()));
        }
        self
    }

    /// What the last stack's iterations over maps were like.
    pub fn iterations(&mut self, of: Iterations) -> &mut Self {
        if let Some(sample) = self.profile.samples.last_mut() {
            sample.iterations = Some(Box::new(of));
        }
        self
    }

    /// A number about the last stack.
    pub fn label(&mut self, key: &str, number: u64) -> &mut Self {
        let key = self.profile.names.intern(key);
        if let Some(sample) = self.profile.samples.last_mut() {
            sample.labels.push(Label { key, value: LabelValue::Number(number) });
        }
        self
    }

    /// A text that sets the last stack apart.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        let [key, value] = [key, value].map(|text| self.profile.names.intern(text));
        if let Some(sample) = self.profile.samples.last_mut() {
            sample.labels.push(Label { key, value: LabelValue::Text(value) });
        }
        self
    }

    /// Read at one moment from a runtime's records, one sample each `length` of `of`.
    pub fn records(&mut self, method: &str, of: ValueType, length: u64) -> &mut Self {
        let meta = &mut self.profile.meta;
        meta.source = Source::Records;
        meta.method = Some(method.to_owned());
        meta.duration = Duration::ZERO;
        meta.period = Some(Period { of, length });
        self
    }

    /// Half-widths of the 95 % confidence intervals of the last stack's values.
    pub fn error(&mut self, objects: f64, bytes: f64) -> &mut Self {
        if let Some(sample) = self.profile.samples.last_mut() {
            sample.error = vec![objects, bytes];
        }
        self
    }

    /// A counter of the kernel programs.
    pub fn counter(&mut self, counter: CounterValue) -> &mut Self {
        self.profile.meta.counters.push(counter);
        self
    }

    /// A sentence for the reader.
    pub fn note(&mut self, text: &str) -> &mut Self {
        self.profile.meta.notes.push(text.to_owned());
        self
    }

    /// The profile.
    pub fn done(self) -> Profile {
        self.profile
    }

    fn location(&mut self, binary: BinaryId, texts: &[&str]) -> LocationId {
        if texts == [TRUNCATED] {
            return self.profile.truncated();
        }
        let key = (binary, texts.join("\n"));
        if let Some(id) = self.locations.get(&key) {
            return *id;
        }
        let id = LocationId(self.profile.locations.len() as u32);
        let mut address = 0x40_1000 + 0x10 * u64::from(id.0);
        let mut frames = Vec::new();
        for text in texts {
            let (frame, at) = self.frame(text.trim_start_matches('+'));
            frames.push(frame);
            address = at.unwrap_or(address);
        }
        self.profile.locations.push(Location {
            binary: Some(binary),
            address: VAddr(address),
            frames,
            raw: None,
        });
        self.locations.insert(key, id);
        id
    }

    fn frame(&mut self, text: &str) -> (Frame, Option<u64>) {
        let mut words = text.split(' ');
        let (kind, function) = split_kind(words.next().unwrap_or_default());
        let function = function.replace('~', " ");
        let mut frame = Frame {
            function: self.profile.names.intern(&function),
            file: super::Name(0),
            line: 0,
            start_line: 0,
            kind: kind.unwrap_or_else(|| kind_of(&function)),
        };
        let mut address = None;
        for word in words {
            if let Some(hex) = word.strip_prefix("0x") {
                address = u64::from_str_radix(hex, 16).ok();
                continue;
            }
            let mut parts = word.split(':');
            frame.file = self.profile.names.intern(parts.next().unwrap_or_default());
            frame.line = number(parts.next());
            frame.start_line = number(parts.next());
        }
        (frame, address)
    }
}

fn number(text: Option<&str>) -> u32 {
    text.and_then(|t| t.parse().ok()).unwrap_or(0)
}

fn split_kind(text: &str) -> (Option<FrameKind>, &str) {
    let given = |kind: &FrameKind| text.strip_prefix(kind.word())?.strip_prefix(':');
    match FrameKind::ALL.iter().find_map(|kind| given(kind).map(|rest| (*kind, rest))) {
        Some((kind, rest)) => (Some(kind), rest),
        None => (None, text),
    }
}

/// A guess from the name alone, good enough for tests: a dot in the first path element is a module.
fn kind_of(function: &str) -> FrameKind {
    let first = function.split('/').next().unwrap_or_default();
    let of_module = function.contains('/') && first.contains('.');
    if function.starts_with("runtime.") || function.starts_with("internal/runtime/") {
        FrameKind::Runtime
    } else if function.starts_with("main.") || of_module {
        FrameKind::Program
    } else {
        FrameKind::Standard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inlined_frames_share_a_location_and_kinds_follow_names() {
        let mut build = Build::new(Source::Exact);
        let process = build.process(7, "server", "go1.26.6");
        let frames = [
            "+strings.Clone /go/src/strings/clone.go:23:22",
            "main.handle /src/main.go:10:8",
            "github.com/x/y.(*T).Do y.go:3",
            "native:malloc",
            TRUNCATED,
        ];
        build.stack(process, &frames, 1, 16);
        let profile = build.done();
        let sample = &profile.samples[0];
        assert_eq!(sample.stack.len(), 4);
        let kinds: Vec<_> = profile.frames(sample).map(|f| f.kind).collect();
        use FrameKind::*;
        assert_eq!(kinds, [Standard, Program, Program, Native, Marker]);
        let first = profile.frames(sample).next().unwrap();
        assert_eq!((first.line, first.start_line), (23, 22));
        assert_eq!(profile.names.text(first.file), "/go/src/strings/clone.go");
    }
}

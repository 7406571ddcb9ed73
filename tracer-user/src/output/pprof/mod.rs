//! pprof's format: gzip-compressed `profile.proto`, as `go tool pprof` and many others read it.
//!
//! In: a [`Profile`]. Out: samples with labels `pid`, `comm`, `container` and the like, locations
//! with link-time addresses and their inlined frames, mappings with build ids. Names are as Go
//! prints them, but for hidden characters, which are spelled out: readers print them as they come.

pub(super) mod diff;
mod fields;
pub mod own;
pub mod proto;
pub mod read;

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::describe;
use super::text::printable;
use crate::profile::{
    BinaryId, Frame, LabelValue, Location, LocationId, Name, Period, Profile, Sample,
};

/// Writes the compressed message.
pub fn write(profile: &Profile, value: usize, out: &mut dyn Write) -> io::Result<()> {
    compress(&Encoder::new(profile).encode(value), out)
}

/// The message of one process's profile as that process would write it itself: its samples have no labels that say whose
/// they are.
pub fn of_one(profile: &Profile, value: usize) -> proto::Profile {
    Encoder { says_whose: false, ..Encoder::new(profile) }.encode(value)
}

/// Writes a message, compressed.
pub fn compress(message: &proto::Profile, out: &mut dyn Write) -> io::Result<()> {
    let mut gzip = GzEncoder::new(out, Compression::default());
    gzip.write_all(&message.encode_to_vec())?;
    gzip.finish().map(drop)
}

struct Encoder<'a> {
    profile: &'a Profile,
    made: proto::Profile,
    strings: HashMap<String, i64>,
    names: HashMap<Name, i64>,
    functions: HashMap<(Name, Name, u32), u64>,
    locations: HashMap<LocationId, u64>,
    /// Those that say the same are one.
    places: HashMap<&'a Location, u64>,
    mappings: HashMap<BinaryId, u64>,
    /// Samples are labelled with what tells their process.
    says_whose: bool,
}

impl<'a> Encoder<'a> {
    fn new(profile: &'a Profile) -> Self {
        let mut encoder = Self {
            profile,
            made: proto::Profile::default(),
            strings: HashMap::new(),
            names: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
            places: HashMap::new(),
            mappings: HashMap::new(),
            says_whose: true,
        };
        // Index 0 is the empty string by definition.
        encoder.string("");
        encoder
    }

    fn encode(mut self, value: usize) -> proto::Profile {
        let meta = &self.profile.meta;
        for value_type in &meta.value_types {
            let kind = self.string(value_type.kind);
            let unit = self.string(value_type.unit);
            self.made.sample_type.push(proto::ValueType { kind, unit });
        }
        if let Some(Period { of, length }) = meta.period {
            let kind = self.string(of.kind);
            let unit = self.string(of.unit);
            self.made.period_type = Some(proto::ValueType { kind, unit });
            self.made.period = signed(length.into());
        }
        self.made.default_sample_type = self.made.sample_type.get(value).map_or(0, |t| t.kind);
        self.times();
        self.mappings();
        for sample in self.profile.sorted(value) {
            self.sample(sample);
        }
        for comment in comments(self.profile) {
            let text = self.string(&comment);
            self.made.comment.push(text);
        }
        self.made
    }

    /// When it was measured, and for how long.
    fn times(&mut self) {
        let meta = &self.profile.meta;
        let since_1970 = meta.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.made.time_nanos = signed(since_1970.as_nanos());
        self.made.duration_nanos = signed(meta.duration.as_nanos());
    }

    /// All binaries; the first process's is the main one and comes first, as the format wants it.
    fn mappings(&mut self) {
        let main = self.profile.processes.first().map(|p| p.binary);
        let all = (0..self.profile.binaries.len() as u32).map(BinaryId);
        let others = all.clone().filter(|id| Some(*id) != main);
        for id in all.filter(|id| Some(*id) == main).chain(others) {
            let binary = &self.profile.binaries[id.0 as usize];
            let mapping = proto::Mapping {
                id: self.made.mapping.len() as u64 + 1,
                memory_start: binary.text_start.0,
                memory_limit: binary.text_end.0,
                file_offset: binary.text_offset,
                filename: self.string(&binary.path),
                build_id: self.string(&binary.build_id),
                has_functions: true,
                has_filenames: true,
                has_line_numbers: true,
                has_inline_frames: true,
            };
            self.mappings.insert(id, mapping.id);
            self.made.mapping.push(mapping);
        }
    }

    fn sample(&mut self, sample: &Sample) {
        let location_id = sample.stack.iter().map(|id| self.location(*id)).collect();
        let value = (0..self.profile.meta.value_types.len())
            .map(|value| signed(sample.value(value).into()))
            .collect();
        let label = self.labels(sample);
        self.made.sample.push(proto::Sample { location_id, value, label });
    }

    /// What tells the process of a sample.
    fn whose(&mut self, sample: &Sample) -> Vec<proto::Label> {
        let profile = self.profile;
        let process = &profile.processes[sample.process.0 as usize];
        let texts =
            [("comm", Some(process.comm.as_str())), ("container", process.container.as_deref())];
        // Ended processes that share an entry have no pid in common.
        let (key, num) = match process.processes {
            1 => ("pid", i64::from(process.pid)),
            several => ("processes", i64::try_from(several).unwrap_or(i64::MAX)),
        };
        let mut labels = vec![proto::Label { key: self.string(key), num, ..Default::default() }];
        for (key, text) in texts.into_iter().chain(process.workload.attributes()) {
            if let Some(text) = text {
                let (key, str) = (self.string(key), self.string(text));
                labels.push(proto::Label { key, str, ..Default::default() });
            }
        }
        labels
    }

    fn labels(&mut self, sample: &Sample) -> Vec<proto::Label> {
        let mut labels = if self.says_whose { self.whose(sample) } else { Vec::new() };
        if let Some(name) = sample.go_type {
            let (key, str) = (self.string("go_type"), self.name(name));
            labels.push(proto::Label { key, str, ..Default::default() });
        }
        for label in &sample.labels {
            let key = self.name(label.key);
            labels.push(match label.value {
                LabelValue::Text(text) => {
                    proto::Label { key, str: self.name(text), ..Default::default() }
                }
                LabelValue::Number(number) => {
                    proto::Label { key, num: signed(number.into()), ..Default::default() }
                }
            });
        }
        labels
    }

    fn location(&mut self, id: LocationId) -> u64 {
        if let Some(made) = self.locations.get(&id) {
            return *made;
        }
        let place = &self.profile.locations[id.0 as usize];
        if let Some(made) = self.places.get(place).copied() {
            self.locations.insert(id, made);
            return made;
        }
        let Location { binary, address, frames, raw } = place;
        let location = proto::Location {
            id: self.made.location.len() as u64 + 1,
            mapping_id: binary.and_then(|b| self.mappings.get(&b).copied()).unwrap_or(0),
            address: address.0,
            line: match raw {
                // Whoever has the binary can name it.
                Some(_) => Vec::new(),
                None => frames.iter().map(|frame| self.line(frame)).collect(),
            },
        };
        self.locations.insert(id, location.id);
        self.places.insert(place, location.id);
        let made = location.id;
        self.made.location.push(location);
        made
    }

    fn line(&mut self, frame: &Frame) -> proto::Line {
        let Frame { function, file, line, start_line, .. } = *frame;
        let line = i64::from(line);
        if let Some(made) = self.functions.get(&(function, file, start_line)) {
            return proto::Line { function_id: *made, line };
        }
        let name = self.name(function);
        let made = proto::Function {
            id: self.made.function.len() as u64 + 1,
            name,
            system_name: name,
            filename: self.name(file),
            start_line: i64::from(start_line),
        };
        self.functions.insert((function, file, start_line), made.id);
        self.made.function.push(made);
        proto::Line { function_id: made.id, line }
    }

    fn name(&mut self, name: Name) -> i64 {
        if let Some(made) = self.names.get(&name) {
            return *made;
        }
        let made = self.string(self.profile.names.text(name));
        self.names.insert(name, made);
        made
    }

    fn string(&mut self, text: &str) -> i64 {
        let text = printable(text);
        if let Some(made) = self.strings.get(text.as_ref()) {
            return *made;
        }
        let made = self.made.string_table.len() as i64;
        self.made.string_table.push(text.clone().into_owned());
        self.strings.insert(text.into_owned(), made);
        made
    }
}

/// What the format has no field for: how it was measured, every counter, every note.
fn comments(profile: &Profile) -> Vec<String> {
    let meta = &profile.meta;
    let mut comments = vec![
        format!("heaptap source={}", meta.source.word()),
        describe::method(profile),
        describe::totals(profile),
        describe::verdict(profile).to_owned(),
    ];
    for counter in &meta.counters {
        let loss = if counter.is_loss { " (loss)" } else { "" };
        comments.push(format!("{}={}{loss}: {}", counter.name, counter.count, counter.help));
    }
    comments.extend(describe::costs(profile));
    comments.extend(meta.notes.iter().map(|note| format!("note: {note}")));
    comments
}

fn signed(value: u128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::{env, fs};

    use super::*;
    use crate::output::golden::check;
    use crate::output::sample;

    fn encoded(profile: &Profile) -> Vec<u8> {
        let mut out = Vec::new();
        write(profile, 1, &mut out).unwrap();
        out
    }

    fn decoded(profile: &Profile) -> proto::Profile {
        let mut message = Vec::new();
        flate2::read::GzDecoder::new(&encoded(profile)[..]).read_to_end(&mut message).unwrap();
        proto::Profile::decode(&message[..]).unwrap()
    }

    #[test]
    fn everything_arrives_in_the_message() {
        let profile = sample::fleet();
        let made = decoded(&profile);
        let text = |at: i64| made.string_table[at as usize].as_str();
        assert_eq!(text(0), "");
        let types: Vec<_> = made.sample_type.iter().map(|t| (text(t.kind), text(t.unit))).collect();
        assert_eq!(types, [("alloc_objects", "count"), ("alloc_space", "bytes")]);
        assert_eq!(text(made.default_sample_type), "alloc_space");
        assert_eq!(made.time_nanos, 1_767_323_045_000_000_000);
        assert_eq!(made.duration_nanos, 10_000_000_000);
        assert_eq!(made.mapping.len(), 3);
        let web = &made.mapping[0];
        assert_eq!((text(web.filename), text(web.build_id).len()), ("/usr/bin/web", 40));
        assert_eq!(
            (web.memory_start, web.memory_limit, web.file_offset),
            (0x40_0000, 0x80_0000, 0)
        );
        assert!(web.has_functions && web.has_filenames);
        assert!(web.has_line_numbers && web.has_inline_frames);
        let labels: Vec<_> = made.sample[2]
            .label
            .iter()
            .map(|l| (text(l.key), if l.str == 0 { l.num.to_string() } else { text(l.str).into() }))
            .collect();
        assert_eq!(labels[0], ("pid", "78".to_owned()));
        assert_eq!(labels[1], ("comm", "worker".to_owned()));
        assert_eq!((labels[2].0, labels[2].1.len()), ("container", 64));
        let comments: Vec<_> = made.comment.iter().map(|c| text(*c)).collect();
        assert_eq!(comments[0], "heaptap source=span");
        assert!(comments.contains(&"recorded=321: events counted under a stack"));
        assert!(comments.iter().any(|c| c.starts_with("lost_stacks_full=1200 (loss): ")));
        assert!(comments.last().unwrap().starts_with("note: worker (pid 78)"));
    }

    #[test]
    fn inlined_frames_are_lines_of_one_location_innermost_first() {
        let made = decoded(&sample::server());
        let text = |at: i64| made.string_table[at as usize].as_str();
        let function = |line: &proto::Line| &made.function[line.function_id as usize - 1];
        let location = made.location.iter().find(|l| l.line.len() == 2).unwrap();
        let names: Vec<_> = location.line.iter().map(|l| text(function(l).name)).collect();
        assert_eq!(names, ["strings.Clone", "github.com/acme/cache.(*Cache[...]).Put"]);
        assert_eq!(location.line[1].line, 57);
        let put = function(&location.line[1]);
        assert_eq!((put.start_line, put.system_name), (44, put.name));
        assert!(text(put.filename).ends_with("/cache.go"));
        let mapping = &made.mapping[location.mapping_id as usize - 1];
        assert!((mapping.memory_start..mapping.memory_limit).contains(&location.address));
        for (at, location) in made.location.iter().enumerate() {
            assert_eq!(location.id, at as u64 + 1);
        }
        let values: Vec<_> = made.sample.iter().map(|s| s.value[1]).collect();
        assert!(values.is_sorted_by(|a, b| a >= b), "largest first");
        assert_eq!(encoded(&sample::server()), encoded(&sample::server()), "stable");
    }

    #[test]
    fn period_and_labels_arrive() {
        let made = decoded(&sample::heap());
        let text = |at: i64| made.string_table[at as usize].as_str();
        let period = made.period_type.map(|t| (text(t.kind), text(t.unit)));
        assert_eq!((period, made.period), (Some(("space", "bytes")), 524_288));
        let labels: Vec<_> = made.sample[0].label.iter().map(|l| (text(l.key), l.num)).collect();
        assert_eq!(labels, [("pid", 4242), ("comm", 0), ("bytes", 81_920)]);
        assert_eq!(decoded(&sample::server()).period_type, None);
    }

    #[test]
    fn values_beyond_the_format_saturate() {
        let mut profile = sample::server();
        profile.samples[0].values = vec![u64::MAX, u64::MAX];
        assert_eq!(decoded(&profile).sample[0].value, [i64::MAX, i64::MAX]);
    }

    /// A Go toolchain: the one in PATH, else one that `cargo xtask setup` keeps.
    fn go() -> PathBuf {
        if Command::new("go").arg("version").output().is_ok_and(|o| o.status.success()) {
            return "go".into();
        }
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        let kept = cache.and_then(|dir| fs::read_dir(dir.join("heaptap/go")).ok());
        let found = kept.into_iter().flatten().flatten().map(|e| e.path().join("go/bin/go"));
        found.filter(|go| go.is_file()).max().unwrap_or_else(|| {
            panic!("no Go toolchain in PATH or ~/.cache/heaptap/go: run `cargo xtask setup`")
        })
    }

    /// What `go tool pprof` prints about a profile.
    fn pprof(profile: &Profile, flag: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pb.gz");
        fs::write(&file, encoded(profile)).unwrap();
        let out = Command::new(go())
            .args(["tool", "pprof", flag])
            .arg(&file)
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "")
            .env("PPROF_TMPDIR", dir.path())
            .env("PPROF_BINARY_PATH", dir.path())
            .env("TZ", "UTC")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && errors.is_empty(), "go tool pprof {flag}: {errors}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// Below the heading, in which releases of pprof differ.
    fn body(text: &str) -> String {
        let lines = text.lines().skip_while(|l| !l.starts_with("Duration: ")).skip(1);
        lines.map(|l| format!("{}\n", l.trim_end())).collect()
    }

    #[test]
    fn go_tool_pprof_prints_what_was_put_in() {
        for (name, profile) in [("server", sample::server()), ("fleet", sample::fleet())] {
            for flag in ["-top", "-peek=.", "-traces"] {
                let text = pprof(&profile, flag);
                let heading = text.lines().take_while(|l| !l.starts_with("Duration: "));
                let heading: Vec<&str> = heading.collect();
                assert!(heading.contains(&"Type: alloc_space"), "{text}");
                assert!(heading[1].starts_with("Build ID: 0000"), "{text}");
                assert!(heading.iter().any(|l| l.starts_with("heaptap source=")), "{text}");
                let flag = flag.trim_matches(['-', '=', '.']);
                check(&format!("{name}.pprof-{flag}.txt"), &body(&text));
            }
            let raw = pprof(&profile, "-raw");
            assert!(raw.contains("alloc_objects/count alloc_space/bytes[dflt]"), "{raw}");
            assert!(raw.contains("1: 0x400000/0x800000/0x0 /usr/bin/"), "{raw}");
            assert!(raw.contains("[FN][FL][LN][IN]"), "{raw}");
        }
    }

    #[test]
    fn go_tool_pprof_takes_hostile_and_empty_profiles() {
        let text = pprof(&sample::hostile(), "-traces");
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "{text:?}");
        assert!(pprof(&sample::empty(), "-raw").contains("alloc_space/bytes[dflt]"));
    }
}

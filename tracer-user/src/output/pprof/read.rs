//! pprof files of any origin, read: heaptap's own, Go's, and all else that writes `profile.proto`.
//!
//! In: the file's bytes, compressed or not, and how much memory may be taken. Out: stacks of names with values.
//! Processes are told apart by the labels `pid` and `comm` that heaptap writes; what else labels say is left
//! out, and so are addresses. Every index is checked, and memory is taken out of a given amount.

use std::collections::HashMap;
use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use flate2::read::MultiGzDecoder;

use super::fields::{Field, Fields, Wrong};
use crate::address::VAddr;
use crate::profile::diff::{Kind, Measured};
use crate::profile::{
    Binary, BinaryId, Frame, FrameKind, Location, LocationId, Meta, Name, Process, ProcessId,
    Profile, Sample, Source, Workload,
};

/// Most kinds of values, and the longest word for one.
const KINDS: usize = 64;
const WORD: usize = 200;

/// Deepest stack.
const DEEPEST: usize = 4096;

/// What gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why a file is not read. Reads as the end of a sentence that begins with its name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("can't be read: {0}")]
    Read(#[source] io::Error),
    #[error("can't be decompressed: {0}")]
    Gzip(#[source] io::Error),
    #[error("is no pprof file: {0}")]
    Foreign(Wrong),
    #[error("has negative values: it is a difference already")]
    Negative,
    #[error("needs more memory than {} MiB: raise --max-memory", .limit.div_ceil(1 << 20))]
    TooLarge { limit: usize },
}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        Error::Foreign(wrong)
    }
}

/// Reads a file; `name` is what it is called, `kind` tells whose code a function is.
///
/// # Errors
/// It can't be read, is no pprof file, or takes too much memory.
pub fn read(
    name: String,
    source: impl Read,
    memory: usize,
    kind: impl Fn(&str) -> FrameKind,
) -> Result<Measured, Error> {
    let mut room = Room { left: memory, limit: memory };
    let mut bytes = room.all(source).map_err(Error::Read)?;
    room.take(bytes.len())?;
    if bytes.starts_with(&GZIP) {
        let unpacked = room.all(MultiGzDecoder::new(&bytes[..])).map_err(Error::Gzip)?;
        room.take(unpacked.len())?;
        bytes = unpacked;
    }
    let message = Message::of(&bytes, &mut room)?;
    Reader::new(message, room, &kind)?.measured(name)
}

/// Memory that may be taken.
struct Room {
    left: usize,
    limit: usize,
}

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), Error> {
        let limit = self.limit;
        self.left = self.left.checked_sub(bytes).ok_or(Error::TooLarge { limit })?;
        Ok(())
    }

    /// All that there is, but at most a little more than there is room for.
    fn all(&self, source: impl Read) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        source.take(self.left as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Comments that are read; a profile has a few.
const COMMENTS: usize = 1024;

/// A profile's parts, as they are in its bytes.
#[derive(Default)]
struct Message<'a> {
    types: Vec<[u64; 2]>,
    samples: Vec<&'a [u8]>,
    mappings: Vec<&'a [u8]>,
    locations: Vec<&'a [u8]>,
    functions: Vec<&'a [u8]>,
    texts: Vec<&'a [u8]>,
    time: u64,
    duration: u64,
    period_type: Option<[u64; 2]>,
    period: u64,
    default_type: u64,
    comments: Vec<u64>,
}

impl<'a> Message<'a> {
    fn of(bytes: &'a [u8], room: &mut Room) -> Result<Self, Error> {
        let mut made = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some((number, field)) = fields.next()? {
            // A list that grows has been copied: twice its length, and what it was.
            room.take(if let Field::Bytes(_) = field { 3 * size_of::<&[u8]>() } else { 0 })?;
            match number {
                1 if made.types.len() == KINDS => return Err("too many kinds of values".into()),
                1 => made.types.push(value_type(field.message()?)?),
                2 => made.samples.push(field.message()?),
                3 => made.mappings.push(field.message()?),
                4 => made.locations.push(field.message()?),
                5 => made.functions.push(field.message()?),
                6 => made.texts.push(field.message()?),
                9 => made.time = field.one()?,
                10 => made.duration = field.one()?,
                11 => made.period_type = Some(value_type(field.message()?)?),
                12 => made.period = field.one()?,
                13 => field.numbers(|at| {
                    if made.comments.len() < COMMENTS {
                        made.comments.push(at);
                    }
                    Ok(())
                })?,
                14 => made.default_type = field.one()?,
                _ => {}
            }
        }
        match made.texts.first() {
            Some(first) if first.is_empty() && !made.types.is_empty() => Ok(made),
            Some(_) if made.types.is_empty() => Err("it does not say what it measured".into()),
            _ => Err("its table of texts does not begin with the empty one".into()),
        }
    }

    fn text(&self, at: u64) -> Result<&'a str, Wrong> {
        let text = usize::try_from(at).ok().and_then(|at| self.texts.get(at).copied());
        std::str::from_utf8(text.ok_or("there is no such text")?).map_err(|_| "a text is no UTF-8")
    }

    fn kind(&self, [kind, unit]: [u64; 2]) -> Result<Kind, Wrong> {
        let (kind, unit) = (self.text(kind)?, self.text(unit)?);
        match kind.len().max(unit.len()) > WORD {
            true => Err("the name of a value is too long"),
            false => Ok(Kind::new(kind, unit)),
        }
    }
}

fn value_type(message: &[u8]) -> Result<[u64; 2], Wrong> {
    let mut of = [0; 2];
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        if let 1 | 2 = number {
            of[number as usize - 1] = field.one()?;
        }
    }
    Ok(of)
}

/// Makes a profile.
struct Reader<'a> {
    message: Message<'a>,
    room: Room,
    profile: Profile,
    /// By their ids.
    locations: HashMap<u64, LocationId>,
    processes: HashMap<(u64, u64), ProcessId>,
}

impl<'a> Reader<'a> {
    fn new(
        message: Message<'a>,
        room: Room,
        kind: &impl Fn(&str) -> FrameKind,
    ) -> Result<Self, Error> {
        let signed = |number: u64| Duration::from_nanos(number.min(i64::MAX as u64));
        let meta = Meta {
            source: Source::Records,
            method: Some("as a pprof file has it".to_owned()),
            started: SystemTime::UNIX_EPOCH + signed(message.time),
            duration: signed(message.duration),
            value_types: Vec::new(),
            default_value: 0,
            period: None,
            counters: Vec::new(),
            budget: None,
            in_windows: false,
            notes: Vec::new(),
        };
        let mut reader = Self {
            message,
            room,
            profile: Profile::new(meta),
            locations: HashMap::new(),
            processes: HashMap::new(),
        };
        reader.binary()?;
        reader.places(kind)?;
        Ok(reader)
    }

    /// The main binary is the first mapping's.
    fn binary(&mut self) -> Result<(), Error> {
        let mut file = 0;
        let mut fields = Fields::new(self.message.mappings.first().copied().unwrap_or_default());
        while let Some((number, field)) = fields.next()? {
            if number == 5 {
                file = field.one()?;
            }
        }
        let path = self.message.text(file)?.to_owned();
        self.room.take(path.len())?;
        let (build_id, none) = (String::new(), VAddr(0));
        let (text_start, text_end, text_offset) = (none, none, 0);
        self.profile.binaries = vec![Binary { path, build_id, text_start, text_end, text_offset }];
        Ok(())
    }

    fn name(&mut self, at: u64) -> Result<Name, Error> {
        let text = self.message.text(at)?;
        let known = self.profile.names.get(text);
        if known.is_none() {
            self.room.take(100 + text.len())?;
        }
        Ok(known.unwrap_or_else(|| self.profile.names.intern(text)))
    }

    fn places(&mut self, kind: &impl Fn(&str) -> FrameKind) -> Result<(), Error> {
        let mut functions: HashMap<u64, Frame> = HashMap::new();
        for message in std::mem::take(&mut self.message.functions) {
            let [mut id, mut name, mut file, mut start] = [0; 4];
            let mut fields = Fields::new(message);
            while let Some((number, field)) = fields.next()? {
                match number {
                    1 => id = field.one()?,
                    2 => name = field.one()?,
                    4 => file = field.one()?,
                    5 => start = field.one()?,
                    _ => {}
                }
            }
            self.room.take(2 * size_of::<(u64, Frame)>())?;
            let (function, file) = (self.name(name)?, self.name(file)?);
            let kind = kind(self.profile.names.text(function));
            functions.insert(id, Frame { function, file, line: 0, start_line: line(start), kind });
        }
        for message in std::mem::take(&mut self.message.locations) {
            let [mut id, mut address] = [0; 2];
            let mut frames = Vec::new();
            let mut fields = Fields::new(message);
            while let Some((number, field)) = fields.next()? {
                match number {
                    1 => id = field.one()?,
                    3 => address = field.one()?,
                    4 => {
                        let [mut function, mut at] = [0; 2];
                        let mut fields = Fields::new(field.message()?);
                        while let Some((number, field)) = fields.next()? {
                            match number {
                                1 => function = field.one()?,
                                2 => at = field.one()?,
                                _ => {}
                            }
                        }
                        self.room.take(3 * size_of::<Frame>())?;
                        let frame = functions.get(&function).ok_or("there is no such function")?;
                        frames.push(Frame { line: line(at), ..*frame });
                    }
                    _ => {}
                }
            }
            if frames.is_empty() {
                // Not symbolized: all that is known of it is where it is.
                self.room.take(300)?;
                let function = self.profile.names.intern(&format!("{address:#x}"));
                let kind = FrameKind::Unknown;
                frames.push(Frame { function, file: Name(0), line: 0, start_line: 0, kind });
            }
            self.room.take(3 * size_of::<Location>() + 2 * size_of::<(u64, LocationId)>())?;
            let made = LocationId(self.profile.locations.len() as u32);
            if self.locations.insert(id, made).is_some() {
                return Err("two places have one number".into());
            }
            let (binary, address) = (None, VAddr(address));
            self.profile.locations.push(Location { binary, address, frames, raw: None });
        }
        Ok(())
    }

    fn measured(mut self, name: String) -> Result<Measured, Error> {
        let types = self.message.types.iter().map(|of| self.message.kind(*of));
        let types = types.collect::<Result<Vec<Kind>, Wrong>>()?;
        for message in std::mem::take(&mut self.message.samples) {
            self.sample(message, types.len())?;
        }
        if self.profile.processes.is_empty() {
            self.process(0, 0)?;
        }
        let period = match self.message.period_type {
            Some(of) if self.message.period > 0 => {
                Some((self.message.kind(of)?, self.message.period))
            }
            _ => None,
        };
        // As go tool pprof has it: the last one, where the file does not choose.
        let shown = self.message.text(self.message.default_type)?;
        let default = types.iter().position(|of| of.kind == shown && !shown.is_empty());
        let default = default.unwrap_or(types.len() - 1);
        let comments = self.comments()?;
        Ok(Measured { name, types, default, period, comments, profile: self.profile })
    }

    fn comments(&mut self) -> Result<Vec<String>, Error> {
        let texts = self.message.comments.iter().map(|at| self.message.text(*at));
        let texts = texts.collect::<Result<Vec<&str>, Wrong>>()?;
        self.room.take(texts.iter().map(|text| text.len() + size_of::<String>()).sum())?;
        Ok(texts.into_iter().map(str::to_owned).collect())
    }

    fn sample(&mut self, message: &[u8], width: usize) -> Result<(), Error> {
        let (mut stack, mut values) = (Vec::new(), Vec::new());
        let [mut pid, mut comm] = [0; 2];
        let mut fields = Fields::new(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => field.numbers(|id| {
                    let known = self.locations.get(&id).ok_or("there is no such place")?;
                    stack.push(*known);
                    if stack.len() > DEEPEST { Err("a stack is too deep") } else { Ok(()) }
                })?,
                2 => field.numbers(|value| {
                    values.push(value);
                    if values.len() > width {
                        Err("more values than kinds of them")
                    } else {
                        Ok(())
                    }
                })?,
                3 => {
                    let [mut key, mut text, mut count] = [0; 3];
                    let mut fields = Fields::new(field.message()?);
                    while let Some((number, field)) = fields.next()? {
                        match number {
                            1 => key = field.one()?,
                            2 => text = field.one()?,
                            3 => count = field.one()?,
                            _ => {}
                        }
                    }
                    match self.message.text(key)? {
                        "pid" => pid = count,
                        "comm" => comm = text,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        if values.len() != width {
            return Err("not as many values as kinds of them".into());
        }
        if values.iter().any(|value| *value > i64::MAX as u64) {
            return Err(Error::Negative);
        }
        let process = self.process(pid, comm)?;
        self.room.take(3 * size_of::<Sample>() + 8 * stack.len() + 16 * width)?;
        self.profile.samples.push(Sample {
            process,
            stack,
            values,
            error: Vec::new(),
            go_type: None,
            leaf: None,
            labels: Vec::new(),
            ages: None,
            iterations: None,
        });
        Ok(())
    }

    /// The process of these labels.
    fn process(&mut self, pid: u64, comm: u64) -> Result<ProcessId, Error> {
        if let Some(known) = self.processes.get(&(pid, comm)) {
            return Ok(*known);
        }
        let text = self.message.text(comm)?;
        self.room.take(3 * size_of::<Process>() + text.len() + 100)?;
        let made = ProcessId(self.profile.processes.len() as u32);
        self.profile.processes.push(Process {
            pid: u32::try_from(pid).map_err(|_| "a process id is too large")?,
            start_ticks: 0,
            comm: text.to_owned(),
            container: None,
            workload: Workload::default(),
            binary: BinaryId(0),
            processes: 1,
            go_version: None,
            cost: None,
        });
        self.processes.insert((pid, comm), made);
        Ok(made)
    }
}

/// A line's number; 0 where it makes none.
fn line(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{env, fs};

    use prost::Message as _;

    use super::super::proto;
    use super::*;
    use crate::output::{Format, Options, render, sample};

    fn kind(_: &str) -> FrameKind {
        FrameKind::Program
    }

    fn parsed(bytes: &[u8]) -> Result<Measured, Error> {
        read("x".to_owned(), bytes, 64 << 20, kind)
    }

    fn written(profile: &Profile) -> Vec<u8> {
        let mut out = Vec::new();
        render(profile, Format::Pprof, &Options::default(), &mut out).unwrap();
        out
    }

    fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        MultiGzDecoder::new(bytes).read_to_end(&mut message).unwrap();
        message
    }

    #[test]
    fn what_heaptap_writes_is_read() {
        for profile in [sample::server(), sample::fleet(), sample::heap(), sample::block()] {
            let packed = written(&profile);
            for bytes in [&packed, &unpacked(&packed)] {
                let read = parsed(bytes).unwrap();
                let own = Measured::new("x".to_owned(), profile.clone());
                assert_eq!((&read.types, read.default), (&own.types, own.default));
                assert_eq!(read.period, own.period);
                assert_eq!(read.profile.meta.started, profile.meta.started);
                assert_eq!(read.profile.meta.duration, profile.meta.duration);
                let value = own.default;
                assert_eq!(read.profile.total(value), profile.total(value));
                for (read_one, one) in read.profile.samples.iter().zip(profile.sorted(value)) {
                    let told = |profile: &Profile, of: &Sample| -> Vec<_> {
                        let text = |name| profile.names.text(name).to_owned();
                        let frames = profile.frames(of);
                        frames.map(|f| (text(f.function), text(f.file), f.line)).collect()
                    };
                    assert_eq!(told(&read.profile, read_one), told(&profile, one));
                    let comm = |profile: &Profile, of: &Sample| {
                        profile.processes[of.process.0 as usize].comm.clone()
                    };
                    assert_eq!(comm(&read.profile, read_one), comm(&profile, one));
                }
            }
        }
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        for bytes in
            [&b""[..], b"heap profile: 1: 2", b"\x1f\x8b\x08", b"{}", &[0; 40], &[0xff; 40]]
        {
            let refused = parsed(bytes).unwrap_err().to_string();
            assert!(
                refused.starts_with("is no pprof file") || refused.contains("decompress"),
                "{refused}"
            );
        }
        let change = |change: fn(&mut proto::Profile)| {
            let message = unpacked(&written(&sample::server()));
            let mut profile = proto::Profile::decode(&message[..]).unwrap();
            change(&mut profile);
            parsed(&profile.encode_to_vec()).unwrap_err().to_string()
        };
        let refused = |text: &str| format!("is no pprof file: {text}");
        assert_eq!(change(|p| p.sample[0].location_id[0] = 999), refused("there is no such place"));
        assert_eq!(
            change(|p| p.location[0].line[0].function_id = 0),
            refused("there is no such function")
        );
        assert_eq!(change(|p| p.function[0].name = 1 << 40), refused("there is no such text"));
        assert_eq!(
            change(|p| p.sample[0].value.push(1)),
            refused("more values than kinds of them")
        );
        assert_eq!(
            change(|p| p.sample[0].value.clear()),
            refused("not as many values as kinds of them")
        );
        assert_eq!(change(|p| p.sample_type.clear()), refused("it does not say what it measured"));
        assert_eq!(change(|p| p.location[0].id = 2), refused("two places have one number"));
        let text = "has negative values: it is a difference already";
        assert_eq!(change(|p| p.sample[0].value[0] = -1), text);
    }

    /// What the fuzzer begins with (`fuzz/corpus`); `HEAPTAP_BLESS=1` writes it anew.
    #[test]
    fn seeds_of_the_fuzzer_are_read() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/pprof");
        for (name, profile) in [("fleet", sample::fleet()), ("heap", sample::heap())] {
            let seed = unpacked(&written(&profile));
            if env::var_os("HEAPTAP_BLESS").is_some_and(|v| v == "1") {
                fs::write(dir.join(name), &seed).unwrap();
            }
            assert!(fs::read(dir.join(name)).unwrap() == seed, "{name}: run with HEAPTAP_BLESS=1");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let small = |bytes: &[u8]| read("x".to_owned(), bytes, 1 << 20, kind);
        let bomb = {
            let mut gzip =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            io::Write::write_all(&mut gzip, &vec![0; 64 << 20]).unwrap();
            gzip.finish().unwrap()
        };
        assert!(matches!(small(&bomb), Err(Error::TooLarge { .. })));
        // Two bytes each: an empty sample, place and function.
        for tag in [0x12, 0x22, 0x2a, 0x32] {
            assert!(
                matches!(small(&[tag, 0].repeat(200_000)), Err(Error::TooLarge { .. })),
                "{tag}"
            );
        }
    }

    #[test]
    fn no_cut_and_no_flipped_byte_panics() {
        let message = unpacked(&written(&sample::hostile()));
        for cut in 0..message.len() {
            let _ = parsed(&message[..cut]);
        }
        let mut seed = 7u32;
        for _ in 0..20_000 {
            let mut bytes = message.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (seed >> 8) as usize % bytes.len();
                bytes[at] = (seed >> 3) as u8;
            }
            let _ = parsed(&bytes);
        }
    }
}

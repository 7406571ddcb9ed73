//! Addresses to a profile's locations, for every command that makes one.
//!
//! In: a binary, addresses of its code. Out: locations in a profile, each address named once, however many
//! processes ran the binary.

use std::{collections::HashMap, sync::Arc};

use crate::{
    address::{LoadBias, VAddr},
    gobin::GoBinary,
    host,
    profile::{
        Binary, BinaryId, Frame, FrameKind, Interner, Location, LocationId, Name, Process, Profile,
        Raw, Workload,
    },
    runtime::unwind::Frames,
    symbolize::{SymFrame, Symbolizer, Unknown, logical::Place, stack::StackRules},
};

/// What a profile says of a Go binary.
pub fn binary(go: &GoBinary, path: &str) -> Binary {
    let facts = go.facts();
    let mapping = go.text_mapping();
    let build_id = facts.gnu_build_id.clone().or_else(|| facts.go_build_id.clone());
    Binary {
        path: path.to_string(),
        build_id: build_id.unwrap_or_default(),
        text_start: mapping.map_or(VAddr(0), |m| m.start),
        text_end: mapping.map_or(VAddr(0), |m| m.end),
        text_offset: mapping.map_or(0, |m| m.offset.0),
    }
}

/// What a profile says of a process; `binary` is the index of what it runs in the profile.
pub fn process(process: &host::Process, go: &GoBinary, binary: BinaryId) -> Process {
    let container = process.container.as_ref().ok().and_then(Option::as_ref);
    Process {
        pid: process.id.pid,
        start_ticks: process.id.start,
        comm: process.comm.to_string_lossy().into_owned(),
        container: container.map(|container| container.id.clone()),
        workload: workload(process),
        binary,
        processes: 1,
        cost: None,
        go_version: go.facts().version_text.clone(),
    }
}

/// What a process runs in.
pub fn workload(process: &host::Process) -> Workload {
    let container = process.container.as_ref().ok().and_then(Option::as_ref);
    let names = container.map(|container| container.names.clone()).unwrap_or_default();
    Workload {
        container: names.container,
        pod: names.pod,
        namespace: names.namespace,
        unit: process.unit.clone(),
    }
}

/// Names addresses of one binary.
pub struct Namer {
    go: Arc<GoBinary>,
    binary: BinaryId,
    symbolizer: Symbolizer,
    /// Which of a stack's frames are shown.
    pub rules: StackRules,
    /// By address: frames, innermost first, or why there are none.
    named: HashMap<VAddr, Result<Vec<SymFrame<'static>>, Unknown>>,
    /// By address and function of the callee, which decides whether a wrapper is shown.
    locations: HashMap<(VAddr, u8), (Option<LocationId>, u8)>,
    places: HashMap<VAddr, Option<LocationId>>,
    starts: HashMap<VAddr, Option<LocationId>>,
    /// Addresses are left without names.
    is_raw: bool,
}

impl Namer {
    /// `binary` is its index in the profile.
    pub fn new(go: Arc<GoBinary>, binary: BinaryId) -> Self {
        Self {
            symbolizer: Symbolizer::new(go.clone()),
            rules: StackRules::new(&go),
            go,
            binary,
            named: HashMap::new(),
            locations: HashMap::new(),
            places: HashMap::new(),
            starts: HashMap::new(),
            is_raw: false,
        }
    }

    /// Names nothing: locations are addresses, for `heaptap symbolize`.
    pub fn raw(self) -> Self {
        Self { is_raw: true, ..self }
    }

    /// Its frame sizes.
    pub fn frames(&self) -> Frames<'_> {
        Frames::new(&self.go, LoadBias(0))
    }

    /// Whether an address is Go code of this binary.
    pub fn holds(&self, at: VAddr) -> bool {
        let (start, end) = self.go.text_range();
        (start..end).contains(&at)
    }

    /// Names all addresses in one go, which is much faster than one at a time.
    pub fn name_all(&mut self, addresses: &[VAddr]) {
        if self.is_raw {
            return;
        }
        let named = &mut self.named;
        self.symbolizer.symbolize(addresses, |index, frames| {
            let frames = frames.map(|frames| frames.iter().map(SymFrame::to_owned_frame).collect());
            named.insert(addresses[index], frames);
        });
    }

    /// The location of a call, or nothing when Go's own profiles leave it out (a wrapper). Sets
    /// `callee` to the function that calls the next one.
    pub fn location(
        &mut self,
        profile: &mut Profile,
        at: VAddr,
        callee: &mut u8,
    ) -> Option<LocationId> {
        if self.is_raw {
            *callee = 0;
        }
        let key = (at, *callee);
        if let Some((location, next)) = self.locations.get(&key) {
            *callee = *next;
            return *location;
        }
        if self.is_raw {
            let location = Some(profile.raw(Raw::Call, self.binary, at));
            self.locations.insert(key, (location, 0));
            return location;
        }
        let (frames, next) = match self.named.get(&at) {
            Some(Ok(frames)) => {
                let (shown, next) = self.rules.shown(*callee, frames);
                (shown.map(|frame| self.frame(profile, frame)).collect(), next)
            }
            Some(Err(unknown)) => (vec![unknown_frame(&mut profile.names, *unknown)], 0),
            None => (vec![unknown_frame(&mut profile.names, Unknown::OutsideGo)], 0),
        };
        let location = add_location(profile, Some(self.binary), at, frames);
        self.locations.insert(key, (location, next));
        *callee = next;
        location
    }

    /// As [`Self::place`], and folding keeps it.
    pub fn kept(&mut self, profile: &mut Profile, at: VAddr) -> Option<LocationId> {
        let location = self.of_place(profile, at, Raw::Kept);
        if let Some(location) = location.filter(|_| !self.is_raw) {
            profile.keep_leaf(location);
        }
        location
    }

    /// The function and line of an address, no call: its innermost frame and what it is inlined into.
    pub fn place(&mut self, profile: &mut Profile, at: VAddr) -> Option<LocationId> {
        self.of_place(profile, at, Raw::Place)
    }

    fn of_place(&mut self, profile: &mut Profile, at: VAddr, raw: Raw) -> Option<LocationId> {
        if let Some(location) = self.places.get(&at) {
            return *location;
        }
        if self.is_raw {
            let location = Some(profile.raw(raw, self.binary, at));
            self.places.insert(at, location);
            return location;
        }
        let frames = match self.symbolizer.symbolize_one(at) {
            Ok(frames) => frames.iter().map(|frame| self.frame(profile, frame)).collect(),
            Err(unknown) => vec![unknown_frame(&mut profile.names, unknown)],
        };
        let location = add_location(profile, Some(self.binary), at, frames);
        self.places.insert(at, location);
        location
    }

    /// Where a goroutine starts, as the frame that says so: `go main.worker`. Of a function that the
    /// compiler made for a `go` statement, what it calls.
    pub fn start(&mut self, profile: &mut Profile, at: VAddr) -> Option<LocationId> {
        if let Some(location) = self.starts.get(&at) {
            return *location;
        }
        if self.is_raw {
            let location = Some(profile.raw(Raw::Start, self.binary, at));
            self.starts.insert(at, location);
            return location;
        }
        let at_function = self.go.wrapped_at(at).unwrap_or(at);
        let frame = match self.symbolizer.symbolize_one(at_function).as_deref() {
            // At its first instruction nothing is inlined into it.
            Ok([.., frame]) => self.frame(profile, frame),
            Ok([]) => unknown_frame(&mut profile.names, Unknown::OutsideGo),
            Err(unknown) => unknown_frame(&mut profile.names, *unknown),
        };
        let name = format!("go {}", profile.names.text(frame.function));
        let frame = Frame { function: profile.names.intern(&name), ..frame };
        let location = add_location(profile, Some(self.binary), at_function, vec![frame]);
        self.starts.insert(at, location);
        location
    }

    fn frame(&self, profile: &mut Profile, frame: &SymFrame<'_>) -> Frame {
        named(&mut profile.names, &self.symbolizer, frame)
    }
}

fn named(names: &mut Interner, symbolizer: &Symbolizer, frame: &SymFrame<'_>) -> Frame {
    Frame {
        function: names.intern(&frame.function),
        file: names.intern(&frame.file),
        line: frame.line,
        start_line: frame.start_line,
        kind: symbolizer.kind(frame),
    }
}

/// The location of a place in a stack that the runtime wrote down.
pub fn location(
    profile: &mut Profile,
    symbolizer: &Symbolizer,
    binary: BinaryId,
    place: &Place<'_>,
) -> LocationId {
    let frames = frames(&mut profile.names, symbolizer, place);
    profile.locations.push(Location { binary: Some(binary), address: place.at, frames, raw: None });
    LocationId(profile.locations.len() as u32 - 1)
}

/// The frames of such a place, innermost first.
pub fn frames(names: &mut Interner, symbolizer: &Symbolizer, place: &Place<'_>) -> Vec<Frame> {
    match &place.frames {
        Ok(frames) => frames.iter().map(|frame| named(names, symbolizer, frame)).collect(),
        Err(unknown) => vec![unknown_frame(names, *unknown)],
    }
}

pub fn unknown_frame(names: &mut Interner, unknown: Unknown) -> Frame {
    Frame {
        function: names.intern(&unknown.to_string()),
        file: Name::default(),
        line: 0,
        start_line: 0,
        kind: FrameKind::Unknown,
    }
}

/// Nothing when there is no frame to show.
pub fn add_location(
    profile: &mut Profile,
    binary: Option<BinaryId>,
    address: VAddr,
    frames: Vec<Frame>,
) -> Option<LocationId> {
    if frames.is_empty() {
        return None;
    }
    profile.locations.push(Location { binary, address, frames, raw: None });
    Some(LocationId(profile.locations.len() as u32 - 1))
}

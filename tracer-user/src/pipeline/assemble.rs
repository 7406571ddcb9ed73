//! Raw stacks to a profile: names addresses, applies the rules of Go stacks, merges, estimates.
//!
//! In: what the kernel kept, and the targets it speaks of. Out: a [`Profile`] with everything in it
//! that was recorded, unfolded. Addresses are named once per binary, however many processes ran it.

use std::collections::HashMap;

use tracer_common::record::{STACK_BROKEN, STACK_TRUNCATED};

use super::targets::{Image, Tapped, Targets};
use crate::{
    address::{FileOffset, RuntimeAddr, VAddr},
    probe::RawStack,
    profile::{
        Binary, BinaryId, Frame, FrameKind, Location, LocationId, Meta, Name, Process, ProcessId,
        Profile, Sample, Source,
        estimate::{self, Weights},
    },
    symbolize::{SymFrame, Symbolizer, Unknown, native::NativeSymbols, stack::StackRules},
};

/// Makes the profile. `by_type` says that a raw stack's class is a type.
pub fn assemble(raw: &[RawStack], targets: &Targets, meta: Meta, by_type: bool) -> Profile {
    let mut profile = Profile::new(meta);
    add_processes(&mut profile, targets);
    let classes = class_totals(raw);
    let mut namers: Vec<Namer> =
        targets.binaries.iter().enumerate().map(|(i, tapped)| Namer::new(i, tapped)).collect();
    let calls = calls(raw, targets, &namers);
    for (namer, stacks) in namers.iter_mut().zip(addresses_by_binary(raw, targets, &calls)) {
        namer.name_all(&stacks);
    }
    let mut natives = Natives::default();
    let mut broken = 0;
    for (raw, calls) in raw.iter().zip(&calls) {
        let Some(image) = targets.image(raw.key.image) else { continue };
        if raw.objects == 0 {
            // The first refill of a span class: nothing was allocated before it.
            continue;
        }
        let namer = &mut namers[image.binary];
        let mut stack: Vec<LocationId> =
            namer.site(&mut profile, raw.key.site).into_iter().collect();
        let mut callee = 0;
        for call in calls {
            let go = image.bias.to_vaddr(*call);
            let location = if namer.holds(go) {
                namer.location(&mut profile, go, &mut callee)
            } else {
                callee = 0;
                natives.location(&mut profile, image, *call)
            };
            stack.extend(location);
        }
        if raw.flags & STACK_TRUNCATED != 0 {
            stack.push(profile.truncated());
        }
        broken += if raw.flags & STACK_BROKEN != 0 { raw.hits } else { 0 };
        let go_type = by_type.then(|| namer.type_name(&mut profile, image, raw.key.class));
        let error = match profile.meta.source {
            Source::Exact => Vec::new(),
            Source::Span => errors(raw, &classes),
        };
        profile.samples.push(Sample {
            process: ProcessId(raw.key.image - 1),
            stack,
            values: vec![raw.objects, raw.bytes],
            error,
            go_type,
        });
    }
    if broken > 0 {
        profile.meta.notes.push(format!(
            "the outer frames of {broken} events could not be read: their frame chain leads out of \
             the stack"
        ));
    }
    profile
}

fn add_processes(profile: &mut Profile, targets: &Targets) {
    for tapped in &targets.binaries {
        let facts = tapped.go.facts();
        let mapping = tapped.go.text_mapping();
        profile.binaries.push(Binary {
            path: tapped.path.clone(),
            build_id: facts
                .gnu_build_id
                .clone()
                .or_else(|| facts.go_build_id.clone())
                .unwrap_or_default(),
            text_start: mapping.map_or(VAddr(0), |m| m.start),
            text_end: mapping.map_or(VAddr(0), |m| m.end),
            text_offset: mapping.map_or(0, |m| m.offset.0),
        });
    }
    for image in &targets.images {
        let version = &targets.binaries[image.binary].go.facts().version_text;
        profile.processes.push(Process {
            pid: image.process.id.pid,
            comm: image.process.comm.to_string_lossy().into_owned(),
            container: image
                .process
                .container
                .as_ref()
                .ok()
                .and_then(|c| Some(c.as_ref()?.id.clone())),
            binary: BinaryId(image.binary as u32),
            go_version: version.clone(),
        });
    }
}

/// Sums over all stacks of one span class of one process.
fn class_totals(raw: &[RawStack]) -> HashMap<(u32, u32, u64), Weights> {
    let mut totals: HashMap<_, Weights> = HashMap::new();
    for raw in raw {
        totals.entry(class_of(raw)).or_default().add(&weights(raw));
    }
    totals
}

fn class_of(raw: &RawStack) -> (u32, u32, u64) {
    (raw.key.image, raw.key.site, raw.key.class)
}

fn weights(raw: &RawStack) -> Weights {
    Weights { hits: raw.hits, objects: raw.objects, squares: raw.weight_squares }
}

/// Half-widths of objects and bytes.
fn errors(raw: &RawStack, classes: &HashMap<(u32, u32, u64), Weights>) -> Vec<f64> {
    let class = classes.get(&class_of(raw)).copied().unwrap_or_default();
    let objects = estimate::half_width(&weights(raw), &class);
    // All objects of a class have the same slot.
    let slot = raw.bytes as f64 / raw.objects.max(1) as f64;
    vec![objects, objects * slot]
}

/// Addresses of calls of each stack, after the rules of Go stacks.
fn calls(raw: &[RawStack], targets: &Targets, namers: &[Namer]) -> Vec<Vec<RuntimeAddr>> {
    raw.iter()
        .map(|raw| {
            let Some(image) = targets.image(raw.key.image) else { return Vec::new() };
            let namer = &namers[image.binary];
            namer.rules.calls(&raw.pcs, image.bias, |call| {
                namer.holds(image.bias.to_vaddr(call)) || image.library(call).is_some()
            })
        })
        .collect()
}

/// Link-time addresses of Go code, for each binary.
fn addresses_by_binary(
    raw: &[RawStack],
    targets: &Targets,
    calls: &[Vec<RuntimeAddr>],
) -> Vec<Vec<VAddr>> {
    let mut addresses = vec![Vec::new(); targets.binaries.len()];
    for (raw, calls) in raw.iter().zip(calls) {
        if let Some(image) = targets.image(raw.key.image) {
            addresses[image.binary].extend(calls.iter().map(|call| image.bias.to_vaddr(*call)));
        }
    }
    for list in &mut addresses {
        list.sort_unstable();
        list.dedup();
    }
    addresses
}

/// Names addresses of one binary.
struct Namer<'a> {
    tapped: &'a Tapped,
    binary: BinaryId,
    symbolizer: Symbolizer,
    rules: StackRules,
    /// By address: frames, innermost first, or why there are none.
    named: HashMap<VAddr, Result<Vec<SymFrame<'static>>, Unknown>>,
    /// By address and function of the callee, which decides whether a wrapper is shown.
    locations: HashMap<(VAddr, u8), (Option<LocationId>, u8)>,
    sites: HashMap<u32, LocationId>,
}

impl<'a> Namer<'a> {
    fn new(index: usize, tapped: &'a Tapped) -> Self {
        Self {
            tapped,
            binary: BinaryId(index as u32),
            symbolizer: Symbolizer::new(tapped.go.clone()),
            rules: StackRules::new(&tapped.go),
            named: HashMap::new(),
            locations: HashMap::new(),
            sites: HashMap::new(),
        }
    }

    /// Whether an address is Go code of this binary.
    fn holds(&self, at: VAddr) -> bool {
        let (start, end) = self.tapped.go.text_range();
        (start..end).contains(&at)
    }

    /// Names all addresses in one go, which is much faster than one at a time.
    fn name_all(&mut self, addresses: &[VAddr]) {
        let named = &mut self.named;
        self.symbolizer.symbolize(addresses, |index, frames| {
            let frames = frames.map(|frames| frames.iter().map(owned).collect());
            named.insert(addresses[index], frames);
        });
    }

    /// The location of a call, or nothing when Go's own profiles leave it out (a wrapper). Sets
    /// `callee` to the function that calls the next one.
    fn location(
        &mut self,
        profile: &mut Profile,
        at: VAddr,
        callee: &mut u8,
    ) -> Option<LocationId> {
        let key = (at, *callee);
        if let Some((location, next)) = self.locations.get(&key) {
            *callee = *next;
            return *location;
        }
        let (frames, next) = match self.named.get(&at) {
            Some(Ok(frames)) => {
                let (shown, next) = self.rules.shown(*callee, frames);
                (shown.map(|frame| self.frame(profile, frame)).collect(), next)
            }
            Some(Err(unknown)) => (vec![unknown_frame(profile, *unknown)], 0),
            None => (vec![unknown_frame(profile, Unknown::OutsideGo)], 0),
        };
        let location = add_location(profile, Some(self.binary), at, frames);
        self.locations.insert(key, (location, next));
        *callee = next;
        location
    }

    /// The function that the probe was in: the innermost frame.
    fn site(&mut self, profile: &mut Profile, site: u32) -> Option<LocationId> {
        if let Some(location) = self.sites.get(&site) {
            return Some(*location);
        }
        let at = self.tapped.sites.get(site as usize)?.site.vaddr;
        let frames = match self.symbolizer.symbolize_one(at) {
            Ok(frames) => frames.iter().map(|frame| self.frame(profile, frame)).collect(),
            Err(unknown) => vec![unknown_frame(profile, unknown)],
        };
        let location = add_location(profile, Some(self.binary), at, frames)?;
        self.sites.insert(site, location);
        Some(location)
    }

    fn frame(&self, profile: &mut Profile, frame: &SymFrame<'_>) -> Frame {
        Frame {
            function: profile.names.intern(&frame.function),
            file: profile.names.intern(&frame.file),
            line: frame.line,
            start_line: frame.start_line,
            kind: self.symbolizer.kind(frame),
        }
    }

    /// What was allocated, from the type word at the site.
    fn type_name(&self, profile: &mut Profile, image: &Image, word: u64) -> Name {
        let text = match word {
            // runtime/string.go, runtime/slice.go: rawstring, rawbyteslice and the like pass no type.
            0 => "[no type: string or byte buffer]".to_string(),
            word => {
                let at = image.bias.to_vaddr(RuntimeAddr(word));
                let named = self.tapped.types.as_ref().and_then(|types| types.get(at));
                named.map_or_else(
                    || "[unknown type: made at run time, or damaged]".to_string(),
                    |named| named.name.to_string(),
                )
            }
        };
        profile.names.intern(&text)
    }
}

/// Names C frames; each file is read once, however many images have it mapped.
#[derive(Default)]
struct Natives {
    files: HashMap<(u64, u64), (BinaryId, Result<NativeSymbols, Unknown>)>,
    locations: HashMap<(BinaryId, VAddr), Option<LocationId>>,
}

impl Natives {
    fn location(
        &mut self,
        profile: &mut Profile,
        image: &Image,
        call: RuntimeAddr,
    ) -> Option<LocationId> {
        let Some(library) = image.library(call) else {
            let frame = unknown_frame(profile, Unknown::NotInFile);
            return add_location(profile, None, VAddr(call.0), vec![frame]);
        };
        let mapping = &library.mapping;
        let (binary, native) =
            self.files.entry((mapping.dev, mapping.inode)).or_insert_with(|| {
                let file = library.file.try_clone().map_err(|_| Unknown::Unreadable);
                let native =
                    file.and_then(|f| NativeSymbols::open(f).map_err(|_| Unknown::Unreadable));
                profile.binaries.push(Binary {
                    path: mapping
                        .path
                        .as_ref()
                        .map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
                    build_id: native.as_ref().ok().and_then(|n| n.build_id()).unwrap_or_default(),
                    text_start: VAddr(mapping.start.0),
                    text_end: VAddr(mapping.end.0),
                    text_offset: mapping.offset.0,
                });
                (BinaryId(profile.binaries.len() as u32 - 1), native)
            });
        let offset = FileOffset(call.0 - mapping.start.0 + mapping.offset.0);
        let at = native.as_ref().ok().and_then(|n| n.vaddr(offset)).unwrap_or(VAddr(offset.0));
        if let Some(location) = self.locations.get(&(*binary, at)) {
            return *location;
        }
        let frames = match native {
            Ok(native) => native.symbolize(at).map(|frames| {
                let frame = |f: &SymFrame<'_>| Frame {
                    function: profile.names.intern(&f.function),
                    file: profile.names.intern(&f.file),
                    line: f.line,
                    start_line: f.start_line,
                    kind: FrameKind::Native,
                };
                frames.iter().map(frame).collect()
            }),
            Err(unknown) => Err(*unknown),
        };
        let frames = frames.unwrap_or_else(|unknown| vec![unknown_frame(profile, unknown)]);
        let location = add_location(profile, Some(*binary), at, frames);
        self.locations.insert((*binary, at), location);
        location
    }
}

/// A frame that outlives the tables it was read from.
fn owned(frame: &SymFrame<'_>) -> SymFrame<'static> {
    SymFrame {
        function: frame.function.to_string().into(),
        file: frame.file.to_string().into(),
        ..*frame
    }
}

fn unknown_frame(profile: &mut Profile, unknown: Unknown) -> Frame {
    Frame {
        function: profile.names.intern(&unknown.to_string()),
        file: Name::default(),
        line: 0,
        start_line: 0,
        kind: FrameKind::Unknown,
    }
}

/// Nothing when there is no frame to show.
fn add_location(
    profile: &mut Profile,
    binary: Option<BinaryId>,
    address: VAddr,
    frames: Vec<Frame>,
) -> Option<LocationId> {
    if frames.is_empty() {
        return None;
    }
    profile.locations.push(Location { binary, address, frames });
    Some(LocationId(profile.locations.len() as u32 - 1))
}

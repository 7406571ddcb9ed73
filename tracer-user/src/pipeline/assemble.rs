//! Raw stacks to a profile: names addresses, applies the rules of Go stacks, merges, estimates.
//!
//! In: what the kernel kept, and the targets it speaks of. Out: a [`Profile`] with everything in it
//! that was recorded, unfolded. Addresses are named once per binary, however many processes ran it.

use tracer_common::record::{STACK_BROKEN, STACK_TRUNCATED};

use super::{
    estimates::{Drained, Estimates},
    naming::{self, Namer, Natives},
    targets::{Image, Tapped, Targets},
};
use crate::{
    address::{RuntimeAddr, VAddr},
    probe::{RawStack, Text},
    profile::{
        BinaryId, FrameKind, Label, LabelValue, LocationId, Meta, Name, ProcessId, Profile, Sample,
    },
};

/// Stands for objects of span classes of which no span was used up: how many is known, not by whom.
const UNSEEN: &str = "[no span used up: who allocated it was not seen]";

/// Makes the profile. `by_type` says that a raw stack's class is a type.
pub fn assemble(drained: &Drained, targets: &Targets, meta: Meta, by_type: bool) -> Profile {
    let mut profile = Profile::new(meta);
    add_processes(&mut profile, targets);
    let estimates = Estimates::new(profile.meta.source, drained, targets);
    let raw = &drained.stacks[..];
    let mut namers: Vec<Namer> = (targets.binaries.iter().enumerate())
        .map(|(i, tapped)| Namer::new(tapped.go.clone(), BinaryId(i as u32)))
        .collect();
    let calls = calls(raw, targets, &namers);
    for (namer, stacks) in namers.iter_mut().zip(addresses_by_binary(raw, targets, &calls)) {
        namer.name_all(&stacks);
    }
    let mut natives = Natives::default();
    let mut broken = 0;
    for (raw, calls) in raw.iter().zip(&calls) {
        let Some(image) = targets.image(raw.key.image) else { continue };
        let Some(worth) = estimates.worth(raw) else { continue };
        let (tapped, namer) = (&targets.binaries[image.binary], &mut namers[image.binary]);
        // The function that the probe was in is the innermost frame.
        let site = tapped.sites.get(raw.key.site as usize);
        let mut stack: Vec<LocationId> =
            site.and_then(|s| namer.place(&mut profile, s.site.vaddr)).into_iter().collect();
        let mut callee = 0;
        for call in calls {
            let go = image.bias.to_vaddr(*call);
            let location = if namer.holds(go) {
                namer.location(&mut profile, go, &mut callee)
            } else {
                callee = 0;
                natives.location(&mut profile, image.library(*call), *call)
            };
            stack.extend(location);
        }
        if raw.flags & STACK_TRUNCATED != 0 {
            stack.push(profile.truncated());
        }
        broken += if raw.flags & STACK_BROKEN != 0 { raw.hits } else { 0 };
        let go_type = by_type.then(|| type_name(&mut profile, tapped, image, raw.key.class));
        let labels = drained.labels.get(&(raw.key.image, raw.labels));
        let labels = labels.map_or_else(Vec::new, |texts| label_all(&mut profile, texts));
        profile.samples.push(Sample {
            process: ProcessId(raw.key.image - 1),
            stack,
            values: worth.values,
            error: worth.error,
            go_type,
            labels,
            ages: worth.ages,
        });
    }
    for (image, values) in estimates.unseen() {
        let stack = vec![profile.made_up(UNSEEN, FrameKind::Marker)];
        let (process, error) = (ProcessId(image - 1), vec![0.0; values.len()]);
        profile.samples.push(Sample {
            process,
            stack,
            values,
            error,
            go_type: None,
            labels: Vec::new(),
            ages: None,
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
    let binaries = targets.binaries.iter().map(|tapped| naming::binary(&tapped.go, &tapped.path));
    profile.binaries.extend(binaries);
    for image in &targets.images {
        let binary = BinaryId(image.binary as u32);
        let go = &targets.binaries[image.binary].go;
        profile.processes.push(naming::process(&image.process, go, binary));
    }
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

/// Profiler labels, sorted. What is not all there ends in three dots.
fn label_all(profile: &mut Profile, texts: &[[Text; 2]]) -> Vec<Label> {
    let mut name = |text: &Text| {
        let dots = if text.is_cut { "..." } else { "" };
        profile.names.intern(&format!("{}{dots}", String::from_utf8_lossy(&text.bytes)))
    };
    let mut labels: Vec<Label> = texts
        .iter()
        .map(|[key, value]| Label { key: name(key), value: LabelValue::Text(name(value)) })
        .collect();
    labels.sort();
    labels
}

/// What was allocated, from the type word at the site.
fn type_name(profile: &mut Profile, tapped: &Tapped, image: &Image, word: u64) -> Name {
    let text = match word {
        // runtime/string.go, runtime/slice.go: rawstring, rawbyteslice and the like pass no type.
        0 => "[no type: string or byte buffer]".to_string(),
        word => {
            let at = image.bias.to_vaddr(RuntimeAddr(word));
            let named = tapped.types.as_ref().and_then(|types| types.get(at));
            named.map_or_else(
                || "[unknown type: made at run time, or damaged]".to_string(),
                |named| named.name.to_string(),
            )
        }
    };
    profile.names.intern(&text)
}

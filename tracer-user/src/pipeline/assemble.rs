//! Raw stacks to a profile: names addresses, applies the rules of Go stacks, merges, estimates.
//!
//! In: the targets and what was counted for them. Out: a [`Profile`] with everything in it
//! that was recorded, unfolded. Addresses are named once per binary, however many processes ran it.

use std::time::Duration;

use tracer_common::os::Happening;
use tracer_common::record::{STACK_BROKEN, STACK_INTERRUPTED, STACK_TRUNCATED};

use super::{
    estimates::{Estimates, Worth},
    happenings, leaves,
    measures::{self, Sum},
    naming::{self, Namer},
    natives::Natives,
    pools::{self, Pools},
    targets::{Counts, Spent, StackId, Targets},
    typed,
};
use crate::{
    address::{LoadBias, RuntimeAddr, VAddr},
    cli::{
        probes::Value,
        record::{By, Config},
    },
    probe::{Program, Text},
    profile::{
        ALLOC_OBJECTS, ALLOC_SPACE, Ages, BinaryId, Cost, FrameKind, INUSE_OBJECTS, INUSE_SPACE,
        Label, LabelValue, LocationId, Meta, Process, ProcessId, Profile, Sample, ledger,
    },
    runtime::unwind::Frames,
};

/// Makes the profile. By type, a raw stack's class is a type.
pub fn assemble(targets: &Targets, meta: Meta, config: &Config) -> Profile {
    let by_type = config.by == By::Type;
    let mut profile = Profile::new(meta);
    add_processes(&mut profile, targets);
    let estimates = Estimates::new(profile.meta.source, targets);
    let raw: Vec<(&StackId, &Counts)> = targets.held.stacks.iter().collect();
    let mut namers: Vec<Namer> = (targets.binaries.iter().enumerate())
        .map(|(i, tapped)| Namer::new(tapped.go.clone(), BinaryId(i as u32)))
        .map(|namer| if config.is_raw() { namer.raw() } else { namer })
        .collect();
    let calls = calls(&raw, targets, &namers);
    for (namer, stacks) in namers.iter_mut().zip(addresses_by_binary(&raw, targets, &calls)) {
        namer.name_all(&stacks);
    }
    let pools = Pools::of(targets, &raw);
    let mut natives = if config.is_raw() { Natives::raw() } else { Natives::default() };
    let mut broken = 0;
    for ((id, counts), calls) in raw.iter().zip(&calls) {
        let Some(entry) = targets.entries.get(id.entry).filter(|_| !pools::is_new(id)) else {
            continue;
        };
        let happening = Happening::of_site(id.site);
        let program = targets.program(id);
        let measures = match happening {
            Some(happening) => Some(measures::of_happening(happening)),
            None => program.and_then(measures::of),
        };
        let worth = match measures {
            Some(measures) => Some(counted(&profile.meta, measures, id, counts)),
            None => estimates.worth(id, counts).map(|worth| allocated(&profile.meta, worth)),
        };
        let Some(worth) = worth else { continue };
        let (tapped, namer) = (&targets.binaries[entry.binary], &mut namers[entry.binary]);
        // The function that the probe was in is the innermost frame.
        let site = tapped.sites.get(id.site as usize).map(|site| tapped.at_beginning(site));
        let place = site.and_then(|s| match program {
            // It tells what was done.
            Some(Program::Slice) => namer.kept(&mut profile, s.site.vaddr),
            _ => namer.place(&mut profile, s.site.vaddr),
        });
        let mut stack: Vec<LocationId> = place.into_iter().collect();
        let mut callee = 0;
        for call in calls {
            let go = VAddr(call.0);
            let location = if namer.holds(go) {
                namer.location(&mut profile, go, &mut callee)
            } else {
                callee = 0;
                natives.location(&mut profile, tapped.libraries.at(*call), *call)
            };
            stack.extend(location);
        }
        if id.flags & STACK_TRUNCATED != 0 {
            stack.push(profile.truncated());
        }
        broken += if id.flags & STACK_BROKEN != 0 { counts.hits } else { 0 };
        let go_type = program.filter(|_| by_type);
        let go_type =
            go_type.and_then(|of| typed::name(&mut profile, tapped.types.as_ref(), of, id.class));
        let labels = targets.held.labels.get(&(id.entry, id.labels));
        let mut labels = labels.map_or_else(Vec::new, |texts| label_all(&mut profile, texts));
        if let Some(happening) = happening {
            labels.extend(happenings::labels(&mut profile, happening, id.class));
            stack.extend(happenings::of_nobody(&mut profile, &id.pcs));
        }
        let leaf = program.and_then(|program| leaves::leaf(&mut profile, namer, program, id.class));
        if let Some(program) = program {
            labels.extend(leaves::labels(&mut profile, program, id.class));
            labels.extend(pools.label(&mut profile, id, program));
            labels.sort();
        }
        profile.samples.push(Sample {
            process: ProcessId(id.entry),
            stack,
            values: worth.values,
            error: worth.error,
            go_type,
            leaf,
            labels,
            ages: worth.ages,
            iterations: counts.iterations.clone(),
        });
    }
    for (entry, text, mut values) in estimates.unseen(targets) {
        values.resize(profile.meta.value_types.len(), 0);
        let stack = vec![profile.made_up(text, FrameKind::Marker)];
        let (process, error) = (ProcessId(entry), vec![0.0; values.len()]);
        profile.samples.push(Sample {
            process,
            stack,
            values,
            error,
            go_type: None,
            leaf: None,
            labels: Vec::new(),
            ages: None,
            iterations: None,
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

/// Values of a stack that a program has counted; all others are 0.
fn counted(meta: &Meta, measures: &[(Value, Sum)], id: &StackId, counts: &Counts) -> Worth {
    let mut values = vec![0; meta.value_types.len()];
    let mut error = vec![0.0; values.len()];
    for (value, sum) in measures {
        let at = meta.value_types.iter().position(|of| *of == value.value_type());
        let Some(at) = at else { continue };
        let (more, width) = sum.part(id, &counts.part);
        values[at] = sum.of(id, counts).saturating_add(more.round() as u64);
        error[at] = width;
    }
    if counts.part == ledger::Part::default() {
        error.clear();
    }
    let ages = counts.ages.as_deref();
    let ages = ages.map(|ages| Box::new(Ages { freed: ages.freed, live: ages.live }));
    Worth { values, error, ages }
}

/// Values of a stack that allocated. They come first.
fn allocated(meta: &Meta, mut worth: Worth) -> Worth {
    let of_alloc = [ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE];
    let own = meta.value_types.iter().filter(|of| of_alloc.contains(of)).count();
    if worth.values.len() > own {
        // What became of objects is not told.
        worth.values.truncate(own);
        worth.error.truncate(own);
        worth.ages = None;
    }
    worth.values.resize(meta.value_types.len(), 0);
    if !worth.error.is_empty() {
        worth.error.resize(worth.values.len(), 0.0);
    }
    worth
}

fn add_processes(profile: &mut Profile, targets: &Targets) {
    let binaries = targets.binaries.iter().map(|tapped| naming::binary(&tapped.go, &tapped.path));
    profile.binaries.extend(binaries);
    for entry in targets.entries.iter() {
        let binary = BinaryId(entry.binary as u32);
        let go = &targets.binaries[entry.binary].go;
        let processes = entry.processes;
        let cost = entry.spent.as_ref().map(cost);
        profile.processes.push(Process {
            processes,
            cost,
            ..naming::process(&entry.process, go, binary)
        });
    }
}

fn cost(spent: &Spent) -> Cost {
    Cost {
        traps: spent.traps,
        caused: Duration::from_nanos(spent.caused as u64),
        own: Duration::from_nanos(spent.own as u64),
        cpu: spent.cpu,
        windows: spent.breaks,
        observed: spent.observed,
        traced: spent.traced,
        rest: spent.rest,
    }
}

/// Addresses of calls of each stack, after the rules of Go stacks.
fn calls(
    raw: &[(&StackId, &Counts)],
    targets: &Targets,
    namers: &[Namer],
) -> Vec<Vec<RuntimeAddr>> {
    let mut frames: Vec<Option<Frames>> = namers.iter().map(|_| None).collect();
    raw.iter()
        .map(|(id, _)| {
            let Some(entry) = targets.entries.get(id.entry) else { return Vec::new() };
            let (namer, tapped) = (&namers[entry.binary], &targets.binaries[entry.binary]);
            let resolves = |call: RuntimeAddr| {
                namer.holds(VAddr(call.0)) || tapped.libraries.at(call).is_some()
            };
            // Stacks are kept by the binary's own addresses.
            if id.flags & STACK_INTERRUPTED != 0 {
                let frames = frames[entry.binary].get_or_insert_with(|| namer.frames());
                return namer.rules.calls_interrupted(&id.pcs, |at| frames.size(at), resolves);
            }
            namer.rules.calls(&id.pcs, LoadBias(0), resolves)
        })
        .collect()
}

/// Link-time addresses of Go code, for each binary.
fn addresses_by_binary(
    raw: &[(&StackId, &Counts)],
    targets: &Targets,
    calls: &[Vec<RuntimeAddr>],
) -> Vec<Vec<VAddr>> {
    let mut addresses = vec![Vec::new(); targets.binaries.len()];
    for ((id, _), calls) in raw.iter().zip(calls) {
        if let Some(entry) = targets.entries.get(id.entry) {
            addresses[entry.binary].extend(calls.iter().map(|call| VAddr(call.0)));
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

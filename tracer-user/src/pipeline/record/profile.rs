//! What was recorded until a moment, as a profile.
//!
//! In: the targets, with everything that was counted for them, and what is known of the recording itself. Out: a
//! profile that is complete: named, folded, with losses, notes and findings.

use std::time::{Duration, SystemTime};

use tracer_common::Counter;

use super::follow::Follower;
use crate::{
    cli::{
        probes::{Probe, Probes},
        record::Config,
    },
    output,
    pipeline::{assemble::assemble, targets::Targets},
    profile::{CounterValue, INUSE_OBJECTS, INUSE_SPACE, Meta, Profile, Source, ValueType, fold},
};

/// Counters of losses outside of the kernel.
const LOST_ENDED: &str = "lost_ended_full";
const LOST_STRAYS: &str = "lost_strays";

/// What is known of a recording beside what was counted.
pub struct Told<'a> {
    pub config: &'a Config,
    pub source: Source,
    pub started: SystemTime,
    pub duration: Duration,
    pub counters: Vec<(Counter, u64)>,
    pub follower: &'a Follower,
    pub notes: Vec<String>,
    /// What the runtimes say of their memory.
    pub views: Vec<String>,
}

impl Told<'_> {
    /// The profile.
    pub fn profile(self, targets: &Targets) -> Profile {
        let Told { config, source, follower, mut notes, .. } = self;
        if source == Source::Span {
            notes.push(
                "stacks have estimates with 95 % intervals, sums are what the runtime counts; sizes \
                 allocated in step with the spans can be off (docs/limits.md)"
                    .to_string(),
            );
        }
        notes.extend(targets.changed_rates());
        notes.extend(self.views);
        if config.probes.has(Probe::Map) {
            notes.push(targets.taken_out());
        }
        let held = [
            (
                LOST_ENDED,
                "events of ended processes for whose stacks there was no room",
                targets.held.lost,
            ),
            (LOST_STRAYS, "events that came after their process's end", targets.held.strays),
        ];
        let held = held.map(|(name, help, count)| CounterValue {
            name: name.into(),
            help: help.into(),
            is_loss: true,
            count,
        });
        let held = held.into_iter().chain(follower.counters());
        notes.extend(follower.notes());
        let in_windows = targets.in_windows();
        let value_types = value_types(config.probes, source, in_windows);
        if in_windows && config.probes.has(Probe::Alloc) && source == Source::Sample {
            notes.push(
                "what is in use is left out: a process was not traced all the time, and objects that \
                 were freed meanwhile were not seen; --budget none traces it throughout"
                    .to_string(),
            );
        }
        let value = config.value.value_type();
        let meta = Meta {
            source,
            method: method(config.probes, in_windows),
            started: self.started,
            duration: targets.recorded_for().unwrap_or(self.duration),
            default_value: value_types.iter().position(|of| *of == value).unwrap_or(0),
            value_types,
            period: targets.period(),
            counters: (self.counters.into_iter())
                .filter(|(_, count)| *count > 0)
                .map(|(counter, count)| CounterValue {
                    name: counter.name().into(),
                    help: counter.help().into(),
                    is_loss: counter.is_loss(),
                    count,
                })
                .chain(held.filter(|counter| counter.count > 0))
                .collect(),
            budget: config.budget,
            in_windows,
            notes,
        };
        let mut profile = assemble(targets, meta, config);
        if config.is_raw() {
            return profile;
        }
        let Config { runtime_frames, short_lived, maps, pools, .. } = config;
        complete(&mut profile, *runtime_frames, *short_lived, &maps.limits, pools);
        profile
    }
}

/// From stacks as they were found to what is shown, once they have names.
pub fn complete(
    profile: &mut Profile,
    runtime_frames: bool,
    short_lived: bool,
    maps: &output::maps::Limits,
    pools: &output::pools::Limits,
) {
    if !runtime_frames {
        fold::fold_runtime(profile);
    }
    profile.add_leaves();
    profile.merge_equal();
    if short_lived {
        profile.keep_short_lived();
    }
    profile.round_errors();
    let mut findings = output::early::findings(profile);
    findings.extend(output::maps::findings(profile, maps));
    findings.extend(output::os::findings(profile));
    findings.extend(output::creators::findings(profile));
    findings.extend(output::pools::findings(profile, pools));
    profile.meta.notes.splice(0..0, findings);
}

/// What is measured, by probe.
fn value_types(probes: Probes, source: Source, in_windows: bool) -> Vec<ValueType> {
    let mut types: Vec<ValueType> = Vec::new();
    for probe in probes.iter() {
        types.extend(probe.values().iter().map(|value| value.value_type()));
        if probe == Probe::Alloc && source == Source::Sample && !in_windows {
            types.extend([INUSE_OBJECTS, INUSE_SPACE]);
        }
    }
    types
}

/// How that was measured; nothing where it goes without saying.
fn method(probes: Probes, in_windows: bool) -> Option<String> {
    let methods: Vec<&str> = probes.iter().filter_map(Probe::method).collect();
    let exact = match (probes.has(Probe::Alloc), in_windows) {
        (_, true) => "estimate, scaled by time: ",
        (true, false) => "",
        (false, false) => "exact: ",
    };
    (!methods.is_empty()).then(|| format!("{exact}{}", methods.join("; ")))
}

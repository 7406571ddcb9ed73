//! What is read is what was written.

use std::time::Duration;

use super::{all_of, open, recorded};
use crate::output::sample;
use crate::profile::iterations::{Ended, Iterations, Worst};
use crate::profile::{Ages, Cost, LabelValue, Profile, Rest, Source, TRUNCATED};
use crate::profile::{Workload, build::Build};
use crate::recording::busy::{Busy, Random};
use crate::recording::{Bounds, Shown};

/// One of everything.
fn samples() -> Vec<Profile> {
    vec![
        sample::server(),
        sample::fleet(),
        sample::heap(),
        sample::block(),
        sample::maps(),
        sample::goroutines(),
        sample::moves(),
        sample::pools(),
        sample::raw(),
        sample::hostile(),
        sample::empty(),
    ]
}

fn last_of(bytes: &[u8]) -> Profile {
    open(bytes).at(u64::MAX).unwrap().unwrap().shot.profile
}

#[test]
fn every_output_of_every_profile_is_the_same_as_before() {
    for profile in samples() {
        let back = last_of(&recorded([&profile]));
        assert!(all_of(&back) == all_of(&profile), "{:?}", profile.meta.value_types);
        assert_eq!(back.meta.notes, profile.meta.notes);
        assert_eq!(back.processes.len(), profile.processes.len());
    }
}

#[test]
fn addresses_without_names_are_as_they_were_found() {
    let profile = sample::raw();
    let back = last_of(&recorded([&profile]));
    let ways = |profile: &Profile| -> Vec<_> {
        let of = |id: &crate::profile::LocationId| &profile.locations[id.0 as usize];
        profile.samples[0].stack.iter().map(|id| (of(id).raw, of(id).address)).collect()
    };
    assert_eq!(ways(&back), ways(&profile));
    assert_eq!((back.unnamed(), profile.unnamed()), (7, 7));
    assert!(back.samples[0].leaf.is_some());
}

#[test]
fn what_was_chosen_for_all_outputs_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.htap");
    let mut writer = super::writer(&path, Bounds::default());
    let shown = Shown { by_type: true, label_roots: true };
    writer.write(&sample::server(), shown).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, writer.size());
    assert_eq!(open(&bytes).at(u64::MAX).unwrap().unwrap().shot.shown, shown);
}

/// Changes of every kind that a next snapshot may have.
pub(super) fn change(profile: &mut Profile, random: &mut Random, step: u64) {
    profile.meta.started += Duration::from_secs(1);
    profile.meta.notes = vec![format!("step {step}"), "always".to_owned()];
    profile.meta.period = profile.meta.period.filter(|_| !step.is_multiple_of(3));
    profile.meta.budget = step.is_multiple_of(2).then_some(0.01);
    profile.meta.in_windows = step % 4 == 1;
    for process in &mut profile.processes {
        let observed = Duration::from_nanos(random.number() >> 20);
        process.cost = step.is_multiple_of(2).then_some(Cost {
            traps: random.number(),
            observed,
            rest: Rest::TooDense,
            ..Cost::default()
        });
    }
    for sample in &mut profile.samples {
        if random.below(3) == 0 {
            sample.values.iter_mut().for_each(|value| *value = random.number() >> random.below(64));
        }
        let with_error = random.below(2) == 0;
        let width = sample.values.len();
        sample.error = vec![random.below(1000) as f64 / 8.0; if with_error { width } else { 0 }];
        if random.below(3) == 0 {
            let mut ages = Ages::default();
            ages.freed[random.below(20)] = random.number();
            ages.live[random.below(20)] = random.number() >> 40;
            sample.ages = Some(Box::new(ages)).filter(|_| random.below(4) > 0);
            let mut iterations = Iterations::default();
            let (time, steps) = (random.number() >> 30, random.number() >> 50);
            let what = Worst { goroutine: random.number(), steps, time };
            let between = (random.number() >> 24, random.number() >> 24);
            iterations.add_one(&Ended { what, is_complete: true, cost: 1, between });
            sample.iterations = Some(Box::new(iterations)).filter(|_| random.below(4) > 0);
        }
        if random.below(9) == 0 {
            let key = profile.names.intern("path");
            let value = LabelValue::Text(profile.names.intern(&format!("/{}", random.below(5))));
            sample.labels = vec![crate::profile::Label { key, value }];
        }
        if random.below(9) == 0 {
            sample.go_type =
                Some(profile.names.intern("main.T")).filter(|_| step.is_multiple_of(2));
        }
    }
    match random.below(4) {
        // Stacks, processes and files come and go, and their order is another.
        0 => drop(profile.samples.pop()),
        1 => profile.samples.reverse(),
        2 => {
            if let Some(sample) = profile.samples.first().cloned() {
                // The same once more.
                profile.samples.push(sample);
            }
        }
        _ => {
            if let Some(process) = profile.processes.last().cloned() {
                let pid = process.pid + 1;
                let workload = Workload { pod: Some(format!("pod-{pid}")), ..Workload::default() };
                profile.processes.push(crate::profile::Process { pid, workload, ..process });
                let location = profile.truncated();
                let process = crate::profile::ProcessId(profile.processes.len() as u32 - 1);
                if let Some(sample) = profile.samples.first().cloned() {
                    let stack = [&sample.stack[..], &[location]].concat();
                    profile.samples.push(crate::profile::Sample { process, stack, ..sample });
                }
            }
        }
    }
}

#[test]
fn whatever_changes_from_one_to_the_next_is_there() {
    let mut random = Random(7);
    for first in samples() {
        let mut all = vec![first];
        for step in 0..7 {
            let mut next = all[all.len() - 1].clone();
            // Now and then it is another profile, not the one before with changes.
            if step % 5 == 4 {
                next = last_of(&recorded([&next]));
            }
            change(&mut next, &mut random, step);
            all.push(next);
        }
        let bytes = recorded(&all);
        for profile in &all {
            let end = profile.meta.started + profile.meta.duration;
            let end = end.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
            let found = open(&bytes).at(end).unwrap().unwrap();
            assert_eq!((found.shot.time, found.damaged), (end, 0));
            assert!(all_of(&found.shot.profile) == all_of(profile), "{:?}", profile.meta.notes);
        }
    }
}

#[test]
fn other_values_begin_anew() {
    let (server, block) = (sample::server(), sample::block());
    let mut recording = recorded([&server, &block, &server]);
    let survey = open(&recording).survey().unwrap();
    assert_eq!((survey.shots, survey.processes.len()), (3, 1));
    assert!(all_of(&last_of(&recording)) == all_of(&server));
    recording.truncate(recording.len() - 1);
    assert!(all_of(&last_of(&recording)) == all_of(&block));
}

#[test]
fn a_moment_has_the_snapshot_before_it() {
    let mut busy = Busy::new(15);
    let mut all = Vec::new();
    for _ in 0..300 {
        busy.pass(10);
        all.push(busy.profile.clone());
    }
    let bytes = recorded(&all);
    let survey = open(&bytes).survey().unwrap();
    assert_eq!((survey.shots, survey.damaged, survey.left_over), (300, 0, 0));
    assert_eq!(survey.last - survey.first, 2_990_000_000_000);
    assert_eq!(survey.processes[0].shots, 300);
    let at = |time: u64| open(&bytes).at(time).unwrap();
    assert!(at(survey.first - 1).is_none());
    for step in [0, 1, 119, 120, 121, 255, 299] {
        let time = survey.first + step * 10_000_000_000;
        for time in [time, time + 9_999_999_999] {
            let found = at(time).unwrap().shot;
            assert!(all_of(&found.profile) == all_of(&all[step as usize]), "{step}");
        }
    }
}

#[test]
fn a_clock_that_was_set_back_moves_no_snapshot_before_another() {
    let (mut one, mut two) = (sample::server(), sample::server());
    one.meta.notes.push("one".into());
    two.meta.notes.push("two".into());
    two.meta.started -= Duration::from_secs(3600);
    let bytes = recorded([&one, &two]);
    assert_eq!(last_of(&bytes).meta.notes, ["two"]);
    let survey = open(&bytes).survey().unwrap();
    assert_eq!(survey.first, survey.last);
}

#[test]
fn values_that_follow_from_samples_are_told_as_those() {
    let mut busy = Busy::new(200);
    let mut all = vec![busy.profile.clone()];
    for step in 0..6 {
        busy.pass(300);
        let mut next = busy.profile.clone();
        if step / 2 == 1 {
            // No count of samples gives this.
            next.samples[7].values[0] += 1;
        }
        if step == 4 {
            next.meta.period = None;
        }
        all.push(next);
    }
    let bytes = recorded(&all);
    for profile in &all {
        let end = profile.meta.started.duration_since(std::time::UNIX_EPOCH).unwrap();
        let found = open(&bytes).at(end.as_nanos() as u64).unwrap().unwrap();
        assert!(all_of(&found.shot.profile) == all_of(profile));
    }
    let length = |profile: &Profile| recorded([profile]).len();
    assert!(length(&all[2]) + 400 < length(&all[3]), "{} {}", length(&all[2]), length(&all[3]));
}

#[test]
fn an_empty_stack_and_a_marker_alone_are_stacks() {
    let mut build = Build::new(Source::Exact);
    let process = build.process(1, "x", "");
    build.stack(process, &[], 1, 2);
    build.stack(process, &[TRUNCATED], 3, 4);
    let profile = build.done();
    assert!(all_of(&last_of(&recorded([&profile, &profile]))) == all_of(&profile));
}

#[test]
fn a_time_is_walked_through_in_steps_and_to_its_end() {
    let mut profile = sample::heap();
    let mut profiles = Vec::new();
    for _ in 0..300 {
        profile.meta.started += Duration::from_secs(1);
        profiles.push(profile.clone());
    }
    let bytes = recorded(&profiles);
    let (first, last) = open(&bytes).span().unwrap();
    let second = 1_000_000_000;
    let walk = |bytes: &[u8], from, to, step| {
        let mut seen = Vec::new();
        let damaged = open(bytes).each((from, to), step, |shot| {
            seen.push((shot.time - first) / second);
            assert_eq!(all_of(&shot.profile), all_of(&profiles[*seen.last().unwrap() as usize]));
            Ok::<_, crate::recording::Error>(())
        });
        (seen, damaged.unwrap())
    };
    assert_eq!(open(&bytes).count(first, last).unwrap(), 300);
    assert_eq!(walk(&bytes, 0, u64::MAX, 100), (vec![0, 100, 200, 299], 0));
    let from = first + 118 * second;
    assert_eq!(open(&bytes).count(from, from + 4 * second).unwrap(), 5);
    assert_eq!(walk(&bytes, from, from + 4 * second, 2), (vec![118, 120, 122], 0));
    assert_eq!(walk(&bytes, last + 1, u64::MAX, 1), (vec![], 0));
    // The second segment begins with the 121st one.
    let mut broken = bytes.clone();
    let middle = bytes.len() / 2;
    let next = bytes[middle..].windows(4).position(|mark| mark == b"\xa5rec").unwrap();
    broken[middle + next - 1] ^= 1;
    let (seen, damaged) = walk(&broken, 0, u64::MAX, 1);
    assert_eq!(seen.len() as u64 + damaged, 300);
    assert!(damaged > 0 && seen.contains(&0) && seen.contains(&299), "{damaged} {seen:?}");
}

//! Recordings with something of everything, whole and damaged: what the fuzzer's corpus begins with.

use std::io::Cursor;

use super::whole::change;
use super::{open, recorded};
use crate::doors::replay::seed;
use crate::doors::through;
use crate::output::sample;
use crate::profile::{Cost, FrameKind, Profile, Rest};
use crate::recording::block::{self, FILE_HEADER};
use crate::recording::busy::{Busy, Random};
use crate::recording::statistics::tests::recorded_series;

/// Keeps a file as a seed, and goes through the door with it.
fn kept(name: &str, file: &[u8]) {
    let bytes = [&[0], file].concat();
    seed("recording", name, &bytes);
    through("recording", &bytes);
}

/// Where records begin, and where the file ends.
fn records(file: &[u8]) -> Vec<usize> {
    let mut at = vec![FILE_HEADER];
    let end = file.len() as u64;
    while let Some(head) =
        block::head(&mut Cursor::new(file), at[at.len() - 1] as u64, end).unwrap()
    {
        at.push(head.end() as usize);
    }
    assert_eq!(at.last(), Some(&file.len()));
    at
}

/// The same with the last byte of some records' contents another, and something between them that is no record.
fn damaged(file: &[u8], is: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut damaged = file[..FILE_HEADER].to_vec();
    for (number, record) in records(file).windows(2).enumerate() {
        damaged.extend(&file[record[0]..record[1]]);
        if is(number) {
            let last = damaged.len() - 1;
            damaged[last] ^= 0x55;
            damaged.extend(b"none");
        }
    }
    damaged
}

#[test]
fn snapshots_of_all_kinds() {
    let mut random = Random(5);
    let all = [sample::server, sample::goroutines, sample::maps, sample::pools, sample::raw];
    let mut profiles: Vec<Profile> = Vec::new();
    for (step, make) in (0u64..).step_by(10).zip(all) {
        let mut profile = make();
        let rest = [Rest::Unreadable, Rest::TooFew, Rest::TooDense, Rest::Over, Rest::Estimated];
        profile.processes[0].cost =
            Some(Cost { windows: 3, rest: rest[step as usize / 10], ..Cost::default() });
        profiles.push(profile.clone());
        for step in step + 1..step + 3 {
            change(&mut profile, &mut random, step);
            profiles.push(profile.clone());
        }
    }
    for kind in FrameKind::ALL {
        let mut profile = sample::server();
        profile.locations.iter_mut().flat_map(|at| &mut at.frames).for_each(|f| f.kind = kind);
        profiles.push(profile);
    }
    let file = recorded(&profiles);
    assert_eq!(open(&file).survey().unwrap().shots, profiles.len() as u64);
    kept("made_shots", &file);
    let few = recorded(&profiles[..6]);
    kept("damaged_first", &damaged(&few, |number| number == 0));
    kept("damaged_one", &damaged(&few, |number| number == 1));
    kept("damaged_all", &damaged(&few, |_| true));
}

#[test]
fn a_heap_as_it_was_sampled() {
    let mut busy = Busy::new(6);
    let next = |_| {
        busy.pass(3);
        busy.profile.clone()
    };
    let profiles: Vec<Profile> = (0..4).map(next).collect();
    kept("made_sampled", &recorded(&profiles));
}

#[test]
fn statistics_of_all_kinds() {
    kept("made_statistics", &recorded_series(14, Some(4)));
    let few = recorded_series(5, None);
    kept("damaged_statistics", &damaged(&few, |number| number == 2));
    kept("damaged_all_statistics", &damaged(&few, |_| true));
    // Those of a segment, behind one that is whole.
    let mixed = recorded_series(6, Some(2));
    kept("damaged_mixed", &damaged(&mixed, |number| number % 3 == 1));
}

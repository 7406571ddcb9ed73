//! Statistics are what was written, wherever the file was cut and whatever became of it.

use std::io::Cursor;
use std::sync::Arc;

use super::{Decoder, Encoder, Reading, Statistics, Unread, Value};
use crate::output::sample;
use crate::profile::Profile;
use crate::recording::block::{self, FILE_HEADER};
use crate::recording::busy::Random;
use crate::recording::tests::{damage, open, writer};
use crate::recording::{Bounds, Error, Limits, Recording, Shown};

/// Two processes of which something of every kind is known.
pub(in crate::recording) fn made() -> Statistics {
    let reading = |pid: u32| Reading {
        pid,
        start: 1 << 40,
        values: [
            ("comm", Value::Text(format!("größer{pid}"))),
            ("unit", Value::Nothing),
            ("exact", Value::Flag(true)),
            ("busy", Value::Flag(false)),
            ("heap.alloc", Value::Number(12 << 20)),
            ("gc.cpu_fraction", Value::Float(0.0125)),
            ("gc.pauses.ns", Value::List(vec![90, 80, 70, 60, 50])),
            ("empty", Value::List(vec![])),
        ]
        .map(|(name, value)| (Arc::from(name), value))
        .to_vec(),
    };
    let unread = vec![Unread { pid: 9, comm: "old".into(), reason: "Go 1.4 is too old".into() }];
    Statistics { time: 1_700_000_000_000_000_000, readings: vec![reading(7), reading(8)], unread }
}

/// What may become of a value.
fn changed(value: &Value, random: &mut Random) -> Value {
    match (value, random.below(4)) {
        (value, 0) => value.clone(),
        (Value::Number(number), 1) => Value::Number(number.wrapping_add(random.number() >> 50)),
        (Value::List(list), 1) => {
            // As pauses do: new ones in front, old ones go at the end.
            let new = (0..random.below(4)).map(|_| random.number() >> 40);
            Value::List(new.chain(list.iter().copied()).take(6).collect())
        }
        (Value::List(list), 2) => {
            let more = |number: &u64| number.wrapping_add(random.number() >> 60);
            Value::List(list.iter().map(more).collect())
        }
        (Value::List(list), _) => Value::List([&list[..], &[random.number(), 3]].concat()),
        (Value::Float(float), 1) => Value::Float(float + 0.25),
        (_, 1) => Value::Flag(random.below(2) == 0),
        (_, 2) => Value::Number([0, u64::MAX, 1 << 63, random.number()][random.below(4)]),
        _ => Value::Text("x".repeat(random.below(5))),
    }
}

/// What comes after some statistics.
fn next(before: &Statistics, random: &mut Random) -> Statistics {
    let mut next = before.clone();
    next.time += 10_000_000_000;
    for (_, value) in next.readings.iter_mut().flat_map(|reading| &mut reading.values) {
        *value = changed(value, random);
    }
    match random.below(6) {
        0 => next.readings.reverse(),
        1 => drop(next.readings.pop()),
        2 => next.readings.extend(made().readings),
        3 => next.unread.clear(),
        4 => {
            if let Some(reading) = next.readings.first_mut() {
                reading.values.insert(1, (Arc::from("new"), Value::Number(1)));
            }
        }
        _ => next.unread = made().unread,
    }
    next.readings.truncate(4);
    next.readings.iter_mut().for_each(|reading| reading.values.truncate(12));
    next
}

fn series(length: usize) -> Vec<Statistics> {
    let mut random = Random(3);
    let mut all = vec![made()];
    while all.len() < length {
        all.push(next(&all[all.len() - 1], &mut random));
    }
    all
}

/// A recording of these, after every `shots`-th of them a snapshot.
fn recorded(all: &[Statistics], shots: Option<usize>, bounds: Bounds) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.htap");
    let mut writer = writer(&path, bounds);
    let mut profile: Profile = sample::heap();
    for (at, statistics) in all.iter().enumerate() {
        if shots.is_some_and(|shots| at % shots == 0) {
            profile.meta.started =
                std::time::UNIX_EPOCH + std::time::Duration::from_nanos(statistics.time);
            writer.write(&profile, Shown::default()).unwrap();
        }
        writer.write_statistics(statistics).unwrap();
    }
    std::fs::read(&path).unwrap()
}

/// A recording of so many.
pub(in crate::recording) fn recorded_series(length: usize, shots: Option<usize>) -> Vec<u8> {
    recorded(&series(length), shots, Bounds::default())
}

fn all_of(bytes: &[u8], range: (u64, u64)) -> Result<(Vec<Statistics>, u64), Error> {
    let mut all = Vec::new();
    let damaged = open(bytes).each_statistics(range, 1, |time, statistics| {
        assert!(time >= statistics.time);
        all.push(statistics.clone());
        Ok::<_, Error>(())
    })?;
    Ok((all, damaged))
}

const ALWAYS: (u64, u64) = (0, u64::MAX);

#[test]
fn what_is_read_is_what_was_written() {
    let all = series(400);
    for shots in [None, Some(1), Some(3)] {
        let bytes = recorded(&all, shots, Bounds::default());
        assert!(all_of(&bytes, ALWAYS).unwrap() == (all.clone(), 0), "{shots:?}");
        for at in [0, 1, 119, 120, 121, 250, 399] {
            let (time, later) = (all[at].time, all[at].time + 9_999_999_999);
            for time in [time, later] {
                let (found, damaged) = open(&bytes).statistics_at(time).unwrap().unwrap();
                assert!((found, damaged) == (all[at].clone(), 0), "{shots:?} {at}");
            }
        }
        assert!(open(&bytes).statistics_at(all[0].time - 1).unwrap().is_none());
        let part = (all[130].time, all[260].time);
        assert!(all_of(&bytes, part).unwrap() == (all[130..=260].to_vec(), 0), "{shots:?}");
        let there = open(&bytes).readings(part).unwrap().unwrap();
        assert_eq!((there.count, there.first, there.last), (131, part.0, part.1));
        let mut seen = Vec::new();
        let step = open(&bytes).each_statistics(part, 50, |time, _| {
            seen.push((time - part.0) / 10_000_000_000);
            Ok::<_, Error>(())
        });
        assert_eq!((step.unwrap(), seen), (0, vec![0, 50, 100, 130]));
    }
}

#[test]
fn what_was_read_along_with_a_snapshot_is_of_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.htap");
    let mut writer = writer(&path, Bounds::default());
    let profile = sample::heap();
    writer.write(&profile, Shown::default()).unwrap();
    let mut later = made();
    let end = profile.meta.started + profile.meta.duration;
    let end = end.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    later.time = end + 1_000_000_000;
    writer.write_beside(&later).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(open(&bytes).statistics_at(end).unwrap().unwrap().0 == later);
}

#[test]
fn snapshots_are_what_they_are_without_statistics() {
    let all = series(300);
    let bytes = recorded(&all, Some(1), Bounds::default());
    let survey = open(&bytes).survey().unwrap();
    assert_eq!((survey.shots, survey.damaged, survey.skipped, survey.left_over), (300, 0, 0, 0));
    let alone = recorded(&all, None, Bounds::default());
    assert!(matches!(open(&alone).survey(), Err(Error::Empty)));
    assert!(matches!(open(&alone).span(), Err(Error::Empty)));
}

/// A bit of numbers takes few bytes: an hour of one process, every ten seconds.
#[test]
fn an_hour_of_a_process_is_small() {
    let mut random = Random(5);
    let mut values: Vec<(Arc<str>, Value)> = Vec::new();
    let numbers = |count: u64, random: &mut Random| -> Vec<u64> {
        (0..count).map(|_| random.number() >> 30).collect()
    };
    for at in 0..50 {
        values.push((format!("some.value{at}").into(), Value::Number(random.number() >> 30)));
    }
    for name in ["ends", "ns"] {
        values.push((name.into(), Value::List(numbers(256, &mut random))));
    }
    for name in ["size", "objects", "frees"] {
        values.push((name.into(), Value::List(numbers(67, &mut random))));
    }
    let reading = Reading { pid: 1, start: 2, values };
    let mut statistics = Statistics { time: 1 << 60, readings: vec![reading], unread: vec![] };
    let mut all = Vec::new();
    for _ in 0..360 {
        statistics.time += 10_000_000_000;
        for (at, (_, value)) in statistics.readings[0].values.iter_mut().enumerate() {
            match value {
                // A collection each second, half of the values and of the size classes in use.
                Value::List(list) if list.len() == 256 => {
                    list.truncate(246);
                    let end = statistics.time - (random.number() >> 40);
                    let new = (0..10).map(|step| match at {
                        50 => end - step * 1_000_000_000 - (random.number() >> 38),
                        _ => random.number() >> 46,
                    });
                    list.splice(0..0, new).for_each(drop);
                }
                Value::List(list) if at > 52 => {
                    for number in list.iter_mut().step_by(2) {
                        *number += random.number() >> 48;
                    }
                }
                Value::Number(number) if at % 2 == 0 => *number += random.number() >> 44,
                _ => {}
            }
        }
        all.push(statistics.clone());
    }
    let bytes = recorded(&all, None, Bounds::default());
    assert!(bytes.len() < 200_000, "{}", bytes.len());
    assert!(all_of(&bytes, ALWAYS).unwrap() == (all, 0));
}

#[test]
fn the_oldest_go_with_their_segments() {
    let all = series(600);
    for shots in [None, Some(1), Some(7)] {
        let size = 30_000;
        let bytes = recorded(&all, shots, Bounds { size: Some(size), age: None });
        assert!(bytes.len() as u64 <= size, "{shots:?}: {}", bytes.len());
        let (left, damaged) = all_of(&bytes, ALWAYS).unwrap();
        assert!(left.len() > 10 && left.len() < 600 && damaged == 0, "{shots:?} {}", left.len());
        assert!(left[..] == all[600 - left.len()..], "{shots:?}");
        if shots.is_some() {
            let survey = open(&bytes).survey().unwrap();
            assert_eq!((survey.damaged, survey.skipped), (0, 0), "{shots:?}");
        }
    }
    let age = Some(std::time::Duration::from_secs(1000));
    let bytes = recorded(&all, None, Bounds { size: None, age });
    let left = all_of(&bytes, ALWAYS).unwrap().0.len();
    assert!((100..130).contains(&left), "{left}");
}

fn heads(bytes: &[u8]) -> Vec<block::Head> {
    let (mut source, mut at) = (Cursor::new(bytes), FILE_HEADER as u64);
    let mut heads = Vec::new();
    while let Some(head) = block::head(&mut source, at, bytes.len() as u64).unwrap() {
        at = head.end();
        heads.push(head);
    }
    heads
}

#[test]
fn cut_anywhere_the_last_whole_ones_are_there() {
    let all = series(5);
    for shots in [None, Some(2)] {
        let bytes = recorded(&all, shots, Bounds::default());
        let is_reading = |head: &&block::Head| head.kind >= block::STATISTICS;
        let ends: Vec<u64> = heads(&bytes).iter().filter(is_reading).map(|h| h.end()).collect();
        for cut in FILE_HEADER..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut as u64).count();
            let (left, damaged) = all_of(&bytes[..cut], ALWAYS).unwrap();
            assert!((&left[..], damaged) == (&all[..whole], 0), "{shots:?} {cut}");
        }
    }
}

#[test]
fn a_flipped_bit_is_never_read() {
    let all = series(6);
    let bytes = recorded(&all, Some(2), Bounds::default());
    for at in FILE_HEADER..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        // The header of another kind of record may be a reason to refuse.
        let Ok((left, _)) = all_of(&flipped, ALWAYS) else { continue };
        assert!(left.iter().all(|one| all.contains(one)), "{at}");
    }
}

#[test]
fn what_is_damaged_is_counted_and_those_that_need_nothing_before_them_are_there() {
    let all = series(300);
    for shots in [None, Some(1)] {
        let mut bytes = recorded(&all, shots, Bounds::default());
        let mut readings = heads(&bytes);
        readings.retain(|head| head.kind >= block::STATISTICS);
        let key = (1..300).find(|at| readings[*at].kind == block::STATISTICS).unwrap();
        bytes[readings[key - 10].end() as usize - 1] ^= 0x10;
        let (left, damaged) = all_of(&bytes, ALWAYS).unwrap();
        assert_eq!((left.len(), damaged), (290, 10), "{shots:?}");
        let at = |bytes: &[u8], at: usize| {
            open(bytes).statistics_at(readings[at].time).unwrap().unwrap()
        };
        assert!(at(&bytes, key - 2) == (all[key - 11].clone(), 9), "{shots:?}");
        assert!(at(&bytes, key) == (all[key].clone(), 0), "{shots:?}");
        bytes[readings[key].end() as usize - 1] ^= 0x10;
        assert!(at(&bytes, key + 3) == (all[key - 11].clone(), 14), "{shots:?}");
        // What is no record at all.
        let mut bytes = recorded(&all, shots, Bounds::default());
        bytes[readings[key - 10].at as usize + 9] ^= 1;
        let (left, damaged) = all_of(&bytes, ALWAYS).unwrap();
        assert_eq!((left.len(), damaged), (290, 0), "{shots:?}");
        if shots.is_some() {
            let survey = open(&bytes).survey().unwrap();
            assert_eq!((survey.shots, survey.damaged), (291, 0));
        }
    }
}

/// Where the header of a key is damaged, reading goes on with the statistics behind it, but no snapshot goes on
/// from one that is of another segment.
#[test]
fn behind_a_damaged_key_its_statistics_are_read_and_its_snapshots_are_not() {
    let all = series(300);
    let mut bytes = recorded(&all, Some(1), Bounds::default());
    let keys: Vec<block::Head> =
        heads(&bytes).into_iter().filter(|head| head.kind == block::KEY).collect();
    bytes[keys[1].at as usize + 9] ^= 1;
    assert!(all_of(&bytes, ALWAYS).unwrap() == (all, 0));
    let survey = open(&bytes).survey().unwrap();
    assert_eq!((survey.shots, survey.damaged), (180, 119));
    let mut seen = 0;
    let damaged = open(&bytes).each(ALWAYS, 1, |_| {
        seen += 1;
        Ok::<_, Error>(())
    });
    assert_eq!((damaged.unwrap(), seen), (119, 180));
    let found = open(&bytes).at(keys[2].time - 1).unwrap().unwrap();
    assert!(found.shot.time < keys[1].time && found.damaged == 119, "{}", found.damaged);
}

#[test]
fn nonsense_with_right_checksums_is_refused() {
    let mut random = Random(11);
    let all = series(4);
    let mut encoder = Encoder::default();
    let contents: Vec<Vec<u8>> = all.iter().map(|one| encoder.encode(one)).collect();
    let mut refused = 0;
    for round in 0..4_000 {
        let mut made = contents.clone();
        damage(&mut made[round % 4], &mut random);
        let mut decoder = Decoder::new(1 << 20);
        let read = made.iter().try_for_each(|contents| decoder.apply(contents, 0));
        match read {
            Err(Error::Malformed { .. } | Error::TooLarge { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
            Ok(()) => {}
        }
    }
    assert!(refused > 2_000, "{refused}");
}

#[test]
fn what_a_few_bytes_can_ask_for_is_bounded() {
    let mut many = made();
    many.readings[0].values[0].1 = Value::Text("x".repeat(1 << 20));
    let mut encoder = Encoder::default();
    let contents = encoder.encode(&many);
    let refused = Decoder::new(1 << 20).apply(&contents, 16).unwrap_err();
    assert!(matches!(refused, Error::TooLarge { limit } if limit == 1 << 20), "{refused}");
    let mut decoder = Decoder::new(2 << 20);
    decoder.apply(&contents, 16).unwrap();
    // Names that come again and again stay.
    let mut put = crate::recording::wire::Put::default();
    put.number(0u8);
    put.count(10_000);
    (0..10_000).for_each(|_| put.text(""));
    put.raw(&[0, 0]);
    let again = (0..10).try_for_each(|_| decoder.apply(put.bytes(), 16));
    assert!(matches!(again, Err(Error::TooLarge { .. })));
    // A process can be there once.
    let mut decoder = Decoder::new(1 << 20);
    decoder.apply(&Encoder::default().encode(&made()), 16).unwrap();
    let twice = decoder.apply(&[0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], 16).unwrap_err();
    assert!(twice.to_string().contains("no such process was there before"), "{twice}");
    let limits = Limits { memory: 1_500, ..Limits::default() };
    let bytes = recorded(&[made()], None, Bounds::default());
    let refused = Recording::open(Cursor::new(&bytes[..]), limits).unwrap().statistics_at(u64::MAX);
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
}

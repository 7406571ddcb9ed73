//! Files that were cut, damaged or made to harm.

use std::io::Cursor;
use std::path::Path;
use std::{env, fs};

use super::{all_of, damage, open, recorded};
use crate::output::sample;
use crate::profile::Profile;
use crate::recording::block::{self, FILE_HEADER, KEY, NEXT};
use crate::recording::busy::{Busy, Random};
use crate::recording::decode::Decoder;
use crate::recording::statistics::{Encoder, tests::made};
use crate::recording::{Error, Limits, Recording};

/// Few snapshots with something of everything, over two segments.
fn few() -> Vec<Profile> {
    let (mut one, mut two) = (sample::maps(), sample::maps());
    two.samples.pop();
    one.meta.notes.push("first".to_owned());
    two.samples[0].values[0] += 1;
    vec![one, two, sample::fleet(), sample::pools(), sample::raw()]
}

/// What a reader makes of any bytes, as a fuzzer would have it: everything that can be asked for, and an error where
/// it must be one.
fn read(bytes: &[u8]) -> Result<Vec<u64>, Error> {
    let limits = Limits { memory: 8 << 20, processes: 100, ..Limits::default() };
    let mut recording = Recording::open(Cursor::new(bytes), limits)?;
    let survey = recording.survey()?;
    let mut times = Vec::new();
    for time in [0, survey.first, survey.last / 2 + survey.first / 2, survey.last, u64::MAX] {
        times.extend(recording.at(time)?.map(|found| found.shot.time));
        times.extend(recording.statistics_at(time)?.map(|(found, _)| found.time));
    }
    Ok(times)
}

#[test]
fn cut_anywhere_it_opens_up_to_its_last_whole_record() {
    let profiles = few();
    let bytes = recorded(&profiles);
    let expected: Vec<_> = profiles.iter().map(all_of).collect();
    // Where records end.
    let mut ends = vec![FILE_HEADER as u64];
    let mut source = Cursor::new(&bytes);
    while let Some(head) =
        block::head(&mut source, ends[ends.len() - 1], bytes.len() as u64).unwrap()
    {
        ends.push(head.end());
    }
    assert_eq!((ends.len(), ends[5]), (6, bytes.len() as u64));
    let mut before = 0;
    for cut in 0..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut as u64).count();
        let part = &bytes[..cut];
        let opened = Recording::open(Cursor::new(part), Limits::default());
        if whole < 2 {
            let failed = opened.and_then(|mut recording| recording.at(u64::MAX)).unwrap_err();
            assert!(matches!(failed, Error::Empty), "{cut}: {failed}");
            continue;
        }
        let mut recording = opened.unwrap();
        let survey = recording.survey().unwrap();
        assert_eq!(survey.shots, whole as u64 - 1, "{cut}");
        assert_eq!(survey.left_over, cut as u64 - ends[whole - 1], "{cut}");
        if whole != before {
            before = whole;
            let found = recording.at(u64::MAX).unwrap().unwrap();
            assert!(all_of(&found.shot.profile) == expected[whole - 2], "{cut}");
            assert_eq!(found.damaged, 0);
        }
    }
}

#[test]
fn a_flipped_bit_is_never_read() {
    let profiles = few();
    let bytes = recorded(&profiles);
    let expected: Vec<_> = profiles.iter().map(|profile| profile.meta.notes.clone()).collect();
    let all_values: Vec<Vec<u64>> = profiles
        .iter()
        .map(|p| p.samples.iter().flat_map(|s| s.values.clone()).collect())
        .collect();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let opened = Recording::open(Cursor::new(&flipped[..]), Limits::default());
        let Ok(mut recording) = opened else {
            assert!(at < FILE_HEADER, "{at}");
            continue;
        };
        // What is shown is one of the snapshots, as it was.
        let Ok(found) = recording.at(u64::MAX) else { continue };
        let shown = found.unwrap().shot.profile;
        let mut values: Vec<u64> = shown.samples.iter().flat_map(|s| s.values.clone()).collect();
        values.sort_unstable();
        let is = |which: usize| {
            let mut expected = all_values[which].clone();
            expected.sort_unstable();
            expected == values
        };
        let which = (0..5).find(|which| expected[*which] == shown.meta.notes && is(*which));
        assert!(which.is_some(), "{at}");
        // One that is damaged takes what follows in its segment along, and no more.
        assert!(which == Some(4) || recording.survey().map_or(true, |s| s.shots < 5), "{at}");
    }
}

/// More than two segments of them.
fn many() -> Vec<Profile> {
    let mut busy = Busy::new(10);
    let next = |_| {
        busy.pass(5);
        busy.profile.clone()
    };
    (0..250).map(next).collect()
}

#[test]
fn what_is_damaged_in_the_middle_is_counted_and_the_next_segment_is_there() {
    let all = many();
    let mut bytes = recorded(&all);
    let heads = heads_of(&bytes);
    let key = (1..250).find(|at| heads[*at].kind == KEY).unwrap();
    let broken = heads[key - 10];
    bytes[broken.end() as usize - 1] ^= 0x10;
    let survey = open(&bytes).survey().unwrap();
    assert_eq!((survey.damaged, survey.shots), (10, 240));
    let found = open(&bytes).at(heads[key - 2].time).unwrap().unwrap();
    assert_eq!((found.shot.time, found.damaged), (heads[key - 11].time, 9));
    let found = open(&bytes).at(u64::MAX).unwrap().unwrap();
    assert_eq!(found.damaged, 0);
    assert!(all_of(&found.shot.profile) == all_of(&all[249]));
    // A whole segment whose beginning is damaged: what is shown is of the one before.
    bytes[heads[key].end() as usize - 1] ^= 0x10;
    let found = open(&bytes).at(heads[key + 3].time).unwrap().unwrap();
    assert_eq!((found.shot.time, found.damaged), (heads[key - 11].time, 14));
}

#[test]
fn nonsense_with_right_checksums_is_refused() {
    let mut random = Random(1);
    let profiles = few();
    let bytes = recorded(&profiles);
    let head = block::head(&mut Cursor::new(&bytes), FILE_HEADER as u64, bytes.len() as u64);
    let head = head.unwrap().unwrap();
    let contents = block::contents(&mut Cursor::new(&bytes), &head, 1 << 20).unwrap().unwrap();
    let mut refused = 0;
    for _ in 0..1_500 {
        let mut made = contents.clone();
        damage(&mut made, &mut random);
        let mut file = block::file_header().to_vec();
        file.extend(block::seal(KEY, 1, &made).unwrap());
        file.extend(block::seal(NEXT, 2, &made).unwrap());
        match read(&file) {
            Err(Error::Malformed { .. } | Error::TooLarge { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
            Ok(_) => {}
        }
    }
    assert!(refused > 1_000, "{refused}");
}

#[test]
fn any_bytes_give_an_error_and_no_panic() {
    let mut random = Random(2);
    let bytes = recorded(&few());
    for _ in 0..1_500 {
        let mut made = bytes.clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(made.len());
            match random.below(3) {
                0 => made[at] = random.number() as u8,
                1 => made.truncate(at.max(1)),
                _ => {
                    let from = random.below(made.len());
                    let copied = made[from..(from + 50).min(made.len())].to_vec();
                    made.splice(at..at, copied).for_each(drop);
                }
            }
        }
        // Whatever it is; that it returns is what is tested.
        let _ = read(&made);
    }
}

#[test]
fn what_a_few_bytes_can_ask_for_is_bounded() {
    // Texts that are one long one again and again, stacks as deep as there are numbers.
    let long = "x".repeat(1 << 20);
    let mut put = crate::recording::wire::Put::default();
    put.count(1);
    put.text(&long);
    for _ in 0..5 {
        put.count(0);
    }
    // Source, method, started, duration, no values.
    for number in [0u32, 0, 0, 0, 0] {
        put.number(number);
    }
    let mut decoder = Decoder::new(64 << 20);
    let refused = decoder.apply(put.bytes(), 16).unwrap_err();
    assert!(matches!(refused, Error::Malformed { at: 16, .. }), "{refused}");
    let mut busy = Busy::new(500);
    busy.pass(10);
    let bytes = recorded([&busy.profile]);
    let limits = Limits { memory: 256 << 10, ..Limits::default() };
    let refused =
        Recording::open(Cursor::new(&bytes[..]), limits).unwrap().at(u64::MAX).unwrap_err();
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    assert_eq!(refused.to_string(), "needs more memory than 1 MiB: raise --max-memory");
}

#[test]
fn foreign_and_newer_files_are_refused_by_name() {
    let refused = |bytes: &[u8]| {
        Recording::open(Cursor::new(bytes), Limits::default()).unwrap_err().to_string()
    };
    assert!(refused(b"\x1f\x8b\x08 a profile").starts_with("is no recording"));
    assert_eq!(refused(b""), "holds no whole snapshot");
    let mut newer = recorded(&few());
    newer[8] = 2;
    assert!(refused(&newer).contains("its format is 2, and this one reads up to 1"));
    // Kinds of records that are not known: some may be left out.
    let mut file = recorded(&few());
    let whole = open(&file).survey().unwrap().shots;
    file.extend(block::seal(0xf0, 9, b"what later versions add").unwrap());
    assert_eq!(open(&file).survey().unwrap().shots, whole);
    file.extend(block::seal(3, 9, b"what must be understood").unwrap());
    let failed = open(&file).at(u64::MAX).unwrap_err();
    assert!(failed.to_string().starts_with("is of a newer heaptap"), "{failed}");
}

#[test]
fn behind_what_is_no_record_the_next_key_is_found() {
    let all = many();
    let mut bytes = recorded(&all);
    let heads = heads_of(&bytes);
    let key = (1..250).find(|at| heads[*at].kind == KEY).unwrap();
    // A header that is damaged, ten snapshots before a key.
    let broken = heads[key - 10];
    bytes[broken.at as usize + 9] ^= 1;
    let gap = heads[key].at - broken.at;
    let survey = open(&bytes).survey().unwrap();
    assert_eq!((survey.shots, survey.damaged, survey.skipped), (240, 0, gap));
    assert_eq!((survey.last, survey.left_over), (heads[249].time, 0));
    let found = open(&bytes).at(heads[key - 2].time).unwrap().unwrap();
    assert_eq!((found.shot.time, found.skipped), (heads[key - 11].time, gap));
    let found = open(&bytes).at(u64::MAX).unwrap().unwrap();
    assert_eq!((found.damaged, found.skipped), (0, 0));
    assert!(all_of(&found.shot.profile) == all_of(&all[249]));
    let mut seen = Vec::new();
    open(&bytes)
        .each((0, u64::MAX), 1, |shot| {
            seen.push(shot.time);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!((seen.len(), seen.last()), (240, Some(&heads[249].time)));
    // Bytes that belong nowhere, more than are looked at together.
    let mut stuffed = bytes[..heads[key].at as usize].to_vec();
    stuffed.extend([&b"\xa5rec"[..], &[0; 60]].concat().repeat(3_000));
    stuffed.extend(&bytes[heads[key].at as usize..]);
    let survey = open(&stuffed).survey().unwrap();
    assert_eq!((survey.shots, survey.skipped), (240, gap + 3_000 * 64));
}

#[test]
fn of_many_snapshots_a_survey_reads_keys() {
    let bytes = recorded(&many());
    let heads = heads_of(&bytes);
    let last_key = heads.iter().rposition(|head| head.kind == KEY).unwrap();
    let keys = heads[..last_key].iter().filter(|head| head.kind == KEY).count();
    let limits = Limits { shots: 249, ..Limits::default() };
    let survey = Recording::open(Cursor::new(&bytes[..]), limits).unwrap().survey().unwrap();
    assert_eq!((survey.shots, survey.read), (250, (keys + 250 - last_key) as u64));
    let seen = &survey.processes[0];
    assert_eq!((survey.first, survey.last), (heads[0].time, heads[249].time));
    assert_eq!((seen.first, seen.last), (heads[0].time, heads[249].time));
    let whole = open(&bytes).survey().unwrap();
    assert_eq!((whole.shots, whole.read, whole.processes[0].shots), (250, 250, 250));
}

/// What the fuzzer begins with (`fuzz/corpus`); `HEAPTAP_BLESS=1` writes it anew.
#[test]
fn seeds_of_the_fuzzer_are_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/recording");
    let bytes = recorded(&few());
    let mut sealed = vec![1];
    for head in heads_of(&bytes) {
        let contents = block::contents(&mut Cursor::new(&bytes), &head, 1 << 20).unwrap().unwrap();
        sealed.extend(u16::try_from(contents.len()).unwrap().to_le_bytes());
        sealed.extend(contents);
    }
    let file = [&[0], &bytes[..]].concat();
    let said = Encoder::default().encode(&made());
    let length = u16::try_from(said.len()).unwrap().to_le_bytes();
    let statistics = [&[2], &length[..], &said].concat();
    for (name, seed) in [("file", file), ("contents", sealed), ("statistics", statistics)] {
        if env::var_os("HEAPTAP_BLESS").is_some_and(|v| v == "1") {
            fs::write(dir.join(name), &seed).unwrap();
        }
        let kept = fs::read(dir.join(name)).unwrap();
        assert!(kept == seed, "{name}: run with HEAPTAP_BLESS=1");
    }
}

fn heads_of(bytes: &[u8]) -> Vec<block::Head> {
    let (mut source, mut at) = (Cursor::new(bytes), FILE_HEADER as u64);
    let mut heads = Vec::new();
    while let Some(head) = block::head(&mut source, at, bytes.len() as u64).unwrap() {
        at = head.end();
        heads.push(head);
    }
    heads
}

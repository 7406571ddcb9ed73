//! Recordings: of any bytes the reader makes snapshots that make sense, or an error.
//!
//! The first byte says what the others are: a file as it is; or contents of records, of snapshots or of statistics,
//! which get right headers and checksums, since no fuzzer finds those.

use std::io::{Cursor, sink};

use crate::output::{Format, Options, render};
use crate::recording::{
    Error, Limits, Record, Recording, Shot, Statistics, again, of_contents, of_statistics,
    statistics_again,
};

/// Bytes of memory that one may take.
const MEMORY: usize = 8 << 20;

pub fn open(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let read = match how % 3 {
        0 => read(rest),
        1 => read(&of_contents(&several(rest))),
        _ => read(&of_statistics(&several(rest))),
    };
    // What is refused is refused in words.
    assert!(read.map_err(|err| err.to_string()).err().is_none_or(|why| !why.is_empty()));
}

/// Contents follow one another, each with its length in two bytes before it.
fn several(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut contents = Vec::new();
    while let [low, high, more @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
        let (one, more) = more.split_at(len);
        contents.push(one);
        rest = more;
    }
    contents
}

fn read(file: &[u8]) -> Result<(), Error> {
    let limits = Limits { memory: MEMORY, processes: 100, shots: 3 };
    let mut recording = Recording::open(Cursor::new(file), limits)?;
    if let Ok(survey) = recording.survey() {
        for time in [0, survey.first, survey.last, u64::MAX] {
            if let Some(found) = recording.at(time)? {
                shown(&found.shot);
            }
        }
    }
    recording.statistics_at(u64::MAX)?;
    recording.each_statistics((0, u64::MAX), 1, |_, statistics| {
        said_again(statistics);
        Ok::<_, Error>(())
    })?;
    recording.each((0, u64::MAX), 2, |shot| {
        shown(&shot);
        Ok::<_, Error>(())
    })?;
    recording.all(|record| {
        match record {
            Record::Shot(shot) => shown(&shot),
            Record::Statistics(statistics) => said_again(statistics),
        }
        Ok::<_, Error>(())
    })?;
    Ok(())
}

/// Whatever is read can be shown, and be written and read again.
fn shown(shot: &Shot) {
    let rendered = render(&shot.profile, Format::Json, &Options::default(), &mut sink());
    assert!(rendered.is_ok());
    match again(shot, MEMORY) {
        Ok(again) => assert_eq!(again.profile.samples.len(), shot.profile.samples.len()),
        Err(err) => assert!(matches!(err, Error::TooLarge { .. }), "{err}"),
    }
}

fn said_again(statistics: &Statistics) {
    match statistics_again(statistics, MEMORY) {
        Ok(again) => assert_eq!(again.readings.len(), statistics.readings.len()),
        Err(err) => assert!(matches!(err, Error::TooLarge { .. }), "{err}"),
    }
}

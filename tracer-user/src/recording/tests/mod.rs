//! Recordings as a whole: what is written is read, wherever the file was cut and whatever became of it.

mod bounds;
mod busy;
mod hostile;
mod seeds;
mod whole;

use std::io::Cursor;
use std::path::Path;

use super::{Bounds, Limits, Recording, Shown, Writer};
use crate::output::{Format, Options, render};
use crate::profile::Profile;
use crate::recording::busy::Random;

/// A writer of `path`.
pub(super) fn writer(path: &Path, bounds: Bounds) -> Writer {
    let made = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
    Writer::new(path.to_owned(), made, bounds)
}

/// The file of a recording of these profiles.
fn recorded<'a>(profiles: impl IntoIterator<Item = &'a Profile>) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.htap");
    let mut writer = writer(&path, Bounds::default());
    for profile in profiles {
        writer.write(profile, Shown::default()).unwrap();
    }
    std::fs::read(&path).unwrap()
}

pub(super) fn open(bytes: &[u8]) -> Recording<Cursor<&[u8]>> {
    Recording::open(Cursor::new(bytes), Limits::default()).unwrap()
}

/// Changes a few bytes, as chance has it; something is left.
pub(super) fn damage(contents: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(contents.len());
        match random.below(4) {
            0 => contents[at] ^= 1 << random.below(8),
            1 => contents[at] = random.number() as u8,
            2 => drop(contents.drain(at..(at + random.below(9)).min(contents.len()))),
            _ => contents.splice(at..at, (0..random.below(9)).map(|_| 0xff)).for_each(drop),
        }
        if contents.is_empty() {
            contents.push(0);
        }
    }
}

/// Everything that is ever shown of a profile.
fn all_of(profile: &Profile) -> Vec<Vec<u8>> {
    let formats =
        [Format::Svg, Format::Html, Format::Pprof, Format::Folded, Format::Json, Format::Table];
    let mut options = Options::default();
    options.table.top = 1000;
    let values = 0..profile.meta.value_types.len();
    let of = |(value, format)| {
        let mut out = Vec::new();
        render(profile, format, &Options { value: Some(value), ..options.clone() }, &mut out)
            .unwrap();
        out
    };
    values.flat_map(|value| formats.map(|format| (value, format))).map(of).collect()
}

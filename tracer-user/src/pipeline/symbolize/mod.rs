//! `heaptap symbolize`: names for a recording that was made without (`--raw`).
//!
//! In: a recording whose stacks are addresses, and the binaries that it was made of. Out: the same recording with names,
//! as it would have been made. Needs no privilege and looks at no process.

mod files;
mod names;

use super::counted;
use super::export::Open;
use crate::cli::symbolize::Config;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::output::text::printable;
use crate::profile::Binary;
use crate::recording::{Bounds, Record, Writer};
use files::Files;
use names::Names;

/// Missing files that are told.
const TOLD: usize = 10;

/// Names and writes.
///
/// # Errors
/// The recording can't be read or has names already; none of the files is one of its binaries; the result can't be written.
pub fn run(config: &Config) -> Result<(), Failure> {
    let mut recording = Open::new(&config.file, config.max_memory)?;
    let profile = recording.at(None)?.profile;
    if profile.unnamed() == 0 {
        let why = match profile.samples.is_empty() {
            true => "nothing was recorded, so that there is nothing to name",
            false => "has its names already; only record --raw leaves them out",
        };
        let text = format!("{}: {why}", recording.name);
        return Err(Failure::new(Exit::Usage, text));
    }
    let mut names = Names::new(Files::find(&config.binaries)?, config);
    let (path, made) =
        output::make(&config.output).map_err(|err| Failure::new(err.exit(), err.to_string()))?;
    let shown = printable(&path.to_string_lossy()).into_owned();
    let mut writer = Writer::new(path, made, Bounds::default());
    let mut shots = 0;
    recording.every(|record| {
        let written = match record {
            Record::Shot(shot) => {
                shots += 1;
                writer.write(names.of(&shot.profile)?, shot.shown)
            }
            Record::Statistics(statistics) => writer.write_statistics(statistics),
        };
        written.map_err(|err| Failure::new(Exit::Output, format!("{shown} {err}")))
    })?;
    if !config.quiet {
        for missing in names.missing.iter().take(TOLD) {
            eprintln!("heaptap: not named: {}", described(missing));
        }
        let more = names.missing.len().saturating_sub(TOLD);
        if more > 0 {
            eprintln!("heaptap: not named: {}", counted(more, "further file"));
        }
        let (files, shots) = (counted(names.known, "file"), counted(shots, "snapshot"));
        eprintln!("heaptap: {shots}, named by {files}; wrote {shown}");
    }
    Ok(())
}

/// None of the files that were given is of the recording.
fn none(missing: &[Binary]) -> Failure {
    let wanted: Vec<String> = missing.iter().take(TOLD).map(described).collect();
    let text = format!("--binary: none of these is recorded; what is: {}", wanted.join(", "));
    Failure::new(Exit::Target, text)
}

fn described(binary: &Binary) -> String {
    let id = match binary.build_id.as_str() {
        "" => "no build id",
        id => id,
    };
    printable(&format!("{} ({id})", binary.path)).into_owned()
}

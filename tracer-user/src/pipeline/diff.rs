//! `heaptap diff`: what changed between two profiles.
//!
//! In: recordings, moments of them, or pprof files of any origin. Out: files, or a table on standard output. Needs no
//! privilege and looks at no process.

mod phases;

use std::fs::File;
use std::path::Path;

use super::export::{self, Open};
use super::outputs;
use crate::cli::diff::{Config, Of, Source};
use crate::exit::{Exit, Failure};
use crate::output::pprof::read::{self, read};
use crate::output::text::printable;
use crate::output::{self, Sink, diff::render};
use crate::profile::Profile;
use crate::profile::diff::{Asked, Diff, Measured, Unlike};
use crate::recording::{Shot, Shown};
use crate::symbolize::kind::Kinds;

/// Reads, compares and writes.
///
/// # Errors
/// One of them can't be read; they can't be compared; an output can't be written.
pub fn run(config: &Config) -> Result<(), Failure> {
    match &config.of {
        Of::Two { before, after } => {
            let sinks = outputs::open(&config.show.outputs)?;
            let (before, after) = (measured(config, before)?, measured(config, after)?);
            let diff = compared(&before, &after, &config.asked)?;
            // All that is needed of them is in the comparison.
            drop((before, after));
            write(config, &diff, sinks)
        }
        Of::Phases { recording, phases } => phases::run(config, recording, phases),
    }
}

fn compared(before: &Measured, after: &Measured, asked: &Asked) -> Result<Diff, Failure> {
    Diff::new(before, after, asked).map_err(|unlike| {
        let exit = match unlike {
            Unlike::Period { .. } => Exit::Failure,
            _ => Exit::Usage,
        };
        Failure::new(exit, printable(&unlike.to_string()).into_owned())
    })
}

fn write(config: &Config, diff: &Diff, sinks: Vec<Sink>) -> Result<(), Failure> {
    let options = outputs::options(&config.show, Shown::default());
    let summary = || output::diff::summary(diff);
    outputs::write_with(config.show.quiet, &summary, sinks, &|format, out| {
        render(diff, format, &options, out)
    })
}

/// One of the two, read.
fn measured(config: &Config, source: &Source) -> Result<Measured, Failure> {
    let mut measured = match source {
        Source::Pprof(path) => pprof(path, config.max_memory)?,
        Source::Recording(path, moment) => {
            let mut open = Open::new(path, config.max_memory)?;
            let shot = open.at(*moment)?;
            Measured::new(open.name, rooted(shot))
        }
    };
    export::only(&mut measured.profile, &config.processes)?;
    Ok(measured)
}

/// The profile of a snapshot, with labels as frames where the command that made it has them so.
fn rooted(mut shot: Shot) -> Profile {
    if shot.shown.label_roots {
        shot.profile.add_label_roots();
    }
    shot.profile
}

fn pprof(path: &Path, memory: usize) -> Result<Measured, Failure> {
    let name = printable(&path.to_string_lossy()).into_owned();
    let failed = |err: read::Error| {
        Failure::new(Exit::Failure, printable(&format!("{name} {err}")).into_owned())
    };
    let file = File::open(path).map_err(|err| failed(read::Error::Read(err)))?;
    let kinds = Kinds::new(None);
    read(name.clone(), file, memory, |function| kinds.of(function)).map_err(failed)
}

//! `heaptap diff`: what changed between two profiles.
//!
//! In: recordings, moments of them, or pprof files of any origin. Out: files, or a table on standard output. Needs no
//! privilege and looks at no process.

use std::fs::File;
use std::path::Path;

use super::export::{self, Open};
use super::outputs;
use crate::cli::diff::{Config, Source};
use crate::exit::{Exit, Failure};
use crate::output::pprof::read::{self, read};
use crate::output::text::printable;
use crate::output::{self, diff::render};
use crate::profile::diff::{Diff, Measured, Unlike};
use crate::recording::Shown;
use crate::symbolize::kind::Kinds;

/// Reads, compares and writes.
///
/// # Errors
/// One of them can't be read; they can't be compared; an output can't be written.
pub fn run(config: &Config) -> Result<(), Failure> {
    let sinks = outputs::open(&config.show.outputs)?;
    let before = measured(config, &config.before)?;
    let after = measured(config, &config.after)?;
    let diff = Diff::new(&before, &after, &config.asked).map_err(|unlike| {
        let exit = match unlike {
            Unlike::Period { .. } => Exit::Failure,
            _ => Exit::Usage,
        };
        Failure::new(exit, printable(&unlike.to_string()).into_owned())
    })?;
    // All that is needed of them is in the comparison.
    drop((before, after));
    let options = outputs::options(&config.show, Shown::default());
    write(config, &diff, &options, sinks)
}

fn write(
    config: &Config,
    diff: &Diff,
    options: &output::Options,
    sinks: Vec<output::Sink>,
) -> Result<(), Failure> {
    let summary = || output::diff::summary(diff);
    outputs::write_with(config.show.quiet, &summary, sinks, &|format, out| {
        render(diff, format, options, out)
    })
}

/// One of the two, read.
fn measured(config: &Config, source: &Source) -> Result<Measured, Failure> {
    let mut measured = match source {
        Source::Pprof(path) => pprof(path, config.max_memory)?,
        Source::Recording(path, moment) => {
            let mut open = Open::new(path, config.max_memory)?;
            let shot = open.at(*moment)?;
            let mut profile = shot.profile;
            if shot.shown.label_roots {
                profile.add_label_roots();
            }
            Measured::new(open.name, profile)
        }
    };
    if !config.processes.is_empty() {
        export::only(&mut measured.profile, &config.processes)?;
    }
    Ok(measured)
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

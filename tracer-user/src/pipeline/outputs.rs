//! From a profile, or the like, to files and standard output, for every command that makes one.
//!
//! In: where to, and what to write. Out: everything that can be written is written, whatever fails.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use super::terminal;
use crate::cli::{Color, Show};
use crate::exit::Failure;
use crate::output::{self, Render, Sink, Style, TableOptions};
use crate::profile::Profile;

/// Opens all outputs, before there is anything to write; standard output when there are none.
///
/// # Errors
/// One that can't be written.
pub fn open(outputs: &[PathBuf]) -> Result<Vec<Sink>, Failure> {
    if outputs.is_empty() {
        return Ok(vec![Sink::stdout()]);
    }
    Sink::open_all(outputs).map_err(|err| Failure::new(err.exit(), err.to_string()))
}

/// What a table on standard output looks like.
pub fn style(color: Color) -> Style {
    let color = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        }
    };
    Style { color, width: terminal::width().unwrap_or(100) }
}

/// Writes a profile everywhere; `by_type` for types instead of stacks in the table.
///
/// # Errors
/// The first output that could not be written; the others were.
pub fn write(
    show: &Show,
    by_type: bool,
    profile: &Profile,
    sinks: Vec<Sink>,
) -> Result<(), Failure> {
    let rendered = output::Options {
        value: None,
        table: TableOptions {
            style: style(show.color),
            top: show.top,
            by_type,
            ..TableOptions::default()
        },
    };
    write_with(show.quiet, &output::summary(profile), sinks, &|format, out| {
        output::render(profile, format, &rendered, out)
    })
}

/// Writes what `render` makes everywhere; `summary` says in a line what that is.
///
/// # Errors
/// The first output that could not be written; the others were.
pub fn write_with(
    quiet: bool,
    summary: &str,
    sinks: Vec<Sink>,
    render: &Render,
) -> Result<(), Failure> {
    let written: Vec<PathBuf> =
        sinks.iter().filter_map(|s| s.target()).map(Path::to_path_buf).collect();
    let errors = output::write_all(sinks, render);
    let failed = |path: &Path| errors.iter().any(|err| err.path() == path);
    let written: Vec<_> =
        written.iter().filter(|path| !failed(path)).map(|p| p.to_string_lossy()).collect();
    if !quiet && !written.is_empty() {
        let line = format!("{summary}; wrote {}", written.join(", "));
        eprintln!("heaptap: {}", output::text::printable(&line));
    }
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else { return Ok(()) };
    for other in errors {
        eprintln!("heaptap: {other}");
    }
    Err(Failure::new(first.exit(), first.to_string()))
}

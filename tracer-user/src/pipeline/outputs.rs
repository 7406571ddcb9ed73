//! From a profile, or the like, to files and standard output, for every command that makes one.
//!
//! In: where to, and what to write, once or again and again. Out: everything that can be written is
//! written, whatever fails.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::terminal;
use crate::cli::{Color, Kept, Show};
use crate::exit::{Exit, Failure};
use crate::output::text::printable;
use crate::output::{self, Format, Render, Sink, Style, TableOptions};
use crate::profile::Profile;
use crate::recording::{self, Bounds, Shown, Statistics, Writer};

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

/// Opens a recording; nothing is written yet.
///
/// # Errors
/// It can't be written.
pub fn recording(kept: &Kept) -> Result<Writer, Failure> {
    let made = output::make(&kept.path);
    let (path, made) = made.map_err(|err| Failure::new(err.exit(), err.to_string()))?;
    let bounds = Bounds { size: kept.max_size, age: kept.max_age };
    Ok(Writer::new(path, made, bounds))
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

/// What was chosen about every profile.
pub fn options(show: &Show, Shown { by_type, label_roots }: Shown) -> output::Options {
    let (style, top) = (style(show.color), show.top);
    let table = TableOptions { style, top, by_type, ..Default::default() };
    output::Options { table, label_roots, ..Default::default() }
}

/// Writes a profile everywhere.
///
/// # Errors
/// The first output that could not be written; the others were.
pub fn write(
    show: &Show,
    options: &output::Options,
    profile: &Profile,
    sinks: Vec<Sink>,
) -> Result<(), Failure> {
    write_with(show.quiet, &|| output::summary(profile), sinks, &|format, out| {
        output::render(profile, format, options, out)
    })
}

/// Writes what `render` makes everywhere; `summary` says in a line what that is.
///
/// # Errors
/// The first output that could not be written; the others were.
pub fn write_with(
    quiet: bool,
    summary: &dyn Fn() -> String,
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
        let line = format!("{}; wrote {}", summary(), written.join(", "));
        eprintln!("heaptap: {}", output::text::printable(&line));
    }
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else { return Ok(()) };
    for other in errors {
        eprintln!("heaptap: {other}");
    }
    Err(Failure::new(first.exit(), first.to_string()))
}

/// The outputs of a command that reads again and again: files are replaced, and a table on a terminal
/// is drawn over the one before; where standard output is no terminal, tables follow one another.
pub struct Rounds<'a> {
    show: &'a Show,
    /// What was chosen for all of them.
    shown: Shown,
    recording: Option<Writer>,
    /// Those of the first round, so that what can't be written is known before anything is read.
    first: Option<Vec<Sink>>,
    /// Whether there will be more than one round.
    again: bool,
}

/// Clears the screen and begins at its top.
const CLEAR: &str = "\x1b[2J\x1b[H";
/// Begins at the top again; the rest of a line, and of the screen, is cleared.
const HOME: &str = "\x1b[H";
const LINE_END: &str = "\x1b[K\n";
const SCREEN_END: &str = "\x1b[J";

impl<'a> Rounds<'a> {
    /// Opens all outputs; `again` when there will be more than one round.
    ///
    /// # Errors
    /// One that can't be written.
    pub fn new(show: &'a Show, kept: Option<&Kept>, again: bool) -> Result<Self, Failure> {
        let recording = kept.map(recording).transpose()?;
        let mut rounds = Self { show, shown: Shown::default(), recording, first: None, again };
        rounds.first = Some(rounds.open()?);
        Ok(rounds)
    }

    /// Chooses for all outputs.
    pub fn shown(self, shown: Shown) -> Self {
        Self { shown, ..self }
    }

    /// A recording alone is all that there is.
    fn open(&self) -> Result<Vec<Sink>, Failure> {
        match self.show.outputs.is_empty() && self.recording.is_some() {
            true => Ok(Vec::new()),
            false => open(&self.show.outputs),
        }
    }

    /// Whether a recording is among them.
    pub fn are_recorded(&self) -> bool {
        self.recording.is_some()
    }

    /// Writes a profile everywhere, and into the recording the statistics that were read along with it; tells whether
    /// anybody will look at more.
    ///
    /// # Errors
    /// The first output that could not be written; the others were.
    pub fn write(
        &mut self,
        profile: &Profile,
        statistics: Option<&Statistics>,
    ) -> Result<ControlFlow<()>, Failure> {
        let options = options(self.show, self.shown);
        let recorded = self.record(profile, statistics);
        let written = self.write_with(&|| output::summary(profile), &|format, out| {
            output::render(profile, format, &options, out)
        });
        recorded.and(written)
    }

    /// Adds a profile to the recording, and the statistics that were read along with it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn record(
        &mut self,
        profile: &Profile,
        statistics: Option<&Statistics>,
    ) -> Result<(), Failure> {
        let is_first = self.first.is_some();
        let Some(recording) = &mut self.recording else { return Ok(()) };
        let path = recording.path().to_string_lossy().into_owned();
        let written = recording.write(profile, self.shown);
        let written = written.and_then(|()| match statistics {
            Some(statistics) => recording.write_beside(statistics),
            None => Ok(()),
        });
        written.map_err(|err| unwritten(recording, &err))?;
        if is_first && !self.show.quiet {
            let first = if self.again { "; the first snapshot is in" } else { "; wrote" };
            let line = format!("{}{first} {path}", output::summary(profile));
            eprintln!("heaptap: {}", printable(&line));
        }
        Ok(())
    }

    /// As [`Self::write`], with what `render` makes; `summary` says in a line what that is.
    ///
    /// # Errors
    /// The first output that could not be written; the others were.
    pub fn write_with(
        &mut self,
        summary: &dyn Fn() -> String,
        render: &Render,
    ) -> Result<ControlFlow<()>, Failure> {
        let (sinks, is_first) = match self.first.take() {
            Some(sinks) => (sinks, true),
            None => (self.open()?, false),
        };
        // Its size may change from round to round.
        let terminal = terminal::height().filter(|_| self.again);
        let left = Cell::new(false);
        let drawn = |format, out: &mut dyn Write| {
            if format != Format::Table {
                return render(format, out);
            }
            let written = match terminal {
                Some(rows) => {
                    let mut text = Vec::new();
                    render(format, &mut text)?;
                    let text = String::from_utf8_lossy(&text);
                    let lines = fitting(&text, rows).join(LINE_END);
                    let begin = if is_first { CLEAR } else { HOME };
                    write!(out, "{begin}{lines}{LINE_END}{SCREEN_END}")
                }
                None if is_first => render(format, out),
                None => writeln!(out).and_then(|()| render(format, out)),
            };
            let written = written.and_then(|()| out.flush());
            left.set(written.as_ref().is_err_and(|err| err.kind() == io::ErrorKind::BrokenPipe));
            written
        };
        // What was written is told once.
        write_with(self.show.quiet || !is_first, summary, sinks, &drawn)?;
        Ok(if left.get() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// Why a recording does not go on.
pub fn unwritten(recording: &Writer, err: &recording::Error) -> Failure {
    let text = format!("{} {err}", recording.path().to_string_lossy());
    Failure::new(Exit::Output, printable(&text).into_owned())
}

/// The lines of a text that fit on a terminal, one row left for the cursor: its first ones, and its
/// last paragraph, which says what is missing.
fn fitting(text: &str, rows: usize) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    if lines.len() > room {
        let last = lines.iter().rposition(|line| line.is_empty()).map_or(lines.len(), |at| at + 1);
        let kept = room.saturating_sub(lines.len() - last + 1);
        match kept {
            0 => lines.truncate(room),
            _ => drop(lines.splice(kept..last, ["…"])),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fits_on_a_terminal_is_drawn_and_what_is_missing_is_told() {
        let text = "head\n\n1\n2\n3\n\nnothing lost\n";
        assert_eq!(fitting(text, 8), ["head", "", "1", "2", "3", "", "nothing lost"]);
        assert_eq!(fitting(text, 7), ["head", "", "1", "2", "…", "nothing lost"]);
        assert_eq!(fitting(text, 4), ["head", "…", "nothing lost"]);
        assert_eq!(fitting(text, 3), ["head", ""]);
        assert_eq!(fitting("a", 0), ["a"]);
    }
}

//! Renders profiles: SVG flame graph, HTML page, pprof, folded stacks, JSON, and a table for a terminal.
//!
//! In: a [`Profile`] and where to put it. Out: bytes. Outputs never symbolize, read no process and
//! treat every name as hostile. The formats are described in `docs/output.md`.

pub mod caller;
pub mod creators;
mod describe;
pub mod diff;
pub mod early;
mod folded;
pub mod functions;
pub mod gc;
#[cfg(test)]
mod golden;
pub mod goroutines;
pub mod html;
pub mod identity;
pub(crate) mod json;
mod lines;
pub mod maps;
pub mod os;
mod palette;
pub mod pools;
pub mod pprof;
#[cfg(test)]
pub(crate) mod sample;
mod sink;
pub mod stacks;
pub(crate) mod svg;
pub mod table;
pub mod text;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::profile::Profile;
pub use sink::{Render, Sink, make, write_all};
pub use table::{Style, TableOptions};

/// What a profile can be rendered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Flame graph with search and zoom, for a browser.
    Svg,
    /// Flame graph, table and tree, over time where there are times, for a browser.
    Html,
    /// Gzip-compressed `profile.proto`, for `go tool pprof` and everything else that reads it.
    Pprof,
    /// One line for each stack, for scripts and other flame graph tools.
    Folded,
    /// All there is, for scripts.
    Json,
    /// Top stacks or types, for a terminal.
    Table,
}

/// Endings of output names.
const SUFFIXES: [(&str, Format); 5] = [
    (".svg", Format::Svg),
    (".html", Format::Html),
    (".pb.gz", Format::Pprof),
    (".folded", Format::Folded),
    (".json", Format::Json),
];

impl Format {
    /// The format that a path's ending asks for; `-` is [`Format::Table`].
    pub fn from_path(path: &Path) -> Result<Self, Error> {
        let text = path.to_string_lossy();
        if text == "-" {
            return Ok(Format::Table);
        }
        let found = SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix));
        found.map(|(_, format)| *format).ok_or_else(|| Error::Suffix { path: path.to_owned() })
    }
}

/// What the user can choose about outputs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Index in [`crate::profile::Meta::value_types`] of what is shown when only one value can be;
    /// the profile's own default when nothing is chosen.
    pub value: Option<usize>,
    /// Labels as outermost frames where there are stacks of names alone.
    pub label_roots: bool,
    pub table: TableOptions,
}

/// Renders a profile to `out`. Errors are those of `out` alone.
pub fn render(
    profile: &Profile,
    format: Format,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    let value = options.value.unwrap_or(profile.meta.default_value);
    let rooted = options.label_roots.then(|| {
        let mut profile = profile.clone();
        profile.add_label_roots();
        profile
    });
    let profile = match format {
        Format::Pprof | Format::Json => profile,
        Format::Svg | Format::Html | Format::Folded | Format::Table => {
            rooted.as_ref().unwrap_or(profile)
        }
    };
    match format {
        Format::Svg => svg::write(profile, value, out),
        Format::Html => html::write(profile, value, out),
        Format::Pprof => pprof::write(profile, value, out),
        Format::Folded => folded::write(profile, value, out),
        Format::Json => json::write(profile, value, out),
        Format::Table => table::write(profile, value, &options.table, out),
    }
}

/// What was recorded, in one line, and what is missing from it.
pub fn summary(profile: &Profile) -> String {
    let head = format!("{}; {}", describe::totals(profile), describe::verdict(profile));
    [head].into_iter().chain(describe::losses(profile)).collect::<Vec<_>>().join("; ")
}

/// Why an output can't be, or was not, written. Reads as one line that says what can be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{}: unknown output format: the name must end in .svg, .html, .pb.gz, .folded or .json",
        shown(path)
    )]
    Suffix { path: PathBuf },
    #[error("{}: is a directory: name a file in it", shown(path))]
    Directory { path: PathBuf },
    #[error("{}: is not a regular file, and would be replaced: name another", shown(path))]
    NoFile { path: PathBuf },
    #[error("{}: given twice as an output", shown(path))]
    Twice { path: PathBuf },
    #[error("{}: can't be written: {}", shown(path), root_cause(source))]
    Open { path: PathBuf, source: io::Error },
    #[error("{}: was not written: {}", shown(path), root_cause(source))]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{}: can't be renamed to: {}; the output is in {}",
        shown(path),
        root_cause(source),
        shown(kept)
    )]
    Rename { path: PathBuf, kept: PathBuf, source: io::Error },
}

impl Error {
    /// The output that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Error::Suffix { path }
            | Error::Directory { path }
            | Error::NoFile { path }
            | Error::Twice { path }
            | Error::Open { path, .. }
            | Error::Write { path, .. }
            | Error::Rename { path, .. } => path,
        }
    }

    /// The exit code of a heaptap that ends because of this.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Suffix { .. } | Error::Twice { .. } => Exit::Usage,
            _ => Exit::Output,
        }
    }
}

fn shown(path: &Path) -> String {
    text::printable(&path.to_string_lossy()).into_owned()
}

/// What the system said, without the temporary names that are wrapped around it.
fn root_cause(error: &io::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    // tempfile hides the cause and puts its own path behind it.
    text.split(" at path ").next().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_the_format() {
        let of = |path: &str| Format::from_path(Path::new(path));
        assert_eq!(of("a/b.svg").unwrap(), Format::Svg);
        assert_eq!(of("run.html").unwrap(), Format::Html);
        assert_eq!(of("heap.pb.gz").unwrap(), Format::Pprof);
        assert_eq!(of("x.folded").unwrap(), Format::Folded);
        assert_eq!(of("x.y.json").unwrap(), Format::Json);
        assert_eq!(of("-").unwrap(), Format::Table);
        for other in ["", "x", "x.gz", "x.pb", "x.svg/", "svg", "x.SVG", "./-"] {
            let error = of(other).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            let line = error.to_string();
            assert!(line.ends_with("must end in .svg, .html, .pb.gz, .folded or .json"), "{line}");
        }
    }

    #[test]
    fn errors_of_hostile_paths_are_one_line() {
        let line = Format::from_path(Path::new("a\nb\x1b")).unwrap_err().to_string();
        assert!(line.starts_with("a\\nb\\x1b: "), "{line}");
    }
}

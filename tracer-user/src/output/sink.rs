//! Places that profiles are written to. In: the paths of the command line, before anything is
//! recorded. Out: files that appear whole or not at all. Knows no format's insides.
//!
//! A file is made under a temporary name beside its final one and renamed when it is complete, so
//! that a failure never harms an older file of that name.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::{Error, Format};

/// An output that is open: what it needs exists and can be written.
#[derive(Debug)]
pub struct Sink {
    format: Format,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Stdout,
    File { path: PathBuf, made: NamedTempFile },
}

impl Sink {
    /// The table on standard output.
    pub fn stdout() -> Self {
        Self { format: Format::Table, place: Place::Stdout }
    }

    /// Checks a path of the command line and opens it; `-` is the table on standard output.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let format = Format::from_path(path)?;
        if format == Format::Table {
            return Ok(Self::stdout());
        }
        let (path, made) = make(path)?;
        Ok(Self { format, place: Place::File { path, made } })
    }

    /// Opens the paths of a command line, each of them once; none at all is the table.
    pub fn open_all(paths: &[PathBuf]) -> Result<Vec<Self>, Error> {
        let mut sinks: Vec<Self> = Vec::new();
        for path in paths {
            let sink = Self::open(path)?;
            if sinks.iter().any(|s| s.target() == sink.target()) {
                return Err(Error::Twice { path: path.to_owned() });
            }
            sinks.push(sink);
        }
        if sinks.is_empty() {
            sinks.push(Self::stdout());
        }
        Ok(sinks)
    }

    /// What will be written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The file that will be there at the end; nothing for standard output.
    pub fn target(&self) -> Option<&Path> {
        match &self.place {
            Place::Stdout => None,
            Place::File { path, .. } => Some(path),
        }
    }

    /// Writes what `render` makes. A reader of standard output that has gone away is no failure.
    pub fn write(self, render: &Render) -> Result<(), Error> {
        match self.place {
            Place::Stdout => write_stdout(self.format, render),
            Place::File { path, made } => write_file(self.format, render, path, made),
        }
    }
}

/// Checks the path of a file that will be written, and opens what will be put there when it is. Returns where it
/// really is, and what was opened.
///
/// # Errors
/// There can't be such a file.
pub fn make(path: &Path) -> Result<(PathBuf, NamedTempFile), Error> {
    let failed = |source| Error::Open { path: path.to_owned(), source };
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&target) {
        Ok(there) if there.is_dir() => return Err(Error::Directory { path: path.to_owned() }),
        Ok(there) if !there.is_file() => return Err(Error::NoFile { path: path.to_owned() }),
        // A file that must not be written must not be replaced either.
        Ok(_) => drop(OpenOptions::new().write(true).open(&target).map_err(failed)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty());
    let made = Builder::new()
        .prefix(".heaptap-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(parent.unwrap_or(Path::new(".")))
        .map_err(failed)?;
    Ok((target, made))
}

/// Writes something in a format.
pub type Render<'a> = dyn Fn(Format, &mut dyn Write) -> io::Result<()> + 'a;

fn write_stdout(format: Format, render: &Render) -> Result<(), Error> {
    let path = PathBuf::from("standard output");
    match write_buffered(format, render, io::stdout().lock()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|source| Error::Write { path, source }),
    }
}

fn write_buffered(format: Format, render: &Render, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    let written = render(format, &mut out).and_then(|()| out.flush());
    // After a failure the buffer must not try again when it is dropped.
    let _ = out.into_parts();
    written
}

fn write_file(
    format: Format,
    render: &Render,
    path: PathBuf,
    made: NamedTempFile,
) -> Result<(), Error> {
    if let Err(source) = write_buffered(format, render, made.as_file()) {
        return Err(Error::Write { path, source });
    }
    let Err(failed) = made.persist(&path) else {
        return Ok(());
    };
    // The recording can't be made again: what was written stays, under its temporary name.
    let source = failed.error;
    match failed.file.keep() {
        Ok((_, kept)) if kept.exists() => Err(Error::Rename { path, kept, source }),
        _ => Err(Error::Write { path, source }),
    }
}

/// Writes all outputs; one that fails does not stop the others. Returns the failures.
pub fn write_all(sinks: Vec<Sink>, render: &Render) -> Vec<Error> {
    sinks.into_iter().filter_map(|sink| sink.write(render).err()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::output::{Options, render, sample};

    fn server(format: Format, out: &mut dyn Write) -> io::Result<()> {
        render(&sample::server(), format, &Options::default(), out)
    }

    fn files(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_output_that_is_not_written_leaves_the_older_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.folded");
        fs::write(&path, "older").unwrap();
        drop(Sink::open(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "older");
        assert_eq!(files(dir.path()), ["a.folded"]);
    }

    #[test]
    fn a_written_output_replaces_the_older_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.folded");
        fs::write(&path, "older").unwrap();
        let sinks = Sink::open_all(std::slice::from_ref(&path)).unwrap();
        assert_eq!(sinks[0].target(), Some(fs::canonicalize(&path).unwrap().as_path()));
        assert!(write_all(sinks, &server).is_empty());
        assert!(fs::read_to_string(&path).unwrap().contains("main.(*API).ServeHTTP"));
        assert_eq!(files(dir.path()), ["a.folded"]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o600, 0o600);
        assert_eq!(mode & 0o111, 0);
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.folded"), dir.path().join("link.folded"));
        fs::write(&real, "older").unwrap();
        symlink(&real, &link).unwrap();
        Sink::open(&link).unwrap().write(&server).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("main."));
    }

    #[test]
    fn what_cannot_be_written_is_found_when_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d.svg")).unwrap();
        symlink("/dev/null", dir.path().join("null.svg")).unwrap();
        let line = |name: &str| Sink::open(&dir.path().join(name)).unwrap_err().to_string();
        assert!(line("d.svg").ends_with("d.svg: is a directory: name a file in it"));
        assert!(line("no/such/x.svg").contains("x.svg: can't be written: No such file"));
        assert!(line("null.svg").contains("is not a regular file"));
        assert!(line("x.png").contains("x.png: unknown output format: the name must end in .svg"));
        for name in ["d.svg", "no/such/x.svg", "null.svg", "x.png"] {
            assert!(!line(name).contains('\n'));
        }
    }

    #[test]
    fn a_path_given_twice_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.svg");
        let error = Sink::open_all(&[path.clone(), path]).unwrap_err().to_string();
        assert!(error.ends_with("a.svg: given twice as an output"), "{error}");
        assert!(Sink::open_all(&["-".into(), "-".into()]).is_err());
        assert_eq!(Sink::open_all(&[]).unwrap()[0].format(), Format::Table);
    }

    /// Takes some bytes, then fails as a full disk or a pipe without a reader does.
    struct Failing(usize, io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            let taken = buffer.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(self.1.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_format_reports_what_its_writer_fails_with() {
        let formats = [Format::Svg, Format::Pprof, Format::Folded, Format::Json, Format::Table];
        for format in formats {
            for kind in [io::ErrorKind::StorageFull, io::ErrorKind::BrokenPipe] {
                for taken in [0, 10, 200] {
                    let out = Failing(taken, kind);
                    let result = write_buffered(format, &server, out);
                    assert_eq!(result.unwrap_err().kind(), kind, "{format:?} after {taken}");
                }
            }
        }
    }

    #[test]
    fn a_directory_that_went_away_is_not_said_to_hold_the_output() {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::open(&dir.path().join("a.json")).unwrap();
        dir.close().unwrap();
        let line = sink.write(&server).unwrap_err().to_string();
        assert!(line.contains("a.json: was not written: No such file"), "{line}");
    }

    #[test]
    fn a_failing_output_does_not_stop_the_others_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a.json", "b.folded", "c.svg"].map(|n| dir.path().join(n));
        let sinks = Sink::open_all(&paths).unwrap();
        // Someone puts a directory where the first output will be.
        fs::create_dir(&paths[0]).unwrap();
        let failures = write_all(sinks, &server);
        assert_eq!(failures.len(), 1);
        let line = failures[0].to_string();
        assert!(line.contains("a.json: can't be renamed to: "), "{line}");
        let names = files(dir.path());
        let kept = names.iter().find(|n| n.starts_with(".heaptap-")).unwrap();
        assert!(line.ends_with(kept.as_str()), "{line} should name {kept}");
        assert!(fs::read_to_string(dir.path().join(kept)).unwrap().starts_with('{'));
        assert!(paths[1].is_file() && paths[2].is_file());
    }
}

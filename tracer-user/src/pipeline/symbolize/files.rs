//! Files that may be the binaries of a recording.
//!
//! In: paths of files and directories. Out: which of them is the file that a recording names, told by its build id; of
//! a file without one, by its name and where its code lies.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};
use crate::gobin::{GoBinary, Image, gnu_build_id};
use crate::output::text::printable;
use crate::pipeline::naming;
use crate::profile::Binary;

/// Directories within directories that are looked into.
const DEPTH: usize = 16;
/// Files that are looked at.
const MOST: usize = 200_000;

/// What was given, by what tells it.
#[derive(Default)]
pub struct Files {
    by_id: HashMap<String, PathBuf>,
    /// Those that have none.
    without: Vec<PathBuf>,
    looked_at: usize,
}

impl Files {
    /// Looks at all of them.
    ///
    /// # Errors
    /// One that was named can't be read, or is no program and no library; there are too many.
    pub fn find(given: &[PathBuf]) -> Result<Self, Failure> {
        let mut files = Self::default();
        for path in given {
            let unreadable = |err: std::io::Error| told(path, &format!("can't be read: {err}"));
            if fs::metadata(path).map_err(unreadable)?.is_dir() {
                files.directory(path, DEPTH)?;
                continue;
            }
            let file = File::open(path).map_err(unreadable)?;
            if !files.file(path, &file) {
                return Err(told(path, "is no program and no library (no ELF file)"));
            }
        }
        Ok(files)
    }

    /// What can't be read in a directory is not what is looked for.
    fn directory(&mut self, path: &Path, depth: usize) -> Result<(), Failure> {
        let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth > 0 {
                self.directory(&entry.path(), depth - 1)?;
            } else if kind.is_file()
                && let Ok(file) = File::open(entry.path())
            {
                if self.looked_at == MOST {
                    let text = format!("has more than {MOST} files; name a smaller directory");
                    return Err(told(path, &text));
                }
                self.looked_at += 1;
                self.file(&entry.path(), &file);
            }
        }
        Ok(())
    }

    /// Whether it is one that can be.
    fn file(&mut self, path: &Path, file: &File) -> bool {
        let ids = match GoBinary::peek(file) {
            Ok(facts) => [facts.gnu_build_id, facts.go_build_id],
            Err(_) => {
                match file.try_clone().map_err(drop).and_then(|f| Image::open(f).map_err(drop)) {
                    Ok(image) => [gnu_build_id(&image), None],
                    Err(()) => return false,
                }
            }
        };
        let mut has_one = false;
        for id in ids.into_iter().flatten().filter(|id| !id.is_empty()) {
            has_one = true;
            self.by_id.entry(id).or_insert_with(|| path.to_owned());
        }
        if !has_one {
            self.without.push(path.to_owned());
        }
        true
    }

    /// The file that a recording means.
    pub fn of(&self, binary: &Binary) -> Option<&Path> {
        if !binary.build_id.is_empty() {
            return self.by_id.get(&binary.build_id).map(PathBuf::as_path);
        }
        let name = Path::new(&binary.path).file_name()?;
        let is_it = |path: &&PathBuf| {
            path.file_name() == Some(name) && is_same_code(path, binary).unwrap_or(false)
        };
        self.without.iter().find(is_it).map(PathBuf::as_path)
    }
}

fn is_same_code(path: &Path, binary: &Binary) -> Option<bool> {
    let go = GoBinary::open(File::open(path).ok()?).ok()?;
    let found = naming::binary(&go, "");
    let of = |one: &Binary| (one.text_start, one.text_end, one.text_offset);
    Some(found.build_id.is_empty() && of(&found) == of(binary))
}

fn told(path: &Path, what: &str) -> Failure {
    let text = format!("--binary {}: {what}", path.display());
    Failure::new(Exit::Usage, printable(&text).into_owned())
}

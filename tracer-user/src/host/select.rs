//! Choosing processes.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::process::{self, Process, dir, processes};

/// Which processes are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These, in ascending order, without duplicates.
    Pids(Vec<u32>),
    /// Every process that runs this file, or has this path in its own view of the file system.
    Exe(PathBuf),
    /// Every process whose command name matches this glob.
    Comm(OsString),
    /// Every process.
    All,
}

/// What a selection found.
#[derive(Debug)]
pub struct Selected {
    pub processes: Vec<Process>,
    /// Why a pid that was asked for is not among them.
    pub refused: Vec<Error>,
}

/// Finds the processes that are meant, of whatever program.
///
/// # Errors
/// [`Error::NoProc`] when /proc can't be listed.
pub fn select(selection: &Selection) -> Result<Selected, Error> {
    if let Selection::Pids(pids) = selection {
        let mut selected = Selected { processes: Vec::new(), refused: Vec::new() };
        for pid in pids {
            match process::process(*pid) {
                Ok(process) => selected.processes.push(process),
                Err(error) => selected.refused.push(error),
            }
        }
        return Ok(selected);
    }
    let selector = Selector::new(selection);
    let mut processes = processes()?;
    processes.retain(|process| selector.wants(process));
    Ok(Selected { processes, refused: Vec::new() })
}

/// A selection, ready to be asked about one process after another (new ones, too).
#[derive(Debug)]
pub struct Selector {
    selection: Selection,
    /// Device and inode of `--exe`, while that file exists here.
    file: Option<(u64, u64)>,
    /// The path with links resolved, as processes show it.
    resolved: Option<PathBuf>,
}

impl Selector {
    /// Looks at the file that is meant, if one is.
    pub fn new(selection: &Selection) -> Self {
        let path = match selection {
            Selection::Exe(path) => Some(path),
            _ => None,
        };
        let file = path.and_then(|path| fs::metadata(path).ok());
        Self {
            selection: selection.clone(),
            file: file.map(|m| (m.dev(), m.ino())),
            resolved: path.and_then(|path| fs::canonicalize(path).ok()),
        }
    }

    /// Whether this process is meant.
    pub fn wants(&self, process: &Process) -> bool {
        match &self.selection {
            Selection::Pids(pids) => pids.binary_search(&process.id.pid).is_ok(),
            Selection::Exe(path) => self.runs(process, path),
            Selection::Comm(glob) => matches(glob.as_bytes(), process.comm.as_bytes()),
            Selection::All => true,
        }
    }

    /// By path, which also finds a file in a container and one that an upgrade replaced; or by
    /// file, which also finds other links to it.
    fn runs(&self, process: &Process, path: &Path) -> bool {
        let Ok(exe) = &process.exe else { return false };
        if exe.path == path || self.resolved.as_ref() == Some(&exe.path) {
            return true;
        }
        let Some(file) = self.file else { return false };
        fs::metadata(dir(process.id.pid).join("exe")).is_ok_and(|m| (m.dev(), m.ino()) == file)
    }
}

/// Whether all of `name` matches a shell pattern: `*`, `?`, `[a-z]`, `[!a-z]`, `\x`. A `[` without
/// its `]` stands for itself. Takes at most pattern × name steps.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last `*` does not match here.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, n));
            p += 1;
            continue;
        }
        let step = match (pattern.get(p..).filter(|rest| !rest.is_empty()), name.get(n)) {
            (None, None) => return true,
            (Some(rest), Some(byte)) => one(rest, *byte),
            _ => None,
        };
        match (step, retry) {
            (Some(length), _) => {
                p += length;
                n += 1;
            }
            (None, Some((after, from))) if from < name.len() => {
                retry = Some((after, from + 1));
                (p, n) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// Length of the pattern's first element, if it matches `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', set @ ..] => match class(set, byte) {
            Some((length, matched)) => matched.then_some(length + 1),
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// Length of a set after its `[`, `]` included, and whether `byte` is in it.
fn class(set: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(set.first(), Some(b'!' | b'^'));
    let first = usize::from(negated);
    // A `]` that comes first is a member.
    let end = first + 1 + set.get(first + 1..)?.iter().position(|b| *b == b']')?;
    let (mut at, mut found) = (first, false);
    while at < end {
        if at + 2 < end && set[at + 1] == b'-' {
            found |= (set[at]..=set[at + 2]).contains(&byte);
            at += 3;
        } else {
            found |= set[at] == byte;
            at += 1;
        }
    }
    Some((end + 1, found != negated))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::tests::Sleeper;

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("api", "api", true),
            ("api", "apis", false),
            ("api*", "api", true),
            ("api-*", "api-gateway", true),
            ("*-*-*", "a-b-c", true),
            ("*-*-*", "a-b", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
            ("?", "a", true),
            ("a?c", "abc", true),
            ("*aab", "aaaab", true),
            ("**b", "aab", true),
            ("[a-c]1", "b1", true),
            ("[a-c]1", "d1", false),
            ("[!a-c]1", "d1", true),
            ("[^a-c]1", "a1", false),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[a", "[a", true),
            ("[", "[", true),
            ("[]", "[]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("*.[ch]", "x.c", true),
            ("a b*", "a b c", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        assert!(matches(b"\xff?", b"\xff\xfe"));
    }

    #[test]
    fn a_hostile_glob_takes_no_time() {
        let pattern = "*a".repeat(2000);
        assert!(!matches(pattern.as_bytes(), "a".repeat(1999).as_bytes()));
        assert!(matches(pattern.as_bytes(), "a".repeat(2000).as_bytes()));
    }

    #[test]
    fn a_process_is_found_in_each_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tap-me");
        let link = dir.path().join("link");
        let hard = dir.path().join("hard");
        let sleeper = Sleeper::copy_to(&file);
        std::os::unix::fs::symlink(&file, &link).unwrap();
        fs::hard_link(&file, &hard).unwrap();
        let pid = sleeper.pid();
        for selection in [
            Selection::Pids(vec![pid]),
            Selection::Exe(file.clone()),
            Selection::Exe(link),
            Selection::Exe(hard),
            Selection::Comm("tap-*".into()),
            Selection::All,
        ] {
            let selected = select(&selection).unwrap();
            let found = selected.processes.iter().any(|p| p.id.pid == pid);
            assert!(found && selected.refused.is_empty(), "{selection:?}");
        }
        fs::remove_file(&file).unwrap();
        let selected = select(&Selection::Exe(file)).unwrap();
        assert_eq!(selected.processes.len(), 1, "its file was deleted");
        let none = [Selection::Exe("/nonexistent".into()), Selection::Comm("tap-you".into())];
        for selection in none {
            assert!(select(&selection).unwrap().processes.is_empty(), "{selection:?}");
        }
    }

    #[test]
    fn a_pid_that_is_none_is_refused_with_its_reason() {
        let mut sleeper = Sleeper::start();
        sleeper.end();
        let selected = select(&Selection::Pids(vec![sleeper.pid()])).unwrap();
        assert!(selected.processes.is_empty());
        assert_eq!(selected.refused, [Error::Gone { pid: sleeper.pid() }]);
    }
}

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
    /// Every process that a filter lets through.
    Only(Filter),
    /// Every process.
    All,
    /// Those of another selection that none of the filters lets through.
    Except(Box<Selection>, Vec<Filter>),
}

/// What a process can be told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Comm,
    Exe,
    /// The beginning of the id (4 digits at least), or the name.
    Container,
    /// The pod's name or its whole uid.
    Pod,
    Namespace,
    /// systemd's, with or without `.service`.
    Unit,
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Comm, Kind::Exe, Kind::Container, Kind::Pod, Kind::Namespace, Kind::Unit];

    /// The word used on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Comm => "comm",
            Kind::Exe => "exe",
            Kind::Container => "container",
            Kind::Pod => "pod",
            Kind::Namespace => "namespace",
            Kind::Unit => "unit",
        }
    }
}

/// Processes of a container, a pod and so on, by a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub kind: Kind,
    pub glob: OsString,
}

/// Digits of a container's id that stand for it.
const SHORTEST_ID: usize = 4;

impl Filter {
    /// Whether a process is one of them. What is not known of it does not match.
    pub fn holds(&self, process: &Process) -> bool {
        let glob = self.glob.as_bytes();
        let is = |name: Option<&str>| name.is_some_and(|name| matches(glob, name.as_bytes()));
        let container = process.container.as_ref().ok().and_then(Option::as_ref);
        match self.kind {
            Kind::Comm => matches(glob, process.comm.as_bytes()),
            Kind::Exe => {
                process.exe.as_ref().is_ok_and(|exe| matches(glob, exe.path.as_os_str().as_bytes()))
            }
            Kind::Container => container.is_some_and(|container| {
                let by_id = glob.len() >= SHORTEST_ID && container.id.as_bytes().starts_with(glob);
                by_id || is(container.names.container.as_deref())
            }),
            Kind::Pod => container.is_some_and(|container| {
                let by_uid = container.pod_uid.as_ref().is_some_and(|uid| uid.as_bytes() == glob);
                by_uid || is(container.names.pod.as_deref())
            }),
            Kind::Namespace => is(container.and_then(|c| c.names.namespace.as_deref())),
            Kind::Unit => {
                let unit = process.unit.as_deref();
                is(unit) || is(unit.and_then(|unit| unit.strip_suffix(".service")))
            }
        }
    }
}

impl Selection {
    /// What is meant before exceptions.
    pub fn without_exceptions(&self) -> &Selection {
        match self {
            Selection::Except(of, _) => of.without_exceptions(),
            other => other,
        }
    }

    /// Whether each process was asked for by its number.
    pub fn is_by_pid(&self) -> bool {
        matches!(self.without_exceptions(), Selection::Pids(_))
    }

    /// Whether it is every process, but for exceptions.
    pub fn is_all(&self) -> bool {
        *self.without_exceptions() == Selection::All
    }

    /// Whether every process of a file is meant that one process of it is.
    pub fn is_of_whole_files(&self) -> bool {
        matches!(self, Selection::All | Selection::Exe(_))
    }
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
    if let Selection::Pids(pids) = selection.without_exceptions() {
        let mut selected = Selected { processes: Vec::new(), refused: Vec::new() };
        let selector = Selector::new(selection);
        for pid in pids {
            match process::process(*pid) {
                Ok(process) if !selector.wants(&process) => {}
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
        let path = match selection.without_exceptions() {
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
        self.is_in(&self.selection, process)
    }

    fn is_in(&self, selection: &Selection, process: &Process) -> bool {
        match selection {
            Selection::Except(of, filters) => {
                self.is_in(of, process) && !filters.iter().any(|filter| filter.holds(process))
            }
            Selection::Only(filter) => filter.holds(process),
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
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
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
    fn containers_and_units_are_told_by_what_is_known() {
        use crate::host::{Container, Names, Runtime};
        let sleeper = Sleeper::start();
        let mut process = process::process(sleeper.pid()).unwrap();
        let holds =
            |process: &Process, kind, glob: &str| Filter { kind, glob: glob.into() }.holds(process);
        process.unit = Some("api.service".into());
        for (glob, expected) in [("api", true), ("api.service", true), ("a*", true), ("ap", false)]
        {
            assert_eq!(holds(&process, Kind::Unit, glob), expected, "{glob}");
        }
        process.container = Ok(None);
        for kind in [Kind::Container, Kind::Pod, Kind::Namespace] {
            assert!(!holds(&process, kind, "*"), "in no container");
        }
        let names = Names {
            container: Some("web-1".into()),
            pod: Some("shop-7d9".into()),
            namespace: None,
        };
        let (id, pod_uid) = ("abc".repeat(21) + "a", Some("2f1c-77".into()));
        process.container = Ok(Some(Container { id, runtime: Runtime::Podman, pod_uid, names }));
        for (kind, glob, expected) in [
            (Kind::Container, "abca", true),
            (Kind::Container, "abc", false),
            (Kind::Container, "web-?", true),
            (Kind::Container, "bcab", false),
            (Kind::Pod, "shop-*", true),
            (Kind::Pod, "2f1c-77", true),
            (Kind::Pod, "2f1c", false),
            (Kind::Namespace, "*", false),
            (Kind::Comm, "*", true),
            (Kind::Exe, "/*", true),
        ] {
            assert_eq!(holds(&process, kind, glob), expected, "{kind:?} {glob}");
        }
        let except = |kind, glob: &str| {
            let filter = Filter { kind, glob: glob.into() };
            let all = Selection::Except(Box::new(Selection::All), vec![filter]);
            Selector::new(&all).wants(&process)
        };
        assert!(!except(Kind::Container, "web-*") && except(Kind::Container, "other"));
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

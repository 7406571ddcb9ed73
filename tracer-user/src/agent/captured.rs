//! Files that were captured, as those who ask over HTTP see them, and captures that they ask for.
//!
//! In: what the loop knows of its directory. Out: names, and files by such a name alone: no other name leads anywhere.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;
use tokio::sync::{mpsc, oneshot};

use super::rules::Capture;
use crate::host::Identity;

/// Wishes that may wait.
const WAITING: usize = 8;

/// What is there, and what may be asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    pub dir: PathBuf,
    /// The oldest first.
    pub files: Vec<Captured>,
    /// Whether captures are made because somebody asks, and how long one may take.
    pub on_request: bool,
    pub longest: Duration,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    pub name: String,
    pub made: SystemTime,
    pub bytes: u64,
    /// As [`Capture::word`] has it.
    pub what: &'static str,
    /// Whose; nothing where the name does not say it.
    pub pid: Option<u32>,
}

/// What every name of a captured file ends in.
pub const END: &str = ".pb.gz";

impl Captured {
    /// What the name of a file says; nothing: it is no capture, and nobody's business.
    pub fn of(name: &str, made: SystemTime, bytes: u64) -> Option<Self> {
        let mut parts = name.strip_suffix(END)?.rsplitn(4, '-');
        let what = parts.next()?;
        let what = Capture::WORDS.into_iter().find(|word| *word == what)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.starts_with('.') || !name.chars().all(plain) {
            return None;
        }
        // TIME-RULE-COMM-PID-ALERT-WHAT
        let pid = parts.nth(1).and_then(|pid| pid.parse().ok());
        Some(Self { name: name.to_owned(), made, bytes, what, pid })
    }
}

impl Listed {
    /// Opens one of them.
    ///
    /// # Errors
    /// There is none of this name, or not any more; it is no plain file.
    pub fn open(&self, name: &str) -> io::Result<(&Captured, File)> {
        let one = self.files.iter().find(|one| one.name == name);
        let one = one.ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let path = self.dir.join(&one.name);
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        if file.metadata()?.is_file() {
            Ok((one, file))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

/// A capture that somebody asks for.
#[derive(Debug)]
pub struct Wish {
    pub id: Identity,
    pub what: Capture,
    pub answer: oneshot::Sender<Result<String, Unmade>>,
}

/// Why it is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmade {
    #[error(
        "captures are made by rules alone: [captures] on_request = true in the agent's file allows requests"
    )]
    NotAllowed,
    #[error("seconds is too long: captures.longest is {}", .0.as_secs_f64())]
    TooLong(Duration),
    #[error("no such process is watched")]
    NoProcess,
    #[error("captures.per_hour captures were asked for within the last hour, or too many wait")]
    TooMany,
}

/// Where wishes go, and where they come out.
pub fn wishes() -> (mpsc::Sender<Wish>, mpsc::Receiver<Wish>) {
    mpsc::channel(WAITING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_name_says_what_and_whose() {
        let of = |name: &str| Captured::of(name, SystemTime::UNIX_EPOCH, 1);
        let one = of("20260102-030405-many-goroutines-api-v2-4242-17-heap.pb.gz").unwrap();
        assert_eq!((one.what, one.pid), ("heap", Some(4242)));
        assert_eq!(of("a-map.pb.gz").map(|one| one.pid), Some(None));
        for other in [
            "notes.txt",
            "x.pb.gz",
            "a-core.pb.gz",
            ".heaptap-heap.pb.gz",
            "a/b-heap.pb.gz",
            "é-heap.pb.gz",
            "-heap",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn only_what_is_listed_is_opened_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "secret").unwrap();
        let inside = dir.path().join("captures");
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("a-1-1-heap.pb.gz"), "mine").unwrap();
        symlink(&outside, inside.join("b-1-1-heap.pb.gz")).unwrap();
        fs::create_dir(inside.join("c-1-1-heap.pb.gz")).unwrap();
        let names = ["a-1-1-heap.pb.gz", "b-1-1-heap.pb.gz", "c-1-1-heap.pb.gz", "gone-heap.pb.gz"];
        let file = |name: &str| Captured::of(name, SystemTime::UNIX_EPOCH, 4).unwrap();
        let listed = Listed { dir: inside, files: names.map(file).into(), ..Listed::default() };
        assert!(listed.open(names[0]).is_ok());
        for other in
            ["b-1-1-heap.pb.gz", "c-1-1-heap.pb.gz", "gone-heap.pb.gz", "../outside", "", "."]
        {
            assert!(listed.open(other).is_err(), "{other}");
        }
    }
}

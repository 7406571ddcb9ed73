//! Another heaptap that records, with its own budget, while this one goes on.
//!
//! In: a process and the words of a `heaptap record`. Out: the file it was told to write, or why there is none.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exit::{Exit, Failure};
use crate::host::Identity;

/// How long it may go on beyond what was asked for, to name and to write.
const BEYOND: Duration = Duration::from_secs(60);

/// Bytes of what it says that are read.
const MOST_SAID: u64 = 64 << 10;

/// One recording.
pub struct Recorder {
    child: Child,
    until: Instant,
}

impl Recorder {
    /// Starts one of a process, for so long; `words` say what and how.
    ///
    /// # Errors
    /// The process is gone; nothing can be started.
    pub fn start<W: AsRef<OsStr>>(
        id: Identity,
        length: Duration,
        words: &[W],
        file: &Path,
        now: Instant,
    ) -> Result<Self, Failure> {
        // The process that was meant, and no later one of its number.
        if !id.is_alive() {
            return Err(Failure::new(Exit::Target, format!("process {} is gone", id.pid)));
        }
        let mut heaptap = Command::new("/proc/self/exe");
        heaptap.args(["record", "--quiet", "-p", &id.pid.to_string()]).args(words);
        heaptap.args(["-d", &length.as_secs_f64().to_string(), "-o"]).arg(file);
        heaptap.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = heaptap.spawn().map_err(|err| Failure::new(Exit::Failure, err.to_string()))?;
        Ok(Self { child, until: now + length + BEYOND })
    }

    /// What became of it; nothing while it goes on.
    pub fn ended(&mut self, now: Instant) -> Option<Result<(), Failure>> {
        let mut exit = Exit::Failure;
        let why = match self.child.try_wait() {
            Ok(None) if now < self.until => return None,
            Ok(None) => {
                let _ = self.child.kill();
                let _ = self.child.wait();
                "it did not come to its end".to_owned()
            }
            Ok(Some(status)) if status.success() => return Some(Ok(())),
            Ok(Some(status)) => {
                let same = |exit: &&Exit| status.code() == Some(**exit as i32);
                exit = Exit::ALL.iter().find(same).copied().unwrap_or(exit);
                self.said().unwrap_or(format!("it ended with {status}"))
            }
            Err(err) => err.to_string(),
        };
        Some(Err(Failure::new(exit, format!("heaptap record: {why}"))))
    }

    /// The last line that it has said.
    fn said(&mut self) -> Option<String> {
        let mut text = Vec::new();
        // Who has ended writes no more.
        self.child.stderr.take()?.take(MOST_SAID).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let last = text.lines().rfind(|line| !line.trim().is_empty())?;
        Some(last.strip_prefix("heaptap: ").unwrap_or(last).to_owned())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // As Ctrl-C does it: its probes go, and what it has is written.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        }
        let _ = self.child.wait();
    }
}

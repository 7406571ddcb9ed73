//! Running the `heaptap` binary.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::paths;

use crate::lines::Lines;

/// How heaptap begins the line that says that all probes are attached.
const HAS_BEGUN: &str = "heaptap: recording";

/// What is left of a heaptap that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A recording that has begun; killed when dropped.
#[derive(Debug)]
pub struct Recording {
    child: Child,
    stdout: Option<thread::JoinHandle<Result<String>>>,
    stderr: Lines,
    /// What it said until now.
    pub said: String,
}

/// The binary under test: `HEAPTAP_BIN`, else what `cargo xtask build` made.
pub fn program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HEAPTAP_BIN") {
        return Ok(path.into());
    }
    let program = paths::target_dir().join("debug/heaptap");
    if !program.is_file() {
        bail!("no heaptap at {}: run `cargo xtask build`", program.display());
    }
    Ok(program)
}

/// Runs heaptap to its end.
pub fn run<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Result<Ended> {
    let mut command = Command::new(program()?);
    command.args(args);
    run_command(command)
}

/// How many snapshots a recording over time has; none while it is not there.
pub fn snapshots(file: &str) -> Result<u64> {
    let ended = run(["export", file])?;
    let first = ended.stdout.lines().next().unwrap_or_default();
    let Some((_, told)) = first.rsplit_once("htap: ") else { return Ok(0) };
    let count = told.split(' ').next().context("no count")?.replace(',', "");
    count.parse().with_context(|| format!("no count in {first:?}"))
}

/// Runs a prepared command (heaptap behind another program, say) to its end.
pub fn run_command(mut command: Command) -> Result<Ended> {
    let output = command.stdin(Stdio::null()).output().context("can't start heaptap")?;
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

impl Recording {
    /// Starts `heaptap record` with these arguments and waits until all probes are attached. In mode
    /// exact and without a budget unless they name others.
    pub fn start<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Result<Recording> {
        let args: Vec<I> = args.into_iter().collect();
        let names_mode = args.iter().any(|arg| arg.as_ref() == "--mode");
        let names_budget = args.iter().any(|arg| arg.as_ref() == "--budget");
        let mut command = Command::new(program()?);
        command.arg("record").args(args);
        command.args(if names_mode { &[][..] } else { &["--mode", "exact"] });
        command.args(if names_budget { &[][..] } else { &["--budget", "none"] });
        Recording::of(command.stdin(Stdio::null()))
    }

    /// The same of a command that ends up as heaptap.
    pub fn of(command: &mut Command) -> Result<Recording> {
        Recording::says(command, HAS_BEGUN)
    }

    /// The same of a command that says by another line that it has begun.
    pub fn says(command: &mut Command, begun: &str) -> Result<Recording> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("can't start heaptap")?;
        let mut stdout = child.stdout.take().context("heaptap has no stdout")?;
        let stdout = Some(thread::spawn(move || -> Result<String> {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }));
        let stderr = Lines::of(child.stderr.take().context("heaptap has no stderr")?);
        let mut recording = Recording { child, stdout, stderr, said: String::new() };
        while let Some(line) = recording.stderr.next()? {
            recording.said.push_str(&line);
            recording.said.push('\n');
            if line.starts_with(begun) {
                return Ok(recording);
            }
        }
        bail!("heaptap ended before it recorded: {}", recording.said.trim())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it, so that it sees nothing until it goes on.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Has it read its file again.
    pub fn reload(&self) -> Result<()> {
        self.signal(Signal::SIGHUP)
    }

    /// Any other.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into().context("no process id")?);
        kill(pid, signal).with_context(|| format!("can't send {signal} to heaptap"))
    }

    /// Most memory that it had resident until now, in kB.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Ends it as Ctrl-C does.
    pub fn stop(self) -> Result<Ended> {
        self.interrupt()?;
        self.finish()
    }

    /// Ctrl-C.
    pub fn interrupt(&self) -> Result<()> {
        self.signal(Signal::SIGINT)
    }

    /// Whether it has not ended.
    pub fn is_under_way(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("can't ask for heaptap")?.is_none())
    }

    /// Waits until it ends by itself.
    pub fn finish(mut self) -> Result<Ended> {
        let rest = self.stderr.rest()?;
        let stdout = self.stdout.take().context("waited for twice")?;
        let stdout = stdout.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        let code = self.child.wait().context("can't wait for heaptap")?.code();
        Ok(Ended { code, stdout, stderr: format!("{}{rest}", self.said) })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // It may have ended already; its process id is ours until it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Fails the test, with what heaptap said, unless it ended with this code.
    pub fn expect(&self, code: i32) -> Result<&Ended> {
        if self.code != Some(code) {
            bail!("heaptap ended with {:?} instead of {code}: {}", self.code, self.stderr.trim());
        }
        Ok(self)
    }

    /// Fails the test unless the exit code is this and stderr is one line that contains `text`.
    pub fn refused(&self, code: i32, text: &str) -> Result<()> {
        self.expect(code)?;
        // The name comes in front of every message, and is not said twice.
        let message = self.stderr.strip_prefix("heaptap: ").unwrap_or("heaptap ");
        if message.starts_with("heaptap ") {
            bail!("heaptap should say its name once in front, and says {:?}", self.stderr);
        }
        if self.stderr.trim().lines().count() != 1 || !self.stderr.contains(text) {
            bail!("heaptap should say {text:?} in one line, and says {:?}", self.stderr);
        }
        Ok(())
    }
}

//! Other programs that trace, heaptap and its peers: started, waited for and ended as a user would.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead as _, BufReader, Read},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A tracer that is running; killed when dropped.
pub struct Tracer(Child);

impl Tracer {
    /// `heaptap record` with these arguments, not waited for.
    pub fn spawn_heaptap<I: AsRef<OsStr>>(
        heaptap: &Path,
        arguments: impl IntoIterator<Item = I>,
    ) -> Result<Self> {
        let child = Command::new(heaptap)
            .arg("record")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| heaptap.display().to_string())?;
        Ok(Self(child))
    }

    /// A command of heaptap that prints, and what it prints.
    pub fn spawn_printing(heaptap: &Path, arguments: &[&str]) -> Result<(Self, File)> {
        let mut child = Command::new(heaptap)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| heaptap.display().to_string())?;
        let stdout = child.stdout.take().context("no stdout")?;
        Ok((Self(child), OwnedFd::from(stdout).into()))
    }

    /// A command of heaptap on a terminal of its own, and what it shows there.
    pub fn spawn_on_terminal(heaptap: &Path, arguments: &[&str]) -> Result<(Self, File)> {
        let size = Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(Some(&size), None)?;
        let child = Command::new(heaptap)
            .args(arguments)
            .env("TERM", "xterm-256color")
            .stdin(terminal.slave.try_clone()?)
            .stdout(terminal.slave)
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| heaptap.display().to_string())?;
        Ok((Self(child), terminal.master.into()))
    }

    /// Waits until heaptap says that it records.
    pub fn until_recording(&mut self) -> Result<()> {
        let stderr = self.0.stderr.take().context("heaptap was waited for")?;
        wait_for_line(BufReader::new(stderr), "heaptap: recording")
    }

    /// bpftrace with a script that prints `begun` when it begins.
    pub fn bpftrace(script: &str, pid: Option<u32>) -> Result<Self> {
        let pid = pid.map(|pid| ["-p".to_owned(), pid.to_string()]);
        let mut child = Command::new("bpftrace")
            .args(["-B", "line"])
            .args(pid.into_iter().flatten())
            .args(["-e", script])
            .env("BPFTRACE_MAP_KEYS_MAX", "65536")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("bpftrace is not installed: run `cargo xtask setup --for bench`")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let tracer = Self(child);
        wait_for_line(BufReader::new(stdout), "begun")?;
        Ok(tracer)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Result<()> {
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        ended_well(self.0.wait()?, &said)
    }

    /// Ends it as a user would, with Ctrl-C, and says how long that took.
    pub fn stop(&mut self) -> Result<Duration> {
        let asked = Instant::now();
        kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGINT)?;
        ended_well(self.0.wait()?, "")?;
        Ok(asked.elapsed())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command of heaptap to its end.
pub fn run_heaptap(heaptap: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new(heaptap)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| heaptap.display().to_string())?
        .wait_with_output()?;
    ended_well(output.status, &String::from_utf8_lossy(&output.stderr))
}

fn ended_well(status: ExitStatus, said: &str) -> Result<()> {
    ensure!(status.success(), "the tracer ended with {status}: {}", said.trim());
    Ok(())
}

/// Waits for a line, then lets the rest run through, so that the tracer never blocks on a pipe.
fn wait_for_line(mut lines: BufReader<impl Read + Send + 'static>, beginning: &str) -> Result<()> {
    let (mut line, mut said) = (String::new(), String::new());
    while !line.starts_with(beginning) {
        said += &line;
        line.clear();
        let read = lines.read_line(&mut line)?;
        ensure!(read > 0, "the tracer ended before it said {beginning:?}: {}", said.trim());
    }
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    Ok(())
}

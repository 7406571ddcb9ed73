//! A fixture that runs: a line protocol on its pipes, and its end.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::lines::Lines;
use crate::report::Report;

/// A running fixture; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Nothing after [`Running::close`].
    stdin: Option<ChildStdin>,
    lines: Lines,
}

/// Starts a program that this process may just have written.
///
/// A child that another test starts at that moment holds a copy of the file's writing descriptor
/// until its own exec, and as long the kernel says that the text is busy.
fn spawn(command: &mut Command) -> io::Result<Child> {
    for _ in 0..100_000 {
        match command.spawn() {
            Err(err) if err.kind() == io::ErrorKind::ExecutableFileBusy => thread::yield_now(),
            other => return other,
        }
    }
    command.spawn()
}

impl Running {
    /// Starts a program and waits for its `ready` line.
    pub fn start(mut command: Command) -> Result<Running> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn(&mut command)
            .with_context(|| format!("can't start {}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("a child without stdout")?;
        let stdin = child.stdin.take();
        let running = Running { child, stdin, lines: Lines::of(stdout) };
        let line = running.hear()?;
        if !line.starts_with("ready ") {
            bail!("a fixture that should say that it is ready says {line:?}");
        }
        Ok(running)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends one line.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the fixture's input is closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("can't say {line:?} to a fixture"))
    }

    /// Waits for one line.
    pub fn hear(&self) -> Result<String> {
        self.lines.next()?.context("a fixture ended before it answered")
    }

    /// Sends one line and waits for the answer.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        self.say(line)?;
        self.hear()
    }

    /// Runs rounds of the fixture `alloc` and returns how many allocations the runtime counted.
    pub fn rounds(&mut self, rounds: u32) -> Result<u64> {
        let answer = self.ask(&format!("go {rounds}"))?;
        let mallocs = answer.strip_prefix("done ").and_then(|rest| rest.split(' ').next());
        let mallocs = mallocs.and_then(|text| text.parse().ok());
        mallocs.with_context(|| format!("the fixture answered {answer:?}"))
    }

    /// Ends the fixture `alloc` and returns what it counted.
    pub fn report(mut self) -> Result<Report> {
        let text = self.ask("quit")?;
        let report = serde_json::from_str(&text).context("the fixture's report is not as told")?;
        self.wait()?;
        Ok(report)
    }

    /// Closes the fixture's input and waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.stdin = None;
        while self.lines.next()?.is_some() {}
        self.child.wait().context("can't wait for a fixture")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; its process id is ours until it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

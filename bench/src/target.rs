//! Go programs that are measured: built from `bench/programs` by a given release, spoken to by lines.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use heaptap::{
    pipeline::opened::Opener,
    runtime::{Live, ProcessMemory},
};
use xtask::{paths, toolchain};

/// Builds a program of `bench/programs` with a Go release (`1.26`).
pub fn build(program: &str, release: &str) -> Result<PathBuf> {
    let pinned = xtask::pins::GoRelease::find(release)
        .with_context(|| format!("Go {release} is not among the pinned releases"))?;
    let go = toolchain::go(pinned)?
        .with_context(|| format!("Go {release} is not installed: run `cargo xtask setup`"))?;
    let binary = paths::target_dir().join(format!("bench/{program}-{}", pinned.version));
    let source = paths::repo().join("bench/programs").join(program);
    let status = toolchain::go_command(&go)
        .args(["build", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .status()?;
    ensure!(status.success(), "go build of {program} failed");
    Ok(binary)
}

/// The runtime's records of a program that runs.
pub fn live(pid: u32) -> Result<Live<ProcessMemory>> {
    Ok(Opener::default().open(pid).map_err(|failure| anyhow!("{failure}"))?.live)
}

/// A program that answers each line with a line.
pub struct Target {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Target {
    /// Starts it and waits for its `ready` line.
    pub fn start(binary: &Path) -> Result<Self> {
        Self::start_with(binary, &[])
    }

    /// Starts it with arguments and waits for its `ready` line.
    pub fn start_with(binary: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| binary.display().to_string())?;
        let input = child.stdin.take().context("no stdin")?;
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut target = Self { child, input, output };
        let ready = target.line()?;
        ensure!(ready.starts_with("ready"), "{} said {ready}", binary.display());
        Ok(target)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line and returns the answer, a number.
    pub fn ask(&mut self, line: &str) -> Result<f64> {
        let [number] = self.ask_for(line)?;
        Ok(number)
    }

    /// Sends a line and returns the answer, so many numbers.
    pub fn ask_for<const N: usize>(&mut self, line: &str) -> Result<[f64; N]> {
        writeln!(self.input, "{line}")?;
        let answer = self.line()?;
        let numbers: Option<Vec<f64>> = answer.split(' ').map(|word| word.parse().ok()).collect();
        let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
        numbers.with_context(|| format!("{line:?} was answered with {answer:?}"))
    }

    /// Sends a line that is answered with `done`.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}")?;
        let answer = self.line()?;
        ensure!(answer == "done", "{line:?} was answered with {answer:?}");
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the program has ended");
        }
        Ok(line.trim().to_string())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

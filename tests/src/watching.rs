//! `heaptap gc` on a program, collection by collection.
//!
//! In: a pid. Out: the line of each collection when it has ended, and at the end the document, the picture
//! and the rest of what was said.

use std::fs;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::heaptap;
use crate::lines::Lines;

/// A `heaptap gc` that prints lines and will write a document; killed when dropped.
pub struct Watching {
    child: Child,
    pub rows: Lines,
    said: Lines,
    dir: TempDir,
}

impl Watching {
    pub fn in_mode(pid: u32, mode: &str) -> Result<Watching> {
        Self::with(pid, &["--mode", mode])
    }

    /// With these flags.
    pub fn with(pid: u32, flags: &[&str]) -> Result<Watching> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new(heaptap::program()?);
        command.args(["gc", "-p", &pid.to_string(), "-o", "-"]).args(flags);
        command.arg("-o").arg(dir.path().join("gc.json"));
        command.arg("-o").arg(dir.path().join("gc.svg"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let rows = Lines::of(child.stdout.take().context("no stdout")?);
        let said = Lines::of(child.stderr.take().context("no stderr")?);
        let watching = Watching { child, rows, said, dir };
        let line = watching.said.next()?.context("heaptap ended before it watched")?;
        ensure!(line.starts_with("heaptap: recording collections of 1 process"), "{line}");
        let head = watching.rows.next()?.context("no head")?;
        ensure!(head.trim_start().starts_with("GC "), "{head}");
        Ok(watching)
    }

    /// Process id of heaptap.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the line of the next collection, which must be this one.
    pub fn sees(&self, number: u64) -> Result<String> {
        let row = self.rows.next()?.context("heaptap ended")?;
        let found = row.split_whitespace().next();
        ensure!(found == Some(&*number.to_string()), "GC {number} should come, and comes {row}");
        Ok(row)
    }

    /// Ends it as Ctrl-C does: the document, the picture, and the lines that were not read yet.
    pub fn stop(mut self) -> Result<(Value, String, String)> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGINT)?;
        let rows = self.rows.rest()?;
        let said = self.said.rest()?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {said}");
        let document = serde_json::from_str(&fs::read_to_string(self.dir.path().join("gc.json"))?)?;
        Ok((document, fs::read_to_string(self.dir.path().join("gc.svg"))?, rows))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended already; its process id is ours until it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

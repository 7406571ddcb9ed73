//! A Go program whose profiles and metrics an agent pushes, and the table that has it do so.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heaptap::host::Identity;

use crate::agent::Agent;
use crate::pprof::Pprof;
use crate::{Fixture, Running, Variant, require_root};

/// The fixture heap, every allocation in its profile, and a place for files.
pub struct Bench {
    pub program: Running,
    pub dir: tempfile::TempDir,
}

impl Bench {
    pub fn start() -> Result<Self> {
        require_root()?;
        let fixture = Fixture::build("heap", "1.27", Variant::Default)?;
        let mut command = Command::new(&fixture.program);
        command.env("HEAP_RATE", "1");
        let mut bench = Self { program: Running::start(command)?, dir: tempfile::tempdir()? };
        bench.work(5)?;
        // All that a new program has allocated would be sent: that it is old is what the tests begin with.
        let id = Identity::of(bench.program.pid()).context("the fixture is gone")?;
        while id.age() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(bench)
    }

    /// As the kernel calls the program.
    pub fn comm(&self) -> Result<String> {
        let comm = fs::read_to_string(format!("/proc/{}/comm", self.program.pid()))?;
        Ok(comm.trim().to_owned())
    }

    pub fn tell(&mut self, line: &str) -> Result<()> {
        let answer = self.program.ask(line)?;
        ensure!(answer == "done", "the fixture answered {answer:?}");
        Ok(())
    }

    /// Allocates, and has the runtime publish it.
    pub fn work(&mut self, rounds: u32) -> Result<()> {
        self.tell(&format!("work {rounds}"))?;
        self.tell("gc")?;
        self.tell("gc")
    }

    /// The program's own profile.
    pub fn own(&mut self) -> Result<(PathBuf, Pprof)> {
        let path = self.path("own.pb.gz");
        self.tell(&format!("heap {}", path.display()))?;
        let own = Pprof::read(&path)?;
        Ok((path, own))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn spool(&self, name: &str) -> PathBuf {
        self.path("spool").join(name)
    }

    /// An agent that watches the program, with these receivers.
    pub fn agent(&self, receivers: &str) -> Result<Agent> {
        let file = self.path("agent.toml");
        let spool = self.path("spool");
        fs::write(&file, format!("[spool]\ndir = {:?}\n{receivers}", spool.display().to_string()))?;
        let pid = self.program.pid().to_string();
        let file = file.display().to_string();
        Agent::start(&["--config", &file, "-p", &pid, "--every", "100ms", "--node", "n1"])
    }

    pub fn pprof(&self, bytes: &[u8]) -> Result<Pprof> {
        Pprof::read(&self.file(bytes)?)
    }

    pub fn file(&self, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path("came.pb.gz");
        fs::write(&path, bytes)?;
        Ok(path)
    }
}

/// A table of a receiver whose waits are short.
pub fn table(kind: &str, url: &str, more: &str) -> String {
    // Ten minutes of profiles ten times a second are more than a test can compare.
    let every = if std::env::var_os("HEAPTAP_AWAY").is_some() { "1s" } else { "100ms" };
    format!(
        "[[push]]\nkind = \"{kind}\"\nurl = \"{url}\"\nevery = \"{every}\"\nretry_least = \"20ms\"\n\
         retry_most = \"100ms\"\n{more}\n"
    )
}

/// Nanoseconds since 1970.
pub fn now() -> Result<i128> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i128::try_from(since.as_nanos())?)
}

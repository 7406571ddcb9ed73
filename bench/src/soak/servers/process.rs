//! A server's process: a copy of its program, its arguments, and what it logs.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use heaptap::gobin::GoBinary;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{Http, Kind};
use crate::work::server::free_port;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Process {
    child: Child,
    http: Http,
    program: PathBuf,
    arguments: Vec<OsString>,
    /// Answers when it is ready.
    ready: &'static str,
    dir: TempDir,
}

impl Process {
    /// Starts a copy of the program that is called by its name and role; what its arguments are follows from its
    /// directory and port.
    pub fn start(
        kind: Kind,
        role: &str,
        ready: &'static str,
        arguments: impl FnOnce(&Path, u16) -> Result<Vec<OsString>>,
    ) -> Result<Process> {
        let missing = || format!("no {}: run `cargo xtask setup --for bench`", kind.name());
        let original = kind.real().path()?.with_context(missing)?;
        let dir = tempfile::tempdir()?;
        let program = dir.path().join(format!("{}-{role}", kind.name()));
        heaptap_tests::copy(&original, &program)?;
        let port = free_port()?;
        let arguments = arguments(dir.path(), port)?;
        let child = spawn(&program, &arguments, dir.path())?;
        let http = Http::new(port);
        let mut process = Process { child, http, program, arguments, ready, dir };
        process.until_ready()?;
        Ok(process)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Of its Go.
    pub fn version(&self) -> String {
        let go = File::open(&self.program).ok().and_then(|file| GoBinary::open(file).ok());
        go.and_then(|go| go.facts().version_text.clone()).unwrap_or_else(|| "Go ?".to_string())
    }

    /// What it has logged.
    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.path().join("log"))?)
    }

    /// Fails when it has logged a line with this in it.
    pub fn has_not_logged(&self, mark: &str) -> Result<()> {
        let log = self.log()?;
        let line = log.lines().find(|line| line.contains(mark));
        ensure!(line.is_none(), "it has logged: {}", line.unwrap_or_default());
        Ok(())
    }

    /// Fails when it has come to an end.
    pub fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server has ended with {status}: {}", self.last_words());
        }
        Ok(())
    }

    /// Has it end as it does when a host goes down.
    pub fn end(&mut self) -> Result<()> {
        self.still_runs()?;
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        // Some end by the signal after they have put everything in order.
        let is_well = status.success() || status.signal() == Some(Signal::SIGTERM as i32);
        ensure!(is_well, "the server ended with {status}: {}", self.last_words());
        Ok(())
    }

    /// Ends it and starts it again with what it has on disk.
    pub fn restart(&mut self) -> Result<()> {
        self.end()?;
        self.child = spawn(&self.program, &self.arguments, self.dir.path())?;
        self.http.forget();
        self.until_ready()
    }

    fn until_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        while !self.http.get(self.ready).is_ok_and(|answer| answer.status == 200) {
            self.still_runs()?;
            ensure!(began.elapsed() < PATIENCE, "the server is not ready: {}", self.last_words());
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, arguments: &[OsString], dir: &Path) -> Result<Child> {
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    // Nobody takes traces here; who can't send them logs that.
    command.env("OTEL_TRACES_EXPORTER", "none");
    command.stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| program.display().to_string())
}

//! Real programs at real work: what is generated for them is the same in every run.
//!
//! In: programs that `setup --for bench` has put into the cache. Out: running processes, and how
//! long they took. They read and write below a temporary directory and speak on loopback only.

pub mod bundle;
mod compile;
pub mod server;
pub mod site;
mod symbols;

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::target;
use anyhow::{Context as _, Result, bail, ensure};
use heaptap::gobin::GoBinary;
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    time::clock_getcpuclockid,
    unistd::Pid,
};
use tempfile::TempDir;
use xtask::{pins::GoRelease, programs::RealProgram, toolchain};

pub use server::Server;
pub use symbols::Named;

/// A program and something for it to do.
pub struct Work {
    pub name: &'static str,
    /// For people: program, version, what it does.
    pub about: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    /// How many it answers, where it does not come to an end by itself.
    requests: Option<usize>,
    dir: TempDir,
}

/// Real programs that [`Work::prepare`] knows.
pub const ALL: [&str; 4] = ["hugo", "esbuild", "compile", "prometheus"];

/// The worst case: nothing but small allocations.
pub const CHURN: &str = "churn";

impl Work {
    /// Generates what the program works on: about a second's work at most; as much as can be waited for when each
    /// allocation is traced, which takes up to fifty times as long.
    pub fn prepare(name: &str) -> Result<Work> {
        let dir = tempfile::tempdir()?;
        let requests = 1_500;
        let at = |path: &str| dir.path().join(path).into_os_string();
        let word = |text: &str| OsString::from(text);
        let (name, about, program, arguments) = match name {
            "hugo" => {
                let pages = 150;
                site::generate(&dir.path().join("site"), pages)?;
                let arguments = vec![
                    word("--source"),
                    at("site"),
                    word("--destination"),
                    at("public"),
                    word("--cacheDir"),
                    at("cache"),
                    word("--quiet"),
                ];
                let about = format!("builds a site of {pages} pages");
                ("hugo", about, real(RealProgram::Hugo)?, arguments)
            }
            "esbuild" => {
                let modules = 500;
                bundle::generate(&dir.path().join("source"), modules)?;
                let mut arguments = vec![at("source/main.ts")];
                arguments.extend(
                    ["--bundle", "--minify", "--sourcemap", "--target=es2019", "--log-level=error"]
                        .map(OsString::from),
                );
                let mut outfile = word("--outfile=");
                outfile.push(at("out.js"));
                arguments.push(outfile);
                let about = format!("bundles {modules} TypeScript modules");
                ("esbuild", about, real(RealProgram::Esbuild)?, arguments)
            }
            "compile" => {
                let release = GoRelease::newest();
                let go = toolchain::go(release)?.context("run `cargo xtask setup --for bench`")?;
                let arguments = compile::arguments(&go, release, dir.path())?;
                let about = format!("compiles {}", compile::PACKAGE);
                ("compile", about, toolchain::tool(&go, "compile")?, arguments)
            }
            "prometheus" => {
                let about = format!("scrapes itself each second and answers {requests} requests");
                ("prometheus", about, real(RealProgram::Prometheus)?, Vec::new())
            }
            CHURN => {
                let objects = 1_000_000;
                let about = format!("allocates {objects} objects of 64 bytes");
                let program = target::build(CHURN, GoRelease::newest().minor())?;
                (CHURN, about, program, vec![word(&objects.to_string())])
            }
            other => bail!(
                "no work called {other}: there are {}",
                [&ALL[..], &[CHURN]].concat().join(", ")
            ),
        };
        let requests = (name == "prometheus").then_some(requests);
        Ok(Work { name, about, program, arguments, requests, dir })
    }

    /// Whether it can be had on this machine.
    pub fn is_there(name: &str) -> Result<bool> {
        let program = RealProgram::ALL.into_iter().find(|program| program.name() == name);
        Ok(match program {
            Some(program) => program.path()?.is_some(),
            None => true,
        })
    }

    /// The same, with a line on what it does; for a program that can't be had here a remark.
    pub fn known(name: &str, about: &mut String, remarks: &mut String) -> Result<Option<Work>> {
        if !Self::is_there(name)? {
            writeln!(remarks, "- {name} can't be had on this machine: left out")?;
            return Ok(None);
        }
        let work = Self::prepare(name)?;
        writeln!(about, "- {name} ({}): {}", work.version(), work.about)?;
        Ok(Some(work))
    }

    /// What the program says its Go release is, as heaptap reads it.
    pub fn version(&self) -> String {
        let go = fs::File::open(&self.program).ok().and_then(|file| GoBinary::open(file).ok());
        go.and_then(|go| go.facts().version_text.clone()).unwrap_or_else(|| "Go ?".to_string())
    }

    /// Makes it run a copy of the program that has symbols for these functions: peers attach by name, and
    /// real programs are stripped. The code is the same.
    pub fn name_functions(&mut self, functions: &[Named]) -> Result<()> {
        let copy = self.dir.path().join(self.program.file_name().context("no file name")?);
        let mut objcopy = Command::new("objcopy");
        for Named { name, start, .. } in functions {
            objcopy.arg(format!("--add-symbol={name}={:#x},function,global", start.0));
        }
        let output =
            objcopy.arg(&self.program).arg(&copy).output().context("objcopy (binutils)")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "objcopy failed: {}", said.trim());
        symbols::set_sizes(&copy, functions)?;
        self.program = copy;
        Ok(())
    }

    /// The program's file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether it answers requests instead of coming to an end by itself.
    pub fn serves(&self) -> bool {
        self.requests.is_some()
    }

    /// Starts the program; one that serves is ready when this returns.
    pub fn start(&self) -> Result<Running> {
        for left in ["public", "cache", "out.js", "data"] {
            let left = self.dir.path().join(left);
            let _ = if left.is_dir() { fs::remove_dir_all(left) } else { fs::remove_file(left) };
        }
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        let server = match self.requests {
            Some(requests) => Some(Server::configure(self.dir.path(), &mut command, requests)?),
            None => None,
        };
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let log = fs::File::create(self.dir.path().join("stderr"))?;
        let began = Instant::now();
        let child = command
            .stderr(log)
            .spawn()
            .with_context(|| format!("can't start {}", self.program.display()))?;
        let running = Running { child, began, server };
        if let Some(server) = &running.server {
            server.until_ready()?;
        }
        Ok(running)
    }
}

/// Seconds that work took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub wall: f64,
    /// Of the program's process, user and system.
    pub cpu: f64,
}

/// A program at work; killed when dropped.
pub struct Running {
    child: Child,
    began: Instant,
    server: Option<Server>,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has come to its end.
    pub fn has_ended(&mut self) -> Result<bool> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        let status = waitid(Id::Pid(self.nix_pid()?), flags)?;
        Ok(status != nix::sys::wait::WaitStatus::StillAlive)
    }

    /// Waits until the work is done: from the start of the program to its end, or all requests.
    pub fn work(&mut self) -> Result<Took> {
        if let Some(server) = &self.server {
            let (began, before) = (Instant::now(), cpu_seconds(self.child.id())?);
            server.load()?;
            let cpu = cpu_seconds(self.child.id())? - before;
            return Ok(Took { wall: began.elapsed().as_secs_f64(), cpu });
        }
        // It stays a zombie, so that what it used can be read.
        waitid(Id::Pid(self.nix_pid()?), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
        let wall = self.began.elapsed().as_secs_f64();
        let cpu = cpu_seconds(self.child.id())?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the program ended with {status}");
        Ok(Took { wall, cpu })
    }

    /// Ends it, if it has not ended.
    pub fn end(mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            kill(self.nix_pid()?, Signal::SIGTERM)?;
            self.child.wait()?;
        }
        Ok(())
    }

    fn nix_pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time that a process or zombie has had, in seconds.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?;
    Ok(Duration::from(clock.now()?).as_secs_f64())
}

/// A real program by its name.
pub fn program(name: &str) -> Result<PathBuf> {
    let known = RealProgram::ALL.into_iter().find(|program| program.name() == name);
    real(known.with_context(|| format!("no program called {name}"))?)
}

fn real(program: RealProgram) -> Result<PathBuf> {
    let missing =
        || format!("{} is not installed: run `cargo xtask setup --for bench`", program.name());
    program.path()?.with_context(missing)
}

/// Writes a file, making its directory.
fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_told_of_who_has_ended() -> Result<()> {
        let mut child = Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])
            .spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
        let used = cpu_seconds(child.id())?;
        assert!(used > 0.001, "{used}");
        child.wait()?;
        Ok(())
    }
}

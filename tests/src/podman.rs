//! Containers of podman, with storage of their own, gone when they are dropped.
//!
//! In: a program for an image, names. Out: running containers. runc and cgroupfs, because crun refuses
//! hosts that have both kinds of cgroups; no network, so that nothing is asked of the host's.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// podman with images and containers that nobody else sees.
#[derive(Debug)]
pub struct Podman {
    dir: tempfile::TempDir,
}

impl Podman {
    pub fn new() -> Result<Podman> {
        Ok(Podman { dir: tempfile::tempdir()? })
    }

    /// podman with its own storage.
    pub fn command(&self) -> Command {
        let mut command = Command::new("podman");
        for (flag, value) in [("--root", "root"), ("--runroot", "run")] {
            command.arg(flag).arg(self.dir.path().join(value));
        }
        command.args(["--storage-driver", "overlay", "--runtime", "runc"]);
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        command
    }

    /// An image that holds nothing but a program, as `/NAME`.
    pub fn image(&self, name: &str, program: &Path) -> Result<()> {
        let context = self.dir.path().join(name);
        fs::create_dir_all(&context)?;
        fs::copy(program, context.join(name))?;
        let text = format!("FROM scratch\nCOPY {name} /{name}\nENTRYPOINT [\"/{name}\"]\n");
        fs::write(context.join("Containerfile"), text)?;
        let mut build = self.command();
        said(build.args(["build", "--quiet", "--tag", name]).arg(&context))?;
        Ok(())
    }

    /// An image by a container file, from files and what they are called in it.
    pub fn image_of(&self, name: &str, file: &Path, files: &[(&Path, &str)]) -> Result<()> {
        let context = self.dir.path().join(name);
        fs::create_dir_all(&context)?;
        for (from, to) in files {
            fs::copy(from, context.join(to)).with_context(|| from.display().to_string())?;
        }
        let mut build = self.command();
        said(build.args(["build", "--quiet", "--tag", name, "--file"]).arg(file).arg(&context))?;
        Ok(())
    }

    /// Ends a container, however it goes.
    pub fn remove(&self, name: &str) -> Result<()> {
        said(self.command().args(["rm", "--force", "--ignore", "--time", "0", name])).map(drop)
    }

    /// `podman run` of a container with a name, with standard input and output; more flags, the
    /// image and its arguments follow.
    pub fn run(&self, name: &str) -> Command {
        let mut command = self.command();
        command.args(["run", "--interactive", "--rm", "--network", "none", "--name", name]);
        command.args(["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1000:1000"]);
        command
    }

    /// The first process of a container, as the host counts, and the container's id.
    pub fn inspect(&self, name: &str) -> Result<(u32, String)> {
        let mut inspect = self.command();
        let text = said(inspect.args(["inspect", "--format", "{{.State.Pid}} {{.Id}}", name]))?;
        let (pid, id) = text.trim().split_once(' ').context("podman inspect says little")?;
        Ok((pid.parse()?, id.to_owned()))
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = said(self.command().args(["rm", "--all", "--force", "--time", "0"]));
        // podman keeps its storage mounted.
        let _ = said(Command::new("umount").arg("-l").arg(self.dir.path().join("root/overlay")));
    }
}

/// What a command prints; an error when it fails.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().context("can't start podman: run `cargo xtask setup`")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}", command.get_program().display(), why.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

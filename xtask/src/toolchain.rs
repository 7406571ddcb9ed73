//! Which toolchains are installed: the compiler for the kernel programs, and Go releases.
//!
//! In: the pins and the file system. Out: paths to programs. Only looks; `setup` installs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::pins::{self, GoRelease, GoSource};

/// A Rust compiler that can build the BPF target's core library, and a linker that reads its output.
#[derive(Clone, Debug)]
pub struct BpfToolchain {
    pub cargo: PathBuf,
    pub rustc: PathBuf,
    /// `bpf-linker`.
    pub linker: PathBuf,
    /// A stable compiler that has to be told to allow `-Z build-std`.
    pub bootstrap: bool,
    /// What to call it in messages.
    pub name: &'static str,
}

/// What builds the kernel programs: rustup's pinned nightly when it is complete, else the
/// distribution's compiler.
pub fn bpf() -> Option<BpfToolchain> {
    let nightly = || {
        let bin = nightly_root()?.join("bin");
        let (cargo, rustc) = (bin.join("cargo"), bin.join("rustc"));
        let linker = bpf_linker(pins::NIGHTLY_LINKER)?;
        Some(BpfToolchain { cargo, rustc, linker, bootstrap: false, name: pins::NIGHTLY })
    };
    let packaged = || {
        let (cargo, rustc) = (packaged_cargo()?, "/usr/bin/rustc".into());
        let linker = bpf_linker(pins::PACKAGED_LINKER)?;
        Some(BpfToolchain { cargo, rustc, linker, bootstrap: true, name: pins::RUST_PACKAGES[0] })
    };
    nightly().or_else(packaged)
}

/// Where rustup has the pinned nightly, when it has it with core's source.
pub fn nightly_root() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("RUSTUP_HOME").or_else(|| set("HOME").map(|home| home.join(".rustup")))?;
    // Looked up by path: asking rustup may start a download.
    let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let root = home.join("toolchains").join(format!("{}-{host}", pins::NIGHTLY));
    (has_core_source(&root) && root.join("bin/cargo").is_file()).then_some(root)
}

/// Whether the compiler that builds heaptap has the standard library of a target.
pub fn has_std_of(triple: &str) -> bool {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    // Not that of the cargo that runs this, but that of the repository.
    rustc.args(["--print", "target-libdir", "--target", triple]).current_dir(paths::repo());
    let output = rustc.output().ok().filter(|output| output.status.success());
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.is_some_and(|dir| fs::read_dir(dir).is_ok_and(|mut dir| dir.next().is_some()))
}

/// The distribution's cargo, when its compiler and core's source are there too.
pub fn packaged_cargo() -> Option<PathBuf> {
    let cargo = PathBuf::from("/usr/bin/cargo");
    let there = cargo.is_file() && Path::new("/usr/bin/rustc").is_file();
    (there && has_core_source(Path::new("/usr"))).then_some(cargo)
}

fn has_core_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}

/// What the compiler that builds heaptap says of itself.
pub struct Rustc {
    /// What it builds for when nothing is said.
    pub host: String,
    /// The major release of its LLVM.
    pub llvm: u32,
}

impl Rustc {
    /// Asks the compiler that cargo uses here.
    pub fn ask() -> Result<Self> {
        let told = rustc(&["-vV"])?;
        let line = |name: &str| told.lines().find_map(|line| line.strip_prefix(name));
        let host = line("host: ").context("rustc does not say what it builds for")?;
        let llvm = line("LLVM version: ").and_then(|llvm| llvm.split('.').next()?.parse().ok());
        let llvm = llvm.context("rustc does not say which LLVM it has")?;
        Ok(Self { host: host.to_owned(), llvm })
    }
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let output = Command::new("rustc").args(arguments).output().context("can't start rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// llvm-profdata and llvm-cov that read what programs of the compiler count: rustup's that come with it, else the
/// distribution's of the same release of LLVM; nothing where there are none.
pub fn coverage_tools() -> Result<Option<[PathBuf; 2]>> {
    let Rustc { host, llvm } = Rustc::ask()?;
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?.trim());
    let own = sysroot.join("lib/rustlib").join(host).join("bin");
    let packaged = PathBuf::from(format!("/usr/lib/llvm-{llvm}/bin"));
    let tools = |dir: PathBuf| ["llvm-profdata", "llvm-cov"].map(|name| dir.join(name));
    let are_there = |tools: &[PathBuf; 2]| tools.iter().all(|tool| tool.is_file());
    Ok([own, packaged].map(tools).into_iter().find(are_there))
}

/// `bpf-linker` of exactly this version: from the cache, else from `PATH`.
pub fn bpf_linker(version: &str) -> Option<PathBuf> {
    let cached = bpf_linker_root(version).ok().map(|root| root.join("bin/bpf-linker"));
    if let Some(program) = cached.filter(|program| program.is_file()) {
        return Some(program);
    }
    let program = paths::find_program("bpf-linker")?;
    let output = Command::new(&program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    (text.split_whitespace().nth(1) == Some(version)).then_some(program)
}

/// Where setup installs a bpf-linker: versions don't displace each other, nor the user's own.
pub fn bpf_linker_root(version: &str) -> Result<PathBuf> {
    Ok(paths::cache_dir()?.join(format!("bpf-linker-{version}")))
}

/// A subcommand of cargo of exactly this name and version, when setup has installed it.
pub fn cargo_tool((name, version): (&str, &str)) -> Result<Option<PathBuf>> {
    let program = cargo_tool_root((name, version))?.join("bin").join(name);
    Ok(program.is_file().then_some(program))
}

/// Where setup installs it.
pub fn cargo_tool_root((name, version): (&str, &str)) -> Result<PathBuf> {
    Ok(paths::cache_dir()?.join(format!("{name}-{version}")))
}

/// Where a Go release is, or is to be, installed.
pub fn go_root(release: GoRelease) -> Result<PathBuf> {
    match release.from {
        GoSource::PyPi => Ok(paths::cache_dir()?.join("go").join(release.version).join("go")),
        GoSource::Debian(_) => Ok(PathBuf::from(format!("/usr/lib/go-{}", release.version))),
    }
}

/// The `go` command of a release, when it is installed and whole.
pub fn go(release: GoRelease) -> Result<Option<PathBuf>> {
    let root = go_root(release)?;
    let program = root.join("bin/go");
    // A release's tree says which it is; setup moves it into place only when it is complete.
    let whole = match release.from {
        GoSource::PyPi => fs::read_to_string(root.join("VERSION"))
            .is_ok_and(|text| text.lines().next() == Some(&format!("go{}", release.version))),
        GoSource::Debian(_) => true,
    };
    Ok((whole && program.is_file()).then_some(program))
}

/// The pinned release `minor` (`1.27`) and its `go` command.
pub fn installed_go(minor: &str) -> Result<(GoRelease, PathBuf)> {
    let release =
        GoRelease::find(minor).with_context(|| format!("no Go {minor} is pinned for fixtures"))?;
    match go(release)? {
        Some(command) => Ok((release, command)),
        None => bail!("Go {} is not installed: run `cargo xtask setup`", release.version),
    }
}

/// A tool of the release that a `go` command belongs to: `compile`, `link`.
pub fn tool(go: &Path, name: &str) -> Result<PathBuf> {
    let mut command = go_command(go);
    let output = command.args(["env", "GOTOOLDIR"]).output().context("go can't be started")?;
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).join(name))
}

/// Written by setup when the distribution has no package for a release, so that it need not ask
/// again. Holds one line for a reader.
pub fn unavailable_mark(release: GoRelease) -> Result<PathBuf> {
    Ok(paths::cache_dir()?.join("go").join(format!("{}.unavailable", release.version)))
}

/// A command of the given Go release that uses no other toolchain and no network.
pub fn go_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in ["GOROOT", "GOEXPERIMENT", "GOOS", "GOARCH", "GOAMD64", "GO111MODULE", "GOGC"] {
        command.env_remove(name);
    }
    command
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .env("GOWORK", "off")
        .env("GOENV", "off");
    command
}

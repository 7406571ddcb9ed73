//! Which toolchains are installed: the compiler for the kernel programs, and Go releases.
//!
//! In: the pins and the file system. Out: paths to programs. Only looks; `setup` installs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::paths;
use crate::pins::{self, GoRelease, GoSource};

/// A Rust compiler that can build the BPF target's core library.
#[derive(Clone, Debug)]
pub struct BpfCompiler {
    pub cargo: PathBuf,
    pub rustc: PathBuf,
    /// A stable compiler that has to be told to allow `-Z build-std`.
    pub bootstrap: bool,
    /// What to call it in messages.
    pub name: String,
}

/// The compiler for kernel programs: rustup's pinned nightly first, else the distribution's.
pub fn bpf_compiler() -> Option<BpfCompiler> {
    rustup_nightly().or_else(distribution_rust)
}

fn rustup_nightly() -> Option<BpfCompiler> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("RUSTUP_HOME").or_else(|| set("HOME").map(|home| home.join(".rustup")))?;
    // Looked up by path: asking rustup may start a download.
    let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let root = home.join("toolchains").join(format!("{}-{host}", pins::NIGHTLY));
    let compiler = BpfCompiler {
        cargo: root.join("bin/cargo"),
        rustc: root.join("bin/rustc"),
        bootstrap: false,
        name: pins::NIGHTLY.to_string(),
    };
    (has_core_source(&root) && compiler.cargo.is_file()).then_some(compiler)
}

fn distribution_rust() -> Option<BpfCompiler> {
    let compiler = BpfCompiler {
        cargo: "/usr/bin/cargo".into(),
        rustc: "/usr/bin/rustc".into(),
        bootstrap: true,
        name: pins::RUST_PACKAGES[0].to_string(),
    };
    let there = compiler.cargo.is_file() && compiler.rustc.is_file();
    (there && has_core_source(Path::new("/usr"))).then_some(compiler)
}

fn has_core_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}

/// `bpf-linker` of the pinned version.
pub fn bpf_linker() -> Option<PathBuf> {
    let program = paths::find_program("bpf-linker")?;
    let output = Command::new(&program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    (text.split_whitespace().nth(1) == Some(pins::BPF_LINKER)).then_some(program)
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

//! `cargo xtask build`: the kernel programs first, then the `heaptap` binary that carries them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, ffi::OsString};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;
use xtask::{paths, toolchain};

#[derive(Args)]
pub struct Options {
    /// Build `heaptap` optimized (the kernel programs always are).
    #[arg(long)]
    release: bool,
    /// Also build it with all that it needs inside, to `target/static/heaptap`: what images of tests hold.
    #[arg(long = "static")]
    with_static: bool,
    /// Build only the kernel programs.
    #[arg(long)]
    kernel_only: bool,
}

pub fn run(options: &Options) -> Result<()> {
    kernel_object()?;
    if options.kernel_only {
        return Ok(());
    }
    if options.with_static {
        static_heaptap()?;
    }
    heaptap(options.release).map(|_| ())
}

/// Builds the kernel programs and returns the linked object. Does nothing when nothing changed.
pub fn kernel_object() -> Result<PathBuf> {
    process::loud(kernel_cargo("build")?.args(kernel_flags()))?;
    let built = kernel_target_dir().join("bpfel-unknown-none/release/heaptap");
    let object = paths::bpf_object();
    copy_if_changed(&built, &object)?;
    Ok(object)
}

/// Builds `heaptap` and returns the program.
pub fn heaptap(release: bool) -> Result<PathBuf> {
    let mut cargo = cargo();
    // Always for the workspace: the features of dependencies, and so what is built, are the same in
    // every command.
    cargo.args(["build", "--workspace", "--bin", "heaptap"]);
    if release {
        cargo.arg("--release");
    }
    process::loud(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    Ok(paths::target_dir().join(profile).join("heaptap"))
}

/// Builds a `heaptap` that needs no loader and no libraries, and returns it. The flag is given for the program alone,
/// not for what it is made of, so that only linking is done twice.
pub fn static_heaptap() -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["rustc", "--package", "heaptap", "--bin", "heaptap", "--"]);
    cargo.args(["-Ctarget-feature=+crt-static", "-Cstrip=debuginfo"]);
    process::loud(&mut cargo)?;
    let place = paths::static_heaptap();
    let dir = place.parent().unwrap_or(&place);
    fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    // What cargo left in the ordinary place is made anew by the ordinary build.
    let built = paths::target_dir().join("debug/heaptap");
    let part = place.with_extension("part");
    fs::copy(&built, &part).with_context(|| format!("can't copy {}", built.display()))?;
    fs::rename(&part, &place).with_context(|| format!("can't write {}", place.display()))?;
    Ok(place)
}

/// The cargo that runs xtask, in the repository, told where the kernel object lies.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::repo());
    let target = paths::target_dir();
    if target != paths::default_target_dir() {
        // tracer-user's build script looks in the default place unless told; telling it when it
        // need not know would rebuild it each time a plain `cargo build` comes between.
        command.env("CARGO_TARGET_DIR", &target).env("HEAPTAP_BPF_OBJECT", paths::bpf_object());
    }
    command
}

/// A cargo command for tracer-ebpf with the compiler that can build for the BPF target.
pub fn kernel_cargo(subcommand: &str) -> Result<Command> {
    let Some(tools) = toolchain::bpf() else {
        bail!("nothing here can build the kernel programs: run `cargo xtask setup`");
    };
    let mut command = Command::new(&tools.cargo);
    // What the calling cargo set for itself and the host's flags must not reach this build.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let mine = ["RUSTUP_TOOLCHAIN", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTC_WRAPPER"];
        if mine.contains(&&*text) || text.starts_with("CARGO") && text != "CARGO_HOME" {
            command.env_remove(&name);
        }
    }
    // cargo finds clippy, and rustc finds bpf-linker, through PATH.
    let first = [&tools.cargo, &tools.linker];
    let first = first.iter().filter_map(|program| program.parent()).map(Path::to_path_buf);
    let path = env::var_os("PATH").unwrap_or_default();
    let path =
        env::join_paths(first.chain(env::split_paths(&path))).context("PATH is not valid")?;
    let mut flags = encoded(remapped());
    flags.push("\u{1f}-Cdebuginfo=2\u{1f}-Clink-arg=--btf");
    command
        .arg(subcommand)
        .current_dir(paths::repo().join("tracer-ebpf"))
        .env("PATH", path)
        .env("RUSTC", &tools.rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", kernel_target_dir());
    if tools.bootstrap {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    Ok(command)
}

/// Flags that have debug information tell of paths what they are anywhere: places of the repository, of cargo's home
/// and of toolchains.
pub fn remapped() -> Vec<OsString> {
    let home = |name: &str, dir: &str| {
        let set = env::var_os(name).map(PathBuf::from);
        set.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(dir)))
    };
    // The last one that fits is taken: a repository may lie in one of the others.
    let places = [
        (home("RUSTUP_HOME", ".rustup"), "/rustup"),
        (home("CARGO_HOME", ".cargo"), "/cargo"),
        (Some(paths::repo().to_owned()), "/heaptap"),
    ];
    let flag = |(path, name): (Option<PathBuf>, &str)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(path?);
        flag.push("=");
        flag.push(name);
        Some(flag)
    };
    places.into_iter().filter_map(flag).collect()
}

/// Flags as cargo takes them in `CARGO_ENCODED_RUSTFLAGS`, spaces in them included.
pub fn encoded(flags: Vec<OsString>) -> OsString {
    flags.join(std::ffi::OsStr::new("\u{1f}"))
}

/// What every build of the kernel programs is told.
pub fn kernel_flags() -> Vec<OsString> {
    let flags = ["--release", "-Zbuild-std=core", "--target", "bpfel-unknown-none"];
    flags.iter().map(OsString::from).collect()
}

fn kernel_target_dir() -> PathBuf {
    paths::target_dir().join("bpf/build")
}

/// Copies when the contents differ, so that what depends on the copy is not rebuilt for nothing.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("can't read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    // Renamed into place: a build that reads it at this moment sees the old one or the new one.
    let part = to.with_extension("o.part");
    fs::write(&part, &new).with_context(|| format!("can't write {}", part.display()))?;
    fs::rename(&part, to).with_context(|| format!("can't write {}", to.display()))?;
    println!("kernel programs: {} ({} KiB)", to.display(), new.len() / 1024);
    Ok(())
}

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
    /// Build for another machine, one program that needs nothing else: to `target/static/heaptap-aarch64`.
    #[arg(long, value_enum)]
    target: Option<Machine>,
}

/// A machine that heaptap is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// The one that xtask runs on.
    pub fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Machine::Aarch64 } else { Machine::X86_64 }
    }

    /// As Rust calls it.
    pub fn name(self) -> &'static str {
        match self {
            Machine::X86_64 => "x86_64",
            Machine::Aarch64 => "aarch64",
        }
    }

    /// As Go calls it, if it is another one than xtask runs on.
    pub fn goarch(self) -> Option<&'static str> {
        let name = match self {
            Machine::X86_64 => "amd64",
            Machine::Aarch64 => "arm64",
        };
        (self != Machine::host()).then_some(name)
    }

    /// Rust's target.
    pub fn triple(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }
}

pub fn run(options: &Options) -> Result<()> {
    let machine = options.target.unwrap_or(Machine::host());
    kernel_object_for(machine)?;
    if options.kernel_only {
        return Ok(());
    }
    if machine != Machine::host() {
        return cross_heaptap(machine, options.release).map(|_| ());
    }
    if options.with_static {
        static_heaptap()?;
    }
    heaptap(options.release).map(|_| ())
}

/// Builds the kernel programs of this machine and returns the linked object. Does nothing when nothing changed.
pub fn kernel_object() -> Result<PathBuf> {
    kernel_object_for(Machine::host())
}

/// The same for any machine: the instructions are the kernel's own on all of them, the registers are not.
pub fn kernel_object_for(machine: Machine) -> Result<PathBuf> {
    process::loud(kernel_cargo_for(machine, "build")?.args(kernel_flags()))?;
    let built = kernel_target_dir(machine).join("bpfel-unknown-none/release/heaptap");
    let object = object(machine);
    copy_if_changed(&built, &object)?;
    Ok(object)
}

/// Where the linked kernel programs of a machine lie.
fn object(machine: Machine) -> PathBuf {
    let own = paths::bpf_object();
    if machine == Machine::host() {
        own
    } else {
        own.with_file_name(format!("heaptap-{}.o", machine.name()))
    }
}

/// Builds a `heaptap` for another machine that needs no loader and no libraries there, and returns it.
pub fn cross_heaptap(machine: Machine, release: bool) -> Result<PathBuf> {
    let (name, triple) = (machine.name(), machine.triple());
    let mut cargo = cross_cargo(machine)?;
    cargo.args(["build", "--workspace", "--bin", "heaptap", "--target", &triple]);
    if release {
        cargo.arg("--release");
    }
    process::loud(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    let built = paths::target_dir().join(triple).join(profile).join("heaptap");
    let place = paths::static_heaptap().with_file_name(format!("heaptap-{name}"));
    replace(&built, &place)?;
    Ok(place)
}

/// The same cargo for another machine: what it builds needs no libraries there.
pub fn cross_cargo(machine: Machine) -> Result<Command> {
    let (name, triple) = (machine.name(), machine.triple());
    let linker = format!("{name}-linux-gnu-gcc");
    if paths::find_program(&linker).is_none() || !toolchain::has_std_of(&triple) {
        bail!("nothing here can build for {name}: run `cargo xtask setup --for {name}`");
    }
    let mut cargo = cargo();
    let variable = triple.replace('-', "_");
    let of_target = |what: &str| format!("CARGO_TARGET_{}_{what}", variable.to_uppercase());
    cargo.env("HEAPTAP_BPF_OBJECT", object(machine));
    cargo.env(of_target("LINKER"), &linker);
    cargo.env(of_target("RUSTFLAGS"), "-Ctarget-feature=+crt-static -Cstrip=debuginfo");
    // Left out by the linker, it would only take time and room.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
    // What C there is in dependencies.
    cargo.env(format!("CC_{variable}"), &linker);
    Ok(cargo)
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
    // What cargo left in the ordinary place is made anew by the ordinary build.
    replace(&paths::target_dir().join("debug/heaptap"), &place)?;
    Ok(place)
}

/// Copies a program to a place where it appears whole.
fn replace(built: &Path, place: &Path) -> Result<()> {
    let dir = place.parent().unwrap_or(place);
    fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    let part = place.with_extension("part");
    fs::copy(built, &part).with_context(|| format!("can't copy {}", built.display()))?;
    fs::rename(&part, place).with_context(|| format!("can't write {}", place.display()))
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
    kernel_cargo_for(Machine::host(), subcommand)
}

fn kernel_cargo_for(machine: Machine, subcommand: &str) -> Result<Command> {
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
    if machine != Machine::host() {
        flags.push(format!("\u{1f}--cfg=bpf_target_arch=\"{}\"", machine.name()));
    }
    command
        .arg(subcommand)
        .current_dir(paths::repo().join("tracer-ebpf"))
        .env("PATH", path)
        .env("RUSTC", &tools.rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", kernel_target_dir(machine));
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

fn kernel_target_dir(machine: Machine) -> PathBuf {
    let own = paths::target_dir().join("bpf/build");
    if machine == Machine::host() {
        own
    } else {
        own.with_file_name(format!("build-{}", machine.name()))
    }
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

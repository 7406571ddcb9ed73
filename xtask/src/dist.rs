//! `cargo xtask dist`: what is given to others: an archive with a static `heaptap` and all that belongs to it, and an
//! image archive.
//!
//! In: the repository. Out: files in `target/dist`, with their checksums. Nothing in them tells when or where they were
//! made: the date is that of the last commit, and paths are those of the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use object::read::ReadCache;
use object::read::elf::{ElfFile64, ProgramHeader as _};

use crate::{build, process, supply};
use xtask::paths;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const LICENSES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-GPL2", "LICENSE-MIT"];

#[derive(Args)]
pub struct Options {
    /// No image archive, which takes podman.
    #[arg(long)]
    no_image: bool,
    /// Make all of it once more from a clone in another directory, and compare.
    #[arg(long)]
    twice: bool,
}

pub fn run(options: &Options) -> Result<()> {
    if options.twice {
        is_committed()?;
    }
    let sums = make(options)?;
    if options.twice {
        let clone = paths::target_dir().join("dist/in-another-directory");
        let again = make_elsewhere(options, &clone)?;
        ensure!(sums == again, "it is another one in {}:\n{again}", clone.display());
        fs::remove_dir_all(&clone).with_context(|| clone.display().to_string())?;
        println!("dist: the same in another directory");
    }
    Ok(())
}

/// Makes all of it in `target/dist`, and returns the checksums.
fn make(options: &Options) -> Result<String> {
    let dist = paths::target_dir().join("dist");
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("heaptap-{version}-x86_64-linux");
    let stage = dist.join(&name);
    for old in [&stage, &dist.join("context"), &dist.join("layout")] {
        match fs::remove_dir_all(old) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                return Err(err).with_context(|| old.display().to_string());
            }
            _ => {}
        }
    }
    fs::create_dir_all(&stage).with_context(|| stage.display().to_string())?;
    let epoch = epoch()?;
    let program = stage.join("heaptap");
    fs::copy(heaptap(&epoch)?, &program)?;
    is_static(&program)?;
    for file in LICENSES.into_iter().chain(["README.md", "CHANGELOG.md"]) {
        fs::copy(paths::repo().join(file), stage.join(file)).with_context(|| file.to_owned())?;
    }
    for dir in ["docs", "deploy"] {
        process::loud(Command::new("cp").arg("-r").arg(paths::repo().join(dir)).arg(&stage))?;
    }
    documents(&program, &stage)?;
    supply::materials(&stage, &epoch)?;
    let archive = format!("{name}.tar.gz");
    pack(&dist, &[&name], &dist.join(&archive), &epoch, &["--use-compress-program=gzip -n -9"])?;
    let mut files = vec![archive];
    if !options.no_image {
        files.push(image(&dist, &program, version, &epoch)?);
    }
    let sums = Command::new("sha256sum").args(&files).current_dir(&dist).output()?;
    ensure!(sums.status.success(), "sha256sum failed");
    fs::write(dist.join("SHA256SUMS"), &sums.stdout)?;
    let sums = String::from_utf8_lossy(&sums.stdout).into_owned();
    print!("{sums}");
    println!("dist: {}", dist.display());
    Ok(sums)
}

/// A clone has only what is committed.
fn is_committed() -> Result<()> {
    let mut git = Command::new("git");
    let changes = process::capture(git.args(["status", "--porcelain"]).current_dir(paths::repo()))?;
    ensure!(changes.is_empty(), "--twice compares what is committed: commit first\n{changes}");
    Ok(())
}

/// Makes all of it from a clone in another directory, with nothing that was built here, and returns the checksums.
fn make_elsewhere(options: &Options, clone: &Path) -> Result<String> {
    if clone.exists() {
        fs::remove_dir_all(clone).with_context(|| clone.display().to_string())?;
    }
    process::loud(Command::new("git").args(["clone", "--quiet"]).arg(paths::repo()).arg(clone))?;
    let mut cargo = build::cargo();
    cargo.args(["xtask", "dist"]).current_dir(clone);
    if options.no_image {
        cargo.arg("--no-image");
    }
    // The place of what is built is the clone's own.
    cargo.env_remove("CARGO_TARGET_DIR").env_remove("HEAPTAP_BPF_OBJECT");
    process::loud(&mut cargo)?;
    Ok(fs::read_to_string(clone.join("target/dist/SHA256SUMS"))?)
}

/// Seconds since 1970 of the last commit.
pub fn epoch() -> Result<String> {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(paths::repo());
    let output = git.output().context("can't start git")?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(text.parse::<u64>().is_ok(), "git does not tell when the last commit was made");
    Ok(text)
}

/// Builds `heaptap` with all that it needs inside of it.
fn heaptap(epoch: &str) -> Result<PathBuf> {
    build::kernel_object()?;
    let mut flags = build::remapped();
    flags.push("-Ctarget-feature=+crt-static".into());
    let mut cargo = build::cargo();
    cargo.args(["build", "--release", "--locked", "--bin", "heaptap", "--target", TRIPLE]);
    // What symbolizes heaptap's own panics stays; the rest is not needed.
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", build::encoded(flags)).env("SOURCE_DATE_EPOCH", epoch);
    cargo.env("HEAPTAP_BPF_OBJECT", paths::bpf_object());
    process::loud(&mut cargo)?;
    Ok(paths::target_dir().join(TRIPLE).join("release/heaptap"))
}

/// It runs where there is nothing but a kernel: no loader, no libraries.
fn is_static(program: &Path) -> Result<()> {
    let cache = ReadCache::new(fs::File::open(program)?);
    let elf = ElfFile64::<object::Endianness, _>::parse(&cache)?;
    let endian = elf.endian();
    let headers = elf.elf_program_headers().iter();
    let loader = headers.into_iter().any(|header| header.p_type(endian) == object::elf::PT_INTERP);
    ensure!(!loader, "{} asks for a loader: it is not static", program.display());
    Ok(())
}

/// Manual pages and completions, from the program itself.
fn documents(program: &Path, stage: &Path) -> Result<()> {
    let man = stage.join("man");
    process::loud(Command::new(program).args(["man", "-o"]).arg(&man))?;
    let completions = stage.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(program).args(["completions", shell]).output()?;
        ensure!(output.status.success(), "no completions for {shell}");
        fs::write(completions.join(format!("heaptap.{shell}")), output.stdout)?;
    }
    Ok(())
}

/// Packs files of a directory into an archive that is the same whenever and wherever it is made.
fn pack(dir: &Path, files: &[&str], archive: &Path, epoch: &str, more: &[&str]) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"]);
    tar.arg("--mode=u+rw,go=rX").arg(format!("--mtime=@{epoch}")).args(more);
    tar.arg("-cf").arg(archive).args(files).current_dir(dir);
    process::loud(&mut tar)
}

/// An image of nothing but the program and its licences, as an OCI archive.
fn image(dist: &Path, program: &Path, version: &str, epoch: &str) -> Result<String> {
    let Some(podman) = paths::find_program("podman") else {
        bail!("the image takes podman: run `cargo xtask setup`, or `cargo xtask dist --no-image`");
    };
    let context = dist.join("context");
    fs::create_dir_all(&context)?;
    fs::copy(program, context.join("heaptap"))?;
    for file in LICENSES {
        fs::copy(paths::repo().join(file), context.join(file))?;
    }
    let tag = format!("heaptap:{version}");
    let mut build = Command::new(&podman);
    // What an earlier build left is not taken for what this one made.
    build.args(["build", "--quiet", "--no-cache", "--timestamp", epoch, "--tag", &tag, "--file"]);
    build.arg(paths::repo().join("deploy/Containerfile")).arg(&context);
    process::loud(&mut build)?;
    let archive = format!("heaptap-{version}-x86_64.oci.tar");
    let path = dist.join(&archive);
    let _ = fs::remove_file(&path);
    let mut save = Command::new(&podman);
    save.args(["save", "--quiet", "--format", "oci-archive", "--output"]).arg(&path).arg(&tag);
    process::loud(&mut save)?;
    // podman's has the time at which it was made.
    let layout = dist.join("layout");
    fs::create_dir_all(&layout)?;
    process::loud(Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&layout))?;
    pack(&layout, &["blobs", "index.json", "oci-layout"], &path, epoch, &[])?;
    Ok(archive)
}

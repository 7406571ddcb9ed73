//! The file system of the machines: busybox, heaptap, tests, what they trace, and what runs them.
//!
//! In: programs that were built here. Out: one archive for all kernels. Tests look for fixtures and compilers where they
//! were on the machine that built them: the paths here are those. In the place of each `go` is a script for the one thing
//! that is wanted of it in the machines, its pprof.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cpio::Archive;
use super::packages;
use super::suite::{self, Part, Takes};
use crate::build::Machine;
use crate::process;
use xtask::pins::{self, GoRelease, GoSource};
use xtask::{paths, toolchain};

/// A test program.
#[derive(Debug)]
pub struct Test {
    /// Its file in `tests/tests`.
    pub name: String,
    pub program: PathBuf,
}

/// What all machines start with.
#[derive(Debug)]
pub struct Image {
    pub file: PathBuf,
}

/// With the compiler for arm64 (libc6-arm64-cross).
const CROSS_LOADER: &str = "/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1";

/// Begins the machines' script; what is run follows.
const INIT: &str = include_str!("init.sh");

/// Makes the archive.
pub fn make(machine: Machine, heaptap: &Path, tests: &[Test], parts: &[&Part]) -> Result<Image> {
    let dir = paths::target_dir().join("kernels");
    fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
    let file = dir.join(format!("image-{}.cpio", machine.name()));
    let out = File::create(&file).with_context(|| format!("can't write {}", file.display()))?;
    let mut archive = Archive::new(BufWriter::new(out));
    let busybox = packages::busybox(machine)?;
    let mut programs = vec![busybox.clone(), heaptap.to_path_buf()];
    programs.extend(tests.iter().map(|test| test.program.clone()));
    // Of what is built for another machine only Go's position-independent programs need something: their loader.
    match machine {
        Machine::Aarch64 if machine != Machine::host() => {
            add(&mut archive, CROSS_LOADER.as_ref(), "/lib/ld-linux-aarch64.so.1".as_ref())?;
        }
        _ => {
            for library in libraries(&programs)? {
                add(&mut archive, &library, &library)?;
            }
        }
    }
    add(&mut archive, &busybox, "/bin/busybox".as_ref())?;
    add(&mut archive, heaptap, "/bin/heaptap".as_ref())?;
    for test in tests {
        let stripped = dir.join(&test.name);
        stripped_copy(machine, &test.program, &stripped)?;
        add(&mut archive, &stripped, &test.program)?;
        let _ = fs::remove_file(&stripped);
    }
    // It tells tests where the target directory is.
    archive.file(text(&paths::target_dir().join("CACHEDIR.TAG"))?, b"")?;
    fixtures(&mut archive, machine, parts)?;
    compilers(&mut archive, machine, &dir)?;
    archive.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")?;
    archive.file("/init", script(tests, parts)?.as_bytes())?;
    archive.finish()?;
    let size = fs::metadata(&file)?.len();
    println!("image: {} ({} MiB)", file.display(), size >> 20);
    Ok(Image { file })
}

type Out = Archive<BufWriter<File>>;

fn add(archive: &mut Out, file: &Path, at: &Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
    Ok(archive.file(text(at)?, &bytes)?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

/// Files that the loader needs for these programs.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for program in programs {
        // It fails for programs that need none.
        let said = Command::new("ldd").arg(program).output().context("can't start ldd")?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`
        let words =
            said.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with('/')));
        all.extend(words.map(|word| PathBuf::from(word.trim_end_matches(':'))));
    }
    all.retain(|path| path.is_file() && !programs.contains(path));
    Ok(all)
}

/// Debug information is most of a test program.
fn stripped_copy(machine: Machine, program: &Path, to: &Path) -> Result<()> {
    let mut strip = Command::new(match machine == Machine::host() {
        true => "strip".to_owned(),
        false => format!("{}-linux-gnu-strip", machine.name()),
    });
    process::quiet("strip", strip.args(["--strip-debug", "-o"]).arg(to).arg(program))
}

/// What tests trace, and the sources by which they tell whether it is what they want.
fn fixtures(archive: &mut Out, machine: Machine, parts: &[&Part]) -> Result<()> {
    let built = paths::fixtures(machine.goarch());
    let at = paths::fixtures(None);
    let sources = paths::repo().join("tests/fixtures");
    for stem in suite::fixtures(parts) {
        let is_it = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let hash = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('-'));
            hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let files = fs::read_dir(&built)?.filter_map(|entry| Some(entry.ok()?.path()));
        let program = files.filter(is_it).collect::<Vec<_>>();
        let [program] = &program[..] else { bail!("{} of {stem} were built", program.len()) };
        let name = program.file_name().context("a program without a name")?;
        add(archive, program, &at.join(name))?;
    }
    let mut named: Vec<&str> = suite::fixtures(parts)
        .iter()
        .filter_map(|stem| stem.split_once("-go"))
        .map(|(name, _)| name)
        .collect();
    named.dedup();
    for name in named {
        for entry in fs::read_dir(sources.join(name))? {
            let path = entry?.path();
            add(archive, &path, &path)?;
        }
    }
    Ok(())
}

/// What stands for `go tool pprof …`.
const GO: &[u8] = b"#!/bin/sh\nshift 2\nexec /bin/pprof \"$@\"\n";

/// Where tests look for Go.
fn compilers(archive: &mut Out, machine: Machine, dir: &Path) -> Result<()> {
    for &release in pins::GO {
        let root = toolchain::go_root(release)?;
        if release.from == GoSource::PyPi {
            let version = format!("go{}\n", release.version);
            archive.file(text(&root.join("VERSION"))?, version.as_bytes())?;
        }
        archive.file(text(&root.join("bin/go"))?, GO)?;
    }
    let newest = toolchain::go(GoRelease::newest())?.context("no Go: run `cargo xtask setup`")?;
    let pprof = dir.join("pprof");
    let mut build = toolchain::go_command(&newest);
    build.args(["build", "-o"]).arg(&pprof).arg("cmd/pprof").env("CGO_ENABLED", "0");
    if let Some(other) = machine.goarch() {
        build.env("GOARCH", other);
    }
    process::quiet("pprof", build.current_dir(dir))?;
    add(archive, &pprof, "/bin/pprof".as_ref())
}

/// What runs in the machines.
fn script(tests: &[Test], parts: &[&Part]) -> Result<String> {
    let mut script = INIT.to_owned();
    let cache = paths::cache_dir()?;
    script.push_str(&format!("export HEAPTAP_CACHE='{}'\n", text(&cache)?));
    for part in parts {
        let test = tests.iter().find(|test| test.name == part.file);
        let program = test.with_context(|| format!("no test {}", part.file))?;
        let condition = match part.takes {
            Takes::Nothing => "true".to_owned(),
            Takes::Recording => "records".to_owned(),
            Takes::Line(line) => format!("records && says '{line}'"),
        };
        script.push_str(&format!(
            "if {condition}; then part '{}' '{}' {}; else lacks '{}'; fi\n",
            part.name,
            text(&program.program)?,
            part.tests.join(" "),
            part.name
        ));
    }
    script.push_str("the_end\n");
    Ok(script)
}

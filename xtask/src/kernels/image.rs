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
use super::suite::{self, Part, Takes};
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

/// Begins the machines' script; what is run follows.
const INIT: &str = include_str!("init.sh");

/// Makes the archive.
pub fn make(heaptap: &Path, tests: &[Test], parts: &[&Part]) -> Result<Image> {
    let dir = paths::target_dir().join("kernels");
    fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
    let file = dir.join("image.cpio");
    let out = File::create(&file).with_context(|| format!("can't write {}", file.display()))?;
    let mut archive = Archive::new(BufWriter::new(out));
    let busybox = paths::find_program("busybox").context("no busybox: run `cargo xtask setup`")?;
    let mut programs = vec![busybox.clone(), heaptap.to_path_buf()];
    programs.extend(tests.iter().map(|test| test.program.clone()));
    for library in libraries(&programs)? {
        add(&mut archive, &library, &library)?;
    }
    add(&mut archive, &busybox, "/bin/busybox".as_ref())?;
    add(&mut archive, heaptap, "/bin/heaptap".as_ref())?;
    for test in tests {
        let stripped = dir.join(&test.name);
        stripped_copy(&test.program, &stripped)?;
        add(&mut archive, &stripped, &test.program)?;
        let _ = fs::remove_file(&stripped);
    }
    // It tells tests where the target directory is.
    archive.file(text(&paths::target_dir().join("CACHEDIR.TAG"))?, b"")?;
    fixtures(&mut archive, parts)?;
    compilers(&mut archive, &dir)?;
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
fn stripped_copy(program: &Path, to: &Path) -> Result<()> {
    let mut strip = Command::new("strip");
    process::quiet("strip", strip.args(["--strip-debug", "-o"]).arg(to).arg(program))
}

/// What tests trace, and the sources by which they tell whether it is what they want.
fn fixtures(archive: &mut Out, parts: &[&Part]) -> Result<()> {
    let built = paths::target_dir().join("fixtures");
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
        add(archive, program, program)?;
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
fn compilers(archive: &mut Out, dir: &Path) -> Result<()> {
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

//! `cargo xtask fuzz [TARGET]`: fuzzers of what reads bytes of any origin.
//!
//! In: which one, for how long, in how many processes. Out: nothing, or what made one fail, in a file that is named. They are libFuzzer's, built with
//! the compiler that builds all else: its counters are LLVM's, for which a nightly compiler is not needed. `cargo fuzz` knows
//! the same directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{build, coverage, process, setup};
use xtask::paths;
use xtask::toolchain::Rustc;

/// What there is: files in `fuzz/fuzz_targets`, doors in `tracer-user/src/doors`.
const TARGETS: [&str; 8] =
    ["binary", "code", "config", "host", "memory", "pprof", "recording", "records"];

/// What counts how far an input came.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What the limits of one input are: seconds, MiB of memory, bytes of the input.
const LIMITS: [&str; 3] = ["-timeout=20", "-rss_limit_mb=1024", "-max_len=65536"];

/// Bytes of an input that is taken over.
const SMALL: u64 = 256;

#[derive(Args)]
pub struct Options {
    /// Which one (binary, code, config, host, memory, pprof, recording, records); all when none is named.
    target: Option<String>,
    /// How long each runs.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Processes that share the work of one target.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: u32,
    /// Instead of fuzzing, take over into fuzz/corpus what was found that leads further than what is there, and is small.
    #[arg(long, conflicts_with_all = ["seconds", "jobs"])]
    merge: bool,
    /// Instead of fuzzing, tell which lines of the parsers are reached by what is in fuzz/corpus.
    #[arg(long, conflicts_with_all = ["seconds", "jobs", "merge"])]
    coverage: bool,
    /// Instead of fuzzing, make a seed of a Go program: its functions that are looked for, and nothing else.
    #[arg(long, value_names = ["PROGRAM", "FILE"], num_args = 2, conflicts_with_all = ["seconds", "jobs", "merge", "coverage", "target"])]
    slim: Option<Vec<PathBuf>>,
}

pub fn run(options: &Options) -> Result<()> {
    let targets: Vec<&str> = match &options.target {
        None => TARGETS.to_vec(),
        Some(name) => match TARGETS.into_iter().find(|target| *target == name.as_str()) {
            Some(target) => vec![target],
            None => bail!("no fuzzer is called {name}; there are {}", TARGETS.join(", ")),
        },
    };
    if options.coverage {
        return coverage::run(&targets);
    }
    if let Some(files) = &options.slim {
        let mut slim = Command::new(coverage::replay()?);
        // It counts lines, which nobody asks for here.
        slim.env("LLVM_PROFILE_FILE", "/dev/null").arg("--slim").args(files);
        return process::loud(&mut slim);
    }
    let programs = built(&targets)?;
    for target in targets {
        let place = Place::of(target)?;
        let program = programs.join(target);
        match options.merge {
            true => merge(&program, target, &place)?,
            false => fuzz(&program, target, &place, options)?,
        }
    }
    Ok(())
}

/// Where inputs of a target are.
struct Place {
    /// Those that are kept in the repository.
    kept: PathBuf,
    /// Those that were found here.
    found: PathBuf,
}

impl Place {
    fn of(target: &str) -> Result<Self> {
        let found = paths::target_dir().join("fuzz/corpus").join(target);
        fs::create_dir_all(&found).with_context(|| format!("no {}", found.display()))?;
        Ok(Self { kept: paths::repo().join("fuzz/corpus").join(target), found })
    }
}

fn fuzz(program: &Path, target: &str, place: &Place, options: &Options) -> Result<()> {
    println!("fuzz: {target} for {} s", options.seconds);
    let mut fuzzer = Command::new(program);
    fuzzer.args(LIMITS).arg("-print_final_stats=1");
    fuzzer.arg(format!("-max_total_time={}", options.seconds));
    if options.jobs > 1 {
        fuzzer.arg(format!("-fork={}", options.jobs));
    }
    let findings = paths::target_dir().join("fuzz").join(format!("{target}-"));
    fuzzer.arg(format!("-artifact_prefix={}", findings.display()));
    fuzzer.arg(&place.found).arg(&place.kept);
    process::loud(&mut fuzzer)
}

/// Adds to what is kept what is small and leads further. libFuzzer chooses: as few as reach all that can be reached;
/// how often a place is reached does not matter, or nearly all would lead further.
fn merge(program: &Path, target: &str, place: &Place) -> Result<()> {
    let small = paths::target_dir().join("fuzz/small").join(target);
    setup::remove_dir(&small)?;
    fs::create_dir_all(&small).with_context(|| format!("no {}", small.display()))?;
    for found in fs::read_dir(&place.found)? {
        let found = found?;
        if found.metadata()?.len() <= SMALL {
            fs::copy(found.path(), small.join(found.file_name()))?;
        }
    }
    let mut merge = Command::new(program);
    merge.args(LIMITS).args(["-set_cover_merge=1", "-use_counters=0"]);
    process::loud(merge.arg(&place.kept).arg(&small))
}

/// Builds fuzzers; gives the directory that they are in.
fn built(targets: &[&str]) -> Result<PathBuf> {
    let made = paths::target_dir().join("fuzz");
    build::kernel_object()?;
    let host = Rustc::ask()?.host;
    let mut cargo = build::cargo();
    // With a target named, build scripts have no counters.
    cargo.args(["build", "--locked", "--target", &host]);
    for target in targets {
        cargo.arg("--bin").arg(target);
    }
    let manifest = paths::repo().join("fuzz/Cargo.toml");
    cargo.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(&made);
    cargo.env("RUSTFLAGS", FLAGS).env("HEAPTAP_BPF_OBJECT", paths::bpf_object());
    process::loud(&mut cargo)?;
    Ok(made.join(host).join("debug"))
}

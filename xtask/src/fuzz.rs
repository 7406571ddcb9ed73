//! `cargo xtask fuzz [TARGET]`: fuzzers of what reads files of any origin.
//!
//! In: which one, and for how long. Out: nothing, or what made one fail, in a file that is named. They are libFuzzer's, built with
//! the compiler that builds all else: its counters are LLVM's, for which a nightly compiler is not needed. `cargo fuzz` knows
//! the same directory.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{build, process};
use xtask::paths;

/// What there is: files in `fuzz/fuzz_targets`.
const TARGETS: [&str; 2] = ["recording", "pprof"];

/// What counts how far an input came.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares";

#[derive(Args)]
pub struct Options {
    /// Which one (recording, pprof); all when none is named.
    target: Option<String>,
    /// How long each runs.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

pub fn run(options: &Options) -> Result<()> {
    let targets: Vec<&str> = match &options.target {
        None => TARGETS.to_vec(),
        Some(name) => match TARGETS.into_iter().find(|target| *target == name.as_str()) {
            Some(target) => vec![target],
            None => bail!("no fuzzer is called {name}; there are {}", TARGETS.join(", ")),
        },
    };
    let dir = paths::repo().join("fuzz");
    let made = paths::target_dir().join("fuzz");
    build::kernel_object()?;
    let host = host()?;
    let mut cargo = build::cargo();
    // With a target named, build scripts have no counters.
    cargo.args(["build", "--locked", "--bins", "--target", &host]);
    cargo.arg("--manifest-path").arg(dir.join("Cargo.toml")).arg("--target-dir").arg(&made);
    cargo.env("RUSTFLAGS", FLAGS).env("HEAPTAP_BPF_OBJECT", paths::bpf_object());
    process::loud(&mut cargo)?;
    for target in targets {
        let found = made.join("corpus").join(target);
        fs::create_dir_all(&found).with_context(|| format!("no {}", found.display()))?;
        println!("fuzz: {target} for {} s", options.seconds);
        let mut fuzzer = Command::new(made.join(&host).join("debug").join(target));
        fuzzer.arg(format!("-max_total_time={}", options.seconds));
        fuzzer.args([
            "-rss_limit_mb=1024",
            "-timeout=20",
            "-max_len=65536",
            "-print_final_stats=1",
        ]);
        fuzzer.arg(format!("-artifact_prefix={}/{target}-", made.display()));
        fuzzer.arg(&found).arg(dir.join("corpus").join(target));
        process::loud(&mut fuzzer)?;
    }
    Ok(())
}

/// What the compiler builds for when nothing is said.
fn host() -> Result<String> {
    let told = Command::new("rustc").arg("-vV").output().context("can't start rustc")?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it builds for")
}

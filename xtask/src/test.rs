//! `cargo xtask test`: everything that must hold, from formatting to real probes on real programs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::setup::{self, Purpose};
use crate::{build, layouts, process};
use xtask::{paths, pins, toolchain};

#[derive(Args)]
pub struct Options {
    /// Run only tests whose name contains TEXT, and neither format nor lint checks.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Leave out what needs root: the integration tests and their fixtures.
    #[arg(long)]
    unit: bool,
}

pub fn run(options: &Options) -> Result<()> {
    if !options.unit && !setup::is_root() {
        bail!("the integration tests attach real probes: run as root, or add --unit");
    }
    if options.filter.is_none() && !options.unit {
        has_room()?;
    }
    let mut steps = Steps::default();
    let done = run_steps(options, &mut steps);
    steps.summary()?;
    done
}

/// What a run from nothing leaves in the target directory: 5.3 GB, and some for what tests write; more where
/// cargo keeps what makes a second build faster.
const ROOM: u64 = 6 << 30;

/// Said before an hour's work rather than by whatever test is the first to find a full disk.
fn has_room() -> Result<()> {
    let target = paths::target_dir();
    let first = |command: &mut Command| -> Result<u64> {
        let said = process::capture(command.arg("--block-size=1").arg(&target))?;
        let number = said.split_whitespace().find_map(|word| word.parse().ok());
        number.with_context(|| format!("{} tells no number", command.get_program().display()))
    };
    let free = first(Command::new("df").arg("--output=avail"))?;
    let there = first(Command::new("du").args(["--summarize", "--one-file-system"]))?;
    ensure!(
        free + there >= ROOM,
        "{} takes {} GB in all, of which {:.1} are there and {:.1} free: make room, or set CARGO_TARGET_DIR",
        target.display(),
        ROOM >> 30,
        there as f64 / f64::from(1 << 30),
        free as f64 / f64::from(1 << 30),
    );
    Ok(())
}

fn run_steps(options: &Options, steps: &mut Steps) -> Result<()> {
    steps.run("setup", || setup::install(Purpose::Test))?;
    if options.filter.is_none() {
        steps.run("format", format)?;
        steps.run("layouts", || layouts::run(&layouts::Options { check: true }))?;
    }
    steps.run("kernel programs", kernel_programs)?;
    if options.filter.is_none() {
        steps.run("lint", lint)?;
    }
    steps.run("unit tests", || unit_tests(options))?;
    if options.unit {
        return Ok(());
    }
    steps.run("heaptap", || {
        build::static_heaptap()?;
        build::heaptap(false).map(drop)
    })?;
    if options.filter.is_none() {
        steps.run("fixtures", fixtures)?;
    }
    // Ten minutes of its own, in which the tests run.
    let mut churn = options.filter.is_none().then(churn).transpose()?;
    let tested = steps.run("integration tests", || integration_tests(options));
    let churned = churn.as_mut().map_or(Ok(()), |churn| steps.run("churn", || ended(churn)));
    tested.and(churned)
}

fn format() -> Result<()> {
    process::loud(build::cargo().args(["fmt", "--all", "--check"]))?;
    for apart in ["tracer-ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        process::loud(build::cargo().args(["fmt", "--check", "--manifest-path", apart]))?;
    }
    // The fuzzers are not built here; what they are built of must be known all the same.
    let locked = ["metadata", "--locked", "--format-version", "1", "--manifest-path"];
    process::capture(build::cargo().args(locked).arg("fuzz/Cargo.toml")).map(drop)
}

/// Builds the kernel programs; any warning about them fails.
fn kernel_programs() -> Result<()> {
    let object = build::kernel_object()?;
    // cargo repeats the warnings of what it does not build again.
    let mut again = build::kernel_cargo("build")?;
    again.args(build::kernel_flags());
    let mut child = again.stderr(Stdio::piped()).spawn().context("can't start cargo")?;
    let stderr = child.stderr.take().context("cargo has no stderr")?;
    let lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let warnings = lines.filter(|line| line.starts_with("warning")).count();
    child.wait().context("can't wait for cargo")?;
    if warnings > 0 {
        bail!("the kernel programs have warnings (above)");
    }
    println!("{}", object.display());
    Ok(())
}

fn lint() -> Result<()> {
    let deny = ["--", "-D", "warnings"];
    process::loud(build::cargo().args(["clippy", "--workspace", "--all-targets"]).args(deny))?;
    let tools = toolchain::bpf().context("the compiler for the kernel programs is gone")?;
    if !tools.cargo.with_file_name("cargo-clippy").is_file() {
        println!("{} has no clippy: the kernel programs' warnings were checked", tools.name);
        return Ok(());
    }
    process::loud(build::kernel_cargo("clippy")?.args(build::kernel_flags()).args(deny))
}

/// Tests that need no root: those beside the code, and every package's own but the harness's.
fn unit_tests(options: &Options) -> Result<()> {
    let mut cargo = build::cargo();
    cargo.args(["test", "--workspace", "--lib", "--bins"]);
    for package in ["tracer-user", "bench"] {
        with_test_files(&mut cargo, package)?;
    }
    process::loud(with_filter(&mut cargo, options)?)
}

fn fixtures() -> Result<()> {
    process::loud(build::cargo().args(["build", "--workspace", "--bin", "fixtures"]))?;
    process::loud(&mut Command::new(paths::target_dir().join("debug/fixtures")))
}

fn integration_tests(options: &Options) -> Result<()> {
    let heaptap = build::heaptap(false)?;
    let mut cargo = build::cargo();
    // All files run even when one fails: a failure on one release tells less than the pattern does.
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    with_test_files(&mut cargo, "tests")?;
    cargo.env("HEAPTAP_BIN", heaptap);
    process::loud(with_filter(&mut cargo, options)?)
}

/// Programs that come and go, under heaptaps that stay (`tests/src/churn.rs`).
fn churn() -> Result<Child> {
    let heaptap = build::heaptap(false)?;
    process::loud(build::cargo().args(["build", "--workspace", "--bin", "churn"]))?;
    let program = paths::target_dir().join("debug/churn");
    let log = fs::File::create(paths::target_dir().join("churn.log"))?;
    let mut command = Command::new(program);
    command.env("HEAPTAP_BIN", heaptap).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("can't start churn")
}

/// Waits for its end, and shows what it says.
fn ended(churn: &mut Child) -> Result<()> {
    let status = churn.wait()?;
    print!("{}", fs::read_to_string(paths::target_dir().join("churn.log"))?);
    if !status.success() {
        bail!("churn ended with {status}");
    }
    Ok(())
}

/// Names a package's test files to cargo: naming them, and not the package, keeps the features of
/// dependencies, and so what is built, the same in every step.
fn with_test_files(cargo: &mut Command, package: &str) -> Result<()> {
    let Ok(entries) = fs::read_dir(paths::repo().join(package).join("tests")) else {
        return Ok(());
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_os_string()));
        }
    }
    names.sort();
    for name in names {
        cargo.arg("--test").arg(name);
    }
    Ok(())
}

/// Adds the filter, and leaves out tests for Go releases that can't be had here.
fn with_filter<'a>(cargo: &'a mut Command, options: &Options) -> Result<&'a mut Command> {
    cargo.arg("--").args(&options.filter);
    for release in unavailable()? {
        // As each_release! names them.
        cargo.args(["--skip", &format!("go{}", release.replace('.', "_"))]);
    }
    Ok(cargo)
}

/// Go releases that this distribution does not have.
fn unavailable() -> Result<Vec<&'static str>> {
    let mut versions = Vec::new();
    for &release in pins::GO {
        if toolchain::go(release)?.is_none() && toolchain::unavailable_mark(release)?.is_file() {
            versions.push(release.minor());
        }
    }
    Ok(versions)
}

/// What was done, and how long it took.
#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Duration, bool)>,
}

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n=== {name}");
        let started = Instant::now();
        let result = step();
        self.done.push((name, started.elapsed(), result.is_ok()));
        result.context(name)
    }

    fn summary(&self) -> Result<()> {
        println!("\n=== summary");
        for (name, took, ok) in &self.done {
            let verdict = if *ok { "ok" } else { "FAILED" };
            println!("{name:<20} {:>6.1} s  {verdict}", took.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, took, _)| *took).sum();
        println!("{:<20} {:>6.1} s", "total", total.as_secs_f64());
        for version in unavailable()? {
            println!("Go {version}: not packaged for this distribution; its tests were left out");
        }
        Ok(())
    }
}

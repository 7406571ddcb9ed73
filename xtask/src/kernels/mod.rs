//! `cargo xtask kernels [VERSION…]`: a core of the integration tests on kernels of Debian, each in a virtual machine.
//!
//! In: which kernels, and which parts of the suite. Out: a table of kernel × feature, also into docs/kernels.md when
//! asked. One heaptap and one set of tests, built here once, are what all of them run. The machines are emulated, so
//! that this works where nothing else may be virtual; they have no network and no disk.

mod console;
mod cpio;
mod image;
mod kept;
mod machine;
pub mod packages;
mod suite;
mod table;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build::{self, Machine};
use crate::process;
use crate::setup::{self, Purpose};
use console::Outcome;
use kept::Run;
use machine::Said;
use packages::Packaged;
use suite::{PARTS, Part};
use xtask::paths;

#[derive(Args)]
pub struct Options {
    /// Which ones (6.12, or all of it: 6.12.117+deb13); of each series that Debian packages the newest when none is named.
    versions: Vec<String>,
    /// Print which there are, and end.
    #[arg(long)]
    list: bool,
    /// Kernels of another machine, with all that runs in it built for that.
    #[arg(long, value_enum)]
    target: Option<Machine>,
    /// Only these parts of the suite (exact, "probe os").
    #[arg(long, value_name = "PART")]
    part: Vec<String>,
    /// Keep what each kernel said that passed (bench/results/kernels), and write the table of all that are kept into
    /// docs/kernels.md.
    #[arg(long)]
    write: bool,
    /// Write the table of what is kept, and end.
    #[arg(long)]
    table: bool,
    /// Most that one kernel may take.
    #[arg(long, value_name = "N", default_value_t = 1800)]
    seconds: u64,
    /// Machines at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
}

pub fn run(options: &Options) -> Result<()> {
    let parts = chosen(&options.part)?;
    if options.table {
        return table::write(&kept::all(&parts)?, &parts);
    }
    let machine = options.target.unwrap_or(Machine::host());
    setup::install(Purpose::Kernels)?;
    if machine != Machine::host() {
        setup::install(Purpose::Aarch64)?;
    }
    let all = packages::list(machine)?;
    if options.list {
        all.iter().for_each(|kernel| println!("{}", kernel.version));
        return Ok(());
    }
    let chosen = packages::choose(&all, &options.versions)?;
    if options.write && (!options.part.is_empty() || machine != Machine::host()) {
        bail!("--write is for a run of the whole suite on kernels of this machine");
    }
    build::kernel_object_for(machine)?;
    let heaptap = match machine == Machine::host() {
        true => build::static_heaptap()?,
        false => build::cross_heaptap(machine, false)?,
    };
    let tests = built_tests(machine, &parts)?;
    fixtures(machine, &parts)?;
    let image = image::make(machine, &heaptap, &tests, &parts)?;
    for kernel in &chosen {
        kernel.fetch()?;
    }
    let run = run_of_today(machine)?;
    let outcomes = all_of(&chosen, options, |kernel| {
        let most = Duration::from_secs(options.seconds);
        let (said, outcome) = one(machine, kernel, &image, &parts, most)?;
        if options.write && outcome.failures().next().is_none() {
            kept::keep(kernel, &run, &said)?;
        }
        Ok((run.clone(), outcome))
    })?;
    println!("\n{}", table::text(&outcomes, &parts));
    if options.write {
        table::write(&kept::all(&parts)?, &parts)?;
    }
    if outcomes.iter().any(|(_, outcome)| outcome.failures().next().is_some()) {
        bail!("some failed; what the machines said is in {}", logs()?.display());
    }
    Ok(())
}

const NOT_RESULTS: &str = ":(exclude)bench/results/kernels";
const NOT_TABLE: &str = ":(exclude)docs/kernels.md";

/// What is said of a run with what it found.
fn run_of_today(machine: Machine) -> Result<Run> {
    let emulator = process::capture(Command::new(machine::emulator(machine)).arg("--version"))?;
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        process::capture(git.args(words).current_dir(paths::repo()))
    };
    let mut commit = git(&["rev-parse", "--short=9", "HEAD"])?.trim().to_owned();
    // What earlier runs have written is no other heaptap.
    let changed = git(&["status", "--porcelain", "--", ".", NOT_RESULTS, NOT_TABLE])?;
    if !changed.trim().is_empty() {
        commit += "-dirty";
    }
    Ok(Run {
        day: table::day(SystemTime::now()),
        commit,
        emulator: emulator.split(" (").next().unwrap_or_default().trim().to_owned(),
    })
}

/// Runs all kernels, some at once; in their order.
fn all_of(
    kernels: &[&Packaged],
    options: &Options,
    one: impl Fn(&Packaged) -> Result<(Run, Outcome)> + Sync,
) -> Result<Vec<(Run, Outcome)>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(kernel) = kernels.get(at)
        {
            done.push((at, one(kernel)));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect::<Vec<_>>()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Boots one kernel, and says how it went.
fn one(
    machine: Machine,
    kernel: &Packaged,
    image: &image::Image,
    parts: &[&Part],
    most: Duration,
) -> Result<(Said, Outcome)> {
    let file = kernel.fetch()?;
    let log = logs()?.join(format!("kernel-{}-{}.log", kernel.version, machine.name()));
    let began = Instant::now();
    let said = machine::boot(machine, &file, &image.file, most, &log, |line| {
        if let Some(told) = console::progress(line) {
            println!("{} {:4} s  {told}", kernel.version, began.elapsed().as_secs());
        }
    })?;
    let outcome = console::read(kernel, parts, &said);
    for failure in outcome.failures() {
        println!("FAILED  {failure}");
    }
    println!("{} took {} s", kernel.version, outcome.took.as_secs());
    Ok((said, outcome))
}

/// The parts of that name; all when none is named.
fn chosen(names: &[String]) -> Result<Vec<&'static Part>> {
    if names.is_empty() {
        return Ok(PARTS.iter().collect());
    }
    let find = |name: &String| {
        let known = || PARTS.iter().map(|part| part.name).collect::<Vec<_>>().join(", ");
        let found = PARTS.iter().find(|part| part.name == name);
        found.with_context(|| format!("no part is called {name}; there are {}", known()))
    };
    names.iter().map(find).collect()
}

/// Builds the test programs of these parts, and says where each lies.
fn built_tests(machine: Machine, parts: &[&Part]) -> Result<Vec<image::Test>> {
    let mut cargo = build::cargo();
    let triple = machine.triple();
    let mut only = &["test", "--workspace"][..];
    let of_tests = ["test", "--workspace", "--target", &triple];
    if machine != Machine::host() {
        (cargo, only) = (build::cross_cargo(machine)?, &of_tests);
    }
    cargo.args(only).args(["--no-run", "--message-format", "json-render-diagnostics"]);
    let mut files: Vec<&str> = parts.iter().map(|part| part.file).collect();
    files.sort_unstable();
    files.dedup();
    for file in &files {
        cargo.args(["--test", file]);
    }
    let said = process::capture(cargo.stderr(std::process::Stdio::inherit()))?;
    let messages: Vec<serde_json::Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let built = |file: &str| {
        let is_it = |one: &&serde_json::Value| {
            one["target"]["name"] == file && one["target"]["kind"][0] == "test"
        };
        let message = messages.iter().filter(|one| one["executable"].is_string()).find(is_it);
        let path = message.and_then(|one| one["executable"].as_str());
        let program = path.with_context(|| format!("cargo built no test {file}"))?.into();
        Ok(image::Test { name: file.to_owned(), program })
    };
    files.into_iter().map(built).collect()
}

/// Builds what the tests trace.
fn fixtures(machine: Machine, parts: &[&Part]) -> Result<()> {
    process::loud(build::cargo().args(["build", "--workspace", "--bin", "fixtures"]))?;
    let mut fixtures = Command::new(paths::target_dir().join("debug/fixtures"));
    fixtures.args(suite::fixtures(parts));
    if let Some(goarch) = machine.goarch() {
        fixtures.env(paths::FIXTURES_GOARCH, goarch);
    }
    process::loud(&mut fixtures)
}

fn logs() -> Result<std::path::PathBuf> {
    let dir = paths::target_dir().join("xtask-logs");
    fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
    Ok(dir)
}

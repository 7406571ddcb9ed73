//! `cargo xtask kernels [VERSION…]`: a core of the integration tests on kernels of Debian, each in a virtual machine.
//!
//! In: which kernels, and which parts of the suite. Out: a table of kernel × feature, also into docs/kernels.md when
//! asked. One heaptap and one set of tests, built here once, are what all of them run. The machines are emulated, so
//! that this works where nothing else may be virtual; they have no network and no disk.

mod console;
mod cpio;
mod image;
mod machine;
pub mod packages;
mod suite;
mod table;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::setup::{self, Purpose};
use crate::{build, process};
use console::Outcome;
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
    /// Only these parts of the suite (exact, "probe os").
    #[arg(long, value_name = "PART")]
    part: Vec<String>,
    /// Write the table into docs/kernels.md, if nothing failed.
    #[arg(long)]
    write: bool,
    /// Most that one kernel may take.
    #[arg(long, value_name = "N", default_value_t = 1800)]
    seconds: u64,
    /// Machines at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
}

pub fn run(options: &Options) -> Result<()> {
    let parts = chosen(&options.part)?;
    setup::install(Purpose::Kernels)?;
    let all = packages::list()?;
    if options.list {
        all.iter().for_each(|kernel| println!("{}", kernel.version));
        return Ok(());
    }
    let chosen = packages::choose(&all, &options.versions)?;
    if options.write && !options.part.is_empty() {
        bail!("--write is for a run of the whole suite");
    }
    build::kernel_object()?;
    let heaptap = build::static_heaptap()?;
    let tests = built_tests(&parts)?;
    fixtures(&parts)?;
    let image = image::make(&heaptap, &tests, &parts)?;
    for kernel in &chosen {
        kernel.fetch()?;
    }
    let outcomes = all_of(&chosen, options, |kernel| {
        one(kernel, &image, &parts, Duration::from_secs(options.seconds))
    })?;
    let table = table::text(&outcomes, &parts);
    println!("\n{table}");
    if outcomes.iter().any(|outcome| outcome.failures().next().is_some()) {
        bail!("some failed; what the machines said is in {}", logs()?.display());
    }
    if options.write {
        table::write(&table, SystemTime::now())?;
    }
    Ok(())
}

/// Runs all kernels, some at once; in their order.
fn all_of(
    kernels: &[&Packaged],
    options: &Options,
    one: impl Fn(&Packaged) -> Result<Outcome> + Sync,
) -> Result<Vec<Outcome>> {
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
    kernel: &Packaged,
    image: &image::Image,
    parts: &[&Part],
    most: Duration,
) -> Result<Outcome> {
    let file = kernel.fetch()?;
    let log = logs()?.join(format!("kernel-{}.log", kernel.version));
    let began = Instant::now();
    let said = machine::boot(&file, &image.file, most, &log, |line| {
        if let Some(told) = console::progress(line) {
            println!("{} {:4} s  {told}", kernel.version, began.elapsed().as_secs());
        }
    })?;
    let outcome = console::read(kernel, parts, &said);
    for failure in outcome.failures() {
        println!("FAILED  {failure}");
    }
    println!("{} took {} s", kernel.version, outcome.took.as_secs());
    Ok(outcome)
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
fn built_tests(parts: &[&Part]) -> Result<Vec<image::Test>> {
    let mut cargo = build::cargo();
    cargo.args(["test", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"]);
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
fn fixtures(parts: &[&Part]) -> Result<()> {
    process::loud(build::cargo().args(["build", "--workspace", "--bin", "fixtures"]))?;
    let mut fixtures = std::process::Command::new(paths::target_dir().join("debug/fixtures"));
    fixtures.args(suite::fixtures(parts));
    process::loud(&mut fixtures)
}

fn logs() -> Result<std::path::PathBuf> {
    let dir = paths::target_dir().join("xtask-logs");
    fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
    Ok(dir)
}

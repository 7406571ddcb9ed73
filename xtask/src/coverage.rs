//! `cargo xtask fuzz --coverage`: which lines of the parsers the fuzzers' corpora reach.
//!
//! In: the corpora, a build that counts lines, LLVM tools that go with the compiler. Out: a table by file. Knows no fuzzer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{build, process};
use xtask::{paths, toolchain};

/// What reads bytes of any origin: files and directories of `tracer-user/src`, and of `tracer-common/src`. What only opens
/// files and maps of the kernel for them (`probe/drain`, `host/maps`, `host/memory`, `host/names`) is beside them.
const PARSERS: [&str; 35] = [
    "tracer-user/src/gobin/",
    "tracer-user/src/symbolize/mod.rs",
    "tracer-user/src/symbolize/native.rs",
    "tracer-user/src/runtime/buckets",
    "tracer-user/src/runtime/caches.rs",
    "tracer-user/src/runtime/cycles/watch.rs",
    "tracer-user/src/runtime/g.rs",
    "tracer-user/src/runtime/goroutines.rs",
    "tracer-user/src/runtime/labels.rs",
    "tracer-user/src/runtime/live.rs",
    "tracer-user/src/runtime/pacer.rs",
    "tracer-user/src/runtime/stats/",
    "tracer-user/src/runtime/unwind.rs",
    "tracer-user/src/runtime/windows.rs",
    "tracer-user/src/probe/btf.rs",
    "tracer-user/src/probe/decode.rs",
    "tracer-user/src/probe/ends.rs",
    "tracer-user/src/probe/iterations.rs",
    "tracer-user/src/probe/os/",
    "tracer-common/src/walk.rs",
    "tracer-user/src/host/cgroup.rs",
    "tracer-user/src/host/maps/",
    "tracer-user/src/host/memory/",
    "tracer-user/src/host/names/",
    "tracer-user/src/host/pressure.rs",
    "tracer-user/src/host/read.rs",
    "tracer-user/src/agent/config/",
    "tracer-user/src/output/pprof/read.rs",
    "tracer-user/src/output/pprof/fields.rs",
    "tracer-user/src/recording/block.rs",
    "tracer-user/src/recording/codes.rs",
    "tracer-user/src/recording/decode",
    "tracer-user/src/recording/reader",
    "tracer-user/src/recording/statistics/decode.rs",
    "tracer-user/src/recording/wire.rs",
];

/// What is left out of them: tables, and what is made for tests.
const NOT: [&str; 3] = ["gobin/layout/table.rs", "gobin/fake.rs", "runtime/stats/made.rs"];

/// Prints the table.
pub fn run(doors: &[&str]) -> Result<()> {
    let Some([profdata, cov]) = toolchain::coverage_tools()? else {
        bail!("no llvm-cov that goes with the compiler: run `cargo xtask setup --for fuzz`");
    };
    let program = replay()?;
    let dir = paths::target_dir().join("coverage");
    let _older = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).with_context(|| format!("no {}", dir.display()))?;
    for door in doors {
        let mut replay = Command::new(&program);
        replay.arg(door).args(files(&paths::repo().join("fuzz/corpus").join(door))?);
        process::loud(replay.env("LLVM_PROFILE_FILE", dir.join(format!("{door}.profraw"))))?;
    }
    let merged = dir.join("all.profdata");
    process::loud(
        Command::new(profdata).args(["merge", "-sparse", "-o"]).arg(&merged).args(files(&dir)?),
    )?;
    let mut export = Command::new(cov);
    export.args(["export", "--summary-only", "--format=text"]).arg(&program);
    let told = process::capture(export.arg(format!("-instr-profile={}", merged.display())))?;
    print!("{}", table(&serde_json::from_str(&told).context("llvm-cov told no JSON")?)?);
    Ok(())
}

/// Builds what sends files through doors and counts lines; what the workspace depends on is as in every other build.
pub fn replay() -> Result<PathBuf> {
    build::kernel_object()?;
    let mut cargo = build::cargo();
    cargo.args(["build", "--package", "heaptap", "--example", "replay"]);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", paths::repo().join("fuzz/counted.sh"));
    // What is left behind by programs that run while it is built counts nothing.
    process::loud(cargo.env("LLVM_PROFILE_FILE", "/dev/null"))?;
    Ok(paths::target_dir().join("debug/examples/replay"))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("no {}", dir.display()))?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

/// Lines by file, those of which least is reached first, and all of them.
fn table(told: &Value) -> Result<String> {
    let found = told["data"][0]["files"].as_array().context("llvm-cov told of no files")?;
    // As the compiler tells files, which knows no symbolic links.
    let repo = fs::canonicalize(paths::repo()).context("no repository")?;
    let mut rows = Vec::new();
    for file in found {
        let path = Path::new(file["filename"].as_str().unwrap_or_default());
        let name = path.strip_prefix(&repo).unwrap_or(path).display().to_string();
        let is_parser = PARSERS.iter().any(|parser| name.starts_with(parser));
        if !is_parser || NOT.iter().any(|not| name.ends_with(not)) {
            continue;
        }
        let lines = |which: &str| file["summary"]["lines"][which].as_u64().unwrap_or(0);
        rows.push((name, lines("covered"), lines("count")));
    }
    let part = |covered: u64, count: u64| 100.0 * covered as f64 / count.max(1) as f64;
    rows.sort_by(|a, b| part(a.1, a.2).total_cmp(&part(b.1, b.2)));
    let sum = rows.iter().fold((0, 0), |sum, row| (sum.0 + row.1, sum.1 + row.2));
    if sum.1 == 0 {
        bail!(
            "no line of a parser was counted: were they built elsewhere than in {}?",
            repo.display()
        );
    }
    rows.push(("all".to_owned(), sum.0, sum.1));
    let mut text = "| file | lines | reached | |\n| --- | --: | --: | --: |\n".to_owned();
    for (name, covered, count) in rows {
        let name = name.replace("tracer-user/src/", "");
        text += &format!("| {name} | {count} | {covered} | {:.1} % |\n", part(covered, count));
    }
    Ok(text)
}

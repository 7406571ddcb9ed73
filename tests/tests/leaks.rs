//! `heaptap leaks` names leaks at their lines and accuses nobody else. The whole labelled set is
//! `cargo xtask bench leaks`; here is what is beyond chance within half a minute.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::leaks::{Case, Kind, cases};
use heaptap_tests::{Fixture, Running, Variant, heaptap, require_root};
use serde_json::Value;

/// Of each release: the newest, and the oldest that fixtures are built with.
const SUBSET: [&str; 10] = [
    "fast",
    "sync-map",
    "goroutine-send",
    "goroutine-lock",
    "off-heap",
    "sawtooth",
    "cache-that-expires",
    "warm-up",
    "goroutine-per-request",
    "big-and-steady",
];
/// What a recording of statistics alone tells of.
const JUDGED_BY_STATISTICS: [&str; 2] = ["off-heap", "goroutine-send"];
/// Bytes between samples: with as many chance has no say.
const RATE: u64 = 8192;

fn start(go: &str) -> Result<Vec<(Case, Running)>> {
    let fixture = Fixture::build("leaks", go, Variant::Stripped)?;
    let chosen = cases(&fixture)?.into_iter().filter(|case| SUBSET.contains(&&*case.name));
    let started: Vec<(Case, Running)> = chosen
        .map(|case| {
            let running = case.start(&fixture, Some(RATE))?;
            Ok((case, running))
        })
        .collect::<Result<_>>()?;
    ensure!(started.len() == SUBSET.len(), "a case of the subset is not there any more");
    Ok(started)
}

/// Both at once: what takes the time is waiting.
#[test]
fn leaks_are_named_and_nobody_else_is_accused() -> Result<()> {
    require_root()?;
    let mut all = start("1.19")?;
    all.extend(start("1.27")?);
    let mut args = ["leaks", "--for", "26s", "--json"].map(str::to_owned).to_vec();
    for (_, running) in &all {
        args.extend(["-p".to_owned(), running.pid().to_string()]);
    }
    // A recording of one of them meanwhile, which ends with it.
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("run.htap");
    let fast = all.iter().position(|(case, _)| case.name == "fast").context("no case")?;
    let mut record = Command::new(heaptap::program()?);
    record.args(["heap", "-q", "--every", "1s", "-p", &all[fast].1.pid().to_string(), "-o"]);
    let mut record = record.arg(&file).spawn()?;
    // Statistics alone of two more.
    let statistics = dir.path().join("statistics.htap");
    let mut watch = Command::new(heaptap::program()?);
    watch.args(["stats", "--watch", "1s"]).arg("-o").arg(&statistics).stdout(Stdio::null());
    for (_, running) in all.iter().filter(|(case, _)| JUDGED_BY_STATISTICS.contains(&&*case.name)) {
        watch.args(["-p", &running.pid().to_string()]);
    }
    let mut watch = watch.spawn()?;
    let ended = heaptap::run(&args)?;
    ended.expect(7)?;
    ensure!(ended.stderr.contains(" leaks in 10 processes"), "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout)?;
    for (case, running) in &all {
        let told = case.told(&document, running.pid())?;
        let context = format!("{} {told:?}", case.name);
        match case.kind {
            Kind::Leak if case.name == "off-heap" => {
                ensure!(told.findings == ["leak off-heap"], "{context}");
            }
            Kind::Leak => ensure!(told.is_named, "{context}"),
            _ => ensure!(told.verdict.as_deref() != Some("leak"), "{context}"),
        }
    }
    let (case, running) = all.swap_remove(fast);
    let pid = running.pid();
    drop(running);
    ensure!(record.wait()?.success(), "the recording failed");
    let args = ["leaks".as_ref(), file.as_os_str(), "--json".as_ref()];
    let document: Value = serde_json::from_str(&heaptap::run(args)?.expect(7)?.stdout)?;
    let told = case.told(&document, pid)?;
    ensure!(told.is_named, "of the recording: {told:?}");

    let rest: Vec<(Case, u32)> =
        all.into_iter().map(|(case, running)| (case, running.pid())).collect();
    ensure!(watch.wait()?.success(), "recording statistics failed");
    let args = ["leaks".as_ref(), statistics.as_os_str(), "--json".as_ref()];
    let document: Value = serde_json::from_str(&heaptap::run(args)?.expect(7)?.stdout)?;
    for (case, pid) in rest.iter().filter(|(c, _)| JUDGED_BY_STATISTICS.contains(&&*c.name)) {
        let told = case.told(&document, *pid)?;
        let wanted = if case.name == "off-heap" { "leak off-heap" } else { "growing goroutines" };
        let is = |found: &String| found.starts_with(wanted);
        ensure!(told.findings.iter().any(is), "{} by statistics: {told:?}", case.name);
    }
    Ok(())
}

/// A process that is not there any more, and one that is no Go program.
#[test]
fn whom_nobody_can_look_at_is_told() -> Result<()> {
    require_root()?;
    let ended = heaptap::run(["leaks", "-p", "1", "--for", "1s"])?;
    ensure!(matches!(ended.code, Some(3 | 4)), "{ended:?}");
    let fixture = Fixture::build("leaks", "1.27", Variant::Stripped)?;
    let case = cases(&fixture)?.into_iter().find(|case| case.name == "fast").context("no case")?;
    let running = case.start(&fixture, None)?;
    let pid = running.pid().to_string();
    let ended = heaptap::run(["leaks", "-p", &pid, "--for", "1s"])?;
    ended.expect(0)?;
    ensure!(ended.stdout.contains("too early to judge its heap"), "{}", ended.stdout);
    ensure!(ended.stderr.contains("looking at 1 process for 1"), "{}", ended.stderr);
    Ok(())
}

//! One recording, all its outputs, and what heaptap itself takes.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Recording, Variant, fixture, heaptap, require_root};

/// Every format from one recording, and all of them say the same.
#[test]
fn all_outputs_of_one_recording_agree() -> Result<()> {
    require_root()?;
    let mut alloc = Fixture::build("alloc", "1.27", Variant::Stripped)?.start()?;
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (svg, pprof, folded, json) =
        (file("a.svg"), file("b.pb.gz"), file("c.folded"), file("d.json"));
    let pid = alloc.pid().to_string();
    let recording = Recording::start([
        "-p", &pid, "-o", &svg, "-o", &pprof, "-o", &folded, "-o", &json, "-o", "-", "--value",
        "objects",
    ])?;
    let mallocs = alloc.rounds(10)?;
    let ended = recording.stop()?;
    ended.expect(0)?;
    let report = alloc.report()?;

    let profile = Profile::read(json.as_ref())?;
    let total = profile.total("alloc_objects")?;
    ensure!((mallocs..=mallocs + report.idle).contains(&total), "JSON: {total} of {mallocs}");
    let folded = fs::read_to_string(folded)?;
    let counts = folded.lines().filter_map(|line| line.rsplit_once(' '));
    let sum: u64 = counts.filter_map(|(_, count)| count.parse::<u64>().ok()).sum();
    ensure!(sum == total, "folded stacks: {sum} of {total}");
    ensure!(fs::read_to_string(svg)?.contains("main.worker"), "the flame graph has no worker");
    ensure!(ended.stdout.contains("main.worker"), "the table has no worker: {}", ended.stdout);

    // Go's own tool adds up the worker's flat count.
    let mut tool = fixture::go_tool("1.27", "pprof")?;
    tool.args(["-top", "-sample_index=alloc_objects", "-nodecount=500"]).arg(&pprof);
    let output = tool.env("PPROF_TMPDIR", dir.path()).stdin(Stdio::null()).output()?;
    let top = String::from_utf8_lossy(&output.stdout);
    let line = top.lines().find(|line| line.ends_with(" main.worker"));
    let flat = line.and_then(|line| line.split_whitespace().next());
    // What the runtime allocates for a worker that waits (a sudog) is the worker's too, and rare.
    let objects = profile.value("alloc_objects")?;
    let workers = profile.stacks.iter().filter(|stack| stack.frames[0].function == "main.worker");
    let expected: u64 = workers.map(|stack| stack.values[objects]).sum();
    let mut own = 0;
    for id in ["worker_small", "worker_pointers", "worker_large"] {
        own += report.path(id)?.count;
    }
    ensure!((own..own + 20).contains(&expected), "JSON: {expected} in workers that made {own}");
    ensure!(flat == Some(&expected.to_string()), "pprof: {line:?}, expected {expected}");
    Ok(())
}

/// `--runtime-frames` shows the allocator's own functions, and nothing else changes.
#[test]
fn runtime_frames_are_shown_when_asked_for() -> Result<()> {
    require_root()?;
    let mut alloc = Fixture::build("alloc", "1.26", Variant::Stripped)?.start()?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json").display().to_string();
    let pid = alloc.pid().to_string();
    let recording = Recording::start(["-p", &pid, "--runtime-frames", "-o", &json])?;
    alloc.rounds(3)?;
    recording.stop()?.expect(0)?;
    let report = alloc.report()?;
    let profile = Profile::read(json.as_ref())?;
    let wanted = report.path("pointers_24")?;
    let objects = profile.value("alloc_objects")?;
    let below = |name: &str| -> u64 {
        let stacks = profile.stacks.iter().filter(|stack| {
            let at = stack.frames.iter().position(|frame| frame.is(&wanted.frames[0]));
            at.is_some_and(|at| at > 0 && stack.frames[at - 1].function == name)
        });
        stacks.map(|stack| stack.values[objects]).sum()
    };
    let found = below("runtime.newobject");
    ensure!(found == wanted.count, "{found} of {} below newobject", wanted.count);
    Ok(())
}

/// A recording with a duration ends by itself, also when nothing was allocated.
#[test]
fn a_duration_ends_the_recording() -> Result<()> {
    require_root()?;
    let alloc = Fixture::build("alloc", "1.25", Variant::Default)?.start()?;
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (svg, pprof, json) = (file("a.svg"), file("b.pb.gz"), file("d.json"));
    let pid = alloc.pid().to_string();
    let args = ["record", "-d", "0.2", "-p", &pid, "-o", &svg, "-o", &pprof, "-o", &json];
    heaptap::run(args)?.expect(0)?;
    let report = alloc.report()?;
    let total = Profile::read(json.as_ref())?.total("alloc_objects")?;
    ensure!(total <= report.idle, "{total} allocations of a program that waits");
    ensure!(fs::metadata(svg)?.len() > 0 && fs::metadata(pprof)?.len() > 0, "an empty file");
    Ok(())
}

/// A reader that goes away is no failure.
#[test]
fn a_closed_standard_output_is_no_failure() -> Result<()> {
    require_root()?;
    let alloc = Fixture::build("alloc", "1.25", Variant::Default)?.start()?;
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let mut command = Command::new(heaptap::program()?);
    command.args(["record", "-d", "0.1", "-p", &alloc.pid().to_string()]).stdout(writer);
    let mut child = command.stderr(Stdio::null()).stdin(Stdio::null()).spawn()?;
    let status = child.wait()?;
    ensure!(status.code() == Some(0), "{status}");
    Ok(())
}

/// While a busy program is recorded heaptap stays below 60 MB.
#[test]
fn memory_stays_small() -> Result<()> {
    require_root()?;
    let mut mix = Fixture::build("mix", "1.27", Variant::Stripped)?.start()?;
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (svg, json) = (file("a.svg"), file("d.json"));
    let pid = mix.pid().to_string();
    let recording = Recording::start(["-p", &pid, "-o", &svg, "-o", &json])?;
    let mallocs = mix.rounds(1000)?;
    let peak = recording.peak_memory().context("heaptap is gone")?;
    recording.stop()?.expect(0)?;
    let total = Profile::read(json.as_ref())?.total("alloc_objects")?;
    ensure!(total >= mallocs, "{total} of {mallocs}");
    ensure!(peak < 60_000, "{peak} kB resident");
    Ok(())
}

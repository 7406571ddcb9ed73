//! Programs come, change and go while they are recorded, and others run the same file.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Recording, Running, Variant, check, heaptap, require_root};

/// A place for outputs, and the arguments that name it.
struct Out {
    dir: tempfile::TempDir,
}

impl Out {
    fn new() -> Result<Out> {
        Ok(Out { dir: tempfile::tempdir()? })
    }

    /// Begins to record: `selection` and a JSON output.
    fn record(&self, selection: &[&str]) -> Result<Recording> {
        let json = self.json();
        let json = json.to_str().context("a temporary path that is no text")?;
        Recording::start(selection.iter().copied().chain(["-o", json]))
    }

    fn json(&self) -> std::path::PathBuf {
        self.dir.path().join("out.json")
    }

    fn profile(&self) -> Result<Profile> {
        Profile::read(&self.json())
    }
}

/// Probes are attached to the file, and hit in every process that runs it; only those selected may
/// appear, be it one or several.
#[test]
fn another_process_of_the_same_file_stays_out() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("alloc", "1.26", Variant::Stripped)?;
    let mut other = fixture.start()?;
    for count in [1, 2] {
        let mut chosen = Vec::new();
        let mut selection = Vec::new();
        for _ in 0..count {
            let alloc = fixture.start()?;
            selection.extend(["-p".to_string(), alloc.pid().to_string()]);
            chosen.push(alloc);
        }
        let selection: Vec<&str> = selection.iter().map(String::as_str).collect();
        let out = Out::new()?;
        let recording = out.record(&selection)?;
        other.rounds(3)?;
        for alloc in &mut chosen {
            alloc.rounds(3)?;
        }
        other.rounds(3)?;
        recording.stop()?.expect(0)?;
        let profile = out.profile()?;
        let mut pids: Vec<u32> = chosen.iter().map(Running::pid).collect();
        pids.sort_unstable();
        ensure!(profile.pids() == pids, "seen: {:?} of {pids:?}", profile.pids());
        for alloc in chosen {
            check::all(&part(&profile, alloc.pid()), &alloc.report()?)?;
        }
    }
    Ok(())
}

/// What belongs to one process.
fn part(profile: &Profile, pid: u32) -> Profile {
    let mut part = profile.clone();
    part.stacks.retain(|stack| profile.processes[stack.process].pid == pid);
    part
}

/// Each of several selected processes has its own counts, with different files and releases.
#[test]
fn several_processes_are_kept_apart() -> Result<()> {
    require_root()?;
    let one = Fixture::build("alloc", "1.27", Variant::Default)?;
    let two = Fixture::build("alloc", "1.22", Variant::PieStripped)?;
    let mut running = [one.start()?, one.start()?, two.start()?];
    let pids: Vec<String> = running.iter().map(|process| process.pid().to_string()).collect();
    let out = Out::new()?;
    let recording = out.record(&["-p", &pids[0], "-p", &pids[1], "-p", &pids[2]])?;
    for (at, process) in (1..).zip(&mut running) {
        process.rounds(at)?;
    }
    recording.stop()?.expect(0)?;
    let profile = out.profile()?;
    for process in running {
        let pid = process.pid();
        let report = process.report()?;
        check::all(&part(&profile, pid), &report)
            .with_context(|| format!("process {pid}, {}", report.go))?;
    }
    Ok(())
}

/// `--exe` takes every process of a file.
#[test]
fn a_file_selects_its_processes() -> Result<()> {
    require_root()?;
    // A copy of its own: other tests run the shared one.
    let fixture = Fixture::build("alloc", "1.24", Variant::Default)?;
    let out = Out::new()?;
    let copy = out.dir.path().join("alloc-copy");
    heaptap_tests::copy(&fixture.program, &copy)?;
    let mut running = [Running::start(Command::new(&copy))?, Running::start(Command::new(&copy))?];
    let path = copy.to_str().context("a temporary path that is no text")?;
    let recording = out.record(&["--exe", path])?;
    for process in &mut running {
        process.rounds(2)?;
    }
    recording.stop()?.expect(0)?;
    let mut pids: Vec<u32> = running.iter().map(Running::pid).collect();
    pids.sort_unstable();
    ensure!(out.profile()?.pids() == pids, "seen: {:?} of {pids:?}", out.profile()?.pids());
    Ok(())
}

/// A program that ends is still symbolized, and the recording ends with it.
#[test]
fn a_program_that_ends_ends_the_recording() -> Result<()> {
    require_root()?;
    for (go, variant) in [("1.21", Variant::PieStripped), ("1.27", Variant::Stripped)] {
        let mut alloc = Fixture::build("alloc", go, variant)?.start()?;
        let out = Out::new()?;
        let recording = out.record(&["-p", &alloc.pid().to_string()])?;
        alloc.rounds(3)?;
        let report = alloc.report()?;
        recording.finish()?.expect(0)?;
        // It also allocated for its report: only the paths can be compared.
        check::paths(&out.profile()?, &report)?;
    }
    Ok(())
}

/// A program that is killed in the middle of its work leaves what was counted until then.
#[test]
fn a_program_that_is_killed_leaves_its_counts() -> Result<()> {
    require_root()?;
    let mut alloc = Fixture::build("alloc", "1.26", Variant::Default)?.start()?;
    let out = Out::new()?;
    let recording = out.record(&["-p", &alloc.pid().to_string()])?;
    let mallocs = alloc.rounds(2)?;
    alloc.say("go 1000")?;
    drop(alloc);
    recording.finish()?.expect(0)?;
    let total = out.profile()?.total("alloc_objects")?;
    ensure!(total >= mallocs, "{total} of at least {mallocs}");
    Ok(())
}

/// The file of a running program may be deleted, or replaced by another.
#[test]
fn a_deleted_or_replaced_file_is_read_through_its_process() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("alloc", "1.25", Variant::Stripped)?;
    let newer = Fixture::build("alloc", "1.27", Variant::Default)?;
    for replaced in [false, true] {
        let out = Out::new()?;
        let copy = out.dir.path().join("alloc-copy");
        heaptap_tests::copy(&fixture.program, &copy)?;
        let mut alloc = Running::start(Command::new(&copy))?;
        fs::remove_file(&copy)?;
        if replaced {
            heaptap_tests::copy(&newer.program, &copy)?;
        }
        let recording = out.record(&["-p", &alloc.pid().to_string()])?;
        alloc.rounds(2)?;
        recording.stop()?.expect(0)?;
        let profile = out.profile()?;
        let report = alloc.report()?;
        check::all(&profile, &report).with_context(|| format!("replaced: {replaced}"))?;
    }
    Ok(())
}

/// What a program counted before it becomes another one stays, under the names of its own file;
/// nothing of the next program is given names of the first.
#[test]
fn a_program_that_becomes_another_keeps_its_counts() -> Result<()> {
    require_root()?;
    let mut life = Fixture::build("life", "1.26", Variant::Stripped)?.start()?;
    let next = Fixture::build("alloc", "1.27", Variant::Stripped)?;
    let out = Out::new()?;
    let recording = out.record(&["-p", &life.pid().to_string()])?;
    life.ask("alloc 1000")?;
    let answer = life.ask(&format!("exec {}", next.program.display()))?;
    ensure!(answer.starts_with("ready "), "the next program says {answer:?}");
    life.rounds(2)?;
    let report = life.report()?;
    recording.finish()?.expect(0)?;
    let profile = out.profile()?;
    let objects = profile.value("alloc_objects")?;
    let before: u64 = profile
        .stacks
        .iter()
        .filter(|stack| stack.frames[0].function == "main.allocate")
        .map(|stack| stack.values[objects])
        .sum();
    ensure!(before == 1000, "{before} of 1000 allocations before the exec");
    let unknown = profile.stacks.iter().flat_map(|stack| &stack.frames);
    let unknown = unknown.filter(|frame| frame.kind == "unknown").count();
    ensure!(unknown == 0, "{unknown} frames without a name");
    // The next program is followed, or what was missed of it is a loss that is told.
    if profile.meta.lost_events == 0 && profile.total("alloc_objects")? > 10_000 {
        // It tells of two rounds, and makes three before it is ready: those may be seen, too.
        check::paths_where(&profile, &report, |found, told| {
            (told..=told + 3 * told.div_ceil(2)).contains(&found)
        })?;
    }
    Ok(())
}

/// A process that has ended but was not yet waited for has no memory, no file, no threads.
#[test]
fn a_zombie_is_refused() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("life", "1.26", Variant::Stripped)?;
    let mut child =
        Command::new(&fixture.program).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    // Its input is at its end, and so is it; WNOWAIT leaves it a zombie.
    let pid = nix::unistd::Pid::from_raw(child.id().try_into()?);
    let how = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
    nix::sys::wait::waitid(nix::sys::wait::Id::Pid(pid), how)?;
    let ended = heaptap::run(["record", "-d", "1", "-p", &child.id().to_string()])?;
    child.wait()?;
    ended.refused(4, &pid.to_string())
}

//! Processes that start while heaptap records are found, traced and let go.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heaptap_tests::holding::{Holding, Processes, is_counted, programs};
use heaptap_tests::profile::Profile;
use heaptap_tests::storm::Storm;
use heaptap_tests::{Fixture, Recording, Running, Variant, require_root};
use nix::sys::signal::Signal;

/// A program of its own, so that nothing else on the host is meant, and where its profile goes.
struct Own {
    dir: tempfile::TempDir,
    program: PathBuf,
}

impl Own {
    fn copy(fixture: &str, variant: Variant, name: &str) -> Result<Own> {
        let fixture = Fixture::build(fixture, "1.26", variant)?;
        let dir = tempfile::tempdir()?;
        let program = dir.path().join(name);
        heaptap_tests::copy(&fixture.program, &program)?;
        Ok(Own { dir, program })
    }

    fn start(&self) -> Result<Running> {
        Running::start(Command::new(&self.program))
    }

    fn record(&self, selection: &[&str]) -> Result<Recording> {
        let json = self.json();
        let json = json.to_str().context("a temporary path that is no text")?;
        Recording::start(selection.iter().copied().chain(["-o", json]))
    }

    fn json(&self) -> PathBuf {
        self.dir.path().join("out.json")
    }

    fn profile(&self) -> Result<Profile> {
        Profile::read(&self.json())
    }

    /// The profile of one process.
    fn profile_of(&self, pid: u32) -> Result<Profile> {
        let mut part = self.profile()?;
        let at = part.processes.iter().position(|process| process.pid == pid);
        let at = at.with_context(|| format!("process {pid} is not in the profile"))?;
        part.stacks.retain(|stack| stack.process == at);
        Ok(part)
    }
}

/// Until a condition holds.
fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn until_counted(recording: &Recording, process: &Running) -> Result<()> {
    let (heaptap, pid) = (recording.pid(), process.pid());
    until("a process that is counted", || is_counted(heaptap, pid))
}

/// Every way to select more than named processes follows, and counts exactly from then on.
#[test]
fn who_comes_later_is_recorded() -> Result<()> {
    require_root()?;
    for variant in [Variant::Stripped, Variant::PieStripped] {
        let own = Own::copy("life", variant, "comes-later")?;
        let path = own.program.to_str().context("a path that is no text")?.to_owned();
        for selection in [&["--exe", &path][..], &["--comm", "comes-l*"], &["--all"]] {
            let mut running = vec![own.start()?];
            let recording = own.record(selection)?;
            running.push(own.start()?);
            until_counted(&recording, &running[1])?;
            // More than have probes of their own when they are selected by name.
            for _ in 0..20 {
                running.push(own.start()?);
            }
            for process in &running {
                until_counted(&recording, process)?;
            }
            for (objects, process) in (1..).zip(&mut running) {
                process.ask(&format!("alloc {objects}"))?;
            }
            recording.stop()?.expect(0)?;
            for (objects, process) in (1..).zip(&running) {
                let made = allocated(&own.profile_of(process.pid())?, "main.allocate")?;
                ensure!(made == objects, "{selection:?}: {made} objects of {objects}");
            }
        }
    }
    Ok(())
}

/// The kernel verifies a program for up to 0.4 s: not when the first process is to be attached to.
#[test]
fn programs_are_loaded_before_the_first_process() -> Result<()> {
    require_root()?;
    let own = Own::copy("life", Variant::Stripped, "first-of-all")?;
    for mode in ["exact", "span"] {
        let recording = own.record(&["--all", "--mode", mode, "--budget", "1%"])?;
        let loaded = programs(recording.pid())?;
        let first = own.start()?;
        until_counted(&recording, &first)?;
        let later = programs(recording.pid())?;
        recording.stop()?.expect(0)?;
        ensure!(!loaded.is_empty() && later == loaded, "{mode}: {loaded:?}, {later:?}");
    }
    Ok(())
}

/// `--all` begins also where nothing is to be recorded yet; the line says that it goes on.
#[test]
fn all_waits_for_programs() -> Result<()> {
    require_root()?;
    let own = Own::copy("life", Variant::Stripped, "waited-for")?;
    let recording = own.record(&["--all", "--budget", "none"])?;
    let said = &recording.said;
    ensure!(said.contains("more as they start") || said.contains("waiting for some"), "{said}");
    let mut late = own.start()?;
    until_counted(&recording, &late)?;
    // Of one that is killed a span's rest can't be read: more than a span has room for.
    late.ask("alloc 1000")?;
    let pid = late.pid();
    drop(late);
    let ended = recording.stop()?;
    ended.expect(0)?;
    let is_there = own.profile()?.pids().contains(&pid);
    ensure!(is_there, "the process is not in the profile: {}", ended.stderr);
    Ok(())
}

/// Once it is selected a process is looked at once more. It may have ended by then: what it did is its own.
#[test]
fn who_ends_as_it_is_selected_is_recorded() -> Result<()> {
    require_root()?;
    const OBJECTS: u64 = 1000;
    for variant in [Variant::Stripped, Variant::PieStripped] {
        let own = Own::copy("life", variant, "cut-short")?;
        let path = own.program.to_str().context("a path that is no text")?.to_owned();
        let first = own.start()?;
        let recording = own.record(&["--exe", &path])?;
        let counted = Processes::of(recording.pid())?;
        let mut pids = Vec::new();
        for _ in 0..25 {
            recording.signal(Signal::SIGSTOP)?;
            let mut short = own.start()?;
            recording.signal(Signal::SIGCONT)?;
            let began = Instant::now();
            while !counted.is_counted(short.pid()) {
                ensure!(began.elapsed() < Duration::from_secs(30), "a process is not counted");
            }
            recording.signal(Signal::SIGSTOP)?;
            short.ask(&format!("alloc {OBJECTS}"))?;
            pids.push(short.pid());
            drop(short);
            recording.signal(Signal::SIGCONT)?;
        }
        let ended = recording.stop()?;
        drop(first);
        ended.expect(0)?;
        let missing = |pid: &&u32| {
            let made =
                own.profile_of(**pid).and_then(|profile| allocated(&profile, "main.allocate"));
            made.ok() != Some(OBJECTS)
        };
        let missing = pids.iter().filter(missing).count();
        ensure!(missing == 0, "{missing} of {} are not there: {}", pids.len(), ended.stderr);
    }
    Ok(())
}

/// Programs that take all CPU time they get, two for each CPU, in sessions of their own. Killed when
/// dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn start() -> Result<Busy> {
        let mut busy = Busy(Vec::new());
        for _ in 0..2 * thread::available_parallelism()?.get() {
            let spinning = Command::new("setsid").args(["sh", "-c", "while :; do :; done"]).spawn();
            busy.0.push(spinning.context("setsid (util-linux) is not there")?);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A short storm: hardly anybody is missed who lives 100 ms, on a busy host either; nothing is kept; every event
/// is counted or counted as lost.
#[test]
fn a_storm_leaves_nothing_behind() -> Result<()> {
    require_root()?;
    const OBJECTS: u64 = 100;
    for (variant, is_busy) in [(Variant::Stripped, false), (Variant::PieStripped, true)] {
        let own = Own::copy("brief", variant, "storm")?;
        let path = own.program.to_str().context("a path that is no text")?.to_owned();
        let objects = OBJECTS.to_string();
        let args = ["100", objects.as_str()];
        // It may make nothing: when it is found is left to chance.
        let mut first = Command::new(&own.program).args(["600000", "0"]).spawn()?;
        let recording = own.record(&["--exe", &path, "--max-processes", "64"])?;
        let heaptap = recording.pid();
        first.kill()?;
        first.wait()?;
        // One comes and goes, so that everything that is kept for a binary is there.
        Storm::run(&own.program, &args, 10, Duration::from_millis(200))?;
        let settled = || -> Result<bool> {
            let holding = Holding::of(heaptap)?;
            Ok(holding.stacks() == 0 && holding.processes() == 0)
        };
        until("empty tables before the storm", settled)?;
        let before = Holding::of(heaptap)?;
        let busy = is_busy.then(Busy::start).transpose()?;
        let storm = Storm::run(&own.program, &args, 100, Duration::from_secs(5))?;
        drop(busy);
        until("empty tables after the storm", settled)?;
        let after = Holding::of(heaptap)?;
        ensure!(before == after, "before {before:?}, after {after:?}");
        recording.stop()?.expect(0)?;
        let profile = own.profile()?;
        let seen: u64 = profile.processes.iter().map(|process| process.processes).sum();
        let started = storm.started as u64 + 2;
        // Who waits for this unoptimized heaptap and the tests beside it for all of its life is counted; that nobody is
        // missed is for `cargo xtask bench storm`.
        let unseen = (started + 1).checked_sub(seen).context("more processes than there were")?;
        let counted = profile.counter("ended_unseen");
        ensure!(
            unseen <= counted.min(started / 20),
            "{seen} of {started} and one, {counted} unseen"
        );
        ensure!(profile.processes.len() <= 64 + 1, "{} entries", profile.processes.len());
        let made = allocated(&profile, "main.allocate")?;
        let expected = started * OBJECTS;
        // The same of half a life.
        let lost = profile.counter("lost_exec_gap");
        let missing = expected.checked_sub(made).context("more than there were")?;
        let missing = missing.saturating_sub(unseen * OBJECTS);
        ensure!(missing <= lost.min(expected / 100), "{made} of {expected}, {lost} in gaps");
        for loss in profile.losses() {
            ensure!(loss.name == "lost_exec_gap", "{loss:?}");
        }
    }
    Ok(())
}

/// Objects that a function made.
fn allocated(profile: &Profile, function: &str) -> Result<u64> {
    let value = profile.value("alloc_objects")?;
    let innermost = |stack: &&heaptap_tests::profile::Stack| {
        stack.frames.first().is_some_and(|frame| frame.function == function)
    };
    Ok(profile.stacks.iter().filter(innermost).map(|stack| stack.values[value]).sum())
}

/// When the ring of notices overflows, heaptap looks for itself, and says so.
#[test]
fn lost_notices_are_made_good() -> Result<()> {
    require_root()?;
    let own = Own::copy("life", Variant::Stripped, "overlooked")?;
    let mut gone = own.start()?;
    let recording = own.record(&["--comm", "overlooked"])?;
    recording.pause()?;
    let nothing = Path::new("/bin/true");
    // The ring has room for about 2,700 notices.
    for _ in 0..3_500 {
        Command::new(nothing).status()?;
    }
    let mut late = own.start()?;
    let gone_pid = gone.pid();
    gone.ask("alloc 5")?;
    drop(gone);
    recording.resume()?;
    until_counted(&recording, &late)?;
    late.ask("alloc 7")?;
    recording.stop()?.expect(0)?;
    let profile = own.profile()?;
    ensure!(profile.counter("lost_notify_full") > 0, "the ring did not overflow");
    ensure!(profile.notes.iter().any(|note| note.contains("looked through")), "no word of it");
    for (pid, objects) in [(gone_pid, 5), (late.pid(), 7)] {
        let made = allocated(&own.profile_of(pid)?, "main.allocate")?;
        ensure!(made == objects, "{made} objects of {objects}");
    }
    Ok(())
}

/// A file that nobody runs any more can be overwritten while its probes wait for the next process.
/// The probe must be off before the first byte changes: in the new program it would be somewhere.
#[test]
fn a_file_that_is_overwritten_is_let_go_before() -> Result<()> {
    require_root()?;
    let own = Own::copy("brief", Variant::Default, "rewritten")?;
    let path = own.program.to_str().context("a path that is no text")?.to_owned();
    let run = || Command::new(&own.program).args(["100", "10"]).status();
    let mut first = Command::new(&own.program).args(["600000", "0"]).spawn()?;
    let recording = own.record(&["--exe", &path])?;
    let heaptap = recording.pid();
    first.kill()?;
    first.wait()?;
    until("empty tables", || Ok(Holding::of(heaptap)?.processes() == 0))?;
    let attached = Holding::of(heaptap)?.links;
    // The same inode, with the program of another release.
    let other = Fixture::build("brief", "1.26", Variant::Stripped)?;
    let began = Instant::now();
    let bytes = fs::read(&other.program)?;
    // Until the kernel has let go of the process's memory.
    until("a file that is not busy", || match fs::write(&own.program, &bytes) {
        Err(err) if err.kind() == ErrorKind::ExecutableFileBusy => Ok(false),
        other => Ok(other.map(|()| true)?),
    })?;
    ensure!(began.elapsed() < Duration::from_secs(5), "writing took {:?}", began.elapsed());
    let left = Holding::of(heaptap)?.links;
    ensure!(left < attached, "{left} links of {attached} are left");
    for _ in 0..3 {
        ensure!(run()?.success(), "the new program does not run");
    }
    recording.stop()?.expect(0)?;
    let profile = own.profile()?;
    let seen: u64 = profile.processes.iter().map(|process| process.processes).sum();
    ensure!(seen == 4, "{seen} processes");
    let made = allocated(&profile, "main.allocate")?;
    ensure!(made == 3 * 10, "{made} objects");
    Ok(())
}

/// Files that find no room for their names are not recorded: each of their processes is counted and the
/// result says why; the others are recorded as ever.
#[test]
fn what_finds_no_room_is_told() -> Result<()> {
    require_root()?;
    let own = Own::copy("life", Variant::Stripped, "no-room")?;
    let mut first = own.start()?;
    let recording = own.record(&["--comm", "no-room*", "--max-memory", "1"])?;
    until_counted(&recording, &first)?;
    // Each has about half a MiB of names, none has a file in common with another.
    let mut others = Vec::new();
    for number in 0..4 {
        let program = own.dir.path().join(format!("no-room-{number}"));
        heaptap_tests::copy(&own.program, &program)?;
        others.push(Running::start(Command::new(&program))?);
    }
    first.ask("alloc 3")?;
    // Looked at in the order in which they started.
    let mut last = own.start()?;
    until_counted(&recording, &last)?;
    last.ask("alloc 4")?;
    recording.stop()?.expect(0)?;
    let profile = own.profile()?;
    let recorded = others.iter().filter(|one| profile.pids().contains(&one.pid())).count() as u64;
    let refused = profile.counter("refused_processes");
    ensure!(refused > 0 && recorded + refused == 4, "{recorded} recorded, {refused} refused");
    ensure!(profile.notes.iter().any(|note| note.contains("--max-memory")), "{:?}", profile.notes);
    for (pid, objects) in [(first.pid(), 3), (last.pid(), 4)] {
        let made = allocated(&own.profile_of(pid)?, "main.allocate")?;
        ensure!(made == objects, "{made} objects of {objects}");
    }
    Ok(())
}

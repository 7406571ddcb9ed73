//! `heaptap heap`, `block` and `mutex` against what programs write of themselves.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::own_profile;
use heaptap_tests::pprof::Pprof;
use heaptap_tests::profile::Profile;
use heaptap_tests::{Ended, Fixture, Running, Variant, heaptap, require_root, turns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::each_release;

/// How often a test looks that wants to come at the wrong moment.
const READS: usize = 20;

/// The fixture heap, running with a sampling rate, and a place for files.
struct Heap {
    program: Running,
    dir: tempfile::TempDir,
}

impl Heap {
    fn start(go: &str, variant: Variant, rate: u64) -> Result<Heap> {
        let fixture = Fixture::build("heap", go, variant)?;
        let mut command = Command::new(&fixture.program);
        command.env("HEAP_RATE", rate.to_string());
        Ok(Heap { program: Running::start(command)?, dir: tempfile::tempdir()? })
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let answer = self.program.ask(line)?;
        ensure!(answer == "done", "the fixture answered {answer:?}");
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program's own profile.
    fn own(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.path("own.pb.gz");
        self.tell(&format!("{name} {}", path.display()))?;
        Ok(path)
    }

    /// heaptap's.
    fn read(&self, command: &str, flags: &[&str]) -> Result<(PathBuf, Ended)> {
        let path = self.path("heaptap.pb.gz");
        let (pid, out) = (self.program.pid().to_string(), path.display().to_string());
        let ended = heaptap::run([&[command, "-p", &pid, "-o", &out], flags].concat())?;
        ended.expect(0)?;
        Ok((path, ended))
    }
}

/// At quiescence heaptap's profile is the program's own, sample by sample: stacks with inlined frames,
/// files and lines, four values, sizes; and Go's tool prints the same tables of both.
fn heap_equals(go: &str, variant: Variant) -> Result<()> {
    require_root()?;
    for rate in [1, 4096, 524_288] {
        let mut heap = Heap::start(go, variant, rate)?;
        heap.tell("work 60")?;
        // Before a collection, after one, and when one has published what was freed.
        for round in 0..4 {
            let context = || format!("rate {rate}, round {round}");
            // Reading changes nothing, and does not depend on a flush by the program.
            let (ours, _) = heap.read("heap", &[])?;
            let before = Pprof::read(&ours)?;
            let own = heap.own("heap")?;
            let theirs = Pprof::read(&own)?;
            let (ours, _) = heap.read("heap", &[])?;
            let after = Pprof::read(&ours)?;
            after.assert_same(&theirs, 0.0).with_context(context)?;
            // What was written until now is published before the first collection alone.
            if round > 0 {
                before.assert_same(&theirs, 0.0).with_context(context)?;
            }
            ensure!(after.default_type == "inuse_space", "{}", after.default_type);
            ensure!(after.period == ("space/bytes".into(), rate as i64), "{:?}", after.period);
            // Go's tool takes its time.
            let values = ["inuse_space", "alloc_space"];
            for value in values.into_iter().filter(|_| round == 3) {
                let (ours, theirs) =
                    (own_profile::top(&ours, value)?, own_profile::top(&own, value)?);
                ensure!(ours == theirs, "{}: {value}:\n{ours}\n{theirs}", context());
            }
            heap.tell("gc")?;
            if round == 1 {
                heap.tell("work 5")?;
            }
        }
    }
    Ok(())
}

/// Times are the program's own once its runtime has measured its clock; before, they are by heaptap's measure, within
/// a thousandth. Up to Go 1.21 the runtime reads both clocks once, 100 ms apart: where it waits for 0.1 ms between the
/// two, it is itself off by a thousandth.
fn contention_equals(go: &str, variant: Variant) -> Result<()> {
    require_root()?;
    let mut heap = Heap::start(go, variant, 524_288)?;
    heap.tell("contend on")?;
    for command in ["block", "mutex"] {
        let (ours, _) = heap.read(command, &[])?;
        ensure!(Pprof::read(&ours)?.total(0) > 0, "{command}: nothing while it is on");
    }
    // Go 1.19 scales what it shows by what is set then, and its own locks are in no profile.
    if go == "1.19" {
        let pid = heap.program.pid().to_string();
        ensure!(heaptap::run(["mutex", "-p", &pid])?.stdout.contains("from one in 2"));
    } else {
        heap.tell("contend off")?;
    }
    for command in ["block", "mutex"] {
        let (ours, _) = heap.read(command, &[])?;
        let measured = Pprof::read(&ours)?;
        let own = heap.own(command)?;
        let theirs = Pprof::read(&own)?;
        let tolerance = if ["1.19", "1.21"].contains(&go) { 0.01 } else { 0.001 };
        measured.assert_same(&theirs, tolerance).context(command)?;
        let (ours, _) = heap.read(command, &[])?;
        Pprof::read(&ours)?.assert_same(&theirs, 0.0).context(command)?;
        for value in ["contentions", "delay"] {
            let (ours, theirs) = (own_profile::top(&ours, value)?, own_profile::top(&own, value)?);
            ensure!(ours == theirs, "{command}: {value}:\n{ours}\n{theirs}");
        }
    }
    Ok(())
}

each_release! {
    default: |go| heap_equals(go, Variant::Default);
    stripped: |go| heap_equals(go, Variant::Stripped);
    pie: |go| heap_equals(go, Variant::Pie);
    contention: |go| contention_equals(go, Variant::Stripped);
    sampler: sampler_is_lent;
}

/// Linked by the system's linker, position-independent.
#[test]
fn a_cgo_program() -> Result<()> {
    heap_equals("1.26", Variant::External)
}

/// While a program allocates and collects as fast as it can, every read gives a profile in which
/// nothing was freed that was not allocated, and allocation never goes back.
#[test]
fn a_program_that_allocates_hard() -> Result<()> {
    require_root()?;
    for go in ["1.21", "1.24", "1.27"] {
        let mut heap = Heap::start(go, Variant::Stripped, 4096)?;
        heap.tell("work 20")?;
        // From the second collection on the runtime publishes what was, and not what is.
        heap.tell("gc")?;
        heap.tell("gc")?;
        heap.tell("hard")?;
        let json = heap.path("out.json").display().to_string();
        let mut last = 0;
        for _ in 0..30 {
            heap.read("heap", &["-o", &json])?;
            let profile = Profile::read(json.as_ref())?;
            ensure!(profile.meta.lost_events == 0, "{:?}", profile.losses());
            ensure!(
                profile.meta.source == "records" && profile.meta.estimate,
                "{:?}",
                profile.meta
            );
            for stack in &profile.stacks {
                let [allocs, alloc_bytes, alive, alive_bytes] = stack.values[..] else {
                    anyhow::bail!("{:?}", stack.values);
                };
                ensure!(alive <= allocs && alive_bytes <= alloc_bytes, "{:?}", stack.values);
            }
            let total = profile.total("alloc_objects")?;
            ensure!(total >= last, "Go {go}: {total} after {last}");
            last = total;
        }
        ensure!(last > 0, "nothing was seen");
    }
    Ok(())
}

/// A program and heaptap share a CPU, and heaptap goes first: it comes in the middle of what the runtime does to its profile,
/// which stands still meanwhile. What is told is as of the end of one collection all the same: as much from both ends of
/// the list as was allocated from there.
#[test]
fn counts_that_are_being_added_up_are_not_read() -> Result<()> {
    require_root()?;
    let mut heap = Heap::start("1.27", Variant::Stripped, 1)?;
    turns::on_first_cpu(heap.program.pid())?;
    for line in ["gc", "gc", "rounds"] {
        heap.tell(line)?;
    }
    let (pid, path) = (heap.program.pid().to_string(), heap.path("read.folded"));
    let (mut last, mut settled, mut read) = (0, 0, 0);
    // On a busy machine heaptap loses the CPU between its looks more often, and few reads settle.
    while read < READS || settled < READS / 4 {
        ensure!(read < 20 * READS, "{settled} of {read} were in one piece");
        read += 1;
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]).arg(heaptap::program()?);
        command.args(["heap", "-p", &pid, "--type", "alloc_objects", "-o"]).arg(&path);
        let ended = heaptap::run_command(command)?;
        // It collects so fast that heaptap may have none of its eight attempts for itself.
        if ended.expect(0)?.stderr.contains("which changed while it was read") {
            continue;
        }
        settled += 1;
        let told = fs::read_to_string(&path)?;
        let of_rounds = told.lines().filter(|line| line.contains("main.rounds"));
        let counts = of_rounds.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        // All others in the list were allocated from once.
        let counts: BTreeSet<u64> = counts.filter(|count| *count > 1).collect();
        ensure!(counts.len() <= 1, "read {read}: {counts:?}: {}", ended.stderr);
        let count = counts.first().copied().unwrap_or_default();
        ensure!(count >= last, "read {read}: {count} after {last}");
        last = count;
    }
    ensure!(last > 0, "nothing was allocated from there");
    Ok(())
}

/// Every output has the profile, and the value that was asked for.
#[test]
fn outputs_and_values() -> Result<()> {
    require_root()?;
    let mut heap = Heap::start("1.27", Variant::Stripped, 1)?;
    heap.tell("work 20")?;
    heap.tell("gc")?;
    let file = |name: &str| heap.path(name).display().to_string();
    let (svg, json, folded) = (file("a.svg"), file("a.json"), file("a.folded"));
    let outputs = ["-o", &svg, "-o", &json, "-o", &folded, "-o", "-", "--type", "alloc_objects"];
    let (pb, ended) = heap.read("heap", &outputs)?;
    let read = Pprof::read(&pb)?;
    ensure!(read.default_type == "alloc_objects", "{}", read.default_type);
    let profile = Profile::read(json.as_ref())?;
    let total = profile.total("alloc_objects")?;
    ensure!(read.total(0) as u64 == total, "pprof {}, JSON {total}", read.total(0));
    let folded = fs::read_to_string(&folded)?;
    let counts = folded.lines().filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    ensure!(counts.sum::<u64>() == total, "folded stacks of another sum");
    ensure!(fs::read_to_string(&svg)?.contains("last completed collection"), "the flame graph");
    let table = &ended.stdout;
    ensure!(table.contains("every allocation counted"), "{table}");
    ensure!(table.contains("by objects allocated") && table.contains("main.dropped"), "{table}");
    let runtime = heap.read("heap", &["--runtime-frames"])?;
    let frames = Pprof::read(&runtime.0)?;
    let leaf = frames.samples.iter().any(|s| s.stack[0].function.starts_with("runtime.mallocgc"));
    ensure!(leaf, "no allocator's frame");
    Ok(())
}

/// What is off is said in one line, with the ways on.
#[test]
fn what_is_off_is_told() -> Result<()> {
    require_root()?;
    for go in ["1.19", "1.21", "1.24", "1.27"] {
        let program = Fixture::build("unprofiled", go, Variant::Stripped)?.start()?;
        let pid = program.pid().to_string();
        let ended = heaptap::run(["heap", "-p", &pid])?;
        ended.refused(5, "its sampler is off")?;
        ended.refused(5, "--enable-sampler")?;
        ended.refused(5, &format!("`heaptap record -p {pid} --mode span`"))?;
        heaptap::run(["block", "-p", &pid])?.refused(5, "runtime.SetBlockProfileRate")?;
        heaptap::run(["mutex", "-p", &pid])?.refused(5, "runtime.SetMutexProfileFraction")?;
    }
    let heap = Heap::start("1.26", Variant::Pie, 4096)?;
    let pid = heap.program.pid().to_string();
    heaptap::run(["block", "-p", &pid])?.refused(5, "has not turned it on")?;
    Ok(())
}

/// All processes, with those that have none named; one pid that is not there fails, after the others.
#[test]
fn all_processes_and_some_that_have_none() -> Result<()> {
    require_root()?;
    let mut heap = Heap::start("1.25", Variant::Default, 1)?;
    heap.tell("work 3")?;
    let off = Fixture::build("unprofiled", "1.26", Variant::Stripped)?.start()?;
    let json = heap.path("all.json").display().to_string();
    heaptap::run(["heap", "--all", "-o", &json])?.expect(0)?;
    let profile = Profile::read(json.as_ref())?;
    ensure!(profile.pids().contains(&heap.program.pid()), "{:?}", profile.pids());
    let note = format!("process {} keeps no heap profile", off.pid());
    ensure!(profile.notes.iter().any(|n| n.contains(&note)), "{:?}", profile.notes);
    let (pid, other) = (heap.program.pid().to_string(), off.pid().to_string());
    let ended = heaptap::run(["heap", "-p", &pid, "-p", &other])?;
    ended.expect(5)?;
    ensure!(ended.stdout.contains("main.work") && ended.stderr.contains("sampler is off"));
    heaptap::run(["heap", "-p", "4194304"])?.refused(4, "no process 4194304")
}

/// Processes by what they run and what they are called.
#[test]
fn processes_of_a_file_and_of_a_name() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("heap", "1.26", Variant::Pie)?;
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("by-its-name");
    heaptap_tests::copy(&fixture.program, &copy)?;
    let start = || {
        let mut command = Command::new(&copy);
        command.env("HEAP_RATE", "1");
        Ok::<_, anyhow::Error>(Heap {
            program: Running::start(command)?,
            dir: tempfile::tempdir()?,
        })
    };
    let (mut one, mut other) = (start()?, start()?);
    one.tell("work 3")?;
    other.tell("work 3")?;
    let (exe, json) = (copy.display().to_string(), dir.path().join("x.json"));
    let out = json.display().to_string();
    let expected = [one.program.pid(), other.program.pid()];
    for which in [["--exe", &exe], ["--comm", "by-its-n*"]] {
        heaptap::run([&["heap", "-o", &out], &which[..]].concat())?.expect(0)?;
        let found = Profile::read(&json)?.pids();
        ensure!(expected.iter().all(|pid| found.contains(pid)) && found.len() == 2, "{found:?}");
        let ended = heaptap::run([&["stats", "--json"], &which[..]].concat())?;
        let found = ended.expect(0)?.stdout.matches("\"pid\"").count();
        ensure!(found == 2, "{}", ended.stdout);
    }
    for command in ["heap", "stats"] {
        heaptap::run([command, "--exe", "/nowhere"])?.refused(4, "no process runs /nowhere")?;
        heaptap::run([command, "--comm", "nobody-is"])?.refused(4, "no process is called")?;
    }
    Ok(())
}

/// A program whose file is gone.
#[test]
fn a_deleted_binary() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("heap", "1.27", Variant::Stripped)?;
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("copy");
    heaptap_tests::copy(&fixture.program, &copy)?;
    let mut command = Command::new(&copy);
    command.env("HEAP_RATE", "1");
    let mut heap = Heap { program: Running::start(command)?, dir };
    fs::remove_file(&copy)?;
    heap.tell("work 3")?;
    heap.tell("gc")?;
    let own = heap.own("heap")?;
    let (ours, _) = heap.read("heap", &[])?;
    Pprof::read(&ours)?.assert_same(&Pprof::read(&own)?, 0.0)
}

/// A program in pid, mount and network namespaces of its own, with another root.
#[test]
fn a_program_in_other_namespaces() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("heap", "1.26", Variant::Stripped)?;
    let dir = tempfile::tempdir()?;
    heaptap_tests::copy(&fixture.program, dir.path().join("program"))?;
    let mut command = Command::new("unshare");
    command.args(["--pid", "--mount", "--net", "--fork", "--kill-child", "--root"]);
    command.arg(dir.path()).arg("/program").env("HEAP_RATE", "1");
    let mut heap = Heap { program: Running::start(command)?, dir };
    // Its own parent is in between.
    let outer = heap.program.pid();
    let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"))?;
    let pid = children.trim().to_owned();
    heap.tell("work 3")?;
    heap.tell("gc")?;
    heap.tell("heap /own.pb.gz")?;
    let out = heap.path("out.pb.gz").display().to_string();
    heaptap::run(["heap", "-p", &pid, "-o", &out])?.expect(0)?;
    let own = Pprof::read(&heap.path("own.pb.gz"))?;
    Pprof::read(out.as_ref())?.assert_same(&own, 0.0)
}

/// A program without profiles, and a heaptap that samples it.
struct Lent {
    program: Running,
    notes: tempfile::TempDir,
}

impl Lent {
    fn start(go: &str) -> Result<Lent> {
        let program = Fixture::build("unprofiled", go, Variant::Stripped)?.start()?;
        Ok(Lent { program, notes: tempfile::tempdir()? })
    }

    fn rate(&mut self) -> Result<String> {
        self.program.ask("rate")
    }

    fn command(&self, flags: &[&str]) -> Result<Command> {
        self.with(Command::new(heaptap::program()?), "heap", flags)
    }

    /// One of heaptap's commands, behind others or not.
    fn with(&self, mut command: Command, name: &str, flags: &[&str]) -> Result<Command> {
        let notes = self.notes.path().join("notes");
        command.args([name, "-p", &self.program.pid().to_string()]).args(flags);
        command.env("HEAPTAP_RUN_DIR", notes).stdin(Stdio::null());
        Ok(command)
    }

    /// Starts heaptap and waits until the sampler is on.
    fn sample(&self, flags: &[&str]) -> Result<(Child, BufReader<std::process::ChildStderr>)> {
        self.sample_with("heap", flags)
    }

    fn sample_with(
        &self,
        name: &str,
        flags: &[&str],
    ) -> Result<(Child, BufReader<std::process::ChildStderr>)> {
        let mut command = self.with(Command::new(heaptap::program()?), name, flags)?;
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stderr = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut line = String::new();
        while !["heaptap: sampling", "heaptap: recording"]
            .iter()
            .any(|begin| line.starts_with(begin))
        {
            line.clear();
            ensure!(stderr.read_line(&mut line)? > 0, "heaptap ended before it sampled");
        }
        Ok((child, stderr))
    }

    fn notes(&self) -> Result<usize> {
        Ok(fs::read_dir(self.notes.path().join("notes"))?.count())
    }
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(child.id().try_into()?), signal)?)
}

/// The heap of a program that was built without profiling is there within one collection, and the
/// word is what it was, however heaptap ends.
fn sampler_is_lent(go: &str) -> Result<()> {
    require_root()?;
    let mut lent = Lent::start(go)?;
    ensure!(lent.rate()? == "rate 0");
    for (time, end) in (1..).zip([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]) {
        let json = lent.notes.path().join("out.json");
        let out = json.display().to_string();
        let (mut child, _stderr) = lent.sample(&["--enable-sampler=4096", "-o", &out])?;
        ensure!(lent.rate()? == "rate 4096" && lent.notes()? == 1, "it is not on");
        lent.program.ask("keep 4000")?;
        lent.program.ask("gc")?;
        signal(&child, end)?;
        ensure!(child.wait()?.code() == Some(0), "{end}");
        ensure!(lent.rate()? == "rate 0" && lent.notes()? == 0, "{end}: it is still on");
        let profile = Profile::read(&json)?;
        let value = profile.value("inuse_space")?;
        let kept = profile.stacks.iter().filter(|s| s.frames[0].function == "main.keep");
        let bytes: u64 = kept.map(|stack| stack.values[value]).sum();
        // 4000 KiB each time, of which about one in 4 KiB was sampled; with what append copies.
        let least = time * 3_500_000;
        ensure!((least..least + time * 1_700_000).contains(&bytes), "{end}: {bytes} are kept");
    }
    // A time that is up.
    let ended = heaptap::run_command(lent.command(&["--enable-sampler", "-d", "0.1"])?)?;
    ended.expect(0)?;
    ensure!(ended.stderr.contains("runtime.MemProfileRate is 524288"), "{}", ended.stderr);
    ensure!(ended.stderr.contains("runtime.MemProfileRate is 0 again"), "{}", ended.stderr);
    ensure!(lent.rate()? == "rate 0");
    Ok(())
}

/// An error while it is on: the word is what it was, and that is said.
#[test]
fn sampler_is_off_after_errors() -> Result<()> {
    require_root()?;
    let mut lent = Lent::start("1.27")?;
    let off = |lent: &mut Lent, ended: &str| -> Result<()> {
        let (rate, notes) = (lent.rate()?, lent.notes()?);
        ensure!(rate == "rate 0" && notes == 0, "{ended}: {rate}, {notes} notes");
        Ok(())
    };
    for command in ["heap", "record"] {
        // Somebody puts a directory where the output was to be.
        let json = lent.notes.path().join(format!("{command}.json"));
        let flags = ["--enable-sampler=4096", "-o", &json.display().to_string()];
        let (mut child, mut stderr) = lent.sample_with(command, &flags)?;
        ensure!(lent.rate()? == "rate 4096", "{command}: it is not on");
        fs::create_dir(&json)?;
        signal(&child, Signal::SIGINT)?;
        let mut said = String::new();
        stderr.read_to_string(&mut said)?;
        ensure!(child.wait()?.code() == Some(6), "{command}: {said}");
        ensure!(said.contains("runtime.MemProfileRate is 0 again"), "{command}: {said}");
        off(&mut lent, command)?;
        // Another one that was sampled ends, without a sound or in the middle of being looked at.
        let other = Lent::start("1.27")?;
        let flags = ["-p", &other.program.pid().to_string(), "--enable-sampler=4096", "-q"];
        let (mut child, mut stderr) = lent.sample_with(command, &flags)?;
        ensure!(lent.rate()? == "rate 4096", "{command}: it is not on");
        drop(other);
        signal(&child, Signal::SIGINT)?;
        stderr.read_to_string(&mut said)?;
        child.wait()?;
        off(&mut lent, &said)?;
        // What is named beside it is no Go program.
        let mut idle = Command::new("cat").stdin(Stdio::piped()).spawn()?;
        let flags = ["-p", &idle.id().to_string(), "--enable-sampler", "-d", "0.1", "-q"];
        let ended =
            heaptap::run_command(lent.with(Command::new(heaptap::program()?), command, &flags)?)?;
        drop(idle.stdin.take());
        idle.wait()?;
        ensure!(ended.code != Some(0), "{command}: {}", ended.stderr);
        ensure!(ended.stderr.contains("MemProfileRate is 0 again"), "{command}: {}", ended.stderr);
        off(&mut lent, command)?;
    }
    // Files, maps, programs and links are refused, one after the other.
    let json = lent.notes.path().join("few.json").display().to_string();
    let flags = ["--enable-sampler", "-d", "0.01", "-q", "-o", &json];
    let mut refused = Vec::new();
    for files in (8..80).step_by(2) {
        let mut few = Command::new("sh");
        few.args(["-c", "ulimit -n $0 && exec \"$@\"", &files.to_string()]);
        few.arg(heaptap::program()?);
        let ended = heaptap::run_command(lent.with(few, "record", &flags)?)?;
        let was_on = ended.stderr.contains("its sampler was off");
        ensure!(!was_on || ended.stderr.contains("MemProfileRate is 0 again"), "{}", ended.stderr);
        ensure!(lent.rate()? == "rate 0", "{files} files: {}", ended.stderr);
        if was_on && ended.code != Some(0) {
            refused.push(ended.stderr);
        }
        if ended.code == Some(0) {
            break;
        }
    }
    // The limit grows by two, so that each of these was met.
    let few =
        refused.iter().filter(|said| said.contains("no more files can be opened here")).count();
    ensure!(few > 5, "{refused:?}");
    off(&mut lent, "refused")
}

/// A heaptap that is killed can't restore; the next run does, and doctor tells of it until then.
#[test]
fn what_a_killed_heaptap_left_on_is_turned_off() -> Result<()> {
    require_root()?;
    for go in ["1.19", "1.24", "1.27"] {
        let mut lent = Lent::start(go)?;
        let (mut child, _stderr) = lent.sample(&["--enable-sampler"])?;
        // While its owner lives nobody touches it.
        let look = || lent.command(&["-q"]);
        heaptap::run_command(look()?)?.expect(0)?;
        signal(&child, Signal::SIGKILL)?;
        child.wait()?;
        ensure!(lent.notes()? == 1);
        let mut doctor = Command::new(heaptap::program()?);
        doctor.arg("doctor").env("HEAPTAP_RUN_DIR", lent.notes.path().join("notes"));
        let told = heaptap::run_command(doctor)?;
        let pid = lent.program.pid().to_string();
        ensure!(told.stdout.contains("samplers") && told.stdout.contains(&pid), "{}", told.stdout);
        let ended = heaptap::run_command(look()?)?;
        ended.expect(5)?;
        ensure!(ended.stderr.contains("killed left its sampler on"), "{}", ended.stderr);
        ensure!(lent.notes()? == 0);
        ensure!(lent.rate()? == "rate 0", "Go {go}");
    }
    Ok(())
}

/// A note about a process that has ended is thrown away, and one that is on is left alone.
#[test]
fn notes_of_processes_that_are_gone() -> Result<()> {
    require_root()?;
    let lent = Lent::start("1.26")?;
    let (mut child, _stderr) = lent.sample(&["--enable-sampler"])?;
    signal(&child, Signal::SIGKILL)?;
    child.wait()?;
    let Lent { program, notes } = lent;
    drop(program);
    let heap = Heap::start("1.26", Variant::Stripped, 4096)?;
    let mut other = Lent { program: heap.program, notes };
    let ended = heaptap::run_command(other.command(&["--enable-sampler=1", "-d", "0.1"])?)?;
    ended.expect(0)?;
    ensure!(ended.stderr.contains("its sampler is on already"), "{}", ended.stderr);
    ensure!(other.notes()? == 0, "a note of a process that is gone");
    ensure!(other.program.ask("gc")? == "done");
    Ok(())
}

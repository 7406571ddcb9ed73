//! `--probe os`: what the kernel does for a program, against programs that count their own and against the
//! kernel's own books.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::pprof::Pprof;
use heaptap_tests::profile::{Profile, Stack};
use heaptap_tests::{Ended, Fixture, Recording, Running, Variant, require_root, told, turns};
use serde::Deserialize;
use xtask::each_release;

/// What a function of the fixture has done by system calls of its own.
#[derive(Deserialize)]
struct Path {
    name: String,
    mmap_calls: u64,
    mmap_space: u64,
    munmap_calls: u64,
    munmap_space: u64,
    madvise_calls: u64,
    madvise_space: u64,
    mapped_space: u64,
    resident_growth: u64,
    span_allocs: u64,
    span_time: u64,
}

impl Path {
    fn add(&mut self, other: &Path) {
        self.mmap_calls += other.mmap_calls;
        self.mmap_space += other.mmap_space;
        self.munmap_calls += other.munmap_calls;
        self.munmap_space += other.munmap_space;
        self.madvise_calls += other.madvise_calls;
        self.madvise_space += other.madvise_space;
        self.mapped_space += other.mapped_space;
    }
}

const HUGE_PAGE: u64 = 2 << 20;

struct Recorded {
    profile: Profile,
    paths: Vec<Path>,
    /// Bytes by which its resident memory has changed, as its page tables have it.
    change: i64,
}

/// Bytes that a process has resident: counted page by page.
fn resident(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).context("no Rss")?;
    let kib = line.trim().strip_suffix(" kB").context("no kB")?;
    Ok(kib.parse::<u64>()? << 10)
}

fn command(pid: u32, probe: &str, more: &[&str]) -> Result<Command> {
    let mut command = Command::new(heaptap_tests::heaptap::program()?);
    command.args(["record", "--probe", probe, "-p", &pid.to_string()]).args(more);
    command.args(["--budget", "none"]);
    command.stdin(Stdio::null());
    Ok(command)
}

/// Records while a program does what is said.
fn record(program: &mut Running, probe: &str, lines: &[&str]) -> Result<(Profile, i64, Ended)> {
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let before = resident(program.pid())?;
    let path = json.to_str().context("a path")?;
    let recording = Recording::of(&mut command(program.pid(), probe, &["-o", path])?)?;
    for line in lines {
        let answer = program.ask(line)?;
        ensure!(answer == "done", "the fixture answered {answer:?}");
    }
    let after = resident(program.pid())?;
    let ended = recording.stop()?;
    ended.expect(0)?;
    Ok((Profile::read(&json)?, after as i64 - before as i64, ended))
}

fn recorded(go: &str, variant: Variant, probe: &str, lines: &[&str]) -> Result<Recorded> {
    require_root()?;
    let mut program = Running::start(Command::new(Fixture::build("os", go, variant)?.program))?;
    let (profile, change, _) = record(&mut program, probe, lines)?;
    let report = program.ask("quit")?;
    let paths = serde_json::from_str(&report).context("the fixture's report is not as told")?;
    Ok(Recorded { profile, paths, change })
}

fn calls(stack: &Stack, function: &str) -> bool {
    stack.frames.iter().any(|frame| frame.function == function)
}

impl Recorded {
    /// Sum of a value over stacks with a function in them; not of what the runtime did for it.
    fn sum(&self, kind: &str, function: &str) -> Result<u64> {
        let value = self.profile.value(kind)?;
        let own = |stack: &&Stack| {
            let at = stack.frames.iter().position(|frame| frame.function == function);
            at.is_some_and(|at| {
                let by_runtime =
                    ["runtime.mallocgc", "runtime.persistentalloc", "runtime.systemstack"];
                let inner = &stack.frames[..at];
                inner.iter().all(|f| !by_runtime.contains(&f.function.as_str()))
            })
        };
        Ok(self.profile.stacks.iter().filter(own).map(|stack| stack.values[value]).sum())
    }

    /// Fails unless system calls of every path are as the program counted them; where the kernel has left out some,
    /// unless it is told of as many as are missing.
    fn calls_equal(&self) -> Result<()> {
        let left_out = self.profile.counter("lost_left_out");
        let lost = self.profile.losses();
        ensure!(lost.iter().all(|counter| counter.name == "lost_left_out"), "{lost:?}");
        let (mut wrong, mut missing) = (Vec::new(), 0);
        for path in &self.paths {
            for (kind, truth) in [
                ("mmap_calls", path.mmap_calls),
                ("mmap_space", path.mmap_space),
                ("munmap_calls", path.munmap_calls),
                ("munmap_space", path.munmap_space),
                ("madvise_calls", path.madvise_calls),
                ("madvise_space", path.madvise_space),
                ("mapped_space", path.mapped_space),
            ] {
                let seen = self.sum(kind, &path.name)?;
                if seen == truth {
                    continue;
                }
                wrong.push(format!("{} {kind}: {seen} of {truth}", path.name));
                if kind.ends_with("_calls") {
                    missing += truth.checked_sub(seen).with_context(|| wrong.join("\n"))?;
                }
            }
        }
        let told = (missing > 0 || wrong.is_empty()) && missing <= left_out;
        ensure!(told, "{left_out} were left out\n{}", wrong.join("\n"));
        Ok(())
    }

    /// What became resident, less what ceased to be.
    fn growth(&self) -> Result<i64> {
        Ok(self.profile.total("resident_growth")? as i64
            - self.profile.total("released_space")? as i64)
    }

    /// Fails unless the growth by stack is what the page tables say, within a part in 20 and a huge page for each
    /// change that the kernel has left out: the next change makes up for it, if one comes.
    fn adds_up(&self) -> Result<()> {
        let growth = self.growth()?;
        let left_out = self.profile.counter("lost_left_out");
        let off = growth.abs_diff(self.change);
        let most = self.change.unsigned_abs() / 20 + left_out * HUGE_PAGE;
        ensure!(off <= most, "{growth} of {}, {left_out} left out", self.change);
        Ok(())
    }
}

/// Number and bytes of system calls, and what of mappings is left, equal what the program counted; what
/// becomes resident adds up to the growth of the process, by stack.
fn equals_the_programs_counts(go: &str) -> Result<()> {
    for variant in [Variant::Default, Variant::Stripped] {
        let name = || format!("Go {go}, {}", variant.name());
        let lines = ["go 20", "touch 8", "heap 16"];
        let recorded = recorded(go, variant, "os", &lines)?;
        recorded.calls_equal().with_context(name)?;
        recorded.adds_up().with_context(name)?;
        for path in recorded.paths.iter().filter(|path| path.resident_growth > 0) {
            let (seen, truth) =
                (recorded.sum("resident_growth", &path.name)?, path.resident_growth);
            ensure!(
                seen.abs_diff(truth) <= truth / 50,
                "{}: {seen} of {truth}, {}",
                path.name,
                name()
            );
        }
        // What the kernel makes one huge page of, it makes resident itself.
        let kernel = "[by the kernel itself or another process]";
        let heap = recorded.profile.value("resident_growth")?;
        let of_heap = |stack: &&Stack| calls(stack, "main.heap") || calls(stack, kernel);
        let heap: u64 =
            recorded.profile.stacks.iter().filter(of_heap).map(|stack| stack.values[heap]).sum();
        ensure!(heap >= 15 << 20, "{heap} of the heap, {}", name());
    }
    Ok(())
}

/// Each span from the page heap is counted, and takes as long as the program finds or less; the kernel's
/// part is a part of that. What is resident adds up as ever.
fn slow_allocations_are_timed(go: &str) -> Result<()> {
    let recorded = recorded(go, Variant::Stripped, "os-alloc", &["heap 32", "go 5"])?;
    recorded.calls_equal()?;
    recorded.adds_up()?;
    let profile = &recorded.profile;
    let heap = recorded.paths.iter().find(|path| path.name == "main.heap").context("no heap")?;
    let sum = |kind: &str| -> Result<u64> {
        let value = profile.value(kind)?;
        let large = |stack: &&Stack| {
            calls(stack, &heap.name) && calls(stack, "runtime.(*mcache).allocLarge")
        };
        Ok(profile.stacks.iter().filter(large).map(|stack| stack.values[value]).sum())
    };
    let (spans, time, kernel) = (sum("slow_spans")?, sum("slow_time")?, sum("kernel_slow_time")?);
    ensure!(spans == heap.span_allocs, "Go {go}: {spans} of {}", heap.span_allocs);
    ensure!(time > 0 && time <= heap.span_time, "Go {go}: {time} of {} ns", heap.span_time);
    // The heap grows by 4 MiB at least, each time by system calls.
    ensure!(kernel > 0 && kernel < time, "Go {go}: {kernel} of {time} ns");
    Ok(())
}

each_release! {
    exact: equals_the_programs_counts;
    slow: slow_allocations_are_timed;
}

/// What a person sees: totals, who has what mapped, a picture of growth, pprof.
#[test]
fn the_outputs_tell_what_the_kernel_did() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("os", "1.27", Variant::Default)?;
    let mut program = Running::start(Command::new(fixture.program))?;
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (flames, pprof) = (file("flames.svg"), file("a.pb.gz"));
    let more = ["-o", "-", "-o", &flames, "-o", &pprof];
    let recording = Recording::of(&mut command(program.pid(), "os-alloc,os", &more)?)?;
    for line in ["touch 4", "go 2", "heap 8"] {
        program.ask(line)?;
    }
    let ended = recording.stop()?;
    let table = &ended.expect(0)?.stdout;
    for wanted in [
        "stacks by time for slow allocations",
        "what the kernel did",
        "; 2 failed",
        "MADV_DONTNEED 40 calls",
        "by the program by system calls of its own",
        "of order 0",
        "from the page heap took",
        "main.(*path).mapped (os/main.go:",
        " ← main.touches ← main.main mapped 4.0 MiB",
        "exact, nothing lost",
    ] {
        ensure!(table.contains(wanted), "no {wanted:?} in\n{table}");
    }
    let flames = fs::read_to_string(flames)?;
    ensure!(flames.contains("main.heap") && flames.contains("runtime.(*mheap).alloc"), "{flames}");
    let profile = Pprof::read(pprof.as_ref())?;
    let has = |of: &str| profile.types.iter().any(|one| one == of);
    ensure!(has("resident_growth/bytes") && has("slow_time/nanoseconds"), "{:?}", profile.types);
    Ok(())
}

/// Threads that make memory resident at the same time: nothing is counted twice.
#[test]
fn threads_at_the_same_time_add_up() -> Result<()> {
    let recorded = recorded("1.27", Variant::Stripped, "os", &["threads 16"])?;
    recorded.adds_up()?;
    let seen = recorded.sum("resident_growth", "main.concurrently")?;
    let truth: u64 = 64 << 20;
    ensure!(seen.abs_diff(truth) <= truth / 50, "{seen} of {truth}");
    Ok(())
}

/// Memory of C is told from the runtime's, with the Go function that called C; and who maps without
/// unmapping is named.
#[test]
fn memory_of_c_is_named() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("oscgo", "1.25", Variant::Default)?;
    let mut program = Running::start(Command::new(fixture.program))?;
    let (profile, change, ended) = record(&mut program, "os", &["go 4", "go 4"])?;
    for name in ["main.mallocs", "main.maps"] {
        let sum = |kind: &str| -> Result<u64> {
            let value = profile.value(kind)?;
            let stacks = profile.stacks.iter().filter(|stack| calls(stack, name));
            Ok(stacks.map(|stack| stack.values[value]).sum())
        };
        for kind in ["mapped_space", "resident_growth"] {
            let seen = sum(kind)?;
            ensure!((8 << 20..9 << 20).contains(&seen), "{name}: {kind} {seen}");
        }
        let finding = format!("finding: {name} (oscgo/main.go:");
        ensure!(profile.notes.iter().any(|note| note.starts_with(&finding)), "{:?}", profile.notes);
    }
    let growth = profile.total("resident_growth")?;
    ensure!(growth.abs_diff(change as u64) <= growth / 20, "{growth} of {change}");
    let view = |note: &String| note.starts_with("the runtime's own view");
    ensure!(profile.notes.iter().any(view), "{:?}\n{}", profile.notes, ended.stderr);
    Ok(())
}

/// What is given back ceases to be resident, by whoever gave it back; a child is nobody's memory.
#[test]
fn what_is_given_back_is_told() -> Result<()> {
    let lines = ["touch 8", "heap 16", "fork", "release"];
    let recorded = recorded("1.26", Variant::Stripped, "os", &lines)?;
    let growth = recorded.growth()?;
    // It comes to little: what is off must be less than a part in 20 of what went to and fro.
    let moved = recorded.profile.total("resident_growth")?;
    ensure!(growth.abs_diff(recorded.change) <= moved / 20, "{growth} of {}", recorded.change);
    let profile = &recorded.profile;
    let value = profile.value("released_space")?;
    let of = |function: &str| -> u64 {
        let has = |stack: &&Stack| stack.frames.iter().any(|f| f.function.starts_with(function));
        profile.stacks.iter().filter(has).map(|stack| stack.values[value]).sum()
    };
    ensure!(of("syscall.Munmap") >= 24 << 20, "{} unmapped", of("syscall.Munmap"));
    // Of 16 MiB: how much of it the runtime gives back is its own affair (12.7 and 16.2 MiB were seen), and the
    // change of the resident memory has it. All that was given back was so in one of the two ways.
    ensure!(of("runtime.sysUnused") >= 8 << 20, "{} scavenged", of("runtime.sysUnused"));
    let released = profile.total("released_space")?;
    let known = of("syscall.Munmap") + of("runtime.sysUnused");
    ensure!(released - known <= 1 << 20, "{released} released, {known} of it in these ways");
    Ok(())
}

/// A kernel that preempts its programs at tracepoints shows them nothing of who runs meanwhile on that CPU. What is
/// missing is told; elsewhere nothing is.
#[test]
fn what_the_kernel_leaves_out_is_told() -> Result<()> {
    require_root()?;
    let start = || -> Result<Running> {
        let fixture = Fixture::build("os", "1.27", Variant::Stripped)?;
        let mut command = Command::new(fixture.program);
        // To stop a program its runtime lets one thread spin, which would keep the others from the CPU.
        command.env("GOGC", "off");
        Running::start(command)
    };
    let (mut calling, mut first) = (start()?, start()?);
    for program in [&calling, &first] {
        turns::on_first_cpu(program.pid())?;
    }
    turns::before_others(first.pid())?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let more = ["-p", &first.pid().to_string(), "-o", json.to_str().context("a path")?];
    let recording = Recording::of(&mut command(calling.pid(), "os", &more)?)?;
    calling.say("go 1000")?;
    for _ in 0..200 {
        let answer = first.ask("go 1")?;
        ensure!(answer == "done", "the fixture answered {answer:?}");
    }
    ensure!(calling.hear()? == "done", "a fixture did not answer");
    recording.stop()?.expect(0)?;
    let profile = Profile::read(&json)?;
    let mut paths: Vec<Path> = serde_json::from_str(&calling.ask("quit")?)?;
    let more: Vec<Path> = serde_json::from_str(&first.ask("quit")?)?;
    paths.iter_mut().zip(&more).for_each(|(path, more)| path.add(more));
    println!("left out: {}", profile.counter("lost_left_out"));
    Recorded { profile, paths, change: 0 }.calls_equal()
}

/// What was counted for programs that end is told, and of those that start meanwhile; what they had mapped
/// at their end is left.
#[test]
fn programs_that_come_and_go_are_told() -> Result<()> {
    let words = ["record", "--probe", "os"];
    let told = told::record_two::<Vec<Path>>("os", "1.24", &words, &["go 3", "touch 2"])?;
    let mut paths: Vec<Path> = Vec::new();
    for path in told.report.into_iter().flatten() {
        match paths.iter_mut().find(|known| known.name == path.name) {
            Some(known) => known.add(&path),
            None => paths.push(path),
        }
    }
    let recorded = Recorded { profile: told.profile, paths, change: 0 };
    recorded.calls_equal()?;
    let grown = recorded.sum("resident_growth", "main.touches")?;
    ensure!((4 << 20..5 << 20).contains(&grown), "{grown} resident");
    Ok(())
}

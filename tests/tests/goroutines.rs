//! `heaptap goroutines` says what the program's own profiler says: stacks, counts, labels, states,
//! creators. The goroutine that asks the profiler is elsewhere then than when heaptap looks; its
//! number tells which it is, and it is compared by nothing but its number and creator.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use heaptap::address::{LoadBias, RuntimeAddr};
use heaptap::gobin::{GoBinary, LoadType};
use heaptap::host;
use heaptap::runtime::g::{Entry, MAX_GOROUTINES, WAITING};
use heaptap::runtime::goroutines::{Labeled, Limits, Snapshot, Waiting};
use heaptap::runtime::labels::Labels;
use heaptap::runtime::{Batch, Live, Memory, MemoryError, ProcessMemory, Program, Range};
use heaptap::symbolize::name_for_print;
use heaptap_tests::pprof::Pprof;
use heaptap_tests::report::Frame;
use heaptap_tests::{Fixture, Running, Variant, heaptap as tool, require_root};
use serde::Deserialize;
use xtask::each_release;

/// `heaptap.goroutines/1`, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Document {
    schema: String,
    counters: Vec<Counter>,
    goroutines: Vec<Goroutine>,
    stacks: Vec<Stack>,
}

#[derive(Debug, Deserialize)]
struct Counter {
    name: String,
    count: u64,
    is_loss: bool,
}

#[derive(Debug, Deserialize)]
struct Goroutine {
    id: u64,
    state: String,
    waits_at_least_ns: Option<u64>,
    locked_to_thread: bool,
    system: bool,
    parent: Option<u64>,
    created_by: Option<Frame>,
    start: Option<Frame>,
    labels: Option<BTreeMap<String, String>>,
    stack: usize,
    stack_missing: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Stack {
    frames: Vec<StackFrame>,
}

#[derive(Clone, Debug, Deserialize)]
struct StackFrame {
    function: String,
    file: String,
    line: u32,
    kind: String,
}

impl Document {
    fn read(path: &Path) -> Result<Document> {
        let document: Document = serde_json::from_slice(&fs::read(path)?)?;
        ensure!(document.schema == "heaptap.goroutines/1", "schema {}", document.schema);
        Ok(document)
    }

    fn stack(&self, goroutine: &Goroutine) -> Vec<Frame> {
        let frame = |f: &StackFrame| Frame {
            function: f.function.clone(),
            file: f.file.clone(),
            line: f.line,
        };
        self.stacks[goroutine.stack].frames.iter().map(frame).collect()
    }

    fn losses(&self) -> Vec<&Counter> {
        self.counters.iter().filter(|counter| counter.is_loss).collect()
    }
}

/// What heaptap sees of a process at one moment, in two of its outputs.
struct Seen {
    document: Document,
    pprof: Pprof,
}

fn see(pid: u32) -> Result<Seen> {
    let dir = tempfile::tempdir()?;
    let [json, pprof] = ["out.json", "out.pb.gz"].map(|name| dir.path().join(name));
    let pid = pid.to_string();
    let args = ["goroutines", "-q", "-p", &pid, "-o"].map(AsRef::as_ref);
    let args = args.into_iter().chain([json.as_os_str(), "-o".as_ref(), pprof.as_os_str()]);
    tool::run(args)?.expect(0)?;
    Ok(Seen { document: Document::read(&json)?, pprof: Pprof::read(&pprof)? })
}

/// Asks the fixture to write something down; the number of the goroutine that did.
fn ask(program: &mut Running, what: &str, path: &Path) -> Result<u64> {
    let answer = program.ask(&format!("{what} {}", path.display()))?;
    let id = answer.strip_prefix("done ").and_then(|id| id.parse().ok());
    id.with_context(|| format!("the fixture answered {answer:?}"))
}

/// Stacks with their labels, and how many goroutines are there.
type Counts = HashMap<(Vec<Frame>, BTreeMap<String, String>), i64>;

/// Labels of heaptap's own.
const OURS: [&str; 5] = ["comm", "container", "go_type", "state", "created_by"];

/// The same for both: `depth` frames, without the goroutine that wrote Go's profile.
fn counts(pprof: &Pprof, depth: usize) -> Result<Counts> {
    ensure!(pprof.types == ["goroutine/count"], "{:?}", pprof.types);
    let mut counts = Counts::new();
    for sample in &pprof.samples {
        let mut stack = sample.stack.clone();
        stack.truncate(depth);
        let mut labels = sample.labels.clone();
        labels.retain(|key, _| !OURS.contains(&key.as_str()));
        *counts.entry((stack, labels)).or_default() += sample.values[0];
    }
    Ok(counts)
}

/// Most frames of a stack in Go's own profile (mprof.go).
fn profile_depth(go: &str) -> usize {
    if matches!(go, "1.19" | "1.21" | "1.22") { 32 } else { 128 }
}

fn compare(go: &str, program: &mut Running) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let theirs = dir.path().join("theirs.pb.gz");
    let writer = ask(program, "profile", &theirs)?;
    let seen = see(program.pid())?;
    let depth = profile_depth(go);
    let mut expected = counts(&Pprof::read(&theirs)?, depth)?;
    // The writer was in the profiler, and is waiting for input now.
    let before = expected.len();
    expected.retain(|(stack, _), count| {
        let asks = |f: &Frame| f.function == "runtime/pprof.(*Profile).WriteTo";
        !(*count == 1 && stack.iter().any(asks))
    });
    ensure!(expected.len() + 1 == before, "{} writers", before - expected.len());
    let mut found = counts(&seen.pprof, depth)?;
    let of_writer = seen.document.goroutines.iter().find(|g| g.id == writer);
    let mut stack = seen.document.stack(of_writer.context("no goroutine that wrote")?);
    stack.truncate(depth);
    let count = found.get_mut(&(stack.clone(), BTreeMap::new()));
    *count.with_context(|| format!("the writer is not in the profile: {stack:?}"))? -= 1;
    found.retain(|_, count| *count != 0);
    for (key, count) in &expected {
        let ours = found.remove(key).unwrap_or(0);
        if ours != *count {
            let first = key.0.iter().take(5);
            let near =
                found.keys().find(|k| k.0.last() == key.0.last() && k.0.len() == key.0.len());
            bail!(
                "Go has {count} of {:?} {:?}, heaptap {ours}; nearest of {} frames: {near:?}",
                first.collect::<Vec<_>>(),
                key.1,
                key.0.len()
            );
        }
    }
    ensure!(found.is_empty(), "heaptap has more: {found:?}");
    document_equals_profile(&seen)
}

/// The goroutines one by one are those of the profile.
fn document_equals_profile(seen: &Seen) -> Result<()> {
    let all = seen.pprof.samples.iter().map(|sample| sample.values[0]).sum::<i64>();
    let program = seen.document.goroutines.iter().filter(|g| !g.system);
    ensure!(program.count() as i64 == all, "not as many goroutines as in the profile, {all}");
    let mut counts = counts(&seen.pprof, usize::MAX)?;
    for g in seen.document.goroutines.iter().filter(|g| !g.system) {
        let labels = g.labels.clone().context("labels that can't be read")?;
        let key = (seen.document.stack(g), labels);
        let count = counts.get_mut(&key).with_context(|| format!("not in the profile: {key:?}"))?;
        *count -= 1;
    }
    ensure!(counts.values().all(|count| *count == 0), "other counts");
    Ok(())
}

/// A goroutine as `runtime.Stack` prints it.
#[derive(Debug)]
struct Printed {
    id: u64,
    state: String,
    locked: bool,
    /// Function, and file with line; nothing for the main goroutine.
    creator: Option<(String, String)>,
    parent: Option<u64>,
}

fn printed(text: &str) -> Result<Vec<Printed>> {
    let one = |part: &str| -> Option<Printed> {
        let lines: Vec<&str> = part.lines().collect();
        let (id, rest) = lines[0].strip_prefix("goroutine ")?.split_once(" [")?;
        let mut facts = rest.strip_suffix("]:")?.split(", ");
        let state = facts.next()?.to_owned();
        let locked = facts.any(|fact| fact == "locked to thread");
        let at = lines.iter().position(|line| line.starts_with("created by "));
        let creator = at.map(|at| lines[at].trim_start_matches("created by "));
        let (function, parent) = match creator.and_then(|c| c.split_once(" in goroutine ")) {
            Some((function, parent)) => (Some(function), parent.parse().ok()),
            None => (creator, None),
        };
        let place = at.and_then(|at| lines.get(at + 1)?.trim().split(" +").next());
        let creator = function.zip(place).map(|(f, place)| (f.to_owned(), place.to_owned()));
        Some(Printed { id: id.parse().ok()?, state, locked, creator, parent })
    };
    let parts = text.split("\n\n").filter(|part| !part.trim().is_empty());
    parts.map(|part| one(part).with_context(|| format!("not understood: {part}"))).collect()
}

/// Numbers, states, creators and parents are those that the program prints.
fn states(go: &str, program: &mut Running) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("stacks.txt");
    let writer = ask(program, "text", &path)?;
    let seen = see(program.pid())?;
    let printed = printed(&fs::read_to_string(&path)?)?;
    let mut ours: HashMap<u64, &Goroutine> = HashMap::new();
    for g in seen.document.goroutines.iter().filter(|g| !g.system) {
        ensure!(ours.insert(g.id, g).is_none(), "goroutine {} twice", g.id);
    }
    let mut kinds = Vec::new();
    for theirs in &printed {
        let g = ours.remove(&theirs.id).with_context(|| format!("lacks {theirs:?}"))?;
        let creator = g.created_by.as_ref();
        let printed = |name: &str| name_for_print(name, go == "1.27").into_owned();
        let creator = creator.map(|f| (printed(&f.function), format!("{}:{}", f.file, f.line)));
        let parents_told = !matches!(go, "1.19");
        ensure!(creator == theirs.creator, "{theirs:?}, heaptap {creator:?}");
        ensure!(!parents_told || g.parent == theirs.parent, "{theirs:?}, heaptap {:?}", g.parent);
        ensure!(g.locked_to_thread == theirs.locked, "{theirs:?}: locked?");
        ensure!(g.id == writer || g.state == theirs.state, "{theirs:?}, heaptap {}", g.state);
        ensure!(g.start.is_some(), "{theirs:?}: no first function");
        kinds.push(theirs.state.as_str());
    }
    ensure!(ours.is_empty(), "heaptap has more: {ours:?}");
    for state in ["chan send", "select (no cases)", "sleep", "IO wait", "syscall", "chan receive"] {
        ensure!(kinds.contains(&state), "nobody is in {state}: {kinds:?}");
    }
    ensure!(printed.iter().any(|g| g.locked), "nobody is locked to a thread");
    ensure!(seen.document.goroutines.iter().any(|g| g.system), "no goroutine of the runtime's own");
    ensure!(seen.document.losses().is_empty(), "{:?}", seen.document.losses());
    Ok(())
}

fn equals_its_own_profile(go: &str, variant: Variant) -> Result<()> {
    require_root()?;
    let mut program = Fixture::build("goroutines", go, variant)?.start()?;
    compare(go, &mut program)?;
    states(go, &mut program)
}

each_release! {
    default: |go| equals_its_own_profile(go, Variant::Default);
    stripped: |go| equals_its_own_profile(go, Variant::Stripped);
    pie: |go| equals_its_own_profile(go, Variant::Pie);
    pie_stripped: |go| equals_its_own_profile(go, Variant::PieStripped);
    with_c: calls_from_c;
    frame_pointers: frame_pointers_agree;
    running: those_that_run_are_never_guessed;
    again: what_still_waits_is_not_read_again;
}

/// Goroutines that wait in Go code that C calls, and in C code.
fn calls_from_c(go: &str) -> Result<()> {
    require_root()?;
    let mut program = Fixture::build("goroutinesc", go, Variant::Default)?.start()?;
    compare(go, &mut program)
}

/// Opens a process as the command does.
fn open(fixture: &Fixture, pid: u32) -> Result<Live<ProcessMemory>> {
    let exe = host::open_exe(pid)?;
    let go = std::sync::Arc::new(GoBinary::open(File::open(&fixture.program)?)?);
    let bias = match (go.facts().load, go.text_mapping()) {
        (LoadType::Pie, Some(text)) => {
            host::load_bias(&exe, host::Segment { vaddr: text.start, offset: text.offset })?
        }
        _ => LoadBias(0),
    };
    let landmark = bias.to_runtime(go.text_range().0);
    let memory = ProcessMemory::new(pid, host::open_memory(&exe)?, landmark)?;
    Ok(Live::new(std::sync::Arc::new(Program::new(go)?), bias, memory))
}

/// What the function table's frame sizes lead to is what the frame pointers lead to.
fn frame_pointers_agree(go: &str) -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("goroutines", go, Variant::PieStripped)?;
    let program = fixture.start()?;
    let live = open(&fixture, program.pid())?;
    let snapshot = live.snapshot(Limits::default())?;
    let mut by_id = HashMap::new();
    for g in &snapshot.goroutines {
        if let Ok(stack) = g.stack {
            by_id.insert(g.id, &snapshot.stacks[stack as usize].pcs);
        }
    }
    let mut compared = 0;
    let mut waiting = Vec::new();
    live.each_goroutine(MAX_GOROUTINES, |entry| match entry {
        Entry::Live(g) if g.status == WAITING => waiting.push(g),
        _ => {}
    })?;
    for g in waiting {
        let mut chain = vec![g.sched.pc];
        let mut bp = g.sched.bp;
        while bp >= g.stack.0 && bp < g.stack.1 {
            let mut words = [0; 16];
            live.memory.read(bp, &mut words)?;
            let (saved, back) = words.split_at(8);
            let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes);
            chain.push(RuntimeAddr(word(back)?));
            bp = RuntimeAddr(word(saved)?);
        }
        let walked = by_id.get(&g.id).with_context(|| format!("no stack of {}", g.id))?;
        ensure!(chain == ***walked, "goroutine {}: {chain:?}, walked {walked:?}", g.id);
        compared += 1;
    }
    ensure!(compared > 40, "only {compared} stacks");
    Ok(())
}

/// Who calls whom in the fixture's goroutines that never stand still.
const CALLS: [(&str, &str); 4] = [
    ("main.spin", "main.shallow"),
    ("main.spin", "main.steep"),
    ("main.steep", "main.steeper"),
    ("main.steeper", "main.shallow"),
];

/// Goroutines that run and park all the time have stacks that can be, or none.
fn those_that_run_are_never_guessed(go: &str) -> Result<()> {
    require_root()?;
    let mut program = Fixture::build("goroutines", go, Variant::Stripped)?.start()?;
    program.ask("spin 200")?;
    let (mut whole, mut without) = (0, 0);
    for _ in 0..20 {
        let seen = see(program.pid())?;
        let by_main = |f: &Frame| f.function == "main.main";
        let spins = |g: &&Goroutine| g.created_by.as_ref().is_some_and(by_main);
        let spinning: Vec<&Goroutine> = seen.document.goroutines.iter().filter(spins).collect();
        ensure!(spinning.len() == 200, "{} goroutines", spinning.len());
        for g in spinning {
            if g.stack_missing.is_some() {
                let frames = &seen.document.stacks[g.stack].frames;
                ensure!(frames.len() == 1 && frames[0].kind == "marker", "{frames:?}");
                without += 1;
                continue;
            }
            let stack = seen.document.stack(g);
            let own: Vec<&str> = (stack.iter().map(|f| f.function.as_str()))
                .filter(|name| name.starts_with("main."))
                .collect();
            // What starts it with its arguments is made by the compiler, and is not shown.
            let own: Vec<&str> =
                own.into_iter().filter(|name| !name.starts_with("main.main")).collect();
            // One that has not run yet is in nothing but that.
            let new = g.state == "runnable" && stack.is_empty();
            let right = new
                || own.last() == Some(&"main.spin")
                    && own.windows(2).all(|pair| CALLS.contains(&(pair[1], pair[0])));
            ensure!(right, "a stack that can't be: {stack:?}");
            whole += 1;
        }
    }
    ensure!(whole > 2000, "only {whole} stacks, {without} without");
    program.ask("still")?;
    Ok(())
}

/// A process's memory, and how many bytes of it were read.
struct Counting {
    memory: ProcessMemory,
    read: Cell<usize>,
}

impl Memory for Counting {
    fn read(&self, at: RuntimeAddr, into: &mut [u8]) -> Result<(), MemoryError> {
        self.read.set(self.read.get() + into.len());
        self.memory.read(at, into)
    }

    fn read_many(&self, ranges: &[Range], batch: &mut Batch) -> Result<(), MemoryError> {
        self.read.set(self.read.get() + ranges.iter().map(|range| range.len).sum::<usize>());
        self.memory.read_many(ranges, batch)
    }

    fn check(&self) -> Result<(), MemoryError> {
        self.memory.check()
    }
}

/// What a snapshot says of a goroutine, in its own words.
type Told<'s> = (u64, u64, Option<&'s [RuntimeAddr]>, Option<&'s Labels>);

fn told(snapshot: &Snapshot) -> BTreeMap<u64, Told<'_>> {
    let of = |g: &heaptap::runtime::goroutines::Goroutine| {
        let stack = g.stack.ok().map(|stack| &*snapshot.stacks[stack as usize].pcs);
        let labels = match g.labels {
            Labeled::With(set) => Some(&snapshot.labels[set as usize]),
            Labeled::None | Labeled::Unreadable => None,
        };
        (g.id, (u64::from(g.status), g.wait_since, stack, labels))
    };
    snapshot.goroutines.iter().map(of).collect()
}

/// A snapshot that uses what the one before has seen says the same of each goroutine that waits, and
/// reads less.
fn what_still_waits_is_not_read_again(go: &str) -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("goroutines", go, Variant::Stripped)?;
    let mut program = fixture.start()?;
    let Live { program: go, bias, memory } = open(&fixture, program.pid())?;
    let live = Live::new(go, bias, Counting { memory, read: Cell::new(0) });
    let mut waiting = Waiting::default();
    let fresh = || live.snapshot(Limits::default());
    for (spinning, rounds) in [(0, 3), (4, 20), (0, 3)] {
        program.ask(&format!("spin {spinning}"))?;
        for round in 0..rounds {
            program.ask("collect")?;
            live.snapshot_after(Limits::default(), Some(&mut waiting))?;
            live.memory.read.set(0);
            let before = fresh()?;
            let read = live.memory.read.take();
            let kept = live.snapshot_after(Limits::default(), Some(&mut waiting))?;
            let again = live.memory.read.take();
            let after = fresh()?;
            ensure!(2 * again < read, "{again} bytes, {read} when all is read");
            // The others may have gone on in between, the runtime's own too.
            let (before, kept, after) = (told(&before), told(&kept), told(&after));
            let still = |(id, told): &(&u64, &Told<'_>)| told.1 != 0 && after.get(id) == Some(told);
            let still: Vec<_> = before.iter().filter(still).collect();
            ensure!(still.len() > 10, "{} of {} wait", still.len(), before.len());
            for (id, told) in still {
                let kept = kept.get(id);
                ensure!(kept == Some(told), "round {round} of {spinning}: {told:?}, {kept:?}");
            }
        }
        program.ask("still")?;
    }
    Ok(())
}

/// A recursion of 900 calls is a mark in the picture and whole in the other files.
#[test]
fn a_deep_recursion_makes_no_tower() -> Result<()> {
    require_root()?;
    let program = Fixture::build("goroutines", "1.27", Variant::Stripped)?.start()?;
    let dir = tempfile::tempdir()?;
    let [svg, folded] = ["out.svg", "out.folded"].map(|name| dir.path().join(name));
    let pid = program.pid().to_string();
    let args = ["goroutines", "-q", "-p", &pid, "-o"].map(AsRef::as_ref);
    let args = args.into_iter().chain([svg.as_os_str(), "-o".as_ref(), folded.as_os_str()]);
    tool::run(args)?.expect(0)?;
    let (svg, folded) = (fs::read_to_string(svg)?, fs::read_to_string(folded)?);
    ensure!(svg.contains("[… 899 frames of main.recurse]"), "no mark");
    ensure!(
        svg.contains("drawn shortened") && svg.contains("of up to 90"),
        "nothing is said of it"
    );
    let height = svg.split(" height=\"").nth(1).and_then(|rest| rest.split('"').next());
    ensure!(height.context("no height")?.parse::<u32>()? < 1000, "{height:?} pixels");
    let calls = folded.lines().map(|line| line.matches(";main.recurse").count()).max();
    ensure!(calls == Some(901), "{calls:?} calls");
    Ok(())
}

/// How long a goroutine waits is known when a collection has seen it wait.
#[test]
fn waiting_is_told_after_a_collection() -> Result<()> {
    require_root()?;
    let mut program = Fixture::build("goroutines", "1.27", Variant::Default)?.start()?;
    program.ask("collect")?;
    let seen = see(program.pid())?;
    for g in seen.document.goroutines.iter().filter(|g| g.state.starts_with("chan receive")) {
        let waits = g.waits_at_least_ns.with_context(|| format!("{g:?}"))?;
        ensure!(waits < 600_000_000_000, "{g:?}");
    }
    Ok(())
}

/// A program without its file, in a mount namespace and a pid namespace of its own.
#[test]
fn a_deleted_program_in_namespaces_of_its_own() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("goroutines", "1.26", Variant::PieStripped)?;
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("parked");
    heaptap_tests::copy(&fixture.program, &copy)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child"]).arg(&copy);
    let mut program = Running::start(command)?;
    fs::remove_file(&copy)?;
    let children = format!("/proc/{0}/task/{0}/children", program.pid());
    let pid: u32 = fs::read_to_string(children)?.trim().parse().context("no child")?;
    let theirs = dir.path().join("theirs.pb.gz");
    ask(&mut program, "profile", &theirs)?;
    let seen = see(pid)?;
    let all = |pprof: &Pprof| pprof.samples.iter().map(|s| s.values[0]).sum::<i64>();
    ensure!(all(&seen.pprof) == all(&Pprof::read(&theirs)?));
    document_equals_profile(&seen)
}

/// Deep stacks are cut where that is asked for, and say so.
#[test]
fn frames_and_memory_are_bounded() -> Result<()> {
    require_root()?;
    let program = Fixture::build("goroutines", "1.25", Variant::Stripped)?.start()?;
    let pid = program.pid().to_string();
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json");
    let args = ["goroutines", "-q", "-p", &pid, "--max-frames", "100", "-o"].map(AsRef::as_ref);
    tool::run(args.into_iter().chain([json.as_os_str()]))?.expect(0)?;
    let document = Document::read(&json)?;
    let cut: Vec<&Stack> = document.stacks.iter().filter(|s| s.frames.len() == 101).collect();
    ensure!(cut.len() == 1, "{} stacks are cut", cut.len());
    ensure!(cut[0].frames[100].function == "[truncated]", "{:?}", cut[0].frames[100]);
    let losses = document.losses();
    ensure!(losses.len() == 1 && losses[0].name == "cut_stacks", "{losses:?}");
    ensure!(losses[0].count == 1, "{losses:?}");
    Ok(())
}

/// Every other output has the same goroutines, and says what it is about.
#[test]
fn other_outputs() -> Result<()> {
    require_root()?;
    let program = Fixture::build("goroutines", "1.27", Variant::Default)?.start()?;
    let pid = program.pid().to_string();
    let dir = tempfile::tempdir()?;
    let [svg, folded] = ["a.svg", "a.folded"].map(|name| dir.path().join(name));
    let args = ["goroutines", "-p", &pid, "--top", "99", "-o", "-", "-o"].map(AsRef::as_ref);
    let args = args.into_iter().chain([svg.as_os_str(), "-o".as_ref(), folded.as_os_str()]);
    let ended = tool::run(args)?;
    let table = &ended.expect(0)?.stdout;
    for expected in [
        "created by main.park goroutines/park.go:",
        "10 chan receive",
        "main.receiver",
        "{handler: /api",
    ] {
        ensure!(table.contains(expected), "no {expected:?} in {table}");
    }
    let svg = fs::read_to_string(&svg)?;
    ensure!(svg.contains("created by main.park") && svg.contains("goroutines: "), "the picture");
    let folded = fs::read_to_string(&folded)?;
    let outermost: Vec<&str> = folded.lines().filter_map(|line| line.split(';').next()).collect();
    let grouped = |o: &&str| o.starts_with("created_by_") || o.starts_with("main_goroutine");
    ensure!(outermost.iter().all(grouped), "{outermost:?}");
    for by in ["state", "stack"] {
        let ended = tool::run(["goroutines", "-p", &pid, "--by", by, "--system"])?;
        ensure!(ended.expect(0)?.stdout.contains("GC worker (idle)"), "{}", ended.stdout);
    }
    Ok(())
}

/// What is no Go program, or gone, is refused in one line.
#[test]
fn what_can_not_be_read_is_refused() -> Result<()> {
    require_root()?;
    let pid = std::process::id().to_string();
    tool::run(["goroutines", "-p", &pid])?.refused(4, "no Go program")?;
    tool::run(["goroutines", "-p", "4194303"])?.refused(4, "4194303")
}

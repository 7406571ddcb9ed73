//! `heaptap gc` says of each collection what the runtime itself says of it: `GODEBUG=gctrace=1`,
//! `debug.ReadGCStats` and runtime/metrics of the same run.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use heaptap_tests::holding::is_counted;
use heaptap_tests::lines::Lines;
use heaptap_tests::watching::Watching;
use heaptap_tests::{Fixture, Running, Variant, heaptap};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xtask::each_release;

/// The fixture, with what its runtime prints.
struct Program {
    running: Running,
    trace: tempfile::NamedTempFile,
}

impl Program {
    fn start(go: &str, variant: Variant, environment: &[(&str, &str)]) -> Result<Program> {
        heaptap_tests::require_root()?;
        let fixture = Fixture::build("gc", go, variant)?;
        let trace = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(&fixture.program);
        command.env("GODEBUG", "gctrace=1").envs(environment.iter().copied());
        command.stderr(File::create(trace.path())?);
        Ok(Program { running: Running::start(command)?, trace })
    }

    /// Says something; the number of collections.
    fn ask(&mut self, line: &str) -> Result<u64> {
        Ok(self.running.ask(line)?.parse()?)
    }

    fn report(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.running.ask("report")?)?)
    }

    /// What it counted, and what its runtime has printed of each collection.
    fn truth(mut self) -> Result<(Value, Vec<Trace>)> {
        let report = self.report()?;
        self.running.wait()?;
        let text = fs::read_to_string(self.trace.path())?;
        let lines = text.lines().filter(|line| line.starts_with("gc "));
        Ok((report, lines.map(Trace::parse).collect::<Result<_>>()?))
    }
}

/// A program and who watches it, collection by collection.
struct Session {
    program: Program,
    watching: Watching,
    /// Collections before it was watched, and those whose lines were read.
    first: u64,
    seen: u64,
    /// Those of the first ones that were forced.
    forced: u64,
}

impl Session {
    fn start(mut program: Program, mode: &str) -> Result<Session> {
        let first = program.ask("force")?;
        let forced = number(&program.report()?["Metrics"], "forced")?;
        let watching = Watching::in_mode(program.running.pid(), mode)?;
        Ok(Session { program, watching, first, seen: first, forced })
    }

    /// Says something; the lines of all collections that have ended when it answers. One more may have
    /// begun by itself: its line comes the next time.
    fn ask(&mut self, line: &str) -> Result<Vec<String>> {
        let ended = self.program.ask(line)?;
        let rows = (self.seen + 1..=ended).map(|number| self.watching.sees(number));
        let rows = rows.collect::<Result<_>>()?;
        self.seen = ended;
        Ok(rows)
    }

    /// Ends both, and compares what they say. After a forced collection no other begins.
    fn compare(mut self) -> Result<Compared> {
        self.ask("force")?;
        let (document, svg, rest) = self.watching.stop()?;
        let go = document["processes"][0]["go_version"].as_str().unwrap_or_default().to_owned();
        let (report, traces) = self.program.truth()?;
        let before = (self.first, self.forced);
        let full = compare(&document, &report, &traces, before, &go)?;
        Ok(Compared { document, svg, rest, full: full as u64, count: self.seen - self.first })
    }
}

/// What a comparison leaves to be looked at.
struct Compared {
    document: Value,
    svg: String,
    rest: String,
    /// Collections that were seen in full, of all.
    full: u64,
    count: u64,
}

/// A line of `GODEBUG=gctrace=1` (package runtime's documentation): milliseconds and MiB.
#[derive(Debug)]
struct Trace {
    number: u64,
    /// Sweep termination, mark, mark termination.
    clock: [f64; 3],
    /// Assists, background, idle.
    cpu: [f64; 3],
    /// When it began, when marking ended, alive.
    heap: [u64; 3],
    goal: u64,
    procs: u64,
    forced: bool,
}

impl Trace {
    fn parse(line: &str) -> Result<Trace> {
        let wrong = || format!("a line of gctrace: {line}");
        let (head, rest) = line.split_once(": ").with_context(wrong)?;
        let number = head.split(' ').nth(1).with_context(wrong)?.parse()?;
        let parts: Vec<&str> = rest.split(", ").collect();
        let [clock, cpu, heap, goal, ..] = parts[..] else { bail!(wrong()) };
        let floats = |text: &str, unit: &str| -> Result<Vec<f64>> {
            let text = text.strip_suffix(unit).with_context(wrong)?;
            text.split(['+', '/']).map(|part| part.parse().with_context(wrong)).collect()
        };
        let clock = floats(clock, " ms clock")?.try_into().ok().with_context(wrong)?;
        let cpu = floats(cpu, " ms cpu")?;
        let heap = heap.strip_suffix(" MB").with_context(wrong)?.split("->");
        let heap: Vec<u64> = heap.map(|part| Ok(part.parse()?)).collect::<Result<_>>()?;
        let procs = parts.last().and_then(|part| part.split(' ').next()).with_context(wrong)?;
        Ok(Trace {
            number,
            clock,
            cpu: [cpu[1], cpu[2], cpu[3]],
            heap: heap.try_into().ok().with_context(wrong)?,
            goal: goal.strip_suffix(" MB goal").with_context(wrong)?.parse()?,
            procs: procs.parse()?,
            forced: line.ends_with("(forced)"),
        })
    }
}

fn number(value: &Value, name: &str) -> Result<u64> {
    value[name].as_u64().with_context(|| format!("no number {name}: {value}"))
}

/// Two digits are printed, and no part of a microsecond; what follows is cut off.
fn is_printed(ns: u64, printed: f64) -> bool {
    let ms = ns as f64 / 1e6;
    // Of 9.999 ms and more whole milliseconds are printed.
    ms >= printed - 1e-9 && ms < printed * 1.1 + 0.001_001
}

/// The collections of a document against everything that the program says: all of them, their ends and
/// pauses; of those that were seen in full, all figures.
fn compare(
    document: &Value,
    report: &Value,
    traces: &[Trace],
    before: (u64, u64),
    go: &str,
) -> Result<usize> {
    let (first, forced_before) = before;
    let process = &document["processes"][0];
    let cycles = process["cycles"].as_array().context("no cycles")?;
    let count = number(report, "NumGC")?;
    let numbers: Vec<u64> = cycles.iter().map(|c| number(c, "number")).collect::<Result<_>>()?;
    ensure!(numbers == (first + 1..=count).collect::<Vec<_>>(), "{numbers:?} up to {count}");
    ensure!(process["count"] == count - first && process["overwritten"] == 0, "{process}");
    let metrics = &report["Metrics"];
    ensure!(metrics["total"] == count && traces.len() as u64 == count, "{report} {traces:?}");
    ensure!(number(report, "PauseCount")? == 2 * count, "two stops each: {report}");
    let forced = cycles.iter().filter(|c| c["trigger"] == "forced").count() as u64;
    let known = cycles.iter().all(|c| !c["trigger"].is_null());
    ensure!(
        !known || number(metrics, "forced")? == forced_before + forced,
        "{forced} forced: {metrics}"
    );
    let pauses = report["Pauses"].as_array().context("no pauses")?;
    let mut full = 0;
    for cycle in cycles {
        let number_of = number(cycle, "number")?;
        let trace = &traces[number_of as usize - 1];
        ensure!(trace.number == number_of, "{trace:?}");
        let pause = &pauses[(count - number_of) as usize];
        ensure!(
            pause[0] == cycle["end_unix_ns"] && pause[1] == cycle["pause_ns"],
            "{cycle} {pause}"
        );
        // Go 1.19 prints what another goroutine has meanwhile asked for and not got (mgc.go, gcStart).
        if !cycle["trigger"].is_null() && !go.starts_with("1.19") {
            ensure!((cycle["trigger"] == "forced") == trace.forced, "{cycle} {trace:?}");
        }
        let detail = &cycle["detail"];
        if detail.is_null() {
            continue;
        }
        full += 1;
        let times = [
            ("sweep_termination_ns", trace.clock[0]),
            ("mark_ns", trace.clock[1]),
            ("mark_termination_ns", trace.clock[2]),
            ("assist_ns", trace.cpu[0]),
            ("background_ns", trace.cpu[1]),
            ("idle_ns", trace.cpu[2]),
        ];
        for (name, printed) in times {
            ensure!(is_printed(number(detail, name)?, printed), "{name}: {detail} {trace:?}");
        }
        let sizes = [
            ("heap_before", trace.heap[0]),
            ("heap_after", trace.heap[1]),
            ("live", trace.heap[2]),
            ("goal", trace.goal),
        ];
        for (name, printed) in sizes {
            ensure!(number(detail, name)? >> 20 == printed, "{name}: {detail} {trace:?}");
        }
        ensure!(detail["gomaxprocs"] == trace.procs, "{detail} {trace:?}");
        let stops =
            number(detail, "sweep_termination_ns")? + number(detail, "mark_termination_ns")?;
        // Since Go 1.22 the pause begins a little after the stop was asked for.
        ensure!(number(cycle, "pause_ns")? <= stops, "{cycle}");
        ensure!(cycle["cpu_share"].is_number() || number_of == 1, "{cycle}");
    }
    ensure!(process["in_full"] == full, "{process}");
    Ok(full)
}

/// The program waits after each collection, so that it is seen in full; but for those that begin by
/// themselves right after another.
fn each_one_in_full(go: &str, variant: Variant) -> Result<()> {
    let mut session = Session::start(Program::start(go, variant, &[])?, "records")?;
    let (mut grown, mut forced) = (0, 0);
    for _ in 0..100 {
        let is_whole = |row: &&String, why: &str| row.contains(why) && !row.contains('?');
        grown += session.ask("grow")?.iter().filter(|row| is_whole(row, " GOGC ")).count();
        forced += session.ask("force")?.iter().filter(|row| is_whole(row, " forced ")).count();
        if grown >= 6 && forced >= 6 {
            break;
        }
    }
    ensure!(grown >= 6 && forced >= 6, "{grown} by growth and {forced} forced in full");
    let found = session.compare()?;
    let whole = found.full == found.count;
    ensure!(whole == found.rest.contains("every collection seen in full"), "{}", found.rest);
    ensure!(found.rest.contains("; no probe: "), "{}", found.rest);
    ensure!(found.svg.matches("class=\"gc\"").count() as u64 == found.full, "{}", found.svg);
    Ok(())
}

/// The program collects as fast as it can: every collection is told, with its pauses.
fn none_is_missed(go: &str) -> Result<()> {
    let program = Program::start(go, Variant::Stripped, &[("GOGC", "20")])?;
    let mut session = Session::start(program, "records")?;
    session.ask("fast 150")?;
    let found = session.compare()?;
    let partly = found.full < found.count;
    ensure!(partly == found.rest.contains("not every one seen in full"), "{}", found.rest);
    Ok(())
}

/// The same with a trap at the end of each: all of them in full.
fn a_trap_sees_all_in_full(go: &str, variant: Variant) -> Result<()> {
    let program = Program::start(go, variant, &[("GOGC", "20")])?;
    let mut session = Session::start(program, "trap")?;
    session.ask("fast 150")?;
    for _ in 0..5 {
        session.ask("force")?;
    }
    let found = session.compare()?;
    let process = &found.document["processes"][0];
    ensure!(found.full == found.count, "{} of {}: {process}", found.full, found.count);
    ensure!(process["traps"] == found.count, "one trap each: {process}");
    let cycles = process["cycles"].as_array().context("no cycles")?;
    ensure!(cycles.iter().all(|cycle| !cycle["trigger"].is_null()), "{process}");
    ensure!(cycles.iter().all(|cycle| cycle["detail"]["goal_by"] == "gogc"), "{process}");
    ensure!(found.rest.contains("every collection seen in full"), "{}", found.rest);
    Ok(())
}

/// With a memory limit and without GOGC it is the limit that makes the goals.
fn a_limit_makes_the_goals(go: &str) -> Result<()> {
    let environment = [("GOGC", "off"), ("GOMEMLIMIT", "16MiB")];
    let program = Program::start(go, Variant::Stripped, &environment)?;
    let mut session = Session::start(program, "trap")?;
    let mut limited = 0;
    for _ in 0..4 {
        limited += session.ask("grow")?.iter().filter(|row| row.contains(" limit ")).count();
    }
    ensure!(limited >= 4, "{limited} by the limit");
    let found = session.compare()?;
    let (rest, count) = (&found.rest, found.count);
    let goals = format!("made by GOMEMLIMIT, not by GOGC, for {count} of {count}");
    ensure!(rest.contains(&goals), "{rest}");
    ensure!(rest.contains("GOGC off, GOMEMLIMIT 16.0 MiB"), "{rest}");
    ensure!(found.svg.contains("class=\"goal limit\""), "{}", found.svg);
    Ok(())
}

each_release! {
    default: |go| each_one_in_full(go, Variant::Default);
    stripped: |go| each_one_in_full(go, Variant::Stripped);
    pie: |go| each_one_in_full(go, Variant::Pie);
    pie_stripped: |go| each_one_in_full(go, Variant::PieStripped);
    fast: none_is_missed;
    limited: a_limit_makes_the_goals;
    trapped: |go| a_trap_sees_all_in_full(go, Variant::Default);
    trapped_pie_stripped: |go| a_trap_sees_all_in_full(go, Variant::PieStripped);
}

/// Who collects too fast to be looked at gets a trap; who does not, none.
#[test]
fn a_trap_comes_when_a_collection_was_missed() -> Result<()> {
    let program = Program::start("1.27", Variant::Stripped, &[("GOGC", "20")])?;
    let mut session = Session::start(program, "auto")?;
    let mut rounds = 0;
    for _ in 0..300 {
        // When lines of a round are there that began after this, the trap is attached.
        let pids = (session.watching.id(), session.program.running.pid());
        rounds += u32::from(is_counted(pids.0, pids.1).unwrap_or(false));
        let rows = session.ask("fast 20")?;
        if rounds < 3 {
            continue;
        }
        ensure!(rows.iter().all(|row| !row.contains('?')), "with a trap: {rows:?}");
        let found = session.compare()?;
        let traps = &found.document["processes"][0]["traps"];
        ensure!(traps.as_u64() >= Some(20), "{traps} traps");
        return Ok(());
    }
    bail!("no trap came")
}

#[test]
fn what_was_caught_before_the_end_is_told_after_it() -> Result<()> {
    let mut program = Program::start("1.26", Variant::PieStripped, &[("GOGC", "20")])?;
    let first = program.ask("force")?;
    let watching = Watching::in_mode(program.running.pid(), "trap")?;
    let last = program.ask("fast 40")?;
    program.running.wait()?;
    for number in first + 1..=last {
        ensure!(!watching.sees(number)?.contains('?'), "GC {number}");
    }
    let rest = watching.rows.rest()?;
    ensure!(rest.contains("every collection seen in full"), "{rest}");
    Ok(())
}

#[test]
fn it_ends_with_the_program() -> Result<()> {
    let mut program = Program::start("1.27", Variant::Stripped, &[])?;
    let watching = Watching::in_mode(program.running.pid(), "records")?;
    watching.sees(program.ask("force")?)?;
    program.running.wait()?;
    // Without a signal.
    let rest = watching.rows.rest()?;
    ensure!(rest.contains("; then it ended"), "{rest}");
    Ok(())
}

#[test]
fn processes_are_found_by_their_file() -> Result<()> {
    heaptap_tests::require_root()?;
    let fixture = Fixture::build("gc", "1.26", Variant::Pie)?;
    let [mut one, mut two] = [fixture.start()?, fixture.start()?];
    let program = fixture.program.to_string_lossy().into_owned();
    let dir = tempfile::tempdir()?;
    let output = dir.path().join("gc.json");
    let mut command = Command::new(heaptap::program()?);
    command.args(["gc", "--exe", &program, "-o", &output.to_string_lossy(), "-o", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let rows = Lines::of(child.stdout.take().context("no stdout")?);
    rows.next()?.context("no head")?;
    for program in [&mut one, &mut two] {
        program.ask("force")?;
        let row = rows.next()?.context("no row")?;
        ensure!(row.split_whitespace().next() == Some(&*program.pid().to_string()), "{row}");
    }
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGINT)?;
    ensure!(child.wait()?.success());
    let document: Value = serde_json::from_str(&fs::read_to_string(output)?)?;
    let found = document["processes"].as_array().context("no processes")?;
    ensure!(found.len() == 2 && found.iter().all(|p| p["count"] == 1), "{document}");
    Ok(())
}

#[test]
fn who_can_not_be_watched_is_refused() -> Result<()> {
    let own = std::process::id().to_string();
    heaptap::run(["gc", "-p", &own])?.refused(4, "no Go program")?;
    heaptap::run(["gc", "-p", "4194304"])?.refused(4, "there is no process 4194304")?;
    heaptap::run(["gc"])?.refused(2, "say which processes")?;
    heaptap::run(["gc", "--all", "-o", "a.folded"])?.refused(2, "collections make no profile")
}

/// Reading takes CAP_SYS_PTRACE; a trap takes more. Without it looking goes on, and it is said why.
#[test]
fn without_privileges_for_a_trap_it_is_said_so() -> Result<()> {
    let mut program = Program::start("1.27", Variant::Stripped, &[("GOGC", "20")])?;
    let first = program.ask("force")?;
    let pid = program.running.pid().to_string();
    let heaptap_with = |mode: &str| -> Result<Command> {
        let mut command = Command::new("setpriv");
        let capabilities = "--bounding-set=-all,+sys_ptrace,+dac_read_search";
        command.args([capabilities, "--inh-caps=-all"]).arg(heaptap::program()?);
        command.args(["gc", "-p", &pid, "--mode", mode]);
        Ok(command)
    };
    heaptap::run_command(heaptap_with("trap")?)?.refused(3, "heaptap doctor")?;
    let mut child = heaptap_with("auto")?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let rows = Lines::of(child.stdout.take().context("no stdout")?);
    rows.next()?.context("no head")?;
    // Until one was missed, and then so many rounds that the trap was tried.
    let (mut seen, mut rounds) = (first, 0);
    for _ in 0..300 {
        let last = program.ask("fast 20")?;
        while seen < last {
            rounds += u32::from(rows.next()?.context("heaptap ended")?.contains('?'));
            seen += 1;
        }
        if rounds > 0 {
            rounds += 1;
        }
        if rounds > 40 {
            break;
        }
    }
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGINT)?;
    let rest = rows.rest()?;
    ensure!(child.wait()?.success());
    let rest = rest.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(rest.contains("no trap at the end of collections: the kernel did not take"), "{rest}");
    Ok(())
}

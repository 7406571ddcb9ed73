//! `heaptap stats` says what the program itself says, and what it says of those that it can't read.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use heaptap_tests::cgroup::Groups;
use heaptap_tests::{Fixture, Running, Variant, heaptap, require_root};
use serde_json::Value;
use xtask::each_release;

/// What a collection or the scavenger may disturb is asked for again.
const ATTEMPTS: usize = 30;

/// The one process of a document.
fn stats(pid: u32) -> Result<Value> {
    let ended = heaptap::run(["stats", "--json", "-p", &pid.to_string()])?;
    let mut document: Value = serde_json::from_str(&ended.expect(0)?.stdout)?;
    ensure!(document["unseen"] == Value::Array(Vec::new()), "{document}");
    Ok(document["processes"][0].take())
}

fn read(program: &mut Running) -> Result<Value> {
    serde_json::from_str(&program.ask("read")?).context("the fixture's statistics")
}

fn number(value: &Value, path: &str) -> Result<u64> {
    let found = path.split('.').fold(value, |value, name| &value[name]);
    found.as_u64().with_context(|| format!("no number at {path}: {found}"))
}

/// What both have: heaptap's field and the runtime's.
const COUNTERS: [(&str, &str); 5] = [
    ("allocated.bytes", "TotalAlloc"),
    ("allocated.objects", "Mallocs"),
    ("allocated.frees", "Frees"),
    ("heap.alloc", "Alloc"),
    ("heap.objects", "HeapObjects"),
];
const GAUGES: [(&str, &str); 23] = [
    ("heap.sys", "HeapSys"),
    ("heap.idle", "HeapIdle"),
    ("heap.in_use", "HeapInuse"),
    ("heap.released", "HeapReleased"),
    ("heap.goal", "NextGC"),
    ("stacks.in_use", "StackInuse"),
    ("stacks.sys", "StackSys"),
    ("runtime.spans.in_use", "MSpanInuse"),
    ("runtime.spans.sys", "MSpanSys"),
    ("runtime.caches.in_use", "MCacheInuse"),
    ("runtime.caches.sys", "MCacheSys"),
    ("runtime.buckets_sys", "BuckHashSys"),
    ("runtime.gc_sys", "GCSys"),
    ("runtime.other_sys", "OtherSys"),
    ("runtime.sys", "Sys"),
    ("gc.last_unix_ns", "LastGC"),
    ("gc.pause_total_ns", "PauseTotalNs"),
    ("gc.cycles", "NumGC"),
    ("gc.forced", "NumForcedGC"),
    ("goroutines.program", "NumGoroutine"),
    ("sampler_rate", "MemProfileRate"),
    ("gomaxprocs", "GOMAXPROCS"),
    ("goroutines.unreadable", "zero"),
];

/// What of heaptap's figures is not what the runtime says; nothing when all is.
fn difference(ours: &Value, theirs: &Value, fields: &[(&str, &str)]) -> Result<Option<String>> {
    for (our, their) in fields {
        let expected = if *their == "zero" { 0 } else { number(theirs, their)? };
        let found = number(ours, our)?;
        if found != expected {
            return Ok(Some(format!("{our} is {found}, {their} is {expected}")));
        }
    }
    let expected = theirs["BySize"].as_array().context("no size classes")?;
    let found = ours["allocated"]["classes"].as_array().context("no size classes")?;
    for (expected, found) in expected.iter().skip(1).zip(found) {
        let [size, mallocs, frees] = ["size", "objects", "frees"].map(|name| &found[name]);
        if [size, mallocs, frees] != [&expected[0], &expected[1], &expected[2]] {
            return Ok(Some(format!("a size class is {found}, should be {expected}")));
        }
    }
    Ok(None)
}

fn pauses(ours: &Value, theirs: &Value) -> Result<()> {
    let expected = theirs["Pauses"].as_array().context("no pauses")?;
    let found = ours["gc"]["pauses"].as_array().context("no pauses")?;
    ensure!(expected.len() == found.len() && !found.is_empty(), "{} pauses", found.len());
    for (expected, found) in expected.iter().zip(found) {
        let pair = (&found["end_unix_ns"], &found["ns"]);
        ensure!(pair == (&expected[0], &expected[1]), "{found} instead of {expected}");
    }
    let fraction = ours["gc"]["cpu_fraction"].as_f64().context("no share of CPU")?;
    let expected = f64::from_bits(number(theirs, "GCCPUFractionBits")?);
    // JSON's decimals are read to the last bit but one.
    ensure!((fraction - expected).abs() <= expected * 1e-15, "share {fraction} not {expected}");
    Ok(())
}

/// First before the program was asked (what each P's cache holds must be included), then after.
fn equals_its_own(go: &str, variant: Variant, environment: &[(&str, &str)]) -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("stats", go, variant)?;
    let mut command = Command::new(&fixture.program);
    command.envs(environment.iter().copied());
    let mut program = Running::start(command)?;
    let mut last = String::new();
    for round in 0..ATTEMPTS {
        program.ask("work")?;
        let unasked = stats(program.pid())?;
        let theirs = read(&mut program)?;
        let ours = stats(program.pid())?;
        let again = read(&mut program)?;
        if theirs != again || ours["exact"] != true || unasked["exact"] != true {
            last = format!("it does not rest: {theirs} then {again}");
            continue;
        }
        let before = difference(&unasked, &theirs, &COUNTERS)?;
        let fields = [&COUNTERS[..], &GAUGES[..]].concat();
        match (before, difference(&ours, &theirs, &fields)?) {
            (None, None) => {}
            // The runtime may have allocated between the two looks; not every time.
            (before, after) => {
                last = format!("before it was asked: {before:?}; after: {after:?}");
                continue;
            }
        }
        pauses(&ours, &theirs)?;
        ensure!(ours["go_version"].as_str().is_some_and(|v| v.starts_with(go)), "{ours}");
        ensure!(number(&ours, "memory.resident")? > 1 << 20, "{}", ours["memory"]);
        if round >= 2 {
            let limited = !environment.is_empty();
            ensure!(ours["gc"]["limit_binds"] == limited, "a limit: {}", ours["gc"]);
            return Ok(());
        }
    }
    bail!("go{go} {}: {last}", variant.name());
}

each_release! {
    default: |go| equals_its_own(go, Variant::Default, &[]);
    stripped: |go| equals_its_own(go, Variant::Stripped, &[]);
    pie: |go| equals_its_own(go, Variant::Pie, &[]);
    pie_stripped: |go| equals_its_own(go, Variant::PieStripped, &[]);
    under_a_memory_limit: |go| equals_its_own(go, Variant::Default, &[("GOMEMLIMIT", "12MiB")]);
    busy: goes_on_while_it_is_read;
}

/// Counters never go back, nothing impossible is said, and the program runs on. What one look had to leave out, of what Ps have
/// in their caches, an exact one before may have had.
fn goes_on_while_it_is_read(go: &str) -> Result<()> {
    require_root()?;
    let mut program = Fixture::build("stats", go, Variant::Default)?.start()?;
    program.ask("work")?;
    program.ask("busy")?;
    let mut last = stats(program.pid())?;
    for _ in 0..20 {
        let now = stats(program.pid())?;
        let leaves_out = last["exact"] == true && now["exact"] == false;
        for field in ["allocated.frees", "gc.cycles", "gc.pause_total_ns"] {
            if leaves_out && field == "allocated.frees" {
                continue;
            }
            ensure!(number(&now, field)? >= number(&last, field)?, "{field}: {last} then {now}");
        }
        ensure!(number(&now, "heap.alloc")? < 1 << 30, "{now}");
        last = now;
    }
    program.ask("stop")?;
    Ok(())
}

#[test]
fn without_a_collector_there_is_no_goal() -> Result<()> {
    let fixture = Fixture::build("stats", "1.27", Variant::Stripped)?;
    let mut command = Command::new(&fixture.program);
    command.env("GOGC", "off");
    let program = Running::start(command)?;
    let ours = stats(program.pid())?;
    ensure!(ours["gc"]["gogc"] == Value::Null && ours["gc"]["memory_limit"] == Value::Null);
    ensure!(ours["heap"]["goal"] == Value::Null && ours["heap"]["next_gc_at"] == Value::Null);
    ensure!(ours["gc"]["cycles"] == 0 && ours["gc"]["last_unix_ns"] == Value::Null);
    let text = heaptap::run(["stats", "-p", &program.pid().to_string()])?;
    ensure!(text.expect(0)?.stdout.contains("the collector is off"), "{}", text.stdout);
    Ok(())
}

#[test]
fn a_deleted_program_is_read_like_any_other() -> Result<()> {
    let fixture = Fixture::build("stats", "1.26", Variant::PieStripped)?;
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("program");
    heaptap_tests::copy(&fixture.program, &copy)?;
    let program = Running::start(Command::new(&copy))?;
    fs::remove_file(&copy)?;
    ensure!(number(&stats(program.pid())?, "heap.alloc")? > 0);
    Ok(())
}

#[test]
fn a_program_in_namespaces_of_its_own_is_read() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("stats", "1.27", Variant::Stripped)?;
    let mut command = Command::new("unshare");
    command.args(["--pid", "--mount", "--fork", "--mount-proc", "--kill-child"]);
    command.arg(&fixture.program);
    let program = Running::start(command)?;
    let all = heaptap::run(["stats", "--all", "--json"])?;
    let document: Value = serde_json::from_str(&all.expect(0)?.stdout)?;
    let path = fixture.program.to_string_lossy();
    let processes = document["processes"].as_array().context("no processes")?;
    let found = processes.iter().filter(|p| p["path"].as_str() == Some(&*path));
    for process in found {
        let parent = fs::read_to_string(format!("/proc/{}/stat", process["pid"]))?;
        if parent.contains(&format!(" S {} ", program.pid())) {
            ensure!(number(process, "heap.alloc")? > 0, "{process}");
            return Ok(());
        }
    }
    bail!("{} is not among {document}", path)
}

#[test]
fn watching_ends_with_the_program() -> Result<()> {
    let fixture = Fixture::build("stats", "1.27", Variant::Stripped)?;
    let mut program = fixture.start()?;
    let pid = program.pid().to_string();
    let watched = std::thread::spawn(move || {
        heaptap::run(["stats", "--watch", "0.02", "--json", "-p", &pid])
    });
    // It is read for as long as it works.
    for _ in 0..20 {
        program.ask("work")?;
        stats(program.pid())?;
    }
    program.wait()?;
    let ended = watched.join().map_err(|_| anyhow::anyhow!("heaptap's runner panicked"))??;
    let lines: Vec<&str> = ended.expect(0)?.stdout.lines().collect();
    ensure!(lines.len() > 2, "{} lines", lines.len());
    for line in lines {
        let document: Value = serde_json::from_str(line)?;
        ensure!(document["schema"] == "heaptap.stats/1", "{line}");
    }
    Ok(())
}

#[test]
fn what_is_no_go_program_is_refused() -> Result<()> {
    let own = std::process::id().to_string();
    heaptap::run(["stats", "-p", &own])?.refused(4, "no Go program")?;
    heaptap::run(["stats", "-p", "4194304"])?.refused(4, "there is no process 4194304")?;
    heaptap::run(["stats"])?.refused(2, "say which processes")
}

#[test]
fn the_others_are_printed_when_one_can_not_be_read() -> Result<()> {
    let program = Fixture::build("stats", "1.27", Variant::Stripped)?.start()?;
    let pid = program.pid().to_string();
    let ended = heaptap::run(["stats", "-p", &pid, "-p", "4194304"])?;
    ended.refused(4, "there is no process 4194304")?;
    ensure!(ended.stdout.contains(&format!("(pid {pid}, go1.27")), "{}", ended.stdout);
    Ok(())
}

#[test]
fn without_privileges_it_is_said_what_is_missing() -> Result<()> {
    require_root()?;
    let program = Fixture::build("stats", "1.27", Variant::Stripped)?.start()?;
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    command.arg(heaptap::program()?).args(["stats", "-p", &program.pid().to_string()]);
    heaptap::run_command(command)?.refused(3, "CAP_SYS_PTRACE")
}

/// Use and limit of a real control group: the lowest limit of all around it.
#[test]
fn tells_the_control_groups_limit() -> Result<()> {
    const LIMIT: u64 = 192 << 20;
    require_root()?;
    let groups = Groups::new("stats", LIMIT, 2 * LIMIT)?;
    let mut program = Fixture::build("stats", "1.27", Variant::Stripped)?.start()?;
    groups.enter(program.pid())?;
    program.ask("work")?;
    let before = groups.usage()?;
    let ours = stats(program.pid())?;
    let after = groups.usage()?;
    let (usage, limit) =
        (number(&ours, "memory.cgroup.usage")?, number(&ours, "memory.cgroup.limit")?);
    ensure!(limit == LIMIT, "limit {limit}");
    // The kernel charges in batches, and the program's own threads go on.
    let slack = 4 << 20;
    let possible = before.min(after).saturating_sub(slack)..=before.max(after) + slack;
    ensure!(usage > 0 && possible.contains(&usage), "{usage} used, {before} before, {after} after");
    let table = heaptap::run(["stats", "-p", &program.pid().to_string()])?;
    let row = table.stdout.lines().find(|line| line.starts_with("cgroup "));
    ensure!(row.is_some_and(|row| row.contains("limit 192.0 MiB (")), "{row:?}");
    Ok(())
}

//! `heaptap forecast` tells when programs come to their limits, and in which of the usual ways.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use heaptap_tests::cgroup::Groups;
use heaptap_tests::{Fixture, Running, Variant, heaptap, require_root};
use serde_json::Value;

const MIB: f64 = 1048576.0;
/// Of the groups of programs that grow.
const LIMIT: u64 = 128 << 20;
/// Of the group of one that comes to it while the test is there.
const NEAR: u64 = 44 << 20;

/// A program that runs a case of the fixture `ends`, in a control group with a limit.
struct Case {
    name: &'static str,
    running: Running,
    _groups: Groups,
}

fn start(name: &'static str, go: &str, limit: u64) -> Result<Case> {
    let mut running = Fixture::build("ends", go, Variant::Stripped)?.start()?;
    let groups = Groups::new(&format!("ends-{name}-{go}"), 16 * limit, limit)?;
    groups.enter(running.pid())?;
    ensure!(running.ask(name)? == "done");
    Ok(Case { name, running, _groups: groups })
}

fn of<'a>(document: &'a Value, case: &Case) -> Result<&'a Value> {
    let processes = document["processes"].as_array().context("no processes")?;
    let process = processes.iter().find(|process| process["pid"] == case.running.pid());
    process.with_context(|| format!("{} is not in the document", case.name))
}

/// The limit of that name.
fn limit<'a>(process: &'a Value, name: &str) -> Result<&'a Value> {
    let limits = process["limits"].as_array().context("no limits")?;
    let limit = limits.iter().find(|limit| limit["limit"] == name);
    limit.with_context(|| format!("no limit {name}: {process}"))
}

/// The only one of the usual ways that is likely, beside those that may be possible.
fn ensure_way(process: &Value, way: &str, possible: &[&str]) -> Result<()> {
    let ways = process["ways"].as_array().context("no ways")?;
    for one in ways {
        let (name, sign) = (one["way"].as_str().unwrap_or(""), &one["sign"]);
        let is_right = match name == way {
            true => sign == "likely",
            false => sign == "no sign" || sign == "possible" && possible.contains(&name),
        };
        ensure!(is_right, "{way}: {name} is {sign}: {ways:#?}");
    }
    let first = &ways[0]["evidence"][0];
    ensure!(first["speaks"] == "for", "{way}: {first}");
    Ok(())
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("{value} is no number"))
}

/// It grows by so much a second: the time must be that, but for what the kernel and the runtime need of their
/// own (in Go 1.19 a bitmap of a 32nd of the heap).
/// What is used may have been read so many seconds ago.
fn ensure_time(limit: &Value, rate: f64, age: f64) -> Result<()> {
    ensure!(limit["outlook"] == "expected", "{limit}");
    let rest = number(&limit["bytes"])? - number(&limit["used"])?;
    let (soonest, last) = (rest / (1.05 * rate) - age, rest / (0.99 * rate));
    let [seconds, earliest, latest] =
        ["seconds", "earliest", "latest"].map(|name| number(&limit[name]));
    let (seconds, earliest, latest) = (seconds?, earliest?, latest?);
    ensure!(earliest <= last && latest >= soonest, "{soonest:.1} to {last:.1} s: {limit}");
    ensure!(
        seconds > 0.9 * soonest && seconds < 1.1 * last,
        "{soonest:.1} to {last:.1} s: {limit}"
    );
    Ok(())
}

/// All at once: what takes the time is waiting.
#[test]
fn ends_are_told_in_time_and_their_ways_apart() -> Result<()> {
    require_root()?;
    let mut cases = [
        start("leak", "1.27", LIMIT)?,
        start("leak", "1.19", LIMIT)?,
        start("off-heap", "1.27", NEAR)?,
        start("goroutines", "1.27", LIMIT)?,
        start("churn", "1.27", 8 * LIMIT)?,
        start("fragments", "1.27", 8 * LIMIT)?,
        start("limited", "1.27", 8 * LIMIT)?,
        start("steady", "1.27", 8 * LIMIT)?,
        start("steady", "1.19", 8 * LIMIT)?,
    ];
    let [leak, old, off_heap, goroutines, churn, fragments, limited, steady, calm] = &cases;
    let mut args = ["forecast", "--for", "26s", "--json", "-q"].map(str::to_owned).to_vec();
    for case in &cases {
        args.extend(["-p".to_owned(), case.running.pid().to_string()]);
    }
    // Of one that has no end in sight, for people, meanwhile.
    let pids = [steady, calm].map(|case| case.running.pid().to_string());
    let mut text = Command::new(heaptap::program()?);
    text.args(["forecast", "--for", "20s", "-p", &pids[0], "-p", &pids[1]]);
    let text = std::thread::spawn(move || heaptap::run_command(text));
    let ended = heaptap::run(&args)?;
    let then = Instant::now();
    ended.expect(8)?;
    ensure!(ended.stderr.contains("at a memory limit, or there within 60 min"), "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout)?;
    ensure!(document["processes"][0]["near"] == true, "the first one is not near");

    for case in [leak, old] {
        let process = of(&document, case)?;
        ensure_time(limit(process, "cgroup")?, 1.5 * MIB, 0.0)?;
        ensure_way(process, "live-heap", &["large-fragmentation"])?;
    }
    let process = of(&document, off_heap)?;
    let near = limit(process, "cgroup")?;
    ensure_time(near, MIB, 0.0)?;
    ensure_way(process, "goroutines-off-heap", &[])?;
    ensure_way(of(&document, goroutines)?, "goroutines-off-heap", &[])?;
    // Where the processors are busy the collector comes later, and the heap grows once more for that.
    ensure_way(of(&document, churn)?, "small-churn", &["large-fragmentation"])?;
    ensure_way(of(&document, fragments)?, "large-fragmentation", &[])?;

    let process = of(&document, limited)?;
    ensure!(process["memory_limit"] == 96 << 20, "{process}");
    ensure_way(process, "live-heap", &["large-fragmentation"])?;
    let live = limit(process, "gomemlimit-live")?;
    ensure_time(live, MIB, 4.0)?;
    let mapped = limit(process, "gomemlimit")?;
    let is_before =
        mapped["outlook"] == "reached" || number(&mapped["earliest"])? <= number(&live["seconds"])?;
    ensure!(is_before, "{mapped}");

    for case in [steady, calm] {
        let process = of(&document, case)?;
        let limit = limit(process, "cgroup")?;
        // One in twenty of such slopes is taken for one that is there; then the end is far away all the same.
        let is_far = limit["outlook"] == "not in sight" || number(&limit["earliest"])? > 1200.0;
        ensure!(is_far && process["near"] == false, "{limit}");
        let ways = process["ways"].as_array().context("no ways")?;
        let is_calm = |way: &Value| {
            let grew_once = way["way"] == "large-fragmentation" && way["sign"] == "possible";
            way["sign"] == "no sign" || grew_once
        };
        ensure!(ways.iter().all(is_calm), "{ways:#?}");
    }
    let text = text.join().map_err(|_| anyhow::anyhow!("the other thread"))??;
    text.expect(0)?;
    let words = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for (part, least) in
        [("no end in sight", 1), ("no sign", 2), ("of the spans that are in use filled", 2)]
    {
        ensure!(words.matches(part).count() >= least, "{part}: {words}");
    }
    ensure!(text.stderr.contains("looking at 2 processes for 20"), "{}", text.stderr);

    // The kernel does what was told of it, when that was told.
    let [earliest, latest] = ["earliest", "latest"].map(|name| number(&near[name]));
    let (earliest, latest) = (earliest?, latest?);
    ensure!(cases[2].running.hear().is_err(), "it said something");
    let status = cases[2].running.wait()?;
    let happened = then.elapsed().as_secs_f64();
    ensure!(status.signal() == Some(9), "{status}");
    ensure!((earliest - 1.0..latest + 1.0).contains(&happened), "{happened:.1} s: {near}");
    Ok(())
}

/// What is there is told; of who is not, why.
#[test]
fn it_can_be_too_early_and_there_can_be_nobody() -> Result<()> {
    require_root()?;
    let ended = heaptap::run(["forecast", "-p", "1", "--for", "1s"])?;
    ensure!(matches!(ended.code, Some(3 | 4)), "{ended:?}");
    let mut running = Fixture::build("ends", "1.27", Variant::Stripped)?.start()?;
    ensure!(running.ask("goroutines")? == "done");
    let pid = running.pid().to_string();
    let ended = heaptap::run(["forecast", "-p", &pid, "--for", "1s"])?;
    ended.expect(0)?;
    ensure!(ended.stdout.contains("too early to tell a trend"), "{}", ended.stdout);
    // Who ends meanwhile is told of all the same.
    let mut forecast = Command::new(heaptap::program()?);
    forecast.args(["forecast", "-p", &pid, "--for", "60s"]);
    let forecast = heaptap_tests::Recording::says(&mut forecast, "heaptap: looking at")?;
    drop(running);
    let ended = forecast.finish()?;
    ended.expect(0)?;
    ensure!(ended.stdout.contains("it ended while it was looked at"), "{}", ended.stdout);
    Ok(())
}

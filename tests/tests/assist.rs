//! `--probe assist`: time that goroutines assist the collector, against what the runtime says of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::pprof::Pprof;
use heaptap_tests::profile::Profile;
use heaptap_tests::{Ended, Fixture, Recording, Running, Variant, require_root};
use serde::Deserialize;
use xtask::each_release;

#[derive(Deserialize)]
struct Report {
    /// Nanoseconds in allocations, by function.
    allocating: BTreeMap<String, u64>,
    /// CPU time of assists as the runtime counts it; 0 where it does not (Go 1.19).
    assisted: u64,
}

struct Recorded {
    profile: Profile,
    report: Report,
    /// The same as `assisted`, of the lines of gctrace.
    traced: u64,
}

/// What two traps and the way to them can add to what an assist marks, on a machine that does other things too.
const EACH: u64 = 20_000;

fn record(go: &str, variant: Variant, flags: &[&str]) -> Result<(Recorded, Ended)> {
    require_root()?;
    let fixture = Fixture::build("assists", go, variant)?;
    let dir = tempfile::tempdir()?;
    let (json, lines) = (dir.path().join("out.json"), dir.path().join("gctrace"));
    let mut command = Command::new(&fixture.program);
    command.env("GODEBUG", "gctrace=1").env("GOMAXPROCS", "2").stderr(File::create(&lines)?);
    let mut program = Running::start(command)?;
    let mut command = Command::new(heaptap_tests::heaptap::program()?);
    command.args(["record", "-p", &program.pid().to_string(), "--budget", "none"]);
    command.args(["--probe", "assist", "-o"]);
    let recording = Recording::of(command.arg(&json).args(flags).stdin(Stdio::null()))?;
    let report = program.ask("go")?;
    let ended = recording.stop()?;
    ended.expect(0)?;
    let report = serde_json::from_str(&report).context("the fixture's report is not as told")?;
    let traced = traced(&std::fs::read_to_string(&lines)?)?;
    Ok((Recorded { profile: Profile::read(&json)?, report, traced }, ended))
}

/// `…+… ms clock, 0.05+ASSIST/BACKGROUND/IDLE+… ms cpu, …`: the sum, in nanoseconds.
fn traced(lines: &str) -> Result<u64> {
    let mut sum = 0.0;
    let of = lines.lines().skip_while(|line| *line != "begin").take_while(|line| *line != "end");
    for line in of.filter(|line| line.starts_with("gc ")) {
        let cpu = line.split(" ms clock, ").nth(1).and_then(|cpu| cpu.split(['+', '/']).nth(1));
        let assist: f64 = cpu.with_context(|| format!("a line of gctrace: {line}"))?.parse()?;
        sum += assist * 1e6;
    }
    Ok(sum as u64)
}

/// Each function's assists took no longer than its allocations; all together have marked for as long as the
/// runtime says, and what the traps add.
fn equals_what_the_runtime_counts(go: &str) -> Result<()> {
    for variant in [Variant::Default, Variant::Stripped] {
        let (Recorded { profile, report, traced }, _) = record(go, variant, &[])?;
        let what = format!("Go {go}, {}", variant.name());
        ensure!(profile.losses().is_empty(), "{what}: {:?}", profile.losses());
        let [count, time, marking] = [
            profile.value("gc_assists")?,
            profile.value("gc_assist_time")?,
            profile.value("gc_assist_marking")?,
        ];
        let sum = |at: usize| profile.stacks.iter().map(|stack| stack.values[at]).sum::<u64>();
        let (assists, marked) = (sum(count), sum(marking));
        ensure!(profile.counter("assists_unknown") == 0, "{what}: ends of unknown assists");
        ensure!(assists >= 50, "{what}: {assists} assists");
        for stack in &profile.stacks {
            let (time, marking) = (stack.values[time], stack.values[marking]);
            ensure!(time >= marking, "{what}: {marking} ns marking of {time}");
        }
        for (name, allocating) in &report.allocating {
            let of = profile.stacks.iter().filter(|s| s.frames.iter().any(|f| f.function == *name));
            let (assists, took) =
                of.fold((0, 0), |(n, t), s| (n + s.values[count], t + s.values[time]));
            ensure!(
                assists > 0 && took <= *allocating,
                "{what}: {name}: {assists} assists, {took} ns of {allocating}"
            );
        }
        // Of gctrace's figures two digits are told.
        let (truth, slack, more) = match report.assisted {
            0 => (traced, traced / 20, traced / 7),
            truth => (truth, truth / 100, truth / 7),
        };
        let most = truth + more + assists * EACH;
        println!("{what}: {assists} assists, {} ns, {marked} marking of {truth}", sum(time));
        ensure!(
            truth > 1_000_000 && marked + slack >= truth && marked <= most,
            "{what}: {assists} assists have marked for {marked} ns of {truth}"
        );
    }
    Ok(())
}

each_release! {
    time: equals_what_the_runtime_counts;
}

/// Table, flame graph and pprof.
#[test]
fn assists_are_shown() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (flames, pprof) = (file("flames.svg"), file("a.pb.gz"));
    let (_, ended) = record("1.27", Variant::Stripped, &["-o", "-", "-o", &flames, "-o", &pprof])?;
    let table = &ended.stdout;
    for wanted in
        ["every assist of the collector timed", " assists, ", " marking", "by time", "main.large"]
    {
        ensure!(table.contains(wanted), "no {wanted:?} in\n{table}");
    }
    ensure!(std::fs::read_to_string(flames)?.contains("main.small"));
    let types = Pprof::read(pprof.as_ref())?.types;
    let wanted =
        ["gc_assists/count", "gc_assist_time/nanoseconds", "gc_assist_marking/nanoseconds"];
    ensure!(types == wanted, "{types:?}");
    Ok(())
}

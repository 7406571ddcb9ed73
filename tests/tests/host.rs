//! `heaptap ps` and `heaptap doctor` on programs whose facts are known.

use anyhow::{Context, Result, ensure};
use heaptap_tests::{Fixture, Running, Variant, heaptap, require_root};
use serde_json::Value;

fn ps() -> Result<Value> {
    let ended = heaptap::run(["ps", "--json"])?;
    ended.expect(0)?;
    serde_json::from_str(&ended.stdout).context("ps --json is no JSON")
}

/// What `ps` tells of one process.
fn about<'a>(ps: &'a Value, process: &Running) -> Result<&'a Value> {
    let all = ps["processes"].as_array().context("no processes")?;
    let mine = all.iter().find(|entry| entry["pid"] == process.pid());
    mine.with_context(|| format!("process {} is not listed", process.pid()))
}

/// Release, path, load type and symbols, however the program was built.
#[test]
fn ps_tells_what_programs_are() -> Result<()> {
    require_root()?;
    let cases = [
        ("1.21", Variant::Default, "fixed", false, "1.21.13"),
        ("1.22", Variant::Stripped, "fixed", true, "1.22.10"),
        ("1.24", Variant::Pie, "pie", false, "1.24.11"),
        ("1.27", Variant::PieStripped, "pie", true, "1.27.3"),
        ("1.27", Variant::Bare, "fixed", true, "1.27.3"),
    ];
    for (go, variant, load, stripped, version) in cases {
        let fixture = Fixture::build("alloc", go, variant)?;
        let process = fixture.start()?;
        let ps = ps()?;
        let entry = about(&ps, &process)?;
        let binary = &entry["binary"];
        let path = fixture.program.to_str().context("a path that is no text")?;
        ensure!(
            binary["go_version"] == version
                && binary["load"] == load
                && binary["stripped"] == stripped
                && binary["path"] == path
                && binary["deleted"] == false,
            "Go {go} {}: {binary}",
            variant.name()
        );
        ensure!(entry["user"] == "root", "{entry}");
        // Its linker has left the sampler off.
        ensure!(entry["trace"]["sampler_rate"] == 0, "{}", entry["trace"]);
        for mode in ["exact", "span"] {
            let trace = &entry["trace"][mode];
            ensure!(
                trace["available"] == true && trace["complete"] == true,
                "Go {go} {}: {mode}: {trace}",
                variant.name()
            );
        }
    }
    Ok(())
}

/// The sampler is on or off in a process, whatever its file is.
#[test]
fn ps_tells_whether_the_sampler_is_on() -> Result<()> {
    require_root()?;
    for (go, variant) in [("1.21", Variant::Stripped), ("1.27", Variant::PieStripped)] {
        let fixture = Fixture::build("sampled", go, variant)?;
        let start = |rate: &str| {
            let mut command = std::process::Command::new(&fixture.program);
            command.arg(rate);
            Running::start(command)
        };
        let (on, off) = (start("4096")?, start("0")?);
        let ps = ps()?;
        let [with, without] = [&on, &off].map(|process| about(&ps, process));
        let (with, without) = (&with?["trace"], &without?["trace"]);
        ensure!(with["sampler_rate"] == 4096 && with["sample"]["available"] == true, "{with}");
        let reason = without["sample"]["reason"].as_str().unwrap_or_default();
        ensure!(
            without["sampler_rate"] == 0
                && without["sample"]["available"] == false
                && reason.contains("--enable-sampler"),
            "{without}"
        );
        let table = heaptap::run(["ps"])?.stdout;
        for (process, trace) in [(&on, "exact,span,sample"), (&off, "exact,span; sampler off")] {
            let pid = process.pid().to_string();
            let row = table.lines().find(|row| row.split_whitespace().next() == Some(&pid));
            ensure!(row.is_some_and(|row| row.ends_with(trace)), "{pid}: {trace}:\n{table}");
        }
    }
    Ok(())
}

/// What can't be traced is listed too, with the reason.
#[test]
fn ps_tells_why_a_program_cannot_be_traced() -> Result<()> {
    require_root()?;
    let part = Fixture::build("pluginpart", "1.26", Variant::Plugin)?;
    let host = Fixture::build("pluginhost", "1.26", Variant::Cgo)?;
    let mut command = std::process::Command::new(&host.program);
    command.arg(&part.program);
    let process = Running::start(command)?;
    let ps = ps()?;
    let trace = &about(&ps, &process)?["trace"]["exact"];
    let reason = trace["reason"].as_str().unwrap_or_default();
    ensure!(trace["available"] == false && reason.contains("plugin"), "{trace}");
    Ok(())
}

/// On this machine tests record, so doctor must find that it can.
#[test]
fn doctor_finds_that_recording_works() -> Result<()> {
    require_root()?;
    let ended = heaptap::run(["doctor", "--json"])?;
    ended.expect(0)?;
    let doctor: Value = serde_json::from_str(&ended.stdout)?;
    ensure!(doctor["verdict"] == "works", "{doctor}");
    let trap = doctor["trap_ns"]["emulated"].as_f64();
    ensure!(trap.is_some_and(|ns| (10.0..100_000.0).contains(&ns)), "a trap costs {trap:?} ns");
    let os = &doctor["os"];
    ensure!(os["os"] == true && os["os_alloc"] == true, "{doctor}");
    let tracepoints = os["tracepoints"].as_array().context("not tried")?;
    ensure!(tracepoints.len() == 5 && tracepoints.iter().all(|t| t["attached"] == true), "{os}");
    Ok(())
}

/// Where the kernel does not tell of its types, as one that was built without them.
#[test]
fn doctor_says_what_the_probe_os_lacks() -> Result<()> {
    require_root()?;
    let mut command = std::process::Command::new("unshare");
    let hide = "mount --bind /dev/null /sys/kernel/btf/vmlinux && exec \"$@\"";
    command.args(["--mount", "sh", "-c", hide, "sh"]).arg(heaptap::program()?);
    let ended = heaptap::run_command({
        command.args(["doctor", "--json"]);
        command
    })?;
    ended.expect(0)?;
    let doctor: Value = serde_json::from_str(&ended.stdout)?;
    let os = &doctor["os"];
    ensure!(doctor["verdict"] == "works" && os["os"] == false && os["os_alloc"] == false, "{os}");
    ensure!(os["tracepoints"].is_null(), "{os}");
    let checks = doctor["checks"].as_array().context("no checks")?;
    for name in ["probe os", "probe os-alloc"] {
        let check = checks.iter().find(|check| check["name"] == name).context("no line")?;
        let says = check["text"].as_str().is_some_and(|text| text.contains("type information"));
        ensure!(check["state"] == "limited" && says, "{check}");
    }
    Ok(())
}

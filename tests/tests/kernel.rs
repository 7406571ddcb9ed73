//! What this kernel lacks is told by `heaptap doctor`, and by the command that needs it: in one line, with the
//! reason. `cargo xtask kernels` runs this on kernels that lack something.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use heaptap_tests::{Fixture, Recording, Running, Variant, heaptap, require_root};
use serde_json::Value;

/// Records what doctor says that can be recorded; what it says that can't be is refused. It is asked once: where
/// CPUs are emulated, that all programs are verified takes a minute.
#[test]
fn what_doctor_says_is_missing_is_refused_and_all_else_works() -> Result<()> {
    require_root()?;
    let ended = heaptap::run(["doctor", "--json"])?;
    let doctor: Value = serde_json::from_str(&ended.stdout).context("doctor --json is no JSON")?;
    let checks = doctor["checks"].as_array().context("no checks")?;
    let missing = checks.iter().find(|check| check["state"] == "missing");
    let text = |check: &Value| check["text"].as_str().unwrap_or_default().to_owned();
    match (doctor["verdict"].as_str(), missing) {
        (Some("works"), None) => {
            ended.expect(0)?;
            ensure!(doctor["trap_ns"]["emulated"].is_u64(), "{}", doctor["trap_ns"]);
        }
        (Some("kernel"), Some(missing)) => {
            ended.expect(5)?;
            ensure!(text(missing).contains("; it needs kernel "), "{missing}");
        }
        other => anyhow::bail!("root on a kernel: {other:?}\n{}", ended.stdout),
    }
    let alloc = Fixture::build("alloc", "1.27", Variant::Stripped)?.start()?;
    let os =
        Running::start(Command::new(Fixture::build("os", "1.27", Variant::Stripped)?.program))?;
    let probes =
        [("alloc", &alloc, &["--mode", "exact"][..]), ("os", &os, &[]), ("os-alloc", &os, &[])];
    for (probe, process, more) in probes {
        let pid = process.pid().to_string();
        let words = ["record", "--probe", probe, "-p", &pid, "--budget", "none"];
        let words = [&words[..], more].concat();
        let of_probe = checks.iter().find(|check| check["name"] == format!("probe {probe}"));
        let limited = of_probe.filter(|check| check["state"] != "ok");
        // What the probe's own line says comes first: it is looked at before anything is loaded.
        let own = limited.map(text).filter(|text| !text.starts_with("not tried"));
        match own.or_else(|| missing.map(text)) {
            Some(reason) => heaptap::run(&words)?.refused(5, &reason),
            None => {
                let mut command = Command::new(heaptap::program()?);
                Recording::of(command.args(&words))?.stop()?.expect(0).map(drop)
            }
        }
        .with_context(|| format!("probe {probe}"))?;
    }
    Ok(())
}

/// Uprobes are preempted: another task's run of the same program would find its words on a stack of the CPU's. Kernels since
/// 6.13 give such stacks; 7.3 has ended by it.
#[cfg(target_arch = "x86_64")]
#[test]
fn no_program_at_a_uprobe_has_a_stack_of_its_cpu() -> Result<()> {
    use heaptap_tests::machine_code::Uprobes;

    require_root()?;
    let process = Fixture::build("sampled", "1.27", Variant::Stripped)?.start()?;
    let pid = process.pid().to_string();
    let probes = heaptap_tests::stress::probes();
    for more in
        [&["--mode", "exact"][..], &["--mode", "sample"], &["--mode", "span", "--perf-events"]]
    {
        let words = ["-p", &pid, "--budget", "none", "--probe", &probes];
        let recording = Recording::start([&words[..], more].concat())?;
        let uprobes = Uprobes::of(recording.pid())?;
        recording.stop()?.expect(0)?;
        ensure!(uprobes.all.len() > 10, "{more:?}: {uprobes:?}");
        ensure!(uprobes.with_private_stack.is_empty(), "{more:?}: {uprobes:?}");
    }
    Ok(())
}

//! `heaptap agent` serves what programs' runtimes say, and goes on whatever is asked of it.

use anyhow::{Context, Result, ensure};
use heaptap_tests::agent::Agent;
use heaptap_tests::{Fixture, Running, Variant, require_root};
use serde_json::Value;

fn program() -> Result<Running> {
    require_root()?;
    Fixture::build("stats", "1.27", Variant::Default)?.start()
}

#[test]
fn metrics_are_what_the_runtime_says() -> Result<()> {
    let mut program = program()?;
    program.ask("work")?;
    let pid = program.pid();
    let agent = Agent::start(&["--every", "100ms", "-p", &pid.to_string(), "--node", "n1"])?;
    // Nothing happens in the program between its own look and ours.
    let said: Value = serde_json::from_str(&program.ask("read")?)?;
    let number = |name: &str| said[name].as_f64().with_context(|| format!("no {name}"));
    let allocated = number("TotalAlloc")?;
    let metrics = agent.wait("what was allocated", |metrics| {
        metrics
            .of(pid, "go_memory_allocated_bytes_total", &["node=\"n1\""])
            .is_some_and(|bytes| bytes >= allocated)
    })?;
    let of = |name: &str, labels: &[&str]| {
        metrics.of(pid, name, labels).with_context(|| format!("no {name}: {}", metrics.0))
    };
    let used = of("go_memory_used_bytes", &["go_memory_type=\"stack\""])?
        + of("go_memory_used_bytes", &["go_memory_type=\"other\""])?;
    ensure!(used == number("Sys")? - number("HeapReleased")?, "{used}");
    ensure!(of("go_memory_used_bytes", &["\"stack\""])? == number("StackInuse")?);
    ensure!(of("go_memory_gc_goal_bytes", &[])? == number("NextGC")?);
    ensure!(of("go_goroutine_count", &[])? == number("NumGoroutine")?);
    ensure!(of("go_processor_limit", &[])? == number("GOMAXPROCS")?);
    ensure!(of("heaptap_memory_resident_bytes", &[])? > 0.0);
    Ok(())
}

#[test]
fn who_has_ended_is_forgotten_and_who_comes_is_seen() -> Result<()> {
    let first = program()?;
    let agent = Agent::start(&["--every", "100ms", "--comm", "stats*"])?;
    let has = |pid: u32| {
        move |metrics: &heaptap_tests::agent::Metrics| {
            metrics.of(pid, "go_goroutine_count", &[]).is_some()
        }
    };
    agent.wait("the first", has(first.pid()))?;
    let second = program()?;
    agent.wait("the second", has(second.pid()))?;
    let pid = first.pid();
    drop(first);
    agent.wait("the first is gone", |metrics| !metrics.0.contains(&format!("pid=\"{pid}\"")))?;
    ensure!(has(second.pid())(&agent.metrics()?));
    ensure!(agent.get("/readyz")?.status == 200 && agent.get("/healthz")?.status == 200);
    ensure!(agent.get("/nothing")?.status == 404);
    agent.running.stop()?.expect(0)?;
    Ok(())
}

#[test]
fn a_file_that_is_wrong_is_told_with_its_line() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("agent.toml");
    std::fs::write(&file, "[watch]\n\nevery = 7\n")?;
    let name = file.to_string_lossy();
    let ended = heaptap_tests::heaptap::run(["agent", "--config", &name])?;
    ensure!(ended.code == Some(2), "{ended:?}");
    ensure!(ended.stderr.starts_with(&format!("heaptap: {name}:3: ")), "{}", ended.stderr);
    Ok(())
}

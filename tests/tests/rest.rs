//! A program that mostly sleeps: what heaptap watches is not read again while it rests, and nothing that it does meanwhile is missed.

use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use heaptap_tests::lines::Lines;
use heaptap_tests::{Fixture, Variant, heaptap, require_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Looks in which a program is surely taken for resting: a hundred milliseconds and three looks.
const RESTING: usize = 10;

/// `heaptap stats --watch`; ended with the test.
struct Watching {
    heaptap: Child,
    lines: Lines,
}

impl Watching {
    fn start(pid: u32) -> Result<Self> {
        let mut command = Command::new(heaptap::program()?);
        command.args(["stats", "--watch", "0.03", "--json", "-p", &pid.to_string()]);
        let mut heaptap = command.stdout(Stdio::piped()).spawn()?;
        let lines = Lines::of(heaptap.stdout.take().context("no stdout")?);
        Ok(Self { heaptap, lines })
    }

    /// When the next look began, in nanoseconds since 1970, and what it told of the process.
    fn next(&self) -> Result<(u128, Value)> {
        let line = self.lines.next()?.context("it ended")?;
        let mut document: Value = serde_json::from_str(&line)?;
        let began = document["unix_ns"].as_u64().context("no time")?;
        Ok((began.into(), document["processes"][0].take()))
    }

    /// The first look that began after now.
    fn after_now(&self) -> Result<Value> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
        loop {
            let (began, process) = self.next()?;
            if began > now {
                return Ok(process);
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.heaptap.kill();
        let _ = self.heaptap.wait();
    }
}

fn objects(process: &Value) -> Result<u64> {
    process["allocated"]["objects"].as_u64().with_context(|| format!("no objects: {process}"))
}

#[test]
fn what_a_resting_program_does_is_in_the_next_look() -> Result<()> {
    require_root()?;
    let mut program = Fixture::build("life", "1.27", Variant::Default)?.start()?;
    let watching = Watching::start(program.pid())?;
    let (mut last, mut exact) = (0, 0);
    for round in 0..20 {
        for _ in 0..RESTING {
            let (_, process) = watching.next()?;
            last = objects(&process)?.max(last);
        }
        program.ask("alloc 10")?;
        let now = watching.after_now()?;
        ensure!(objects(&now)? < last + 10_000, "{round}: {now}");
        // What a look leaves out, it says.
        if now["exact"] == true {
            ensure!(objects(&now)? >= last + 10, "{round}: {last} before, then {now}");
            exact += 1;
        }
    }
    ensure!(exact >= 10, "{exact} looks were exact");
    Ok(())
}

/// Another heaptap may write into a program that sleeps.
#[test]
fn a_sampler_that_is_lent_to_a_resting_program_is_seen() -> Result<()> {
    require_root()?;
    let program = Fixture::build("unprofiled", "1.27", Variant::Default)?.start()?;
    let notes = tempfile::tempdir()?;
    let watching = Watching::start(program.pid())?;
    for _ in 0..RESTING {
        ensure!(watching.next()?.1["sampler_rate"] == 0, "its sampler is on");
    }
    let mut lending = Command::new(heaptap::program()?);
    lending.args(["heap", "-q", "--enable-sampler=4096", "-p", &program.pid().to_string(), "-o"]);
    lending.arg(notes.path().join("heap.json")).env("HEAPTAP_RUN_DIR", notes.path());
    let mut lending = lending.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let said = Lines::of(lending.stderr.take().context("no stderr")?);
    let lent = loop {
        match said.next()? {
            Some(line) if line.starts_with("heaptap: sampling") => break watching.after_now(),
            Some(_) => {}
            None => break Err(anyhow::anyhow!("heaptap ended before it sampled")),
        }
    };
    kill(Pid::from_raw(lending.id().try_into()?), Signal::SIGINT)?;
    lending.wait()?;
    ensure!(lent?["sampler_rate"] == 4096, "it is not seen");
    ensure!(watching.after_now()?["sampler_rate"] == 0, "it is still on");
    Ok(())
}

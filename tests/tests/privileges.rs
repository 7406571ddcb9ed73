//! What each command needs, and what the agent gives up: what docs/privileges.md says is what is tested.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heaptap_tests::agent::Agent;
use heaptap_tests::heaptap::{self, run_command};
use heaptap_tests::owned::{OWNER, Owned, as_user};
use heaptap_tests::privileges::{Privileges, bit, with};
use heaptap_tests::{Ended, Fixture, Recording, Variant, require_root};
use xtask::paths;

const DAC_READ_SEARCH: u64 = bit(2);
const SYS_PTRACE: u64 = bit(19);
const SYS_NICE: u64 = bit(23);
const SYS_RESOURCE: u64 = bit(24);
const PERFMON: u64 = bit(38);
const BPF: u64 = bit(39);
const CHECKPOINT_RESTORE: u64 = bit(40);
/// What the agent acts with.
const READS: u64 = DAC_READ_SEARCH | SYS_PTRACE;
/// What should happen soon has this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One line of the table: commands, and capabilities as setpriv calls them.
struct Line {
    commands: Vec<String>,
    capabilities: Vec<String>,
}

impl Line {
    /// Its capabilities, but for one.
    fn without(&self, missing: &String) -> Vec<String> {
        self.capabilities.iter().filter(|one| *one != missing).cloned().collect()
    }
}

fn table() -> Result<Vec<Line>> {
    let text = fs::read_to_string(paths::repo().join("docs/privileges.md"))?;
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let (commands, capabilities) =
            (cells.next().context("no commands")?, cells.next().context("no capabilities")?);
        let commands = commands.split(", ").map(|one| one.trim_matches('`').to_owned()).collect();
        let of_name = |one: &str| one.strip_prefix("CAP_").map(str::to_lowercase);
        Ok(Line { commands, capabilities: capabilities.split(", ").filter_map(of_name).collect() })
    })
    .collect()
}

/// How a command is asked about one process; nothing: it is about none.
fn about(command: &str, pid: &str, dir: &Path) -> Option<Vec<String>> {
    let out = dir.join(format!("{command}.pb.gz")).display().to_string();
    let rest: &[&str] = match command {
        "stats" | "goroutines" => &["-p", pid],
        "heap" | "block" | "mutex" => &["-p", pid, "-o", &out],
        "gc" => &["-p", pid, "-d", "1"],
        "leaks" | "forecast" => &["-p", pid, "--for", "2s"],
        "top" => &["--once", "-p", pid],
        "record" | "maps" | "pools" => &["-p", pid, "-d", "1", "-o", &out],
        _ => return None,
    };
    Some([&[command], rest].concat().into_iter().map(str::to_owned).collect())
}

fn run_with(capabilities: &[String], args: &[String]) -> Result<Ended> {
    let mut command = with(capabilities);
    command.arg(heaptap::program()?).args(args);
    run_command(command)
}

/// A program of somebody else, for what is asked about it.
fn somebodys(fixture: &str) -> Result<Owned> {
    Owned::of(&Fixture::build(fixture, "1.26", Variant::Stripped)?)
}

/// The same, with a sampler and all profiles.
fn profiled() -> Result<Owned> {
    let mut owned = somebodys("heap")?;
    for line in ["work 20", "gc", "contend on"] {
        owned.program.ask(line)?;
    }
    Ok(owned)
}

/// Each command that is about a process does its work with what its line lists, and with one less says which one is missing.
#[test]
fn each_command_needs_what_is_listed_and_nothing_else() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let (plain, maps, pools) = (profiled()?, somebodys("maps")?, somebodys("pools")?);
    let mut tried = 0;
    for line in table()? {
        for command in &line.commands {
            let of = [("maps", &maps), ("pools", &pools)].into_iter().find(|of| of.0 == *command);
            let pid = of.map_or(&plain, |of| of.1).pid().to_string();
            let Some(args) = about(command, &pid, dir.path()) else { continue };
            let ended = run_with(&line.capabilities, &args)?;
            ended.expect(0).with_context(|| format!("{command} with {:?}", line.capabilities))?;
            for missing in &line.capabilities {
                let ended = run_with(&line.without(missing), &args)?;
                let name = format!("CAP_{}", missing.to_uppercase());
                ended.refused(3, &name).with_context(|| format!("{command} without {name}"))?;
            }
            tried += 1;
        }
    }
    ensure!(tried == 12, "{tried} commands were tried");
    Ok(())
}

/// The list of all programs has what can be seen, and tells of what can't.
#[test]
fn programs_that_can_not_be_looked_at_are_counted() -> Result<()> {
    require_root()?;
    let program = Owned::start()?;
    let lines = table()?;
    let line = lines.iter().find(|line| line.commands.iter().any(|one| one == "ps"));
    let line = line.context("no line of ps")?;
    let ps = |capabilities: &[String]| run_with(capabilities, &["ps".to_owned()]);
    let shows = |ended: &Ended| {
        let pid = program.pid().to_string();
        ended.stdout.lines().any(|line| line.split_ascii_whitespace().any(|word| word == pid))
    };
    let all = ps(&line.capabilities)?;
    all.expect(0)?;
    ensure!(shows(&all), "{}", all.stdout);
    for missing in &line.capabilities {
        let ended = ps(&line.without(missing))?;
        ended.expect(0)?;
        ensure!(!shows(&ended), "{missing} is not needed");
        ensure!(ended.stderr.contains("could not be looked at"), "{}", ended.stderr);
    }
    Ok(())
}

/// A program of one's own takes no privilege.
#[test]
fn ones_own_program_needs_no_privilege() -> Result<()> {
    require_root()?;
    let program = profiled()?;
    let pid = program.pid().to_string();
    let (dir, copy) = readable_copy()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777))?;
    for command in ["stats", "heap", "goroutines", "gc", "leaks", "top"] {
        let args = about(command, &pid, dir.path()).context("it is about a process")?;
        let mut run = as_user(OWNER);
        run.arg(&copy).args(args);
        run_command(run)?.expect(0).with_context(|| command.to_owned())?;
    }
    Ok(())
}

/// heaptap where anyone may run it.
fn readable_copy() -> Result<(tempfile::TempDir, std::path::PathBuf)> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let copy = dir.path().join("heaptap");
    heaptap_tests::copy(heaptap::program()?, &copy)?;
    Ok((dir, copy))
}

/// What is done with files alone any user may do.
#[test]
fn offline_work_needs_no_privilege() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("mix", "1.26", Variant::Stripped)?;
    let mut program = fixture.start()?;
    let pid = program.pid().to_string();
    let (dir, copy) = readable_copy()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777))?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (before, after, raw) = (path("before.pb.gz"), path("after.htap"), path("raw.htap"));
    let binary = path("mix");
    heaptap_tests::copy(&fixture.program, &binary)?;
    for (file, more) in [(&before, &[][..]), (&after, &[]), (&raw, &["--raw"])] {
        let recording = Recording::start(["-p", &pid, "-o", file].iter().chain(more))?;
        program.ask("go 5")?;
        recording.stop()?.expect(0)?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o644))?;
    }
    let works: [&[&str]; 6] = [
        &["export", &after, "-o", &path("after.svg")],
        &["export", &after, "-o", &path("after.html")],
        &["diff", &before, &before],
        &["symbolize", &raw, "-b", &binary, "-o", &path("named.htap")],
        &["completions", "bash"],
        &["man"],
    ];
    for args in works {
        let mut run = as_user(OWNER);
        run.arg(&copy).args(args);
        run_command(run)?.expect(0).with_context(|| args.join(" "))?;
    }
    Ok(())
}

/// Starts an agent with a file of this content.
fn agent(dir: &Path, text: &str) -> Result<Agent> {
    Agent::start(&["--config", &configure(dir, text)?])
}

fn configure(dir: &Path, text: &str) -> Result<String> {
    let file = dir.join("agent.toml");
    let captures = dir.join("captures");
    fs::write(&file, format!("[captures]\ndir = \"{}\"\n{text}", captures.display()))?;
    Ok(file.display().to_string())
}

/// It acts with what it reads with, has this at most, and can't get more.
fn keeps_in_all_threads(agent: &Agent, keeps: u64) -> Result<()> {
    let expected = Privileges {
        effective: READS,
        permitted: keeps,
        bounding: keeps,
        no_new: true,
        filtered: true,
    };
    let threads = Privileges::of(agent.running.pid())?;
    ensure!(!threads.is_empty() && threads.iter().all(|one| *one == expected), "{threads:x?}");
    Ok(())
}

const RECORDS: &str = "on_request = true\n";

/// One that only reads has in all threads what it reads with, and can't get more.
#[test]
fn an_agent_that_records_nothing_keeps_what_it_reads_with() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let agent = agent(dir.path(), "")?;
    ensure!(!agent.running.said.contains("more privileges"), "{}", agent.running.said);
    keeps_in_all_threads(&agent, READS)?;
    // It still sees programs of others.
    let program = Owned::start()?;
    agent.wait("somebody's program", |metrics| {
        metrics.of(program.pid(), "go_processor_limit", &[]).is_some()
    })?;
    // What was given up can't be had again.
    configure(dir.path(), RECORDS)?;
    let rounds = agent.metrics()?.number("heaptap_rounds_total", &[]).map(|rounds| rounds + 1.0);
    agent.running.reload()?;
    let ended = {
        agent.wait("a reload", |metrics| metrics.number("heaptap_rounds_total", &[]) > rounds)?;
        agent.running.stop()?
    };
    ended.expect(0)?;
    let told =
        "captures.on_request can't record: what that takes was given up when the agent began";
    ensure!(ended.stderr.contains(told), "{}", ended.stderr);
    Ok(())
}

/// One that records keeps for its recordings what they attach with, and has itself no use of it.
#[test]
fn an_agent_that_records_keeps_that_for_its_recordings() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let agent = agent(dir.path(), RECORDS)?;
    let passes_on = BPF | PERFMON | CHECKPOINT_RESTORE | SYS_NICE | SYS_RESOURCE;
    let keeps = READS | passes_on;
    // Of what this test may do itself.
    let own = Privileges::of(std::process::id())?;
    let keeps = keeps & own.first().context("no thread")?.permitted;
    ensure!(keeps & (BPF | PERFMON) == BPF | PERFMON, "{keeps:x}");
    keeps_in_all_threads(&agent, keeps)?;
    let program = Owned::start()?;
    let pid = program.pid();
    agent.wait("somebody's program", |metrics| {
        metrics.of(pid, "go_processor_limit", &[]).is_some()
    })?;
    let asked = agent.capture(pid, "record")?;
    ensure!(asked.status == 202, "{}", asked.text());
    let until = Instant::now() + PATIENCE;
    let captured = || fs::read_dir(dir.path().join("captures")).ok()?.flatten().find(is_profile);
    while captured().is_none() {
        ensure!(Instant::now() < until, "nothing was captured: {}", agent.metrics()?.0);
        std::thread::sleep(Duration::from_millis(50));
    }
    agent.running.stop()?.expect(0)?;
    Ok(())
}

fn is_profile(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy().into_owned();
    name.ends_with(".pb.gz") && !name.starts_with('.')
}

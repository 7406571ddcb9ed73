//! What is left of programs that end badly, in control groups that are too small for them and otherwise.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use heaptap_tests::cgroup::Groups;
use heaptap_tests::profile::Profile;
use heaptap_tests::{Ended, Fixture, Recording, Running, Variant, heaptap, require_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const LIMIT: u64 = 64 << 20;

/// Who watches some programs, which it has found.
struct Watching {
    dir: tempfile::TempDir,
    heaptap: Recording,
}

impl Watching {
    fn of(programs: &[Running], flags: &[&str]) -> Result<Watching> {
        require_root()?;
        let dir = tempfile::tempdir()?;
        let mut command = std::process::Command::new(heaptap::program()?);
        command.arg("watch").arg("-o").arg(dir.path()).args(flags);
        for program in programs {
            command.args(["-p", &program.pid().to_string()]);
        }
        // It says when it watches.
        let heaptap = Recording::says(&mut command, "heaptap: watching")?;
        Ok(Watching { dir, heaptap })
    }

    /// Waits until all of them have ended.
    fn end(self) -> Result<(tempfile::TempDir, Ended)> {
        let ended = self.heaptap.finish()?;
        ended.expect(0)?;
        Ok((self.dir, ended))
    }
}

/// Directories that were written, and their documents.
fn words(dir: &Path) -> Result<Vec<(PathBuf, Value)>> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry?.path();
        let text = fs::read_to_string(path.join("words.json"))
            .with_context(|| path.display().to_string())?;
        Ok((path, serde_json::from_str(&text)?))
    };
    fs::read_dir(dir)?.map(read).collect()
}

fn pid(document: &Value) -> &Value {
    &document["looks"][0]["process"]["pid"]
}

/// The last words of a hoarder that the kernel has killed.
fn hoarded(path: &Path, document: &Value) -> Result<()> {
    ensure!(document["how"] == "oom", "{document}");
    let age = document["last_look_age_ns"].as_u64().context("no age")?;
    ensure!(age <= 1_000_000_000, "the last look was {age} ns before the end");
    let top = &document["top"][0];
    let function = |at: usize| top["stack"][at]["function"].as_str().unwrap_or_default();
    ensure!(function(0) == "main.hoard" && function(1) == "main.main", "{top}");
    let file = top["stack"][0]["file"].as_str().unwrap_or_default();
    ensure!(file.ends_with("hoard/main.go"), "{file}");
    let held = top["inuse_bytes"].as_u64().unwrap_or(0);
    ensure!(held > LIMIT / 8, "{held} bytes are known to be held");
    let looks = document["looks"].as_array().context("no looks")?;
    ensure!((2..=6).contains(&looks.len()), "{} looks", looks.len());
    let usage = |look: &Value| look["process"]["memory"]["cgroup"]["usage"].as_u64();
    let last = looks.last().and_then(usage).context("no usage")?;
    ensure!(last > LIMIT / 2, "the last look was at {last} bytes");
    let limit = &looks[0]["process"]["memory"]["cgroup"]["limit"];
    ensure!(*limit == LIMIT, "limit {limit}");

    let (file, json) = (path.join("heap.htap"), path.join("x.json"));
    let args =
        ["export".as_ref(), file.as_os_str(), "-q".as_ref(), "-o".as_ref(), json.as_os_str()];
    heaptap::run(args)?.expect(0)?;
    let profile = Profile::read(&json)?;
    let args = ["export".as_ref(), file.as_os_str(), "-q".as_ref(), "--stats".as_ref()];
    heaptap::run([&args[..], &["-o".as_ref(), json.as_os_str()]].concat())?.expect(0)?;
    let recorded: Value = serde_json::from_str(&fs::read_to_string(&json)?)?;
    let last = looks.last().map(|look| &look["process"]);
    ensure!(Some(&recorded["processes"][0]) == last, "other statistics: {recorded}");
    let value = profile.value("inuse_space")?;
    let stack = profile.stacks.iter().max_by_key(|stack| stack.values[value]).context("empty")?;
    ensure!(stack.frames[0].function == "main.hoard", "{:?}", stack.frames[0]);
    let goroutines = fs::read_to_string(path.join("goroutines.json"))?;
    let goroutines: Value = serde_json::from_str(&goroutines)?;
    ensure!(goroutines.to_string().contains("main.serve"), "{goroutines}");
    for (name, text) in [("goroutines.txt", "main.serve"), ("heap.txt", "main.hoard")] {
        let found = fs::read_to_string(path.join(name))?;
        ensure!(found.contains(text), "{name}: {found}");
    }
    let picture = fs::read_to_string(path.join("heap.svg"))?;
    ensure!(picture.contains("main.hoard"), "not in the picture");
    Ok(())
}

#[test]
fn who_is_killed_for_its_memory_leaves_last_words() -> Result<()> {
    let groups = Groups::new("words-one", 16 * LIMIT, LIMIT)?;
    let programs = [Fixture::build("hoard", "1.27", Variant::Stripped)?.start()?];
    groups.enter(programs[0].pid())?;
    let watching = Watching::of(&programs, &[])?;
    let [mut program] = programs;
    program.ask("hoard 64")?;
    program.wait()?;
    let (dir, ended) = watching.end()?;
    let words = words(dir.path())?;
    ensure!(words.len() == 1 && *pid(&words[0].1) == program.pid(), "{}", ended.stdout);
    hoarded(&words[0].0, &words[0].1)?;
    let told = "was killed by the kernel: out of memory";
    ensure!(ended.stdout.contains(told) && ended.stdout.contains("main.hoard ("), "{ended:?}");
    Ok(())
}

#[test]
fn several_at_once_leave_theirs() -> Result<()> {
    let mut groups = Vec::new();
    let mut programs = Vec::new();
    for number in 0..5 {
        let go = if number == 0 { "1.22" } else { "1.27" };
        let program = Fixture::build("hoard", go, Variant::Stripped)?.start()?;
        let group = Groups::new(&format!("words-{number}"), 16 * LIMIT, LIMIT)?;
        group.enter(program.pid())?;
        groups.push(group);
        programs.push(program);
    }
    let watching = Watching::of(&programs, &["--max-written", "4"])?;
    for program in &mut programs {
        program.ask("hoard 16")?;
    }
    for program in &mut programs {
        program.wait()?;
    }
    let (dir, ended) = watching.end()?;
    let words = words(dir.path())?;
    ensure!(words.len() == 4, "{} of 5: {ended:?}", words.len());
    for (path, document) in &words {
        ensure!(programs.iter().any(|program| *pid(document) == program.pid()), "{document}");
        hoarded(path, document).with_context(|| path.display().to_string())?;
    }
    // The fifth is told, and that it is not written.
    let told = ended.stdout.matches("out of memory").count();
    ensure!(told == 5 && ended.stderr.contains("of 1 more only told"), "{ended:?}");
    Ok(())
}

#[test]
fn who_ends_badly_leaves_last_words_and_who_ends_well_none() -> Result<()> {
    let start = || Fixture::build("hoard", "1.27", Variant::Stripped)?.start();
    let mut programs = (0..7).map(|_| start()).collect::<Result<Vec<_>>>()?;
    let watching = Watching::of(&programs, &["--every", "0.1"])?;
    let pids: Vec<u32> = programs.iter().map(Running::pid).collect();
    for (program, line) in programs.iter_mut().zip(["panic", "exit 3", "abort", "quit", "exit 0"]) {
        program.say(line)?;
    }
    for (pid, signal) in pids[5..].iter().zip([Signal::SIGKILL, Signal::SIGTERM]) {
        kill(Pid::from_raw((*pid).try_into()?), signal)?;
    }
    for program in &mut programs {
        program.wait()?;
    }
    let (dir, ended) = watching.end()?;
    let words = words(dir.path())?;
    let of = |number: usize| {
        words.iter().map(|(_, document)| document).find(|document| *pid(document) == pids[number])
    };
    let status = |number: usize| of(number).map(|document| document["status"].clone());
    let signal = |number: usize| of(number).map(|document| document["signal"].clone());
    ensure!(words.len() == 4, "{} of 4: {ended:?}", words.len());
    ensure!(status(0) == Some(2.into()) && status(1) == Some(3.into()), "{}", ended.stdout);
    // Go's runtime catches SIGABRT and ends by itself.
    ensure!(status(2) == Some(2.into()) && signal(5) == Some(9.into()), "{}", ended.stdout);
    ensure!(ended.stdout.contains("as after a panic"), "{}", ended.stdout);
    Ok(())
}

#[test]
fn what_can_not_be_watched_is_refused() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("file");
    fs::write(&file, "")?;
    let file = file.to_str().context("no text")?;
    heaptap::run(["watch", "-p", "1", "-o", file])?.refused(6, "file")?;
    let own = std::process::id().to_string();
    let place = dir.path().to_str().context("no text")?;
    heaptap::run(["watch", "-p", &own, "-o", place])?.refused(4, &own)
}

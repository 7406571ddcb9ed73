//! `--watch` of `heap`, `mutex` and `goroutines`: what is read again and again follows what happens.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use heaptap_tests::lines::Lines;
use heaptap_tests::pprof::Pprof;
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Running, Variant, heaptap, require_root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A heaptap that watches; killed when dropped.
struct Watching {
    child: Child,
    lines: Lines,
    said: Lines,
}

impl Watching {
    fn start(arguments: &[&str]) -> Result<Watching> {
        let mut command = Command::new(heaptap::program()?);
        command.args(arguments).args(["--watch", "0.02"]).stdin(Stdio::null());
        Watching::of(command)
    }

    fn of(mut command: Command) -> Result<Watching> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let lines = Lines::of(child.stdout.take().context("no stdout")?);
        let said = Lines::of(child.stderr.take().context("no stderr")?);
        Ok(Watching { child, lines, said })
    }

    /// Waits for a line of a table that is right, and gives it.
    fn line(&self, right: impl Fn(&str) -> bool) -> Result<String> {
        while let Some(line) = self.lines.next()? {
            if right(&line) {
                return Ok(line);
            }
        }
        bail!("heaptap ended: {}", self.said.rest()?)
    }

    /// Waits until a round that has begun after now is written everywhere: of the tables that come from
    /// now on the first may be of a round that has begun before, and the third shows that all of the
    /// second was written.
    fn round(&self) -> Result<()> {
        self.lines.skip();
        for _ in 0..3 {
            self.line(|line| line.starts_with("heap ") || line.starts_with("goroutines: "))?;
        }
        Ok(())
    }

    /// What it has open.
    fn open_files(&self) -> Result<Vec<String>> {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.id()))?;
        // One that is closed meanwhile is not open.
        let path = |file: fs::DirEntry| fs::read_link(file.path()).ok();
        let paths = files.filter_map(|file| path(file.ok()?));
        Ok(paths.map(|path| path.display().to_string()).collect())
    }

    fn end(mut self) -> Result<ExitStatus> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGINT)?;
        self.lines.rest()?;
        Ok(self.child.wait()?)
    }

    /// Waits until it ends by itself.
    fn wait(mut self) -> Result<(Option<i32>, String)> {
        self.lines.rest()?;
        let said = self.said.rest()?;
        Ok((self.child.wait()?.code(), said))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended already; its process id is ours until it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn heap(go: &str) -> Result<Running> {
    let mut command = Command::new(Fixture::build("heap", go, Variant::Stripped)?.program);
    command.env("HEAP_RATE", "1");
    Running::start(command)
}

fn tell(program: &mut Running, line: &str) -> Result<()> {
    let answer = program.ask(line)?;
    ensure!(answer == "done", "the fixture answered {answer:?}");
    Ok(())
}

/// Each round shows the program as it is then: stacks that are new get names, those that are known keep
/// theirs, and the file is the program's own profile in each.
#[test]
fn the_heap_of_a_program_that_goes_on() -> Result<()> {
    require_root()?;
    for go in ["1.21", "1.27"] {
        let mut program = heap(go)?;
        tell(&mut program, "gc")?;
        let dir = tempfile::tempdir()?;
        let file = |name: &str| dir.path().join(name);
        let (ours, own) = (file("ours.pb.gz"), file("own.pb.gz"));
        let (pid, out) = (program.pid().to_string(), ours.display().to_string());
        let watching = Watching::start(&["heap", "-p", &pid, "-o", "-", "-o", &out])?;
        watching.round()?;
        for round in 0..5 {
            tell(&mut program, &format!("work {}", 1 + 7 * round))?;
            tell(&mut program, "gc")?;
            tell(&mut program, "gc")?;
            tell(&mut program, &format!("heap {}", own.display()))?;
            watching.round()?;
            let theirs = Pprof::read(&own)?;
            Pprof::read(&ours)?
                .assert_same(&theirs, 0.0)
                .with_context(|| format!("{go} {round}"))?;
        }
        program.wait()?;
        let (code, said) = watching.wait()?;
        ensure!(code == Some(0), "{code:?}: {said}");
        ensure!(said.matches("wrote").count() == 1, "what is written is told once: {said}");
        let left = fs::read_dir(dir.path())?.count();
        ensure!(left == 2, "{left} files instead of two");
    }
    Ok(())
}

/// With `--all` programs come and go; nothing of those that have ended stays open.
#[test]
fn all_programs_as_they_come_and_go() -> Result<()> {
    require_root()?;
    let mut first = heap("1.26")?;
    tell(&mut first, "work 3")?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("all.json");
    let out = json.display().to_string();
    let watching = Watching::start(&["heap", "--all", "-o", "-", "-o", &out])?;
    watching.round()?;
    for round in 0..4 {
        // A file that no other program runs, and one that several do.
        let copy = dir.path().join(format!("copy{round}"));
        heaptap_tests::copy(Fixture::build("heap", "1.27", Variant::Pie)?.program, &copy)?;
        let mut command = Command::new(&copy);
        command.env("HEAP_RATE", "1");
        let (mut own, mut same) = (Running::start(command)?, heap("1.26")?);
        tell(&mut own, "work 3")?;
        tell(&mut same, "work 3")?;
        let pids = [own.pid(), same.pid()];
        watching.round()?;
        let seen = Profile::read(&json)?.pids();
        ensure!(pids.iter().all(|pid| seen.contains(pid)), "{pids:?} are not in {seen:?}");
        own.wait()?;
        same.wait()?;
        watching.round()?;
        let seen = Profile::read(&json)?.pids();
        ensure!(!pids.iter().any(|pid| seen.contains(pid)), "{pids:?} are in {seen:?}");
        ensure!(seen.contains(&first.pid()), "{} is not in {seen:?}", first.pid());
        let open = watching.open_files()?;
        let gone = |path: &String| {
            path.contains("/copy") || pids.iter().any(|pid| path.contains(&format!("/{pid}/")))
        };
        ensure!(!open.iter().any(gone), "{open:?} are open after {pids:?} have ended");
    }
    ensure!(watching.end()?.code() == Some(0));
    Ok(())
}

/// Where nobody is there yet, nobody has such a profile, or all have ended, it says so, once, and waits for
/// the next.
#[test]
fn who_is_not_there_yet_is_waited_for() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    for (name, fixture) in [("~heap", "heap"), ("~off", "unprofiled")] {
        let built = Fixture::build(fixture, "1.27", Variant::Stripped)?;
        heaptap_tests::copy(built.program, dir.path().join(name))?;
    }
    let start = |name: &str| {
        let mut command = Command::new(dir.path().join(name));
        command.env("HEAP_RATE", "1");
        Running::start(command)
    };
    let exe = dir.path().join("~heap").display().to_string();
    // "All" are those of this test.
    let all = ["--all", "--exclude", "comm=[!~]*"];
    for command in ["heap", "stats", "block", "mutex"] {
        for (selection, nobody) in [
            (&all[..], "no Go program runs here"),
            (&["--comm", "~*"], "no process is called ~*"),
            (&["--exe", &exe], "no process runs "),
        ] {
            let watching = Watching::start(&[&[command], selection].concat())?;
            let mut last = String::new();
            let mut says = |text: &str| -> Result<()> {
                while !last.contains(text) {
                    let line = watching.said.next()?.context("heaptap ended")?;
                    ensure!(line.starts_with("heaptap: waiting: ") && line != last, "{line}");
                    last = line;
                }
                last.clear();
                Ok(())
            };
            says(nobody)?;
            if command != "stats" && selection[0] != "--exe" {
                let _off = start("~off")?;
                says(&format!("keeps no {command} profile"))?;
            }
            for _ in 0..2 {
                let mut program = start("~heap")?;
                tell(&mut program, "work 3")?;
                tell(&mut program, "contend on")?;
                let pid = program.pid().to_string();
                watching.line(|line| match command {
                    "stats" => line.trim_start().starts_with(&pid),
                    _ => line.contains("main."),
                })?;
                program.wait()?;
                says(nobody)?;
            }
            ensure!(watching.end()?.code() == Some(0), "{command} {selection:?}");
        }
    }
    Ok(())
}

/// The sampler stays on from round to round and is off again after Ctrl-C, when an output can't be
/// written any more, and when another program that was sampled has ended.
#[test]
fn a_sampler_that_is_lent_while_watching() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("unprofiled", "1.27", Variant::Stripped)?;
    let mut program = fixture.start()?;
    let pid = program.pid().to_string();
    for end in ["interrupted", "unwritable", "the other ends"] {
        let dir = tempfile::tempdir()?;
        let json = dir.path().join("x.json");
        let other = fixture.start()?;
        let other_pid = other.pid().to_string();
        let mut command = Command::new(heaptap::program()?);
        command.args(["heap", "-p", &pid, "-p", &other_pid, "--watch", "0.02", "-o", "-", "-o"]);
        command.arg(&json).arg("--enable-sampler=4096").stdin(Stdio::null());
        command.env("HEAPTAP_RUN_DIR", dir.path().join("notes"));
        let watching = Watching::of(command)?;
        watching.round()?;
        ensure!(program.ask("rate")? == "rate 4096", "{end}: it is not on");
        program.ask("keep 1000")?;
        program.ask("gc")?;
        watching.line(|line| line.contains("main.keep"))?;
        let code = match end {
            "interrupted" => watching.end()?.code(),
            "unwritable" => {
                // Somebody puts a directory where the file is, between two rounds.
                while fs::create_dir(&json).is_err() {
                    fs::remove_file(&json)?;
                }
                watching.wait()?.0
            }
            _ => {
                drop(other);
                watching.round()?;
                ensure!(program.ask("rate")? == "rate 4096", "{end}: it is not on any more");
                watching.end()?.code()
            }
        };
        ensure!(code == Some(if end == "unwritable" { 6 } else { 0 }), "{end}: {code:?}");
        ensure!(program.ask("rate")? == "rate 0", "{end}: it is still on");
        ensure!(fs::read_dir(dir.path().join("notes"))?.count() == 0, "{end}: a note is left");
    }
    Ok(())
}

/// Goroutines that come and go, and the end of the program.
#[test]
fn goroutines_of_a_program_that_goes_on() -> Result<()> {
    require_root()?;
    let mut program = Fixture::build("goroutines", "1.27", Variant::Stripped)?.start()?;
    let pid = program.pid().to_string();
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("x.json").display().to_string();
    let watching = Watching::start(&["goroutines", "-p", &pid, "-o", "-", "-o", &json])?;
    watching.round()?;
    ensure!(Path::new(&json).is_file());
    program.wait()?;
    let (code, said) = watching.wait()?;
    ensure!(code == Some(0), "{code:?}: {said}");
    Ok(())
}

/// A reader that has seen enough ends it: `heaptap heap --watch 1 | head`.
#[test]
fn a_reader_that_goes_away() -> Result<()> {
    require_root()?;
    let mut program = heap("1.27")?;
    tell(&mut program, "work 3")?;
    let pid = program.pid().to_string();
    for command in ["heap", "goroutines", "stats"] {
        let mut heaptap = Command::new(heaptap::program()?);
        heaptap.args([command, "-p", &pid, "--watch", "0.02"]).stdin(Stdio::null());
        let mut child = heaptap.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        BufReader::new(stdout).read_line(&mut String::new())?;
        ensure!(child.wait()?.code() == Some(0), "{command}");
    }
    Ok(())
}

//! Programs that mean harm, or look like it: what they are called, what they claim to be, and how they live.
//!
//! heaptap refuses them or does its work; it is not deceived, not stopped, and no output carries what they are called as
//! anything but text.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heaptap_tests::agent::Agent;
use heaptap_tests::{Fixture, Recording, Running, Variant, heaptap, real, require_root};

/// A file name with what means something to a terminal, a browser, a shell, and a line. The first 15 bytes are the command's name.
const NAME: &[u8] = b"\x1b[2J<b a=\"'&;\n\xff\\}]]><script>alert(1)<script>\r\t{x}\x07";

/// A fixture under another path.
fn copied(fixture: &str, to: &Path) -> Result<()> {
    heaptap_tests::copy(Fixture::build(fixture, "1.26", Variant::Stripped)?.program, to)
}

/// No control characters but those of a table, and no line that the name has begun.
fn is_text(output: &str) -> bool {
    let is_control = |c: char| c.is_control() && c != '\n' && c != '\t';
    !output.contains(is_control) && !output.lines().any(|line| line.starts_with('\u{fffd}'))
}

#[test]
fn a_name_is_text_everywhere() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join(OsStr::from_bytes(NAME));
    copied("life", &path)?;
    let mut program = Running::start(Command::new(&path))?;
    let pid = program.pid().to_string();
    let out = |name: &str| dir.path().join(name).display().to_string();
    let mut args = vec!["-p".to_owned(), pid.clone()];
    let files = ["a.svg", "a.html", "a.json", "a.folded", "a.pb.gz", "a.htap"].map(out);
    args.extend(files.iter().flat_map(|file| ["-o".to_owned(), file.clone()]));
    let recording = Recording::start(&args)?;
    program.ask("alloc 5000")?;
    let ended = recording.stop()?;
    ended.expect(0)?;
    ensure!(is_text(&ended.stderr) && is_text(&ended.stdout), "{ended:?}");
    for file in &files[..4] {
        let text = fs::read_to_string(file)?;
        ensure!(!text.contains('\x1b') && !text.contains('\x07'), "{file} has control characters");
        let is_markup = file.ends_with(".svg") || file.ends_with(".html");
        ensure!(
            !is_markup || !text.contains("<script>alert"),
            "{file} has what a browser would run"
        );
        ensure!(!is_markup || !text.contains("<b a="), "{file} has markup");
    }
    let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&files[2])?)?;
    ensure!(json["processes"][0]["pid"].as_u64() == Some(program.pid().into()));
    let parsed = Command::new("python3")
        .args(["-c", "import sys, xml.dom.minidom as d; d.parse(sys.argv[1])", &files[0]])
        .output()?;
    ensure!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
    for args in [
        &["ps"][..],
        &["stats", "-p", &pid],
        &["goroutines", "-p", &pid],
        &["top", "--once", "-p", &pid],
        &["leaks", "-p", &pid, "--for", "2s"],
        &["gc", "-p", &pid, "-d", "1"],
        &["export", &files[5], "-o", "-"],
        &["doctor"],
    ] {
        let ended = heaptap::run(args)?;
        ended.expect(0).with_context(|| args.join(" "))?;
        ensure!(is_text(&ended.stdout) && is_text(&ended.stderr), "{args:?}: {ended:?}");
    }
    let agent = Agent::start(&[])?;
    let metrics = agent.wait("the program", |metrics| {
        metrics.of(program.pid(), "go_processor_limit", &[]).is_some()
    })?;
    let is_line = |line: &str| {
        line.starts_with('#') || line.starts_with("go_") || line.starts_with("heaptap_")
    };
    let odd = metrics.0.lines().find(|line| !is_line(line) && !line.contains('{'));
    ensure!(odd.is_none(), "{odd:?}");
    let mut promtool = Command::new(real::promtool()?);
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().context("promtool")?;
    std::io::Write::write_all(
        &mut promtool.stdin.take().context("no stdin")?,
        metrics.0.as_bytes(),
    )?;
    let said = String::from_utf8_lossy(&promtool.wait_with_output()?.stderr).into_owned();
    ensure!(!said.contains("error while"), "{said}");
    agent.running.stop()?.expect(0)?;
    Ok(())
}

/// A program in C whose file has what makes a program Go's, and then nothing of it.
fn pretender(dir: &Path, sections: &[(&str, &[u8])]) -> Result<PathBuf> {
    let made = dir.join("pretender");
    let mut objcopy = Command::new("objcopy");
    for (name, contents) in sections {
        let file = dir.join(name.trim_start_matches('.'));
        fs::write(&file, contents)?;
        objcopy.arg(format!("--add-section={name}={}", file.display()));
        objcopy.arg(format!("--set-section-flags={name}=alloc,readonly"));
    }
    let made_it = objcopy.arg("/bin/cat").arg(&made).output().context("no objcopy")?;
    ensure!(made_it.status.success(), "{}", String::from_utf8_lossy(&made_it.stderr));
    Ok(made)
}

/// Refused with a line, by each command; and others are looked at all the same.
#[test]
fn what_claims_to_be_go_and_is_not() -> Result<()> {
    require_root()?;
    let mut info = b"\xff Go buildinf:\x08\x02".to_vec();
    info.resize(32, 0);
    info.extend(b"\x08go1.26.6\xff\xff\xff\xff\xff\xff\xff\xff\x7f");
    let mut lines = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    lines.resize(4096, 0xff);
    let honest = Fixture::build("life", "1.26", Variant::Stripped)?.start()?;
    for sections in [
        &[(".go.buildinfo", &info[..])][..],
        &[(".gopclntab", &lines[..])],
        &[(".go.buildinfo", &info[..]), (".gopclntab", &lines[..])],
    ] {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new(pretender(dir.path(), sections)?);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let pid = child.id().to_string();
        let mut refused = Ok(());
        for command in ["record", "stats", "heap", "goroutines"] {
            let ended = heaptap::run([command, "-p", &pid])?;
            let is_so = matches!(ended.code, Some(4 | 5)) && ended.stderr.lines().count() == 1;
            if !is_so {
                refused = Err(anyhow::anyhow!("{command}: {ended:?}"));
            }
        }
        let all = heaptap::run(["stats", "--all"])?;
        drop(child.stdin.take());
        child.wait()?;
        refused?;
        all.expect(0)?;
        let pid = honest.pid().to_string();
        let is_there = all.stdout.lines().any(|line| line.split_whitespace().next() == Some(&pid));
        ensure!(is_there, "{}", all.stdout);
    }
    Ok(())
}

/// A path that is longer than the kernel tells.
#[test]
fn a_program_far_below() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let program = Fixture::build("life", "1.26", Variant::Stripped)?.program;
    // Each step is one that mkdir(2) can go; together they are longer than a path may be.
    let script = "import os, shutil, sys\nshutil.copy(sys.argv[1], 'life')\nfor _ in range(40):\n os.mkdir('d' * 200)\n \
                  os.rename('life', 'd' * 200 + '/life')\n os.chdir('d' * 200)\nos.execv('./life', ['life'])";
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).arg(&program).current_dir(dir.path());
    let mut below = Running::start(command)?;
    let pid = below.pid().to_string();
    let recording = Recording::start(["-p", &pid])?;
    below.ask("alloc 100")?;
    recording.stop()?.expect(0)?;
    heaptap::run(["stats", "-p", &pid])?.expect(0)?;
    let ps = heaptap::run(["ps", "--json"])?;
    ps.expect(0)?;
    ensure!(ps.stdout.contains("[path too long]"), "{}", ps.stdout);
    // A directory so deep is taken away step by step.
    drop(below);
    ensure!(Command::new("rm").arg("-rf").arg(dir.path()).status()?.success());
    Ok(())
}

/// A program without its file, in a root where everything leads to what never ends: a pipe outside of it that nobody
/// writes to. Where its file was there is one of another release.
#[test]
fn a_root_that_leads_elsewhere() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let (root, pipe) = (dir.path().join("root"), dir.path().join("pipe"));
    fs::create_dir(&root)?;
    copied("life", &root.join("life"))?;
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success());
    let mut command = Command::new("chroot");
    command.arg(&root).arg("/life");
    let mut program = Running::start(command)?;
    fs::remove_file(root.join("life"))?;
    symlink(Fixture::build("life", "1.19", Variant::Stripped)?.program, root.join("life"))?;
    for place in ["life (deleted)", "proc", "sys", "run", "etc", "lib", "lib64", "usr"] {
        symlink(&pipe, root.join(place))?;
    }
    // Where its file would be if its root were taken for the host's.
    let inside = root.join(root.strip_prefix("/")?);
    fs::create_dir_all(&inside)?;
    symlink(&pipe, inside.join("life (deleted)"))?;
    let pid = program.pid().to_string();
    let json = dir.path().join("out.json");
    let recording = Recording::start(["-p", &pid, "-o", &json.display().to_string()])?;
    program.ask("alloc 700")?;
    recording.stop()?.expect(0)?;
    is_seen_whole(&json, 700)?;
    for command in ["stats", "goroutines"] {
        heaptap::run([command, "-p", &pid])?.expect(0).context(command)?;
    }
    let listed = heaptap::run(["ps", "--json"])?;
    let listed: serde_json::Value = serde_json::from_str(&listed.expect(0)?.stdout)?;
    let all = listed["processes"].as_array().context("no processes")?;
    let own = all.iter().find(|one| one["pid"].as_u64() == Some(program.pid().into()));
    let own = own.context("it is not listed")?;
    let binary = &own["binary"];
    ensure!(binary["go_version"].as_str().is_some_and(|go| go.starts_with("1.26")), "{own}");
    ensure!(binary["path"] == "/life" && binary["deleted"] == true, "{own}");
    Ok(())
}

/// All that `life` has allocated is told, by its name.
fn is_seen_whole(json: &Path, expected: u64) -> Result<()> {
    let profile = heaptap_tests::profile::Profile::read(json)?;
    let value = profile.value("alloc_objects")?;
    let is_own = |function: &str| function == "main.allocate";
    let own =
        profile.stacks.iter().filter(|s| s.frames.first().is_some_and(|f| is_own(&f.function)));
    let found: u64 = own.map(|stack| stack.values[value]).sum();
    ensure!(found == expected, "{found} of {expected}");
    Ok(())
}

/// Mappings that a process may have, which are put back.
struct Allowed(String);

impl Allowed {
    const FILE: &str = "/proc/sys/vm/max_map_count";

    fn raise(to: u32) -> Result<Self> {
        let before = fs::read_to_string(Self::FILE)?;
        if before.trim().parse::<u32>()? < to {
            fs::write(Self::FILE, to.to_string())?;
        }
        Ok(Self(before))
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        // Best effort: nobody depends on it.
        let _ = fs::write(Self::FILE, &self.0);
    }
}

/// A program that has a hundred thousand mappings before that of its own file.
#[test]
fn a_program_of_a_hundred_thousand_mappings() -> Result<()> {
    require_root()?;
    let _allowed = Allowed::raise(150_000)?;
    let dir = tempfile::tempdir()?;
    let mut program = Fixture::build("life", "1.26", Variant::PieStripped)?.start()?;
    ensure!(program.ask("map 100000")? == "done");
    let pid = program.pid().to_string();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let before = maps.lines().position(|line| line.contains("r-xp")).context("no code")?;
    ensure!(before >= 100_000, "{before} mappings before its code");
    let json = dir.path().join("out.json");
    let started = Instant::now();
    let recording = Recording::start(["-p", &pid, "-o", &json.display().to_string()])?;
    program.ask("alloc 700")?;
    let memory = recording.peak_memory().context("no memory")?;
    recording.stop()?.expect(0)?;
    is_seen_whole(&json, 700)?;
    for command in ["stats", "goroutines", "ps"] {
        let args = [command, "-p", &pid];
        heaptap::run(&args[..if command == "ps" { 1 } else { 3 }])?.expect(0).context(command)?;
    }
    let took = started.elapsed();
    println!("{before} mappings: {took:?}, {memory} kB");
    ensure!(took < Duration::from_secs(60), "it took {took:?}");
    ensure!(memory < 300 << 10, "{memory} kB");
    Ok(())
}

/// Children without end while everything is recorded.
#[test]
fn a_program_that_forks_without_end() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let json = dir.path().join("out.json").display().to_string();
    let mut program = Fixture::build("life", "1.26", Variant::Stripped)?.start()?;
    let recording = Recording::start(["--all", "-o", &json])?;
    let before = recording.peak_memory().context("no memory")?;
    let loops = "while :; do (:) & (:) & (:) & (:) & wait; done";
    let mut forks = Command::new("sh").arg("-c").arg(loops).spawn()?;
    let made = forked()? + 3000;
    let until = Instant::now() + Duration::from_secs(60);
    while forked()? < made && Instant::now() < until {
        program.ask("alloc 10")?;
    }
    let after = recording.peak_memory().context("no memory")?;
    forks.kill()?;
    forks.wait()?;
    ensure!(forked()? >= made, "too few forks");
    let ended = recording.stop()?;
    ended.expect(0)?;
    let profile = heaptap_tests::profile::Profile::read(Path::new(&json))?;
    let lost = profile.losses();
    let possible = ["lost_notify_full", "lost_exec_gap"];
    ensure!(lost.iter().all(|loss| possible.contains(&&*loss.name)), "{lost:?}");
    ensure!(after < before + 16_384, "{before} kB became {after}");
    Ok(())
}

/// Processes that this host has made.
fn forked() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("processes "));
    Ok(line.context("no number of processes")?.parse()?)
}

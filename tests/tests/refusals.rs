//! What can't be done is refused with one line and the documented exit code, before anything is
//! recorded, and nothing already collected is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::profile::Profile;
use heaptap_tests::{Fixture, Recording, Running, Variant, heaptap, patch, require_root};

/// A privilege is missing: `setpriv` takes all of root's away.
#[test]
fn without_privileges() -> Result<()> {
    require_root()?;
    let alloc = Fixture::build("alloc", "1.26", Variant::Default)?.start()?;
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    command.arg(heaptap::program()?).args(["record", "-d", "1", "-p", &alloc.pid().to_string()]);
    heaptap::run_command(command)?.refused(3, "CAP_")
}

/// An ordinary user is told which privileges are missing.
#[test]
fn as_an_ordinary_user() -> Result<()> {
    require_root()?;
    let alloc = Fixture::build("alloc", "1.26", Variant::Default)?.start()?;
    // A copy where anyone may read it.
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let copy = dir.path().join("heaptap");
    heaptap_tests::copy(heaptap::program()?, &copy)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(&copy).args(["record", "-d", "1", "-p", &alloc.pid().to_string()]);
    heaptap::run_command(command)?.refused(3, "sudo")
}

/// Pids mean something else there.
#[test]
fn in_a_pid_namespace_of_its_own() -> Result<()> {
    require_root()?;
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork"]).arg(heaptap::program()?);
    command.args(["record", "-d", "1", "-p", "1"]);
    heaptap::run_command(command)?.refused(3, "--pid=host")
}

/// Nobody to record: the line says what was looked for.
#[test]
fn nobody_of_that_name_or_file() -> Result<()> {
    require_root()?;
    let record = |how: &str, what: &str| heaptap::run(["record", "-d", "1", how, what]);
    record("--comm", "nobody-is-so")?.refused(4, "no process is called nobody-is-so")?;
    record("--exe", "/nobody/has")?
        .refused(4, "no process runs /nobody/has, and there is no such")?;
    let dir = tempfile::tempdir()?;
    let cat = dir.path().join("cat-is-no-go");
    heaptap_tests::copy("/bin/cat", &cat)?;
    let path = cat.display().to_string();
    record("--exe", &path)?.refused(4, &format!("no process runs {path};"))?;
    let mut command = Command::new(&cat);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let ended = [record("--exe", &path), record("--comm", "cat-is-no-*")];
    drop(child.stdin.take());
    child.wait()?;
    let [by_file, by_name] = ended;
    by_file?.refused(4, &format!("{path} is no Go program"))?;
    by_name?.refused(4, "1 process called cat-is-no-*, no Go program among them")
}

/// It is heaptap's own limit, whoever is being looked at when it is reached; and the soft one is none.
#[test]
fn too_few_open_files() -> Result<()> {
    require_root()?;
    let program = Fixture::build("life", "1.26", Variant::Stripped)?.start()?;
    let pid = program.pid().to_string();
    let record = |limit: &str| {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={limit}")).arg(heaptap::program()?);
        command.args(["record", "-p", &pid, "-d", "0.01"]);
        heaptap::run_command(command)
    };
    for limit in ["16", "24", "32", "36"] {
        record(limit)?
            .refused(1, &format!("no more files can be opened here, the limit is {limit}"))?;
    }
    record("16:1024")?.expect(0)?;
    Ok(())
}

#[test]
fn no_such_process() -> Result<()> {
    require_root()?;
    let mut child = Command::new("true").stdout(Stdio::null()).spawn()?;
    let pid = child.id().to_string();
    child.wait()?;
    heaptap::run(["record", "-d", "1", "-p", &pid])?.refused(4, &pid)
}

#[test]
fn not_a_go_program() -> Result<()> {
    require_root()?;
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let ended = heaptap::run(["record", "-d", "1", "-p", &child.id().to_string()])?;
    drop(child.stdin.take());
    child.wait()?;
    ended.refused(4, "Go")
}

/// A copy of a fixture that claims to be made by another release of Go.
fn pretender(copy: &Path, version: &str, variant: Variant) -> Result<Running> {
    let fixture = Fixture::build("alloc", "1.21", variant)?;
    patch::replace(&fixture.program, copy, b"go1.21.13", version.as_bytes())?;
    Running::start(Command::new(copy))
}

#[test]
fn a_go_version_that_is_too_old() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let alloc = pretender(&dir.path().join("alloc"), "go1.17.13", Variant::Default)?;
    let ended = heaptap::run(["record", "-d", "1", "-p", &alloc.pid().to_string()])?;
    ended.refused(5, "made by Go 1.17.13, older than 1.18")
}

/// Nobody knows what a future release calls to allocate. The version is read from the build info or,
/// where there is none, from the runtime.
#[test]
fn a_go_version_that_nobody_knows() -> Result<()> {
    require_root()?;
    for variant in [Variant::Default, Variant::Bare] {
        for mode in ["exact", "span"] {
            let dir = tempfile::tempdir()?;
            let alloc = pretender(&dir.path().join("alloc"), "go1.99.13", variant)?;
            let pid = alloc.pid().to_string();
            let ended = heaptap::run(["record", "-d", "1", "--mode", mode, "-p", &pid])?;
            ended.refused(5, "made by Go 1.99.13, newer than 1.27")?;
        }
    }
    Ok(())
}

/// Where programs are searched for, those of unknown releases are left out, which is told; `ps`
/// tells it before.
#[test]
fn a_go_version_that_nobody_knows_among_others() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let why = "made by Go 1.99.13, newer than 1.27";
    // No other test has programs of such a name.
    let path = dir.path().join("among-newer");
    let newer = pretender(&path, "go1.99.13", Variant::Default)?;
    let ended = heaptap::run(["ps"])?;
    let row = ended
        .stdout
        .lines()
        .find(|row| row.split_whitespace().next() == Some(newer.pid().to_string().as_str()));
    ensure!(
        row.is_some_and(|row| row.contains(" 1.99.13 ") && row.contains(why)),
        "ps tells {row:?}"
    );
    let path = path.display().to_string();
    heaptap::run(["record", "-d", "1", "--exe", &path])?.refused(5, why)?;

    let copy = dir.path().join("among-known");
    heaptap_tests::copy(Fixture::build("alloc", "1.26", Variant::Default)?.program, &copy)?;
    let known = Running::start(Command::new(&copy))?;
    let json = dir.path().join("out.json");
    let json_text = json.display().to_string();
    let ended = heaptap::run(["record", "-d", "1", "--comm", "among-*", "-o", &json_text])?;
    ended.expect(0)?;
    let left_out = format!("not recorded: process {}: ", newer.pid());
    let told = |line: &str| line.contains(&left_out) && line.contains(why);
    ensure!(ended.stderr.lines().any(told), "{}", ended.stderr);
    let profile = Profile::read(&json)?;
    ensure!(profile.notes.iter().any(|note| told(note)), "{:?}", profile.notes);
    let pids: Vec<u32> = profile.processes.iter().map(|process| process.pid).collect();
    ensure!(pids == [known.pid()], "recorded {pids:?}");
    Ok(())
}

/// A program that does not tell its release at all is judged by what is in it, and no recording of it
/// is called complete.
#[test]
fn a_go_version_that_is_not_told() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let alloc = pretender(&dir.path().join("alloc"), "not told.", Variant::Bare)?;
    let ended = heaptap::run(["record", "-d", "1", "-p", &alloc.pid().to_string()])?;
    ended.expect(0)?;
    ensure!(ended.stderr.contains("NOT COMPLETE"), "{}", ended.stderr);
    Ok(())
}

/// Several images of Go code in one process.
#[test]
fn a_host_of_plugins() -> Result<()> {
    require_root()?;
    let part = Fixture::build("pluginpart", "1.26", Variant::Plugin)?;
    let host = Fixture::build("pluginhost", "1.26", Variant::Cgo)?;
    let mut command = Command::new(&host.program);
    command.arg(&part.program);
    let host = Running::start(command)?;
    let ended = heaptap::run(["record", "-d", "1", "-p", &host.pid().to_string()])?;
    ended.refused(5, "plugin")
}

/// Found before anything is recorded: it ends at once although it was asked to record for an hour.
#[test]
fn outputs_that_cannot_be_written() -> Result<()> {
    require_root()?;
    let alloc = Fixture::build("alloc", "1.26", Variant::Default)?.start()?;
    let dir = tempfile::tempdir()?;
    let inside = |name: &str| dir.path().join(name).display().to_string();
    fs::create_dir(inside("directory.svg"))?;
    for path in [inside("missing/out.svg"), inside("directory.svg"), "/proc/out.json".into()] {
        let good = inside("good.json");
        let pid = alloc.pid().to_string();
        let ended = heaptap::run(["record", "-d", "3600", "-p", &pid, "-o", &good, "-o", &path])?;
        ended.refused(6, &path)?;
        ensure!(!fs::exists(&good)?, "an output was left behind for a recording that never was");
    }
    Ok(())
}

/// An output whose directory goes away while recording fails; the other one is written.
#[test]
fn one_output_that_fails_does_not_stop_the_others() -> Result<()> {
    require_root()?;
    let mut alloc = Fixture::build("alloc", "1.26", Variant::Default)?.start()?;
    let (kept, gone) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (good, bad) = (kept.path().join("out.json"), gone.path().join("out.svg"));
    let (good_text, bad_text) = (good.display().to_string(), bad.display().to_string());
    let pid = alloc.pid().to_string();
    let recording = Recording::start(["-p", &pid, "-o", &bad_text, "-o", &good_text])?;
    let mallocs = alloc.rounds(2)?;
    gone.close()?;
    let ended = recording.stop()?;
    ended.expect(6)?;
    ensure!(ended.stderr.contains(&bad_text), "the failure is not told: {}", ended.stderr);
    let total = Profile::read(&good)?.total("alloc_objects")?;
    ensure!(total >= mallocs, "the other output has {total} of {mallocs}");
    Ok(())
}

/// A file that is no program, or is cut short, or lies about itself, where a path is asked for.
#[test]
fn hostile_files() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("alloc", "1.26", Variant::Default)?;
    let whole = fs::read(&fixture.program)?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("program");
    let path = file.to_str().context("a temporary path that is no text")?;
    let cut = [0, 1, 63, 64, 4096, whole.len() / 2];
    for length in cut {
        fs::write(&file, &whole[..length])?;
        let ended = heaptap::run(["record", "-d", "1", "--exe", path])?;
        ensure!(
            matches!(ended.code, Some(4 | 5)) && ended.stderr.trim().lines().count() == 1,
            "{length} bytes: {ended:?}"
        );
    }
    fs::write(&file, "#!/bin/sh\nexit 0\n")?;
    let ended = heaptap::run(["record", "-d", "1", "--exe", path])?;
    ensure!(matches!(ended.code, Some(4 | 5)), "a script: {ended:?}");
    Ok(())
}

#[test]
fn a_command_line_that_says_nothing() -> Result<()> {
    heaptap::run(["record"])?.refused(2, "-p PID")
}

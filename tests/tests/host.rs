//! `heaptap ps` and `heaptap doctor` on this host: real processes, real kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::{Ended, Fixture, Running, Variant, heaptap, require_root};
use serde_json::Value;

fn json(ended: &Ended) -> Result<Value> {
    serde_json::from_str(&ended.stdout).with_context(|| format!("no JSON: {}", ended.stdout))
}

/// What `heaptap ps --json` says of one process, if it lists it.
fn listed(document: &Value, pid: u32) -> Option<&Value> {
    document["processes"].as_array()?.iter().find(|process| process["pid"] == pid)
}

/// heaptap where an ordinary user can run it.
fn copy_for_everybody() -> Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let copy = dir.path().join("heaptap");
    fs::copy(heaptap::program()?, &copy)?;
    Ok((dir, copy))
}

fn as_nobody(args: &[&str]) -> Result<Ended> {
    let (_dir, program) = copy_for_everybody()?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(program).args(args);
    heaptap::run_command(command)
}

/// Each way of building shows as what it is, and all of them can be traced.
#[test]
fn go_programs_are_listed_with_their_facts() -> Result<()> {
    require_root()?;
    for (go, variant, load, stripped) in [
        ("1.21", Variant::Default, "fixed", false),
        ("1.27", Variant::Stripped, "fixed", true),
        ("1.24", Variant::Pie, "pie", false),
        ("1.26", Variant::PieStripped, "pie", true),
        ("1.26", Variant::Bare, "fixed", true),
    ] {
        let fixture = Fixture::build("alloc", go, variant)?;
        let running = fixture.start()?;
        let document = json(heaptap::run(["ps", "--json"])?.expect(0)?)?;
        ensure!(document["schema"] == "heaptap.ps/1", "{}", document["schema"]);
        let process = listed(&document, running.pid()).context("it is not listed")?;
        let binary = &process["binary"];
        let path = fs::canonicalize(&fixture.program)?;
        ensure!(binary["path"] == path.to_string_lossy().as_ref(), "{binary}");
        ensure!(binary["go_version"] == fixture.release.version, "{binary}");
        ensure!(binary["load"] == load && binary["stripped"] == stripped, "{binary}");
        ensure!(binary["deleted"] == false && process["uid"] == 0, "{process}");
        for mode in ["exact", "span"] {
            let mode = &process["trace"][mode];
            ensure!(mode["available"] == true && mode["complete"] == true, "{process}");
        }
    }
    Ok(())
}

/// A program whose file is gone is listed, and a name that drives terminals does not.
#[test]
fn a_deleted_file_with_an_odd_name() -> Result<()> {
    require_root()?;
    let fixture = Fixture::build("alloc", "1.26", Variant::Stripped)?;
    let dir = tempfile::tempdir()?;
    let odd = dir.path().join("\x1b[31mred\nname");
    fs::copy(&fixture.program, &odd)?;
    let running = Running::start(Command::new(&odd))?;
    fs::remove_file(&odd)?;

    let document = json(heaptap::run(["ps", "--json"])?.expect(0)?)?;
    let process = listed(&document, running.pid()).context("it is not listed")?;
    ensure!(process["binary"]["path"] == odd.to_string_lossy().as_ref(), "{process}");
    ensure!(process["binary"]["deleted"] == true, "{process}");

    let table = heaptap::run(["ps"])?;
    let table = &table.expect(0)?.stdout;
    let pid = running.pid().to_string();
    let row = table.lines().find(|line| line.split_whitespace().next() == Some(&pid));
    let row = row.context("it is not in the table")?;
    ensure!(row.contains(r"\x1b[31mred\nname (deleted)"), "{row}");
    ensure!(!table.contains('\x1b'), "{table}");
    Ok(())
}

/// Other programs are not listed.
#[test]
fn other_programs_are_not_listed() -> Result<()> {
    require_root()?;
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let ended = heaptap::run(["ps", "--json"]);
    let pid = child.id();
    drop(child.stdin.take());
    child.wait()?;
    let document = json(ended?.expect(0)?)?;
    ensure!(listed(&document, pid).is_none(), "{document}");
    Ok(())
}

/// What an ordinary user can't see is counted, in one line that says what would help.
#[test]
fn ps_as_an_ordinary_user() -> Result<()> {
    require_root()?;
    let running = Fixture::build("alloc", "1.26", Variant::Default)?.start()?;
    as_nobody(&["ps"])?.refused(0, "CAP_SYS_PTRACE")?;
    let document = json(as_nobody(&["ps", "--json"])?.expect(0)?)?;
    ensure!(listed(&document, running.pid()).is_none(), "{document}");
    let unseen = document["unseen"].as_array().context("no list")?;
    let unseen = unseen.iter().find(|process| process["pid"] == running.pid());
    ensure!(unseen.context("it is not told")?["permission"] == true);
    Ok(())
}

/// A reader that goes away is no failure; a full disk is.
#[test]
fn standard_output_that_goes_away_or_is_full() -> Result<()> {
    require_root()?;
    let mut child = Command::new(heaptap::program()?)
        .arg("ps")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    drop(child.stdout.take());
    ensure!(child.wait()?.code() == Some(0));
    let mut command = Command::new(heaptap::program()?);
    let output = command.args(["ps", "--json"]).stdout(fs::File::create("/dev/full")?).output()?;
    ensure!(output.status.code() == Some(6), "{output:?}");
    Ok(())
}

/// Recording works here, and a trap that is emulated costs less than one that is single-stepped.
#[test]
fn doctor_finds_everything() -> Result<()> {
    require_root()?;
    let _running = Fixture::build("alloc", "1.26", Variant::Default)?.start()?;
    let document = json(heaptap::run(["doctor", "--json"])?.expect(0)?)?;
    ensure!(document["schema"] == "heaptap.doctor/1" && document["verdict"] == "works");
    let cost = |kind: &str| document["trap_ns"][kind].as_u64().context("not measured");
    let (emulated, stepped) = (cost("emulated")?, cost("single_stepped")?);
    ensure!(emulated > 0 && emulated * 2 < stepped, "{emulated} and {stepped} ns");
    ensure!(document["go_processes"]["seen"].as_u64() >= Some(1), "{document}");

    let text = heaptap::run(["doctor"])?;
    let text = &text.expect(0)?.stdout;
    ensure!(!text.contains("missing") && text.contains("cost of one trap"), "{text}");
    Ok(())
}

/// Each missing privilege is named; everything that could be looked at is told all the same.
#[test]
fn doctor_without_privileges() -> Result<()> {
    require_root()?;
    as_nobody(&["doctor"])?.refused(3, "a privilege is missing")?;
    let document = json(as_nobody(&["doctor", "--json"])?.expect(3)?)?;
    ensure!(document["verdict"] == "privilege" && document["exit_code"] == 3, "{document}");
    let missing = document["capabilities"]["missing"].as_array().context("no list")?;
    ensure!(missing.iter().any(|name| name == "CAP_BPF"), "{document}");
    ensure!(document["trap_ns"]["emulated"].is_null(), "{document}");
    Ok(())
}

/// In a pid namespace of its own heaptap can't know whom the kernel means.
#[test]
fn in_another_pid_namespace() -> Result<()> {
    require_root()?;
    for args in [&["doctor", "--json"][..], &["record", "--all", "-d", "1"]] {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]).arg(heaptap::program()?).args(args);
        let ended = heaptap::run_command(command)?;
        ended.expect(3)?;
        let said = format!("{}{}", ended.stdout, ended.stderr);
        ensure!(said.contains("--pid=host"), "{said}");
    }
    Ok(())
}

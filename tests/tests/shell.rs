//! What a shell and man(1) get from heaptap works in them; colours only where they are wanted.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use heaptap_tests::terminal::Terminal;
use heaptap_tests::{Fixture, Running, Variant, heaptap, require_root};

/// Runs a program on a text; its output, and what it complained about.
fn pipe(program: &str, args: &[&str], input: &str) -> Result<(String, String)> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} is not there"))?;
    child.stdin.take().context("no stdin")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    ensure!(output.status.success(), "{program} {args:?}: {}: {stderr}", output.status);
    Ok((stdout, stderr))
}

fn printed(args: &[&str]) -> Result<String> {
    let ended = heaptap::run(args)?;
    ended.expect(0)?;
    ensure!(ended.stderr.is_empty(), "{args:?} says {}", ended.stderr);
    Ok(ended.stdout)
}

/// What bash offers for the last word of a command line.
fn offered(script: &str, words: &[&str]) -> Result<Vec<String>> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = words.len() - 1;
    let (current, previous) = (words[last], words[last.saturating_sub(1)]);
    let ask = format!(
        "{script}\nCOMP_WORDS=({})\nCOMP_CWORD={last}\n_heaptap heaptap '{current}' '{previous}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        quoted.join(" ")
    );
    let (stdout, stderr) = pipe("bash", &["--norc"], &ask)?;
    ensure!(stderr.is_empty(), "bash says {stderr}");
    Ok(stdout.lines().map(str::to_owned).collect())
}

/// bash completes commands and flags. Other shells read theirs without an error, where they are there.
#[test]
fn shells_complete() -> Result<()> {
    let bash = printed(&["completions", "bash"])?;
    pipe("bash", &["-n"], &bash)?;
    ensure!(offered(&bash, &["heaptap", "rec"])? == ["record"], "rec is not completed");
    let flags = offered(&bash, &["heaptap", "record", "--max-e"])?;
    ensure!(flags == ["--max-ended-stacks"], "--max-e: {flags:?}");
    let modes = offered(&bash, &["heaptap", "record", "--mode", "s"])?;
    ensure!(modes == ["sample", "span"], "--mode s: {modes:?}");
    for shell in ["zsh", "fish"] {
        let script = printed(&["completions", shell])?;
        let is_there = Command::new(shell).arg("--version").stdout(Stdio::null()).status().is_ok();
        if is_there {
            pipe(shell, &["-n"], &script)?;
        }
    }
    for shell in ["elvish", "powershell"] {
        ensure!(printed(&["completions", shell])?.contains("max-ended-stacks"), "{shell}");
    }
    Ok(())
}

/// A page as man(1) shows it, without bold and underlined letters, and what groff warns of.
fn set(page: &str) -> Result<(String, String)> {
    pipe("groff", &["-man", "-ww", "-Tutf8", "-P-c", "-P-b", "-P-u"], page)
}

/// Every page is set without a warning, and says the same as the page that is printed.
#[test]
fn manual_pages_are_sound() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pages = dir.path().join("man8");
    printed(&["man", "-o", pages.to_str().context("a path that is no text")?])?;
    let mut count = 0;
    for entry in fs::read_dir(&pages)? {
        let path = entry?.path();
        let source = fs::read_to_string(&path)?;
        let (text, warnings) = set(&source)?;
        ensure!(warnings.is_empty(), "{}: {warnings}", path.display());
        ensure!(text.contains("EXIT STATUS"), "{}: {text}", path.display());
        let name = path.file_stem().and_then(|name| name.to_str()).context("no name")?;
        let command = name.strip_prefix("heaptap-");
        let printed = printed(&["man"].into_iter().chain(command).collect::<Vec<_>>())?;
        ensure!(printed == source, "{name} is printed otherwise");
        count += 1;
    }
    ensure!(count >= 10, "{count} pages");
    let (record, _) = set(&fs::read_to_string(pages.join("heaptap-record.8"))?)?;
    ensure!(record.contains("\n       sudo heaptap record -p 4242 -p 4243 -d 30s"), "{record}");
    Ok(())
}

/// A directory that can't be is one line and the code of outputs.
#[test]
fn pages_that_cannot_be_written() -> Result<()> {
    heaptap::run(["man", "-o", "/proc/nowhere"])?.refused(6, "/proc/nowhere can't be written")
}

/// Every command that colours, on a live program.
fn colouring(pid: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["record", "-p", pid, "-d", "0.3", "--mode", "exact", "--quiet"],
        vec!["heap", "-p", pid, "--type", "alloc_space"],
        vec!["goroutines", "-p", pid],
        vec!["stats", "-p", pid],
        vec!["top", "--once"],
        vec!["ps"],
        vec!["doctor"],
        vec!["--help"],
        vec!["record", "--help"],
        vec!["record", "--no-such-flag"],
    ]
}

/// Nothing but text goes into a pipe or a file, and `NO_COLOR` holds on a terminal.
#[test]
fn colours_only_where_they_are_wanted() -> Result<()> {
    require_root()?;
    let heap = Fixture::build("heap", "1.26", Variant::Default)?;
    let mut command = Command::new(&heap.program);
    command.env("HEAP_RATE", "1");
    let mut heap = Running::start(command)?;
    for order in ["work 1", "gc", "gc"] {
        heap.ask(order)?;
    }
    let pid = heap.pid().to_string();
    for args in colouring(&pid) {
        let mut command = Command::new(heaptap::program()?);
        command.args(&args).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let ended = heaptap::run_command(command)?;
        let said = format!("{}{}", ended.stdout, ended.stderr);
        ensure!(!said.contains('\u{1b}'), "{args:?} not on a terminal: {said:?}");
        let terminal = on_a_terminal(&args, Some("1"))?;
        ensure!(!terminal.is_colored(), "{args:?} against NO_COLOR: {}", terminal.text());
    }
    // Without NO_COLOR a terminal has colours: what is above can fail.
    let terminal = on_a_terminal(&["heap", "-p", &pid], None)?;
    ensure!(terminal.is_colored(), "no colours on a terminal: {}", terminal.text());
    Ok(())
}

/// A terminal on which heaptap has run to its end.
fn on_a_terminal(args: &[&str], no_color: Option<&str>) -> Result<Terminal> {
    let mut command = Command::new("sh");
    command
        .args(["-c", "\"$0\" \"$@\"; echo; echo that is all"])
        .arg(heaptap::program()?)
        .args(args);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    command.envs(no_color.map(|value| ("NO_COLOR", value)));
    let terminal = Terminal::of((50, 120), command)?;
    terminal.see(&["that is all"])?;
    Ok(terminal)
}

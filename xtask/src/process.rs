//! Runs programs: loudly, with their output on the terminal, or quietly, with progress and a log.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use xtask::paths;

/// How often a quiet program that keeps talking is reported on when stdout is no terminal.
const REPORT_EVERY: Duration = Duration::from_secs(15);

/// Runs a program whose output the user wants to see.
pub fn loud(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    check(command, status)
}

/// Runs a program whose output matters only when it fails: the last line said goes into the error,
/// all of it into a log file. While it runs, the newest line shows that it lives.
pub fn quiet(label: &str, command: &mut Command) -> Result<()> {
    let dir = paths::target_dir().join("xtask-logs");
    fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
    let log_path = dir.join(format!("{label}.log"));
    let mut log =
        File::create(&log_path).with_context(|| format!("can't write {}", log_path.display()))?;
    let (reader, writer) = io::pipe().context("can't make a pipe")?;
    let mut child = command
        .stdin(std::process::Stdio::null())
        .stdout(writer.try_clone().context("can't share a pipe")?)
        .stderr(writer)
        .spawn()
        .with_context(|| cannot_start(command))?;
    // The command holds the pipe's writing end too; without this the reader would never see its end.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let last = follow(reader, &mut log);
    let status = child.wait().context("can't wait for a program")?;
    if status.success() {
        return Ok(());
    }
    let said = last.unwrap_or_else(|| "it said nothing".to_string());
    bail!("{} failed ({status}): {said} (log: {})", name(command), log_path.display())
}

/// Copies lines to the log and shows the newest. Returns the line that most likely says why.
fn follow(reader: io::PipeReader, log: &mut File) -> Option<String> {
    let terminal = io::stdout().is_terminal();
    let (started, mut reported) = (Instant::now(), Instant::now());
    let mut recent = VecDeque::new();
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8_lossy(&line);
        let text = text.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or("").trim();
        if writeln!(log, "{text}").is_err() || text.is_empty() {
            continue;
        }
        if terminal {
            print!("\r\x1b[2K  {}", text.chars().take(76).collect::<String>());
        } else if reported.elapsed() >= REPORT_EVERY {
            println!("  … {} s: {text}", started.elapsed().as_secs());
            reported = Instant::now();
        }
        // A closed stdout must not stop an installation.
        let _ = io::stdout().flush();
        recent.push_back(text.to_string());
        if recent.len() > 40 {
            recent.pop_front();
        }
    }
    if terminal {
        print!("\r\x1b[2K");
        let _ = io::stdout().flush();
    }
    let is_error = |line: &&String| {
        let line = line.to_ascii_lowercase();
        line.starts_with("error") || line.starts_with("e: ")
    };
    recent.iter().find(is_error).or(recent.back()).cloned()
}

/// Runs a program and returns what it wrote to stdout.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| cannot_start(command))?;
    check(command, output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the program runs and succeeds; its output goes nowhere.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("{} failed ({status})", line(command))
}

fn cannot_start(command: &Command) -> String {
    format!("can't start {}", command.get_program().display())
}

fn name(command: &Command) -> String {
    let first = command.get_args().next().map(|arg| arg.display().to_string());
    format!("{} {}", command.get_program().display(), first.unwrap_or_default())
}

fn line(command: &Command) -> String {
    let mut text = command.get_program().display().to_string();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

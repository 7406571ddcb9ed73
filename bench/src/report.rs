//! Writes a result down: what was run, on what, and the table.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use xtask::paths;

/// Prints a result and keeps it as `bench/results/NAME.md`.
///
/// `body` is Markdown below the facts about the machine; `versions` names what took part.
pub fn keep(name: &str, title: &str, versions: &[String], body: &str) -> Result<()> {
    let facts = [
        ("date", first_line("date", &["-u", "+%Y-%m-%d"])),
        ("commit", first_line("git", &["describe", "--always", "--dirty"])),
        ("command", command()),
        ("kernel", first_line("uname", &["-srm"])),
        ("CPU", cpu()),
    ];
    let mut text = format!("# {title}\n\n");
    for (what, value) in facts {
        text += &format!("- {what}: {value}\n");
    }
    text += &format!("- versions: {}\n\n{body}", versions.join(", "));
    // Where things lie on this machine is of no interest.
    if let Ok(cache) = paths::cache_dir() {
        text = text.replace(&format!("{}/", cache.display()), "");
    }
    print!("{text}");
    let path = paths::repo().join("bench/results").join(format!("{name}.md"));
    fs::create_dir_all(path.parent().context("no parent")?)?;
    fs::write(&path, text).with_context(|| path.display().to_string())
}

/// The command as typed, without the paths of this machine: which heaptap was measured, the commit says.
fn command() -> String {
    let mut words = vec!["cargo xtask bench".to_owned()];
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--heaptap" => drop(arguments.next()),
            _ => words.push(word),
        }
    }
    words.join(" ")
}

/// First line of what a command prints; says so when it can't be had.
pub fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(paths::repo()).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().next().map_or_else(|| "unknown".to_string(), |line| line.trim().to_string())
}

fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let hypervisor = info.lines().any(|l| l.starts_with("flags") && l.contains(" hypervisor"));
    let virtual_machine = if hypervisor { ", virtual machine" } else { "" };
    format!("{} x {cores}{virtual_machine}", model.unwrap_or("unknown").trim())
}

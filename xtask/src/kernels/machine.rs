//! One machine: an emulated one with two CPUs, without disk and network.
//!
//! In: which machine, a kernel and its first file system. Out: what it said on its serial line, by lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::build::Machine;

/// What a machine said, and for how long it ran.
#[derive(Debug)]
pub struct Said {
    pub lines: Vec<String>,
    pub took: Duration,
    /// It was ended because its time was over.
    pub cut: bool,
}

/// MiB: the archive is there twice for a moment.
const MEMORY: &str = "4096";

/// What emulates a machine.
pub fn emulator(machine: Machine) -> String {
    format!("qemu-system-{}", machine.name())
}

/// Boots it, and waits for its end; each line goes to the log and to `heard`.
pub fn boot(
    machine: Machine,
    kernel: &Path,
    image: &Path,
    most: Duration,
    log: &Path,
    heard: impl Fn(&str),
) -> Result<Said> {
    let mut log_file =
        File::create(log).with_context(|| format!("can't write {}", log.display()))?;
    let emulator = emulator(machine);
    let (kind, console) = match machine {
        Machine::X86_64 => (&["-cpu", "max"][..], "ttyS0"),
        // Of "max" some features take an emulator most of its time.
        Machine::Aarch64 => (&["-M", "virt", "-cpu", "cortex-a72"][..], "ttyAMA0"),
    };
    let mut command = Command::new(&emulator);
    command.args(["-accel", "tcg,thread=multi,tb-size=1024", "-smp", "2"]).args(kind);
    command.args(["-m", MEMORY, "-nodefaults", "-display", "none", "-serial", "stdio"]);
    command.arg("-no-reboot").arg("-kernel").arg(kernel).arg("-initrd").arg(image);
    // Of mitigations an emulated CPU needs none, and they take their time.
    let line = format!("console={console} quiet loglevel=1 panic=-1 mitigations=off");
    command.args(["-append", &line]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't start {emulator}: run `cargo xtask setup`"))?;
    let stdout = child.stdout.take().context("a machine without a serial line")?;
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
    let began = Instant::now();
    let mut said = Said { lines: Vec::new(), took: Duration::ZERO, cut: false };
    loop {
        match lines.recv_timeout(most.saturating_sub(began.elapsed())) {
            Ok(line) => {
                writeln!(log_file, "{:7.1} {line}", began.elapsed().as_secs_f64())?;
                heard(&line);
                said.lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                said.cut = true;
                child.kill().context("can't end a machine")?;
                break;
            }
        }
    }
    child.wait().context("can't wait for a machine")?;
    let _ = reader.join();
    said.took = began.elapsed();
    Ok(said)
}

//! A heaptap that is killed while it takes probes off leaves none in the program.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use heaptap_tests::{Fixture, Recording, Running, Variant, code, heaptap, require_root, stress};

/// Of each way.
const KILLS: u64 = 5;
/// Some dozen sites; all that there are take seconds to attach.
const PROBES: &str = "alloc,map-count,stack,box";

fn program() -> Result<Running> {
    require_root()?;
    Fixture::build("stress", "1.27", Variant::Default)?.start()
}

fn record(program: &Running, way: &[&str]) -> Result<Recording> {
    let mut command = Command::new(heaptap::program()?);
    command.args(["record", "-p", &program.pid().to_string(), "-o", "-", "--probe", PROBES]);
    Recording::of(command.args(way))
}

/// The kernel takes some tenths of a second for it: somewhere in there.
fn at_some_moment(number: u64) {
    thread::sleep(Duration::from_millis(number * 37 % 150));
}

/// Who can't wait for the end after Ctrl-C.
#[test]
fn at_the_end() -> Result<()> {
    for way in [
        &["--mode", "exact", "--budget", "none"][..],
        &["--mode", "exact", "--budget", "none", "--perf-events"],
    ] {
        let program = program()?;
        for number in 0..KILLS {
            let recording = record(&program, way)?;
            recording.interrupt()?;
            at_some_moment(number);
            // Kills it.
            drop(recording);
            code::is_untouched(program.pid())?;
        }
    }
    Ok(())
}

/// Within a budget probes are put on and taken off many times a second.
#[test]
fn in_windows() -> Result<()> {
    let program = program()?;
    let given_up = stress::given_up()?;
    for number in 0..KILLS {
        let recording = record(&program, &["--mode", "exact", "--budget", "1%"])?;
        at_some_moment(17 * number);
        drop(recording);
        code::is_untouched(program.pid())?;
    }
    ensure!(stress::given_up()? == given_up, "the kernel has given up on a probe");
    Ok(())
}

//! `replay DOOR FILE…`: sends files through a door. `replay --slim PROGRAM FILE`: cuts a Go program down to a seed.
//! What `cargo xtask fuzz --coverage` and `--slim` run; there are no doors in other builds.

#![cfg_attr(not(fuzzing), allow(unused, reason = "nothing is left of it"))]

use std::error::Error;
use std::fs::{self, File};
use std::{env, process};

#[cfg(fuzzing)]
use heaptap::doors;
use heaptap::gobin::GoBinary;

#[cfg(not(fuzzing))]
fn run() -> Result<(), Box<dyn Error>> {
    Err("built without doors: cargo xtask fuzz --coverage builds it with them".into())
}

#[cfg(fuzzing)]
fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [slim, program, into] if slim == "--slim" => {
            let binary = GoBinary::open(File::open(program)?)?;
            fs::write(into, doors::slim(&binary)?)?;
        }
        [door, files @ ..] => {
            for file in files {
                doors::through(door, &fs::read(file)?);
            }
        }
        [] => return Err("expected a door and files".into()),
    }
    Ok(())
}

fn main() {
    if let Err(err) = run() {
        eprintln!("error: {err}");
        process::exit(1);
    }
}

//! heaptap's build and test commands: `cargo xtask --help`.

mod build;
mod process;
mod setup;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and shows heaptap", version)]
enum Xtask {
    /// Install what this machine lacks; does nothing the second time.
    Setup(setup::Options),
    /// Build the kernel programs and the `heaptap` binary.
    Build(build::Options),
}

fn main() -> ExitCode {
    let done = match Xtask::parse() {
        Xtask::Setup(options) => setup::run(&options),
        Xtask::Build(options) => build::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

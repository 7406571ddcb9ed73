//! heaptap's build and test commands: `cargo xtask --help`.

mod build;
mod process;
mod setup;
mod test;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and shows heaptap", version)]
enum Xtask {
    /// Install what this machine lacks; does nothing the second time.
    Setup(setup::Options),
    /// Build the kernel programs and the `heaptap` binary.
    Build(build::Options),
    /// Check everything: format, lints, unit tests, integration tests with real probes (root).
    Test(test::Options),
}

fn main() -> ExitCode {
    let done = match Xtask::parse() {
        Xtask::Setup(options) => setup::run(&options),
        Xtask::Build(options) => build::run(&options),
        Xtask::Test(options) => test::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

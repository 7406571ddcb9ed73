//! heaptap's build and test commands: `cargo xtask --help`.

mod bench;
mod build;
mod coverage;
mod demo;
mod dist;
mod fetch;
mod fuzz;
mod kernels;
mod layouts;
mod manifest_tools;
mod modules;
mod process;
mod setup;
mod supply;
mod test;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and shows heaptap", version)]
enum Xtask {
    /// Record a bundled Go server under load: demo.svg, demo.pb.gz and a table of top stacks.
    Demo,
    /// Install what this machine lacks; does nothing the second time.
    Setup(setup::Options),
    /// Build the kernel programs and the `heaptap` binary.
    Build(build::Options),
    /// Write the table of the Go runtime's layouts, or check it, from DWARF of each release.
    Layouts(layouts::Options),
    /// Check everything: format, lints, unit tests, integration tests with real probes (root).
    Test(test::Options),
    /// Fuzz what reads files of any origin.
    Fuzz(fuzz::Options),
    /// Run a core of the integration tests on kernels of Debian, each in an emulated machine.
    Kernels(kernels::Options),
    /// Check what heaptap is made of: licences, advisories, crates that are there twice.
    Supply(supply::Options),
    /// Make what is given to others: a static binary with all that belongs to it, and an image.
    Dist(dist::Options),
    /// Measure: cost of an event, symbols, frames of real programs, footprint (root).
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let done = match Xtask::parse() {
        Xtask::Demo => demo::run(),
        Xtask::Setup(options) => setup::run(&options),
        Xtask::Build(options) => build::run(&options),
        Xtask::Layouts(options) => layouts::run(&options),
        Xtask::Test(options) => test::run(&options),
        Xtask::Fuzz(options) => fuzz::run(&options),
        Xtask::Kernels(options) => kernels::run(&options),
        Xtask::Supply(options) => supply::run(&options),
        Xtask::Dist(options) => dist::run(&options),
        Xtask::Bench(options) => bench::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

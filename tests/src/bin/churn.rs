//! Ten minutes of programs that come and go, beside the integration tests: `cargo xtask test` starts it before them
//! and waits for it after them. `cargo xtask bench churn` does the same for an hour.

use std::process::ExitCode;
use std::time::Duration;

use heaptap_tests::{churn, heaptap, require_root};

const LENGTH: Duration = Duration::from_secs(600);
/// Programs a second: the tests beside it want the processors too.
const RATE: u32 = 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("churn: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    require_root()?;
    let seconds = std::env::args().nth(1).map(|text| text.parse()).transpose()?;
    let length = seconds.map_or(LENGTH, Duration::from_secs);
    let done = churn::run(&churn::Options {
        heaptap: heaptap::program()?,
        length,
        rate: RATE,
        new_files: false,
    })?;
    println!("{} programs from {} files, {} captures", done.started, done.files, done.captures);
    print!("{}", done.table());
    let grown = done.grown();
    anyhow::ensure!(grown.is_empty(), "not flat: {}", grown.join("; "));
    Ok(())
}

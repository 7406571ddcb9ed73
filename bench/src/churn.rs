//! Programs that come and go under heaptaps that stay, for an hour: the long form of what `cargo xtask test` does
//! beside its tests.
//!
//! In: a time. Out: what each heaptap holds at each stop. What is not flat ends it with an error.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use heaptap_tests::churn;

use crate::report;

#[derive(clap::Args)]
pub struct Options {
    /// Seconds of all
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// Programs a second
    #[arg(long, default_value_t = 10)]
    rate: u32,
    /// A new file each five seconds, instead of four in turn
    #[arg(long)]
    new_files: bool,
    /// The heaptap to try
    #[arg(long, default_value_os_t = crate::heaptap())]
    heaptap: PathBuf,
}

pub fn run(options: &Options) -> Result<()> {
    let length = Duration::from_secs(options.seconds);
    let heaptap = options.heaptap.clone();
    let done = churn::run(&churn::Options {
        heaptap,
        length,
        rate: options.rate,
        new_files: options.new_files,
    })?;
    let body = format!(
        "{} programs in {} s, each five seconds from another file ({} of them), of which one lives for three seconds and \
         the others for a tenth of one; {} captures that the agent was asked for. At seven moments, the \
         first after a fifth of the time, all have ended and nothing changes any more:\n\n{}\n\
         Bar: no more descriptors, links and entries of tables at the end than at the moment with the fewest, but for four, and \
         memory within {} MiB. A file of which more than a few programs are being let go at once, as happens where others want the \
         processors, is attached to as a whole, and that is kept for a minute after its last program: a link, or twelve with every \
         probe.\n",
        done.started,
        options.seconds,
        done.files,
        done.captures,
        done.table(),
        churn::GROWTH
    );
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("churn", "Programs that come and go", &versions, &body)?;
    let grown = done.grown();
    ensure!(grown.is_empty(), "not flat: {}", grown.join("; "));
    Ok(())
}

//! `cargo xtask supply`: what heaptap is made of: licences, advisories, crates that are there twice; and bills of materials.
//!
//! In: the two lock files (heaptap's and the kernel programs'), `deny.toml`. Out: nothing, or what is not as it should be; and
//! for `dist` a bill of materials of each, after CycloneDX. Advisories come from a database that must be fetched, or be there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::setup::{self, Purpose};
use crate::{build, dist, process};
use xtask::pins::{CARGO_CYCLONEDX, CARGO_DENY};
use xtask::{paths, toolchain};

#[derive(Args)]
pub struct Options {
    /// Where cargo deny is to keep, or has, the RustSec advisory database.
    #[arg(long, value_name = "DIR", conflicts_with = "no_advisories")]
    advisory_db: Option<PathBuf>,
    /// Everything but advisories: where their database can't be had.
    #[arg(long)]
    no_advisories: bool,
    /// Write bills of materials into this directory, too.
    #[arg(long, value_name = "DIR")]
    materials: Option<PathBuf>,
}

/// What is built into heaptap: itself, and its kernel programs.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "tracer-ebpf/Cargo.toml"];

pub fn run(options: &Options) -> Result<()> {
    setup::install(Purpose::Supply)?;
    for manifest in MANIFESTS {
        println!("supply: {manifest}");
        let mut deny = deny(manifest, &paths::repo().join("deny.toml"))?;
        deny.args(["bans", "licenses", "sources"]);
        process::loud(&mut deny).context("what heaptap is made of is not as deny.toml says")?;
        if options.no_advisories {
            println!("supply: advisories were NOT checked");
        } else {
            advisories(manifest, options.advisory_db.as_deref())?;
        }
    }
    match &options.materials {
        Some(dir) => materials(dir, &dist::epoch()?),
        None => Ok(()),
    }
}

fn advisories(manifest: &str, database: Option<&Path>) -> Result<()> {
    let mut config = paths::repo().join("deny.toml");
    if let Some(database) = database {
        let database = database.canonicalize().with_context(|| database.display().to_string())?;
        let text = fs::read_to_string(&config)?;
        let with = format!("[advisories]\ndb-path = {database:?}\n");
        config = paths::target_dir().join("deny.toml");
        fs::write(&config, text.replacen("[advisories]\n", &with, 1))?;
    }
    let mut deny = deny(manifest, &config)?;
    deny.arg("advisories");
    process::loud(&mut deny).context(
        "advisories are against it, or their database can't be fetched (--advisory-db, --no-advisories)",
    )
}

/// `cargo deny check`, of which what is to be checked is left.
fn deny(manifest: &str, config: &Path) -> Result<Command> {
    let mut deny = tool(CARGO_DENY)?;
    deny.arg("--locked");
    deny.arg("--manifest-path").arg(paths::repo().join(manifest)).arg("--config").arg(config);
    // One list of exceptions for both.
    deny.args(["check", "--hide-inclusion-graph", "--allow", "unmatched-skip"]);
    Ok(deny)
}

/// Writes bills of materials into a directory: one of heaptap, one of its kernel programs. Where they were made is not in them.
pub fn materials(to: &Path, epoch: &str) -> Result<()> {
    setup::install(Purpose::Supply)?;
    for (dir, name) in [("tracer-user", "heaptap.cdx"), ("tracer-ebpf", "heaptap-kernel.cdx")] {
        let mut cyclonedx = tool(CARGO_CYCLONEDX)?;
        cyclonedx.args(["cyclonedx", "--format", "json", "--spec-version", "1.5"]);
        cyclonedx.args(["--no-build-deps", "--override-filename", name]);
        cyclonedx.arg("--manifest-path").arg(paths::repo().join(dir).join("Cargo.toml"));
        process::quiet("sbom", cyclonedx.env("SOURCE_DATE_EPOCH", epoch))?;
        // It writes one beside each manifest of the workspace.
        let own = paths::repo().join(dir);
        let mut made = None;
        for other in fs::read_dir(paths::repo())?.chain(fs::read_dir(&own)?).flatten() {
            let file = other.path().join(format!("{name}.json"));
            if !file.is_file() {
                continue;
            }
            if other.path() == own {
                made = Some(fs::read_to_string(&file)?);
            }
            fs::remove_file(&file).with_context(|| file.display().to_string())?;
        }
        let made = made.with_context(|| format!("cargo cyclonedx has made no {name}.json"))?;
        let made = made.replace(&paths::repo().display().to_string(), "/heaptap");
        fs::write(to.join(format!("{name}.json")), made)?;
    }
    Ok(())
}

/// A subcommand of cargo that setup has installed.
fn tool(pin: (&str, &str)) -> Result<Command> {
    let program = toolchain::cargo_tool(pin)?.with_context(|| format!("no {}", pin.0))?;
    let mut command = Command::new(program);
    // It asks cargo for what there is.
    command.env("CARGO", build::cargo().get_program()).current_dir(paths::repo());
    Ok(command)
}

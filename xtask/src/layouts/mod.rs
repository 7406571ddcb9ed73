//! `cargo xtask layouts`: where fields lie in the runtime's structures, from DWARF of each release.
//!
//! In: the pinned Go releases, [`fields::GROUPS`]. Out: the one table of heaptap's library, written
//! or, with `--check`, compared. A release that can't be had on this machine keeps its column.

mod dwarf;
mod fields;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;
use dwarf::Types;
use fields::{GROUPS, Group, What};
use table::{Column, Columns};
use xtask::pins::{self, GoRelease};
use xtask::{paths, toolchain};

#[derive(Args)]
pub struct Options {
    /// Write nothing; fail when the table is not what the installed releases say.
    #[arg(long)]
    pub check: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let path = paths::repo().join("tracer-user/src/gobin/layout/table.rs");
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let mut columns = Vec::new();
    for (index, &release) in pins::GO.iter().enumerate() {
        let both = match toolchain::go(release)? {
            Some(go) => measured(&go, release)
                .with_context(|| format!("DWARF of Go {}", release.version))?,
            None => {
                println!("layouts: Go {} is not installed; its column is kept", release.version);
                let kept = table::columns(&committed, index);
                kept.with_context(|| format!("no column of Go {} to keep", release.version))?
            }
        };
        columns.push(both);
    }
    let text = table::render(pins::GO, &columns);
    if text == committed {
        println!("layouts: {} is what {} releases say", path.display(), columns.len());
        return Ok(());
    }
    if options.check {
        let line = text.lines().zip(committed.lines()).find(|(new, old)| new != old);
        let (new, old) = line.unwrap_or(("another length", ""));
        bail!(
            "{} is not what the installed releases say; first difference: {new:?} instead of \
             {old:?}; run `cargo xtask layouts` and review",
            path.display()
        );
    }
    fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    println!("layouts: wrote {}; review it before it is committed", path.display());
    Ok(())
}

/// What a release has on both machines.
fn measured(go: &Path, release: GoRelease) -> Result<Columns> {
    let column = |machine| measure(&build(go, release, machine)?);
    Ok(Columns { amd64: column("amd64")?, arm64: column("arm64")? })
}

/// Builds the program whose DWARF is read.
fn build(go: &Path, release: GoRelease, machine: &str) -> Result<PathBuf> {
    let dir = paths::target_dir().join("layouts");
    fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
    let program = dir.join(format!("go{}-{machine}", release.version));
    let mut command = toolchain::go_command(go);
    command.args(["build", "-buildvcs=false", "-ldflags=-compressdwarf=false"]);
    command.arg("-o").arg(&program).arg(".").current_dir(paths::repo().join("xtask/layouts"));
    process::loud(command.env("CGO_ENABLED", "0").env("GOARCH", machine))?;
    Ok(program)
}

/// Every number that the table has of one release, in the order of [`GROUPS`].
fn measure(program: &Path) -> Result<Column> {
    let bytes = fs::read(program)?;
    let types = Types::read(&bytes)?;
    let mut column = Column::new();
    for group in GROUPS {
        measure_group(&types, group, &mut column)
            .with_context(|| format!("structure {}", group.go[0]))?;
    }
    Ok(column)
}

fn measure_group(types: &Types, group: &Group, column: &mut Column) -> Result<()> {
    let mut found = None;
    for name in group.go {
        found = found.or(types.named(name)?);
    }
    let structure = found.context("is not there")?;
    for field in group.fields {
        let found = match field.what {
            What::Constant => None,
            _ => types.follow(structure, field.path)?,
        };
        let number = match (field.what, found) {
            (What::Constant, _) => Some(types.constant(field.path)?),
            (What::Optional(_), None) => None,
            (_, None) => bail!("it has no {}", field.path),
            (What::Size, Some(found)) => Some(types.size(found)?),
            (What::Count, Some(found)) => Some(types.count(found)?),
            (What::Place, Some(found)) => Some(found.offset),
            (What::Offset(bytes) | What::Optional(bytes), Some(found)) => {
                let size = types.size(found)?;
                if size != u64::from(bytes) {
                    bail!("{} has {size} bytes instead of {bytes}", field.path);
                }
                Some(found.offset)
            }
        };
        column.push(number.map(u32::try_from).transpose()?);
    }
    Ok(())
}

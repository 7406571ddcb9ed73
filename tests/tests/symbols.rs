//! Where heaptap finds the runtime's variables in stripped programs is where the symbol table of an
//! equally laid out twin says that they are.

use std::collections::HashMap;
use std::fs::{self, File};

use anyhow::{Context, Result, bail, ensure};
use heaptap::address::VAddr;
use heaptap::gobin::symbols::{Symbol, Symbols};
use heaptap::gobin::{GoBinary, Machine, layout};
use heaptap_tests::catalog::{self, ARM64_TWINS, TWINS};
use heaptap_tests::{Fixture, Variant};
use object::{Object, ObjectSymbol};
use xtask::each_release;

/// Offset of `cycles` in `runtime.work`, which is not in heaptap's table because patch releases move
/// it: of the pinned releases on amd64 and arm64, as DWARF says.
const WORK_CYCLES: [(&str, [u64; 2]); 8] = [
    ("1.19", [344, 344]),
    ("1.21", [400, 528]),
    ("1.22", [400, 528]),
    ("1.23", [424, 552]),
    ("1.24", [424, 552]),
    ("1.25", [512, 704]),
    ("1.26", [648, 904]),
    ("1.27", [648, 904]),
];

/// Addresses by name of a program that has a symbol table.
fn table(fixture: &Fixture) -> Result<HashMap<String, u64>> {
    let bytes = fs::read(&fixture.program)?;
    let file = object::File::parse(&*bytes)?;
    let symbols = file.symbols().filter_map(|s| Some((s.name().ok()?.to_owned(), s.address())));
    Ok(symbols.collect())
}

/// Where the symbol table says that a variable is; nothing when the program does not have it.
fn expected(
    symbol: Symbol,
    go: &str,
    machine: Machine,
    table: &HashMap<String, u64>,
) -> Result<Option<VAddr>> {
    let at = |name: &str| table.get(&format!("runtime.{name}")).copied();
    let minor = go.trim_start_matches("1.").parse::<u32>()?;
    let layout = layout::LAYOUTS.iter().find(|l| l.minor == minor).context("no layout")?;
    let cycles = WORK_CYCLES.iter().find(|(release, _)| *release == go).context("no offset")?.1;
    let cycles = cycles[machine as usize];
    let address = match symbol {
        Symbol::WorkCycles => at("work").map(|at| at + cycles),
        Symbol::LastGcNanotime => {
            at("memstats").map(|at| at + u64::from(layout.mstats.last_gc_nanotime))
        }
        Symbol::GcPercent => {
            at("gcController").map(|at| at + u64::from(layout.gc_controller.gc_percent))
        }
        Symbol::FingStatus if go == "1.19" => at("fingRunning"),
        // Up to Go 1.21 two counters lie before it.
        Symbol::SweepState => at("sweep").map(|at| at + if minor <= 21 { 28 } else { 20 }),
        symbol => at(symbol.name()),
    };
    Ok(address.map(VAddr))
}

/// What is found in a program, compared with a symbol table: never another place; the symbols that
/// were not found, with the reason.
fn not_found(go: &str, fixture: &Fixture, table: &HashMap<String, u64>) -> Result<Vec<String>> {
    let label = format!("{} go{go} {}", fixture.name, fixture.variant.name());
    let binary = GoBinary::open(File::open(&fixture.program)?).context("no Go program")?;
    let symbols = Symbols::find(&binary, layout::of(binary.facts())?);
    let mut missing = Vec::new();
    for symbol in Symbol::ALL {
        match (symbols.get(symbol), expected(symbol, go, binary.machine(), table)?) {
            (Ok(found), Some(expected)) if found == expected => {}
            // Linked only where the block profiler can be turned on.
            (Err(_), None) if symbol == Symbol::Ticks && matches!(go, "1.19" | "1.21") => {}
            (Err(error), Some(_)) => missing.push(error.to_string()),
            (found, expected) => {
                bail!("{label}: {symbol}: found {found:?}, the symbol table has {expected:?}")
            }
        }
    }
    ensure!(symbols.wait_reasons() >= 27, "{label}: {} reasons", symbols.wait_reasons());
    Ok(missing)
}

fn found_where_they_are(go: &str, name: &str, stripped: Variant, twin: Variant) -> Result<()> {
    let twin = Fixture::build(name, go, twin)?;
    let table = table(&twin)?;
    let stripped = Fixture::build(name, go, stripped)?;
    ensure!(self::table(&stripped)?.is_empty(), "{} has symbols", stripped.program.display());
    for fixture in [stripped, twin] {
        let missing = not_found(go, &fixture, &table)?;
        ensure!(missing.is_empty(), "{}: {missing:?}", fixture.program.display());
    }
    Ok(())
}

fn all_variants(go: &str) -> Result<()> {
    for (stripped, twin) in TWINS {
        for name in ["demo", "life"] {
            found_where_they_are(go, name, stripped, twin)?;
        }
    }
    found_where_they_are(go, "cgo", Variant::ExternalStripped, Variant::ExternalTwin)
}

each_release!(all_variants);

/// Those that are built for arm64, fixed and position-independent.
mod arm64 {
    use super::*;

    fn all_variants(go: &str) -> Result<()> {
        for (stripped, twin) in ARM64_TWINS {
            found_where_they_are(go, "life", stripped, twin)?;
        }
        Ok(())
    }

    each_release!(all_variants);
}

/// A profile (PGO) inlines what is hot and moves code about.
#[test]
fn in_programs_built_with_a_profile() -> Result<()> {
    for go in catalog::WITH_PROFILES {
        let profiled = Fixture::build("alloc", go, Variant::Profiled)?;
        let missing = not_found(go, &profiled, &table(&profiled)?)?;
        ensure!(missing.is_empty(), "go{go}: {missing:?}");
    }
    Ok(())
}

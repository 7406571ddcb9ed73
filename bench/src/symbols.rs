//! Opening real binaries and naming addresses in them, beside `go tool addr2line`.
//!
//! Each binary is opened and its allocation sites are resolved in every round, then the same
//! pseudo-random addresses of its text are named. What addr2line says of an address is compared
//! with what heaptap says.

use std::{
    fmt::Write as _,
    fs::{self, File},
    hint::black_box,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use heaptap::{
    address::VAddr,
    gobin::{GoBinary, sites},
    symbolize::Symbolizer,
};
use xtask::{paths, pins::GoRelease, programs::RealProgram, toolchain};

use crate::{random::Random, report, stats::Series};

#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Addresses to name
    #[arg(long, default_value_t = 1_000_000)]
    addresses: usize,
    /// Addresses that `go tool addr2line` is given; 0 leaves it out
    #[arg(long, default_value_t = 100_000)]
    peer_addresses: usize,
    /// Other binaries to measure instead
    binaries: Vec<PathBuf>,
}

/// The whole run's seed: results of two runs are about the same addresses.
const SEED: u64 = 2;

/// What is measured of one binary.
#[derive(Default)]
struct Figures {
    megabytes: f64,
    version: String,
    functions: usize,
    sites: usize,
    /// Milliseconds.
    open: Series,
    /// Held for naming, in MB.
    held: f64,
    /// Milliseconds for all addresses.
    naming: Series,
    named: usize,
    frames: usize,
    /// Why not, by how many.
    unnamed: Vec<(String, usize)>,
    peer: Option<Peer>,
}

/// What addr2line does with the same addresses.
struct Peer {
    /// Milliseconds for one address: opening.
    open: Series,
    /// Nanoseconds for each further address.
    each: Series,
    /// What addr2line's addresses must be moved by: see [`skew`].
    skew: u64,
    /// Answers that say the same function, file and line.
    same: usize,
    compared: usize,
    /// Some that do not.
    different: Vec<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let go = GoRelease::newest();
    let named = |binary: &PathBuf| (label(binary), binary.clone());
    let binaries = match options.binaries.is_empty() {
        true => real_binaries()?,
        false => options.binaries.iter().map(named).collect(),
    };
    let addr2line = match options.peer_addresses {
        0 => None,
        _ => Some(build_addr2line(go)?),
    };
    let mut table = format!(
        "Warm file cache, {} rounds; medians (smallest to largest). Open: headers, build \
         information, function table, all allocation sites. {} pseudo-random addresses of the Go \
         text, named in one batch with inlined calls, file and line.\n\n\
         | binary | MB | Go | functions | sites | open, ms | held, MB | {} addresses, ms | named | frames |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        options.rounds, options.addresses, options.addresses
    );
    let mut peers = format!(
        "\n`go tool addr2line` of Go {} on the first {} of the same addresses (it prints the \
         outermost function, and file and line of the innermost):\n\n\
         | binary | open, ms | ns per address | heaptap, ns per address | times | same answer |\n\
         | --- | --- | --- | --- | --- | --- |\n",
        go.version, options.peer_addresses
    );
    let mut remarks = String::new();
    for (name, binary) in &binaries {
        eprintln!("symbols: {name}");
        let f = measure(options, binary, addr2line.as_deref())
            .with_context(|| binary.display().to_string())?;
        let total = options.addresses.max(1);
        writeln!(
            table,
            "| {name} | {:.1} | {} | {} | {} | {} | {:.1} | {} | {:.4} % | {} |",
            f.megabytes,
            f.version,
            f.functions,
            f.sites,
            f.open.text(1),
            f.held,
            f.naming.text(0),
            100.0 * f.named as f64 / total as f64,
            f.frames,
        )?;
        for (why, count) in &f.unnamed {
            writeln!(remarks, "- {name}: {count} addresses {why}")?;
        }
        let Some(peer) = f.peer else {
            if addr2line.is_some() {
                writeln!(peers, "| {name} | can't read it | | | | |")?;
            }
            continue;
        };
        let ours = 1e6 * f.naming.median() / total as f64;
        writeln!(
            peers,
            "| {name} | {} | {} | {ours:.0} | {:.0} | {:.4} % |",
            peer.open.text(0),
            peer.each.text(0),
            peer.each.median() / ours,
            100.0 * peer.same as f64 / peer.compared.max(1) as f64,
        )?;
        if peer.skew != 0 {
            writeln!(
                remarks,
                "- {name}: addr2line takes the start of .text for the start of Go's text and is off by \
                 {:#x}; it was given addresses that undo this",
                peer.skew
            )?;
        }
        for different in &peer.different {
            writeln!(remarks, "- {name}: {different}")?;
        }
    }
    if addr2line.is_some() {
        table += &peers;
    }
    if !remarks.is_empty() {
        write!(table, "\n{remarks}")?;
    }
    table += "\nBars: open below 100 ms for 60 MB, 1,000,000 addresses below 1,000 ms.\n";
    let versions = [format!("heaptap {}", env!("CARGO_PKG_VERSION"))];
    report::keep("symbols", "Opening binaries and naming addresses", &versions, &table)
}

/// Programs that nobody here wrote, with names for the tables.
fn real_binaries() -> Result<Vec<(String, PathBuf)>> {
    let mut binaries = Vec::new();
    for program in RealProgram::ALL {
        binaries.extend(program.path()?.map(|path| (program.name().to_string(), path)));
    }
    for release in ["1.21", "1.26", "1.27"] {
        let Some(release) = GoRelease::find(release) else { continue };
        let Some(go) = toolchain::go(release)? else { continue };
        binaries.push((format!("compile {}", release.minor()), toolchain::tool(&go, "compile")?));
        binaries.push((format!("go {}", release.minor()), go));
    }
    ensure!(!binaries.is_empty(), "nothing to measure: run `cargo xtask setup --for bench`");
    Ok(binaries)
}

fn label(binary: &Path) -> String {
    binary.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn open(binary: &Path) -> Result<(GoBinary, usize)> {
    let go = GoBinary::open(File::open(binary)?)?;
    let sites = sites::alloc_sites(&go)?.sites.len();
    Ok((go, sites))
}

fn measure(options: &Options, binary: &Path, addr2line: Option<&Path>) -> Result<Figures> {
    let mut f =
        Figures { megabytes: fs::metadata(binary)?.len() as f64 / 1e6, ..Figures::default() };
    // Once first, so that the file is in the cache.
    let (go, sites) = open(binary)?;
    (f.sites, f.functions) = (sites, go.functions().count());
    f.held = go.memory() as f64 / 1e6;
    f.version = go.facts().version_text.clone().unwrap_or_else(|| "?".to_string());
    let (start, end) = go.text_range();
    let mut random = Random(SEED);
    let addresses: Vec<VAddr> = (0..options.addresses)
        .map(|_| VAddr(start.0 + random.below(end.0.saturating_sub(start.0).max(1))))
        .collect();
    let symbolizer = Symbolizer::new(Arc::new(go));
    for _ in 0..options.rounds {
        let began = Instant::now();
        black_box(open(binary)?);
        f.open.push(began.elapsed().as_secs_f64() * 1e3);
        (f.named, f.frames) = (0, 0);
        let began = Instant::now();
        symbolizer.symbolize(&addresses, |_, frames| {
            if let Ok(frames) = black_box(frames) {
                f.named += 1;
                f.frames += frames.len();
            }
        });
        f.naming.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let mut unnamed = std::collections::BTreeMap::new();
    symbolizer.symbolize(&addresses, |_, frames| {
        if let Err(why) = frames {
            *unnamed.entry(why.to_string()).or_insert(0) += 1;
        }
    });
    f.unnamed = unnamed.into_iter().collect();
    let asked = &addresses[..options.peer_addresses.min(addresses.len())];
    if let Some(addr2line) = addr2line {
        // A few rounds: it is slow, and what it says does not change.
        f.peer = peer(addr2line, binary, asked, options.rounds.min(5), &symbolizer)?;
    }
    Ok(f)
}

/// Nothing when addr2line can't read the binary.
fn peer(
    addr2line: &Path,
    binary: &Path,
    addresses: &[VAddr],
    rounds: usize,
    symbolizer: &Symbolizer,
) -> Result<Option<Peer>> {
    let skew = skew(binary, symbolizer.binary())?;
    let ask = |addresses: &[VAddr]| -> Result<(f64, Option<String>)> {
        let mut input = tempfile::tempfile()?;
        let line = |address: &VAddr| format!("{:#x}\n", address.0.wrapping_sub(skew));
        let text: String = addresses.iter().map(line).collect();
        input.write_all(text.as_bytes())?;
        std::io::Seek::rewind(&mut input)?;
        let began = Instant::now();
        let output =
            Command::new(addr2line).arg(binary).stdin(input).stderr(Stdio::null()).output()?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((took, output.status.success().then_some(text)))
    };
    let (mut open, mut each, mut said) = (Series::default(), Series::default(), None);
    for _ in 0..rounds {
        let (Some(first), further) = (addresses.get(..1), addresses.len().saturating_sub(1)) else {
            return Ok(None);
        };
        let ((alone, some), (all, text)) = (ask(first)?, ask(addresses)?);
        if some.is_none() || text.is_none() {
            return Ok(None);
        }
        open.push(alone);
        each.push((all - alone) * 1e6 / further.max(1) as f64);
        said = text;
    }
    let Some(said) = said else { return Ok(None) };
    let lines: Vec<&str> = said.lines().collect();
    ensure!(lines.len() == 2 * addresses.len(), "addr2line gave {} lines", lines.len());
    let mut peer = Peer { open, each, skew, same: 0, compared: 0, different: Vec::new() };
    symbolizer.symbolize(addresses, |at, frames| {
        let function = lines[2 * at];
        // For padding, which has no line, it prints the function and a negative one.
        let place = match lines[2 * at + 1].split_once(":-") {
            Some((file, _)) => format!("{file}:0"),
            None => lines[2 * at + 1].to_string(),
        };
        let (mut our_function, mut our_place) = ("?".to_string(), "?:0".to_string());
        if let Ok([innermost, others @ ..]) = frames {
            our_function = others.last().unwrap_or(innermost).function.to_string();
            our_place = format!("{}:{}", innermost.file, innermost.line);
        }
        peer.compared += 1;
        if function == our_function && place == our_place {
            peer.same += 1;
        } else if peer.different.len() < 3 {
            let address = addresses[at];
            peer.different.push(format!(
                "{:#x}: addr2line says {function} {place}, heaptap {our_function} {our_place}",
                address.0
            ));
        }
    });
    Ok(Some(peer))
}

/// addr2line takes the start of `.text` for the start of Go's text (debug/gosym, `go12Init`: "use
/// the start PC instead of reading from the table"); with C code linked in front of it, and no
/// symbols that say otherwise, what it says of an address is true of the one so much further on.
fn skew(binary: &Path, go: &GoBinary) -> Result<u64> {
    use object::{Object as _, ObjectSection as _};
    let file = object::ReadCache::new(File::open(binary)?);
    let file = object::File::parse(&file)?;
    let text = file.section_by_name(".text").map(|section| section.address());
    let stripped = file.symbol_table().is_none();
    let start = go.text_range().0.0;
    Ok(text.filter(|_| stripped).and_then(|text| start.checked_sub(text)).unwrap_or(0))
}

/// addr2line is in every Go release as source, and in older ones only as a program.
fn build_addr2line(release: GoRelease) -> Result<PathBuf> {
    let go = toolchain::go(release)?.with_context(|| {
        format!("Go {} is not installed: run `cargo xtask setup`", release.version)
    })?;
    let program = paths::target_dir().join(format!("bench/addr2line-{}", release.version));
    let status = toolchain::go_command(&go)
        .args(["build", "-o"])
        .arg(&program)
        .arg("cmd/addr2line")
        .env("GOFLAGS", "")
        .env("CGO_ENABLED", "0")
        .current_dir(std::env::temp_dir())
        .status()?;
    ensure!(status.success(), "go build of addr2line failed");
    Ok(program)
}

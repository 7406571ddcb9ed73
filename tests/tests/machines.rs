//! What heaptap finds in programs for amd64 it finds in the same programs for arm64: the same functions'
//! sites, for every probe, and the names of addresses. Nothing is run: any machine can look.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use heaptap::address::VAddr;
use heaptap::gobin::sites::{self, Site};
use heaptap::gobin::{Function, GoBinary, Machine};
use heaptap::symbolize::Symbolizer;
use heaptap_tests::catalog::ON_BOTH;
use heaptap_tests::{Fixture, Variant, fixture};
use xtask::each_release;

fn open(name: &str, go: &str, variant: Variant) -> Result<GoBinary> {
    let fixture = Fixture::build(name, go, variant)?;
    GoBinary::open(File::open(&fixture.program)?).with_context(|| format!("{name} of Go {go}"))
}

/// What is found, in words, without addresses; and every site.
#[derive(Default)]
struct Found {
    told: String,
    sites: Vec<Site>,
}

impl Found {
    /// Takes what one probe needs.
    fn take<T, E: std::fmt::Display>(
        &mut self,
        probe: &str,
        found: Result<T, E>,
        tell: impl FnOnce(T) -> (String, Vec<Site>),
    ) {
        let (told, sites) = match found {
            Ok(found) => tell(found),
            Err(error) => (format!("not found: {error}"), Vec::new()),
        };
        let names: Vec<&str> = sites.iter().map(|site| site.function.as_str()).collect();
        let _ = writeln!(self.told, "{probe}: {told} {}", names.join(" "));
        self.sites.extend(sites);
    }
}

fn found(go: &GoBinary) -> Found {
    let mut found = Found::default();
    found.take("alloc", sites::alloc_sites(go), |s| {
        let about = s.sites.iter().map(|one| (one.min_size, one.nested)).collect::<Vec<_>>();
        let sites = s.sites.into_iter().map(|one| one.site).collect();
        (format!("{about:?} {:?} {:?}", s.mallocgc, s.incomplete), sites)
    });
    let whole = |sites: Vec<Site>| (String::new(), sites);
    found.take("span", sites::span_sites(go), |s| whole(vec![s.refill, s.release, s.large]));
    found.take("sample", sites::sample_sites(go), |s| whole(vec![s.alloc, s.free]));
    found.take("gc", sites::collection_site(go), |site| whole(vec![site]));
    found.take("assist", sites::assist_sites(go), |s| {
        whole([vec![s.begin, s.mark], s.ends, s.marked].concat())
    });
    found.take("box", sites::box_sites(go), |s| {
        let (sites, kinds): (Vec<_>, Vec<_>) = s.into_iter().unzip();
        (format!("{kinds:?}"), sites)
    });
    found.take("goroutine", sites::goroutine_sites(go), |s| whole(vec![s.created, s.ended]));
    found.take("map", sites::map_sites(go), |s| {
        (s.is_classic.to_string(), [vec![s.start, s.next], s.ends].concat())
    });
    found.take("os-alloc", sites::page_heap_sites(go), |s| whole([vec![s.begin], s.ends].concat()));
    found.take("pool", sites::pool_sites(go), |s| {
        whole([s.get, s.miss].into_iter().chain(s.put).collect())
    });
    found.take("slice", sites::slice_sites(go), |s| {
        let (sites, kinds): (Vec<_>, Vec<_>) = s.sites.into_iter().unzip();
        (format!("{kinds:?} {:?}", s.incomplete), sites)
    });
    found.take("stack", sites::stack_site(go), |s| whole(vec![s.moved]));
    found
}

/// Words that stand at sites: the jump of a check (`b.ls`), `ret`, `bl`, and the jumps `cbz` and `cbnz`.
fn is_expected(site: &Site) -> bool {
    let Ok(word) = site.bytes.as_slice().try_into().map(u32::from_le_bytes) else { return false };
    let is_check = word & 0xff00_001f == 0x5400_0009;
    let others =
        word == 0xd65f_03c0 || word >> 26 == 0b10_0101 || word & 0x7e00_0000 == 0x3400_0000;
    site.emulated && if site.at_check { is_check } else { others }
}

fn sites_are_the_same(go: &str) -> Result<()> {
    for name in ON_BOTH {
        let amd64 = open(name, go, Variant::Stripped)?;
        let arm64 = open(name, go, Variant::Arm64Stripped)?;
        ensure!((amd64.machine(), arm64.machine()) == (Machine::Amd64, Machine::Arm64));
        ensure!(amd64.facts().version == arm64.facts().version);
        let (one, other) = (found(&amd64), found(&arm64));
        let pairs = one.told.lines().zip(other.told.lines());
        for (line, arm64) in pairs {
            ensure!(line == arm64, "{name} of Go {go}:\namd64 {line}\narm64 {arm64}");
        }
        for site in &other.sites {
            ensure!(is_expected(site), "{name} of Go {go}: {site:?}");
        }
    }
    Ok(())
}

/// Names, files and lines of addresses all over a program for arm64 are those that `go tool addr2line` tells
/// of its twin with symbols.
fn names_are_those_of_addr2line(go: &str) -> Result<()> {
    let stripped = Arc::new(open("life", go, Variant::Arm64Stripped)?);
    let functions: Vec<_> = stripped.functions().collect();
    let inside = |f: &Function| [f.entry.0, f.entry.0 + 12, f.end.0 - 4].map(VAddr);
    let addresses: Vec<VAddr> = functions
        .iter()
        .step_by(11)
        .filter(|f| f.end.0 - f.entry.0 > 16)
        .flat_map(inside)
        .collect();
    ensure!(addresses.len() > 300, "only {} addresses", addresses.len());
    let twin = Fixture::build("life", go, Variant::Arm64Twin)?;
    let mut child = fixture::go_tool(go, "addr2line")?
        .arg(&twin.program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("addr2line has no stdin")?;
    let asked = addresses.clone();
    let writer =
        thread::spawn(move || asked.iter().try_for_each(|at| writeln!(stdin, "{:#x}", at.0)));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| anyhow!("the writer failed"))??;
    let told = String::from_utf8(output.stdout)?;
    let told: Vec<&str> = told.lines().collect();
    ensure!(told.len() == 2 * addresses.len(), "{} lines", told.len());
    let symbolizer = Symbolizer::new(stripped.clone());
    for (at, told) in addresses.iter().zip(told.chunks_exact(2)) {
        let frames = symbolizer.symbolize_one(*at).map_err(|why| anyhow!("{at}: {why:?}"))?;
        let (inner, outer) = (frames.first().context("none")?, frames.last().context("none")?);
        let place = [outer.function.to_string(), format!("{}:{}", inner.file, inner.line)];
        ensure!(place == *told, "{at} of Go {go}: {place:?}, addr2line {told:?}");
    }
    Ok(())
}

/// What tracing needs is refused in one line for a program of another machine.
#[test]
fn another_machines_program_is_not_traced() -> Result<()> {
    let foreign = match Machine::HOST {
        Some(Machine::Arm64) => Variant::Stripped,
        _ => Variant::Arm64Stripped,
    };
    let why = open("life", "1.27", foreign)?.runs_here().map_err(|why| why.to_string());
    let why = why.err().context("it is said to run here")?;
    ensure!(why.contains("which this machine") && !why.contains('\n'), "{why}");
    Ok(())
}

each_release! {
    sites: sites_are_the_same;
    names: names_are_those_of_addr2line;
}

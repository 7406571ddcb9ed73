//! Where probes are attached: finds the functions and decodes the instructions.
//!
//! In: a binary's functions and code. Out: sites at P, the instruction after a function's stack
//! check, with the bytes that must be there; and, for allocation, whether the set of entry
//! functions is what the release should have. A function whose stack check fails starts again from
//! its first byte, so a probe there would count twice; at P it does not. Where the kernel does not
//! emulate what stands at P (Go up to 1.20) the site is the jump before it, which it does emulate.

#[cfg(any(test, fuzzing))]
use super::Machine;
use super::{Function, GoBinary, GoVersion, layout::SIZE_CLASSES};
use crate::address::{FileOffset, VAddr};

mod assist;
mod boxed;
mod goroutine;
mod map;
mod page_heap;
mod pool;
mod returns;
mod slice;
mod stack;

pub use assist::{AssistSites, assist_sites};
pub use boxed::box_sites;
pub use goroutine::{GoroutineSites, goroutine_sites};
pub use map::{MapSites, map_sites};
pub use page_heap::{PageHeapSites, page_heap_sites};
pub use pool::{PoolSites, pool_sites};
pub use slice::{SliceSites, slice_sites};
pub use stack::{StackSite, stack_site};

/// One instruction where a probe can be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Name of the function as pclntab has it.
    pub function: String,
    /// Link-time address of the instruction.
    pub vaddr: VAddr,
    /// The same in the file.
    pub offset: FileOffset,
    /// Bytes of the instruction.
    pub bytes: Vec<u8>,
    /// Whether the kernel emulates the instruction; otherwise a hit costs about ten times as much.
    pub emulated: bool,
    /// It is the jump of the function's stack check, right before P: a hit whose check fails comes
    /// back and must be left out.
    pub at_check: bool,
}

/// An entry to the allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocSite {
    pub site: Site,
    /// Sizes up to this one are counted elsewhere or, when it is 0, are no allocation.
    pub min_size: u16,
    /// Calls from the range [`AllocSites::mallocgc`] are counted there, not here.
    pub nested: bool,
}

/// All entries to the allocator, and what is known about their completeness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocSites {
    pub sites: Vec<AllocSite>,
    /// Start and end of `runtime.mallocgc`, when there are nested sites.
    pub mallocgc: Option<(VAddr, VAddr)>,
    /// Nothing when every entry that the release should have was found and no other; otherwise why
    /// a recording with these sites can't be called complete.
    pub incomplete: Option<String>,
}

/// Sites of the allocator's slow path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanSites {
    /// A span is used up.
    pub refill: Site,
    /// A collection takes back the spans of a P.
    pub release: Site,
    /// An object too large for spans of many.
    pub large: Site,
}

/// Sites of the runtime's own sampler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleSites {
    /// An object is sampled.
    pub alloc: Site,
    /// An object that has a record (a sampled one does) is freed.
    pub free: Site,
}

/// Why there is no site.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error("no function {0} in the binary's pclntab")]
    NoFunction(String),
    #[error("{function} at {entry} can't be decoded: {why}")]
    Decode { function: String, entry: VAddr, why: &'static str },
    #[error(
        "{function} was inlined into {into} (by a profile, PGO), where a probe does not see it"
    )]
    Inlined { function: &'static str, into: String },
    #[error("the binary does not tell its Go version, by which sites are chosen")]
    NoVersion,
    #[error("what Go {0} hands to the functions that this probe is about is not known")]
    Arguments(GoVersion),
    #[error(transparent)]
    Binary(#[from] super::Error),
}

const MALLOCGC: &str = "runtime.mallocgc";

/// What `mallocgc` divides every allocation among in Go 1.24 to 1.26 (malloc.go; without
/// size-specialised functions): only it calls them, size and type are in the same registers.
const PARTS: [&str; 5] = [
    "runtime.mallocgcTiny",
    "runtime.mallocgcSmallNoscan",
    "runtime.mallocgcSmallScanNoHeader",
    "runtime.mallocgcSmallScanHeader",
    "runtime.mallocgcLarge",
];

/// Most code bytes that the stack check can take (facts: 27), and then some.
const CHECK_BYTES: usize = 96;

/// Entries of the allocator: `runtime.mallocgc` and the size-specialised functions, if any.
pub fn alloc_sites(binary: &GoBinary) -> Result<AllocSites, SiteError> {
    let is_entry = |name: &str| name == MALLOCGC || Specialised::parse(name).is_some();
    let mut entries = binary.functions_where(MALLOCGC, is_entry);
    let at = entries.iter().position(|function| function.name == MALLOCGC);
    // The first one is mallocgc, the others are specialised.
    entries[..=at.ok_or_else(|| SiteError::NoFunction(MALLOCGC.to_string()))?].rotate_right(1);
    let specialised: Vec<Specialised> =
        entries.iter().filter_map(|function| Specialised::parse(function.name)).collect();
    let min_size = specialised
        .iter()
        .filter_map(|s| s.class)
        .max()
        .and_then(|class| SIZE_CLASSES.get(class as usize))
        .copied()
        .unwrap_or(0);
    let facts = binary.facts();
    let mut incomplete = incomplete(facts.version.as_ref(), &facts.experiments, &specialised);
    let inlined = binary.find_inlined(&entries);
    let outside = |place: &Function| place.name != MALLOCGC;
    let hidden =
        entries.iter().zip(&inlined).find_map(|(f, at)| Some((f, at.iter().find(|p| outside(p))?)));
    if let Some((function, place)) = hidden {
        if let Some(sites) = parts(binary)? {
            return Ok(AllocSites { sites, mallocgc: None, incomplete });
        }
        incomplete.get_or_insert_with(|| {
            format!(
                "{} was inlined into {} by a profile (PGO); allocations made there are not seen",
                function.name, place.name
            )
        });
    }
    // Copies of size-specialised functions in mallocgc itself: what comes through it is counted at
    // its entry, whatever the size, and the functions count what is called past it.
    let nested = inlined.iter().skip(1).any(|places| !places.is_empty());
    let mallocgc = nested.then(|| (entries[0].entry, entries[0].end));
    let site = |function| site_at_p(binary, function);
    let sites: Vec<Site> = entries.iter().map(site).collect::<Result<_, _>>()?;
    let site = |(at, site)| match at {
        0 => AllocSite { site, min_size: if nested { 0 } else { min_size }, nested: false },
        _ => AllocSite { site, min_size: 0, nested },
    };
    Ok(AllocSites {
        sites: sites.into_iter().enumerate().map(site).collect(),
        mallocgc,
        incomplete,
    })
}

/// Sites at [`PARTS`], for a binary that has `mallocgc` inlined; nothing when those do not see
/// everything either.
fn parts(binary: &GoBinary) -> Result<Option<Vec<AllocSite>>, SiteError> {
    let divided = binary.facts().version.is_some_and(|v| v.at_least(24) && !v.at_least(27));
    let parts: Option<Vec<_>> = binary.find_functions(&PARTS).into_iter().collect();
    let Some(parts) = parts.filter(|_| divided) else { return Ok(None) };
    let whole = binary.find_inlined(&parts).iter().all(Vec::is_empty);
    let is_specialised = |name: &str| Specialised::parse(name).is_some();
    if !whole || !binary.functions_where(MALLOCGC, is_specialised).is_empty() {
        return Ok(None);
    }
    let site =
        |function| Ok(AllocSite { site: site_at_p(binary, function)?, min_size: 0, nested: false });
    parts.iter().map(site).collect::<Result<_, SiteError>>().map(Some)
}

/// Sites of the span probe.
pub fn span_sites(binary: &GoBinary) -> Result<SpanSites, SiteError> {
    let names = [
        "runtime.(*mcache).refill",
        "runtime.(*mcache).releaseAll",
        "runtime.(*mcache).allocLarge",
    ];
    let [refill, release, large] = whole_functions(binary, names)?;
    Ok(SpanSites { refill, release, large })
}

/// Sites of the sample probe.
pub fn sample_sites(binary: &GoBinary) -> Result<SampleSites, SiteError> {
    let [alloc, free] = whole_functions(binary, ["runtime.profilealloc", "runtime.freeSpecial"])?;
    Ok(SampleSites { alloc, free })
}

/// Where the end of a collection calls when its record is complete, once each (mgc.go,
/// gcMarkTermination; with `GODEBUG=gcstoptheworld=2` once before that, too).
pub fn collection_site(binary: &GoBinary) -> Result<Site, SiteError> {
    let [site] = whole_functions(binary, ["runtime.mProf_Flush"])?;
    Ok(site)
}

/// P of functions that must not have been inlined anywhere.
fn whole_functions<const N: usize>(
    binary: &GoBinary,
    names: [&'static str; N],
) -> Result<[Site; N], SiteError> {
    let mut functions = Vec::new();
    for (name, function) in names.into_iter().zip(binary.find_functions(&names)) {
        functions.push(function.ok_or_else(|| SiteError::NoFunction(name.to_string()))?);
    }
    for (function, into) in names.into_iter().zip(binary.find_inlined(&functions)) {
        if let Some(into) = into.first() {
            return Err(SiteError::Inlined { function, into: into.name.to_string() });
        }
    }
    let sites: Result<Vec<Site>, SiteError> =
        functions.iter().map(|function| site_at_p(binary, function)).collect();
    sites?.try_into().map_err(|_| SiteError::NoFunction(names.join(", ")))
}

/// P of a function: the instruction after its stack check, or its first one when it has none; or the
/// check's jump, where that is the cheaper one.
fn site_at_p(binary: &GoBinary, function: &Function) -> Result<Site, SiteError> {
    let (entry, name) = (function.entry, function.name);
    let undecodable = |why| SiteError::Decode { function: name.to_string(), entry, why };
    let length = (function.end.0.saturating_sub(entry.0) as usize).min(CHECK_BYTES);
    let code = binary.read(entry, length)?;
    let p = binary.machine().find_p(&code).map_err(undecodable)?;
    let vaddr = VAddr(entry.0 + p.offset as u64);
    let bytes = &code[p.offset..p.offset + p.length];
    let site = site_at(binary, name, vaddr, bytes, p.emulated);
    let site = site.ok_or_else(|| undecodable("it is not in the file"))?;
    Ok(Site { at_check: p.at_check, ..site })
}

/// A site at an instruction of a function; nothing when the file does not have it.
fn site_at(
    binary: &GoBinary,
    function: &str,
    vaddr: VAddr,
    bytes: &[u8],
    emulated: bool,
) -> Option<Site> {
    let offset = binary.file_offset(vaddr)?;
    let (function, bytes) = (function.to_string(), bytes.to_vec());
    Some(Site { function, vaddr, offset, bytes, emulated, at_check: false })
}

/// A size-specialised allocation function: its family and size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Specialised {
    family: &'static str,
    number: u8,
    /// The size class; `TinySize` functions are numbered by size instead.
    class: Option<u8>,
}

impl Specialised {
    /// Nothing for every other function, the `…SlowPath` ones included: those are called by these.
    fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(MALLOCGC)?;
        let families = ["TinySC", "TinySize", "SmallNoScanSC", "SmallScanNoHeaderSC"];
        families.into_iter().find_map(|family| {
            let text = rest.strip_prefix(family)?;
            // Written in one way alone: a file can't have more of them than there are numbers.
            let number: u8 = text.parse().ok().filter(|n: &u8| n.to_string() == text)?;
            let class = family.ends_with("SC").then_some(number);
            Some(Self { family, number, class })
        })
    }
}

/// What a release's compiler calls directly beside `mallocgc` (facts 2.2).
fn expected(version: &GoVersion, experiments: &[String]) -> Option<Vec<Specialised>> {
    let has = |name: &str| experiments.iter().any(|e| e == name);
    let sc = |family, numbers: std::ops::RangeInclusive<u8>| {
        numbers.map(move |n| Specialised { family, number: n, class: Some(n) })
    };
    match (version.major, version.minor) {
        (1, ..=25) => Some(Vec::new()),
        (1, 26) if has("sizespecializedmalloc") => Some(
            (1..=15)
                .map(|n| Specialised { family: "TinySize", number: n, class: None })
                .chain(sc("SmallNoScanSC", 2..=26))
                .chain(sc("SmallScanNoHeaderSC", 1..=26))
                .collect(),
        ),
        (1, 26) => Some(Vec::new()),
        (1, 27) if has("nosizespecializedmalloc") => Some(Vec::new()),
        (1, 27) => Some(
            sc("TinySC", 2..=2)
                .chain(sc("SmallNoScanSC", 2..=7))
                .chain(sc("SmallScanNoHeaderSC", 1..=7))
                .collect(),
        ),
        _ => None,
    }
}

/// Why the entries found can't be called complete, if they can't.
fn incomplete(
    version: Option<&GoVersion>,
    experiments: &[String],
    found: &[Specialised],
) -> Option<String> {
    let Some(version) = version else {
        return Some(format!(
            "the binary does not tell its Go version; found mallocgc and {} size-specialised functions",
            found.len()
        ));
    };
    let Some(mut expected) = expected(version, experiments) else {
        return Some(format!(
            "heaptap does not know what Go {version} calls to allocate; found mallocgc and {} size-specialised functions",
            found.len()
        ));
    };
    let mut found = found.to_vec();
    found.sort();
    expected.sort();
    if found == expected {
        return None;
    }
    let list = |a: &[Specialised], b: &[Specialised]| {
        let names: Vec<String> = a
            .iter()
            .filter(|s| !b.contains(s))
            .map(|s| format!("{MALLOCGC}{}{}", s.family, s.number))
            .collect();
        if names.is_empty() { "none".to_string() } else { names.join(", ") }
    };
    Some(format!(
        "Go {version} should have {} size-specialised allocation functions and the binary has {}; missing: {}; unexpected: {}",
        expected.len(),
        found.len(),
        list(&expected, &found),
        list(&found, &expected)
    ))
}

#[cfg(test)]
pub use returns::return_sites as any_returns;

/// Decodes any code as if it were that of each function in which a site is searched ([`crate::doors`]).
#[cfg(any(test, fuzzing))]
pub fn any_code(code: &[u8]) {
    const ENTRY: VAddr = VAddr(0x40_1000);
    const CALLED: VAddr = VAddr(0x40_0800);
    let is_inside = |at: usize, length: usize| assert!(length > 0 && at + length <= code.len());
    for machine in Machine::ALL {
        if let Ok(p) = machine.find_p(code) {
            is_inside(p.offset, p.length);
        }
        let one = [
            machine.pool_miss(code).ok(),
            machine.goroutine_made(code, ENTRY, CALLED).ok(),
            machine.only_call(code, ENTRY, &[CALLED]),
        ];
        let several = [machine.returns(code), machine.map_ends(code)];
        let several = several.into_iter().flatten().flatten();
        several.chain(one.into_iter().flatten()).for_each(|(at, length)| is_inside(at, length));
        let _used = machine.operands(code, ENTRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specialised_names_are_told_from_their_slow_paths() {
        let parse = Specialised::parse;
        assert_eq!(parse("runtime.mallocgcSmallNoScanSC7").unwrap().class, Some(7));
        assert_eq!(parse("runtime.mallocgcTinySize15").unwrap().class, None);
        for other in [
            "runtime.mallocgc",
            "runtime.mallocgcTiny",
            "runtime.mallocgcSmallNoscan",
            "runtime.mallocgcSmallNoScanSC7SlowPath",
            "runtime.mallocgcTinySC2SlowPath",
            "runtime.mallocgcTinySC02",
            "runtime.mallocgcTinySC+2",
            "main.mallocgcTinySC2",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    fn version(minor: u32) -> GoVersion {
        GoVersion { major: 1, minor, patch: Some(0) }
    }

    #[test]
    fn a_missing_entry_is_named() {
        let mut all = expected(&version(27), &[]).unwrap();
        assert_eq!(all.len(), 14);
        assert_eq!(incomplete(Some(&version(27)), &[], &all), None);
        all.retain(|s| s.number != 5);
        let why = incomplete(Some(&version(27)), &[], &all).unwrap();
        assert!(why.contains("runtime.mallocgcSmallNoScanSC5"), "{why}");
        assert!(why.contains("14") && why.contains("12"), "{why}");
    }

    #[test]
    fn experiments_change_what_is_expected() {
        let on = ["sizespecializedmalloc".to_string()];
        assert_eq!(expected(&version(26), &[]).unwrap().len(), 0);
        assert_eq!(expected(&version(26), &on).unwrap().len(), 66);
        let off = ["nosizespecializedmalloc".to_string()];
        assert_eq!(expected(&version(27), &off).unwrap().len(), 0);
    }

    #[test]
    fn an_unknown_version_is_never_complete() {
        assert!(incomplete(None, &[], &[]).is_some());
        assert!(incomplete(Some(&version(28)), &[], &[]).is_some());
    }
}

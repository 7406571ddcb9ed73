//! What a file says of itself: Go version, experiments, module, build ids.
//!
//! In: an [`Image`]. Out: [`Facts`], cheap to make: build information and notes, not the function
//! table. Knows nothing of functions.

use std::fmt;
use std::ops::ControlFlow;

use super::bytes::{u8_at, u64_at, uvarint_at};
use super::error::Error;
use super::image::Image;
use super::machine::Machine;
use super::module::NEWEST;
use crate::address::VAddr;

/// How build information begins (`cmd/link`, `debug/buildinfo`).
const BUILD_INFO_MAGIC: &[u8] = b"\xff Go buildinf:";
/// It begins at a multiple of this.
const BUILD_INFO_ALIGN: usize = 16;
/// Longest version text accepted.
const MAX_VERSION: u64 = 1 << 10;
/// Longest module text accepted; a program with 1,000 dependencies has about 100 KiB.
const MAX_MODULES: u64 = 4 << 20;
/// `NT_GNU_BUILD_ID` and the type of Go's own note.
const NOTE_GNU_BUILD_ID: u32 = 3;
const NOTE_GO_BUILD_ID: u32 = 4;
/// Most places that begin as build information and are looked at.
const MAX_MARKS: usize = 64;
/// The release before which tables have another format.
const OLDEST: GoVersion = GoVersion { major: 1, minor: 18, patch: None };

/// A Go release, `go1.26.6`; a release candidate or a development build has no patch number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: Option<u32>,
}

impl GoVersion {
    /// Reads what `runtime.Version()` returns: `go1.26.6`, `go1.24.11 X:noswissmap`, `go1.23rc1`,
    /// `devel go1.28-abcdef`, `go1.22.5 (Red Hat 1.22.5-1.el9)`.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("devel ").unwrap_or(text).strip_prefix("go")?;
        let (major, rest) = number(rest)?;
        let (minor, rest) = number(rest.strip_prefix('.')?)?;
        let patch = rest.strip_prefix('.').and_then(number).map(|(patch, _)| patch);
        Some(Self { major, minor, patch })
    }

    /// Whether this is Go 1.`minor` or later.
    pub fn at_least(self, minor: u32) -> bool {
        (self.major, self.minor) >= (1, minor)
    }
}

impl fmt::Display for GoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        self.patch.map_or(Ok(()), |patch| write!(f, ".{patch}"))
    }
}

/// The number that `text` begins with, and the rest.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// `GOEXPERIMENT` settings that differ from the release's own, as the version text lists them.
fn experiments(version_text: &str) -> Vec<String> {
    let list = version_text.split_once("X:").map_or("", |(_, list)| list);
    let list = list.split_whitespace().next().unwrap_or_default();
    list.split(',').filter(|x| !x.is_empty()).map(str::to_owned).collect()
}

/// Whether the loader may move the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadType {
    /// At the addresses that the linker gave.
    Fixed,
    /// Anywhere: position-independent.
    Pie,
}

/// Where the Go version was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionFrom {
    BuildInfo,
    /// The string that `runtime.Version()` returns; for files without build information.
    RuntimeString,
    Unknown,
}

/// What a Go binary says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The machine that it was built for.
    pub machine: Machine,
    pub version: Option<GoVersion>,
    /// As the binary has it: `go1.26.6-X:sizespecializedmalloc`.
    pub version_text: Option<String>,
    pub version_from: VersionFrom,
    pub experiments: Vec<String>,
    pub load: LoadType,
    /// No symbol table.
    pub stripped: bool,
    /// In hexadecimal.
    pub gnu_build_id: Option<String>,
    pub go_build_id: Option<String>,
    /// `github.com/gohugoio/hugo`.
    pub main_module: Option<String>,
    /// Import path of the main package.
    pub main_path: Option<String>,
    /// `go build` settings: `-buildmode`, `CGO_ENABLED`, `vcs.revision` …
    pub settings: Vec<(String, String)>,
    /// There is C code inside (from [`super::GoBinary::open`]), or the C library is asked for (from
    /// [`super::GoBinary::peek`]).
    pub cgo: bool,
    /// It can load plugins while it runs; known after [`super::GoBinary::open`] only.
    pub loads_plugins: bool,
    /// Bytes of the file.
    pub size: u64,
}

impl Facts {
    /// Reads what needs no function table. `NotGo` when nothing in the file is of Go.
    pub(super) fn read(image: &Image) -> Result<Self, Error> {
        let info = find_build_info(image);
        let go_build_id = image.note("Go", NOTE_GO_BUILD_ID).map(text);
        let mut facts = Self {
            machine: image.machine(),
            version: None,
            version_text: None,
            version_from: VersionFrom::Unknown,
            experiments: Vec::new(),
            load: if image.relocatable { LoadType::Pie } else { LoadType::Fixed },
            stripped: !image.has_symbols(),
            gnu_build_id: gnu_build_id(image),
            go_build_id,
            main_module: None,
            main_path: None,
            settings: Vec::new(),
            cgo: image.needed().iter().any(|n| n.starts_with("libc.")),
            loads_plugins: false,
            size: image.size(),
        };
        if let Some(info) = info {
            facts.set_version(&info.version, VersionFrom::BuildInfo);
            facts.read_modules(&info.modules);
        }
        if let Some(kind) = facts.shared_kind(image) {
            return Err(Error::SharedRuntime(kind));
        }
        Ok(facts)
    }

    /// Takes a version text; one that says nothing is no version.
    pub(super) fn set_version(&mut self, text: &str, from: VersionFrom) {
        if text.is_empty() {
            return;
        }
        self.version = GoVersion::parse(text);
        self.version_from = from;
        self.experiments = experiments(text);
        self.version_text = Some(text.to_owned());
    }

    /// Refuses the releases that this heaptap does not know: what their runtime calls to allocate
    /// and where it keeps things would be guesses. A file that does not tell its release is judged
    /// by what is found in it.
    pub(super) fn check_release(&self) -> Result<(), Error> {
        match self.version {
            Some(version) if version < OLDEST => Err(Error::TooOld(version)),
            Some(version) if version.at_least(NEWEST + 1) => Err(Error::TooNew(version)),
            _ => Ok(()),
        }
    }

    /// Whether its runtime corrects all frame pointers of a stack that it moves: on arm64 since Go 1.21
    /// (runtime/stack.go, adjustframe). Else they lead into memory that was the stack before.
    pub fn keeps_frame_pointers(&self) -> bool {
        self.machine == Machine::Amd64 || self.version.is_some_and(|version| version.at_least(21))
    }

    /// The value of a `go build` setting.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Reads the text that `go version -m` prints.
    fn read_modules(&mut self, modules: &str) {
        for line in modules.lines() {
            let mut fields = line.split('\t');
            match (fields.next(), fields.next()) {
                (Some("path"), Some(path)) => self.main_path = Some(path.to_owned()),
                (Some("mod"), Some(path)) => self.main_module = Some(path.to_owned()),
                (Some("build"), Some(setting)) => {
                    if let Some((key, value)) = setting.split_once('=') {
                        self.settings.push((key.to_owned(), value.trim_matches('"').to_owned()));
                    }
                }
                _ => {}
            }
        }
    }

    /// Why the runtime is not in this file, if it is not.
    fn shared_kind(&self, image: &Image) -> Option<&'static str> {
        match self.setting("-buildmode") {
            Some("plugin") => return Some("-buildmode=plugin"),
            Some("shared") => return Some("-buildmode=shared"),
            _ => {}
        }
        let linked = self.setting("-linkshared") == Some("true")
            || image.needed().iter().any(|n| n.starts_with("libstd.so"));
        linked.then_some("-linkshared")
    }
}

struct BuildInfo {
    version: String,
    modules: String,
}

/// Finds build information: in its section, else in the writable segments (`debug/buildinfo`).
fn find_build_info(image: &Image) -> Option<BuildInfo> {
    if let Some(section) = image.section(".go.buildinfo") {
        return read_build_info(image, VAddr(section.vaddr));
    }
    if !image.sections.is_empty() {
        return None;
    }
    let mut left = MAX_MARKS;
    image.segments.iter().filter(|s| s.writable).find_map(|segment| {
        let overlap = BUILD_INFO_MAGIC.len() as u64;
        let found = image.walk(segment, overlap, |vaddr, data| {
            for at in memchr::memmem::find_iter(data, BUILD_INFO_MAGIC) {
                let at = VAddr(vaddr + at as u64);
                if !at.0.is_multiple_of(BUILD_INFO_ALIGN as u64) {
                    continue;
                }
                if left == 0 {
                    return ControlFlow::Break(None);
                }
                left -= 1;
                if let Some(info) = read_build_info(image, at) {
                    return ControlFlow::Break(Some(info));
                }
            }
            ControlFlow::Continue(())
        });
        found.ok().flatten().flatten()
    })
}

fn read_build_info(image: &Image, at: VAddr) -> Option<BuildInfo> {
    let available = image.file_backed(at).min(64 + MAX_VERSION + MAX_MODULES);
    let data = image.read(at, available as usize).ok()?;
    if !data.starts_with(BUILD_INFO_MAGIC) {
        return None;
    }
    let flags = u8_at(&data, 15)?;
    let (version, modules) = if flags & 2 != 0 {
        let (version, next) = varint_text(&data, 32, MAX_VERSION)?;
        (version, varint_text(&data, next, MAX_MODULES).map_or(&[][..], |(text, _)| text))
    } else {
        // Before Go 1.18: addresses of string headers. Read only to say that it is too old.
        let version = header_text(image, VAddr(u64_at(&data, 16)?), MAX_VERSION)?;
        return Some(BuildInfo { version, modules: String::new() });
    };
    // The module text stands between two marks of 16 bytes (`runtime/debug`, `modinfo`).
    let framed = modules.len() >= 33 && modules[modules.len() - 17] == b'\n';
    let modules = if framed { &modules[16..modules.len() - 16] } else { &[][..] };
    Some(BuildInfo { version: text(version), modules: text(modules) })
}

fn varint_text(data: &[u8], at: usize, limit: u64) -> Option<(&[u8], usize)> {
    let (len, at) = uvarint_at(data, at)?;
    let end = at.checked_add(usize::try_from(len).ok().filter(|_| len <= limit)?)?;
    Some((data.get(at..end)?, end))
}

/// The text that a Go string header (pointer, length) at a link-time address stands for.
pub(super) fn header_text(image: &Image, at: VAddr, limit: u64) -> Option<String> {
    let len = text_len(image, at, limit)?;
    let header = image.read_relocated(at, 16).ok()?;
    let bytes = image.read(VAddr(u64_at(&header, 0)?), len as usize).ok()?;
    String::from_utf8(bytes).ok()
}

/// Whether a string header may lie there. Relocations are a long table, walked only for what can be a text.
pub(super) fn has_text(image: &Image, at: VAddr, limit: u64) -> bool {
    text_len(image, at, limit).is_some()
}

fn text_len(image: &Image, at: VAddr, limit: u64) -> Option<u64> {
    u64_at(&image.read(at, 16).ok()?, 8).filter(|len| (1..=limit).contains(len))
}

/// Longest version text that [`header_text`] should take.
pub(super) const MAX_RUNTIME_VERSION: u64 = MAX_VERSION;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The GNU build id in hexadecimal.
pub(crate) fn gnu_build_id(image: &Image) -> Option<String> {
    image.note("GNU", NOTE_GNU_BUILD_ID).map(hex)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Option<(u32, u32, Option<u32>)> {
        GoVersion::parse(text).map(|v| (v.major, v.minor, v.patch))
    }

    #[test]
    fn versions_as_go_writes_them() {
        assert_eq!(version("go1.26.6"), Some((1, 26, Some(6))));
        assert_eq!(version("go1.24.11 X:noswissmap"), Some((1, 24, Some(11))));
        assert_eq!(version("go1.26.6-X:sizespecializedmalloc"), Some((1, 26, Some(6))));
        assert_eq!(version("go1.23rc1"), Some((1, 23, None)));
        assert_eq!(version("devel go1.28-0123abc Mon"), Some((1, 28, None)));
        assert_eq!(version("go1.22.5 (Red Hat 1.22.5-1.el9)"), Some((1, 22, Some(5))));
        assert_eq!(version("go1"), None);
        assert_eq!(version("go99999999999.1"), None);
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn experiments_of_both_spellings() {
        assert_eq!(experiments("go1.24.11 X:noswissmap,synctest"), ["noswissmap", "synctest"]);
        assert_eq!(experiments("go1.26.6-X:sizespecializedmalloc"), ["sizespecializedmalloc"]);
        assert!(experiments("go1.26.6").is_empty());
    }

    #[test]
    fn order_ignores_nothing_but_the_missing_patch() {
        let parse = |t| GoVersion::parse(t).unwrap();
        assert!(parse("go1.9.7") < parse("go1.18"));
        assert!(parse("go1.18") < parse("go1.18.1"));
        assert!(parse("go1.21.0").at_least(21) && !parse("go1.20.14").at_least(21));
    }
}

//! Go programs built from `tests/fixtures`, once per content, release and variant.
//!
//! In: the name of a fixture, a Go release, a way of building. Out: an executable file that all
//! tests share. Knows nothing of what the programs do.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::pins::GoRelease;
use xtask::{paths, toolchain};

use crate::{patch, running::Running};

/// How a fixture is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    Default,
    /// `-ldflags="-s -w"`: no symbol table, no DWARF.
    Stripped,
    Pie,
    PieStripped,
    /// `-ldflags=-linkmode=external`: the system's linker does the last step.
    External,
    /// Stripped, then without section headers and without build info.
    Bare,
    /// The same of a position-independent program.
    BarePie,
    /// With cgo allowed, for programs that need it without importing C.
    Cgo,
    /// `-buildmode=plugin`: a shared object for another Go program.
    Plugin,
    /// The other way round than the release does it by default: Go 1.26 with its 66
    /// size-specialised allocation functions, Go 1.27 without its 14.
    OtherMalloc,
    /// With the maps of Go 1.23 (experiment `noswissmap`).
    OldMaps,
    /// Laid out as [`Variant::Stripped`] to the byte, but with its symbol table: the flags, which are
    /// part of the program, are as long.
    Twin,
    PieTwin,
    /// [`Variant::External`] stripped, and its twin.
    ExternalStripped,
    ExternalTwin,
    /// With a profile (PGO), that of the release's own compiler, in which the allocator is hot.
    Profiled,
    /// [`Variant::Stripped`], [`Variant::Twin`] and their position-independent forms, built for arm64.
    Arm64Stripped,
    Arm64Twin,
    Arm64PieStripped,
    Arm64PieTwin,
}

impl Variant {
    /// The ones that every release is tested with.
    pub const MATRIX: [Variant; 4] =
        [Variant::Default, Variant::Stripped, Variant::Pie, Variant::PieStripped];

    /// As it appears in file names.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Default => "default",
            Variant::Stripped => "stripped",
            Variant::Pie => "pie",
            Variant::PieStripped => "pie-stripped",
            Variant::External => "external",
            Variant::Bare => "bare",
            Variant::BarePie => "bare-pie",
            Variant::Cgo => "cgo",
            Variant::Plugin => "plugin",
            Variant::OtherMalloc => "other-malloc",
            Variant::OldMaps => "old-maps",
            Variant::Twin => "twin",
            Variant::PieTwin => "pie-twin",
            Variant::ExternalStripped => "external-stripped",
            Variant::ExternalTwin => "external-twin",
            Variant::Profiled => "profiled",
            Variant::Arm64Stripped => "arm64-stripped",
            Variant::Arm64Twin => "arm64-twin",
            Variant::Arm64PieStripped => "arm64-pie-stripped",
            Variant::Arm64PieTwin => "arm64-pie-twin",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Variant::Default | Variant::Cgo | Variant::OtherMalloc | Variant::OldMaps => &[],
            Variant::Profiled => &[],
            Variant::Stripped | Variant::Bare | Variant::Arm64Stripped => &["-ldflags=-s -w"],
            Variant::Pie => &["-buildmode=pie"],
            Variant::PieStripped | Variant::BarePie | Variant::Arm64PieStripped => {
                &["-buildmode=pie", "-ldflags=-s -w"]
            }
            Variant::External => &["-ldflags=-linkmode=external"],
            Variant::Twin | Variant::Arm64Twin => &["-ldflags=-w -w"],
            Variant::PieTwin | Variant::Arm64PieTwin => &["-buildmode=pie", "-ldflags=-w -w"],
            Variant::ExternalStripped => &["-ldflags=-linkmode=external -s -w"],
            Variant::ExternalTwin => &["-ldflags=-linkmode=external -w -w"],
            Variant::Plugin => &["-buildmode=plugin"],
        }
    }

    /// The variant with the same code and all its symbols.
    pub fn unstripped(self) -> Variant {
        match self {
            Variant::Stripped | Variant::Bare => Variant::Default,
            Variant::PieStripped | Variant::BarePie => Variant::Pie,
            other => other,
        }
    }
}

/// A built program.
#[derive(Clone, Debug)]
pub struct Fixture {
    pub name: String,
    pub release: GoRelease,
    pub variant: Variant,
    /// The executable file.
    pub program: PathBuf,
    /// Whether it had to be built now.
    pub fresh: bool,
}

impl Fixture {
    /// Builds `tests/fixtures/<name>` with the Go release `go` (`1.27`), or finds it built.
    pub fn build(name: &str, go: &str, variant: Variant) -> Result<Fixture> {
        let (release, command) = toolchain::installed_go(go)?;
        let sources = Sources::read(name)?;
        let mut hasher = DefaultHasher::new();
        (&sources.files, release.version, variant.flags(), variant).hash(&mut hasher);
        let goarch = std::env::var(paths::FIXTURES_GOARCH).ok();
        let dir = paths::fixtures(goarch.as_deref());
        fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
        let stem = Fixture::stem(name, go, variant);
        let program = dir.join(format!("{stem}-{:016x}", hasher.finish()));
        // Held until this returns: tests that want the same program build it once.
        let lock = File::create(dir.join(format!("{stem}.lock")))?;
        lock.lock().context("can't wait for another build of a fixture")?;
        let fresh = !program.is_file();
        if fresh {
            remove_older(&dir, &stem)?;
            let part = dir.join(format!("{stem}.part"));
            sources.compile(&command, release, variant, &part)?;
            if matches!(variant, Variant::Bare | Variant::BarePie) {
                patch::sections_and_build_info(&part)?;
            }
            fs::rename(&part, &program).context("can't move a fixture into place")?;
        }
        Ok(Fixture { name: name.to_string(), release, variant, program, fresh })
    }

    /// What its file's name begins with; what follows is a hash of its contents.
    pub fn stem(name: &str, go: &str, variant: Variant) -> String {
        format!("{name}-go{go}-{}", variant.name())
    }

    /// Starts it with its pipes held.
    pub fn start(&self) -> Result<Running> {
        Running::start(Command::new(&self.program))
    }
}

/// A `go tool` of the Go release `go` (`1.27`).
pub fn go_tool(go: &str, tool: &str) -> Result<Command> {
    let mut command = toolchain::go_command(&toolchain::installed_go(go)?.1);
    command.args(["tool", tool]);
    Ok(command)
}

struct Sources {
    dir: PathBuf,
    files: Vec<(String, Vec<u8>)>,
}

impl Sources {
    fn read(name: &str) -> Result<Sources> {
        let dir = paths::repo().join("tests/fixtures").join(name);
        let mut files = Vec::new();
        let entries = fs::read_dir(&dir).with_context(|| format!("no fixture {name}"))?;
        for entry in entries {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy().into_owned();
            files.push((file, fs::read(entry.path())?));
        }
        files.sort();
        Ok(Sources { dir, files })
    }

    fn compile(&self, go: &Path, release: GoRelease, variant: Variant, to: &Path) -> Result<()> {
        let uses_cgo = |text: &[u8]| text.windows(10).any(|part| part == b"import \"C\"");
        let cgo = variant.name().starts_with("external")
            || matches!(variant, Variant::Cgo | Variant::Plugin)
            || self.files.iter().any(|(_, text)| uses_cgo(text));
        let mut command = toolchain::go_command(go);
        command.args(["build", "-buildvcs=false"]).args(variant.flags());
        command.arg("-o").arg(to).arg(".").current_dir(&self.dir);
        command.env("CGO_ENABLED", if cgo { "1" } else { "0" });
        if let Some(goarch) = std::env::var_os(paths::FIXTURES_GOARCH) {
            command.env("GOARCH", goarch);
        }
        if variant.name().starts_with("arm64") {
            command.env("GOARCH", "arm64");
        }
        if variant == Variant::OtherMalloc {
            let default = release.minor() == "1.27";
            let setting = if default { "nosizespecializedmalloc" } else { "sizespecializedmalloc" };
            command.env("GOEXPERIMENT", setting);
        }
        if variant == Variant::OldMaps {
            command.env("GOEXPERIMENT", "noswissmap");
        }
        if variant == Variant::Profiled {
            let root = go.parent().and_then(Path::parent).context("go has no root")?;
            let profile = root.join("src/cmd/compile/default.pgo");
            command.env("GOFLAGS", format!("-mod=mod -pgo={}", profile.display()));
        }
        let output = command.output().context("can't start go")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("go build of {} failed: {}", self.dir.display(), said.trim());
        }
        Ok(())
    }
}

/// Removes programs of the same name, release and variant from other contents.
fn remove_older(dir: &Path, stem: &str) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hash = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('-'));
        if hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

//! Kernels that Debian packages: which there are, and the bootable file of each.
//!
//! In: Debian's archives, through apt with a configuration of its own: nothing of this machine's packages is looked at or
//! changed. Out: files in the cache. Of each series (6.12) there are several packages; the newest is taken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::build::Machine;
use crate::process;
use crate::setup::remove_dir;
use xtask::paths;

/// A kernel that is packaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packaged {
    /// `6.12.117+deb13`
    pub version: String,
    /// `(6, 12)`
    pub series: (u32, u32),
    package: String,
    pub machine: Machine,
    /// The package's own version: `6.12.117-1`.
    pub packaged: String,
}

/// Where kernels come from: releases that are supported, what is made for later ones, and what is new.
const SUITES: &[(&str, &str)] = &[
    ("debian", "bullseye"),
    ("debian-security", "bullseye-security"),
    ("debian", "bookworm"),
    ("debian", "bookworm-backports"),
    ("debian-security", "bookworm-security"),
    ("debian", "trixie"),
    ("debian", "trixie-backports"),
    ("debian-security", "trixie-security"),
    ("debian", "sid"),
    ("debian", "experimental"),
];
const MIRROR: &str = "http://deb.debian.org";
pub const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// As Debian calls a machine.
fn architecture(machine: Machine) -> &'static str {
    match machine {
        Machine::X86_64 => "amd64",
        Machine::Aarch64 => "arm64",
    }
}

/// Made for virtual machines, and small.
fn flavour(machine: Machine) -> String {
    format!("-cloud-{}", architecture(machine))
}

/// Lists of packages that are younger are not fetched again.
const LISTS_LAST: Duration = Duration::from_secs(24 * 3600);

/// All that are packaged, oldest first: of each series the newest.
pub fn list(machine: Machine) -> Result<Vec<Packaged>> {
    let home = home(machine)?;
    update(&home)?;
    let names = process::capture(home.tool("apt-cache").args(["pkgnames", "linux-"]))?;
    let mut newest = newest(names.lines(), machine);
    for kernel in &mut newest {
        let shown = process::capture(home.tool("apt-cache").args([
            "show",
            "--no-all-versions",
            &kernel.package,
        ]))?;
        let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
        kernel.packaged = version.unwrap_or_default().to_owned();
    }
    Ok(newest)
}

/// Those that are named, by series or version; all when none is.
pub fn choose<'a>(all: &'a [Packaged], names: &[String]) -> Result<Vec<&'a Packaged>> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let find = |name: &String| {
        let is_it = |kernel: &&Packaged| {
            kernel.version == *name || format!("{}.{}", kernel.series.0, kernel.series.1) == *name
        };
        let known = || all.iter().map(|one| one.version.as_str()).collect::<Vec<_>>().join(", ");
        all.iter().find(is_it).with_context(|| format!("no kernel {name}; there are {}", known()))
    };
    names.iter().map(find).collect()
}

impl Packaged {
    /// Its bootable file, fetched if it is not there.
    pub fn fetch(&self) -> Result<PathBuf> {
        let home = home(self.machine)?;
        let file = home.dir.join(format!("vmlinuz-{}", self.version));
        if file.is_file() {
            return Ok(file);
        }
        let tree = home.unpacked(&format!("{}={}", self.package, self.packaged))?;
        // Kernels since 7.2 lie beside their modules.
        let name = format!("{}{}", self.version, flavour(self.machine));
        let places = [format!("boot/vmlinuz-{name}"), format!("usr/lib/modules/{name}/vmlinuz")];
        let found = places.iter().map(|place| tree.join(place)).find(|path| path.is_file());
        let found = found.with_context(|| format!("{} has no kernel in it", self.package))?;
        fs::rename(&found, &file).with_context(|| format!("can't write {}", file.display()))?;
        remove_dir(&home.dir.join("part"))?;
        Ok(file)
    }

    /// One for this machine that was run before: it need not be packaged any more.
    pub fn known(version: String, packaged: String) -> Option<Self> {
        let [major, minor, ..] = numbers(&version)[..] else { return None };
        let (series, machine, package) = ((major, minor), Machine::host(), String::new());
        Some(Self { version, series, package, machine, packaged })
    }
}

/// A shell and its tools in one program that needs no libraries, fetched if it is not there. For this machine it is
/// installed.
pub fn busybox(machine: Machine) -> Result<PathBuf> {
    if machine == Machine::host() {
        return paths::find_program("busybox").context("no busybox: run `cargo xtask setup`");
    }
    let home = home(machine)?;
    let file = home.dir.join("busybox");
    if !file.is_file() {
        update(&home)?;
        let tree = home.unpacked("busybox-static")?;
        let found = ["bin/busybox", "usr/bin/busybox"].map(|place| tree.join(place));
        let found = found.iter().find(|path| path.is_file()).context("no busybox in it")?;
        fs::rename(found, &file).with_context(|| format!("can't write {}", file.display()))?;
        remove_dir(&home.dir.join("part"))?;
    }
    Ok(file)
}

/// Where apt keeps what it knows of one machine's packages.
struct Home {
    dir: PathBuf,
    machine: Machine,
}

fn home(machine: Machine) -> Result<Home> {
    let cache = paths::cache_dir()?;
    let dir = match machine {
        Machine::X86_64 => cache.join("kernels"),
        Machine::Aarch64 => cache.join("kernels-aarch64"),
    };
    Ok(Home { dir, machine })
}

/// Fetches lists of packages unless they are young.
fn update(home: &Home) -> Result<()> {
    let stamp = home.dir.join("updated");
    let age = fs::metadata(&stamp).and_then(|file| file.modified());
    if age.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < LISTS_LAST)) {
        return Ok(());
    }
    if !Path::new(KEYS).is_file() {
        bail!("no keys of Debian's archive ({KEYS}): run `cargo xtask setup --for kernels`");
    }
    for dir in ["etc", "state/lists/partial", "cache/archives/partial"] {
        let dir = home.dir.join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
    }
    let line = |(archive, suite): &(&str, &str)| {
        format!("deb [signed-by={KEYS}] {MIRROR}/{archive} {suite} main\n")
    };
    let sources = home.dir.join("etc/sources.list");
    fs::write(&sources, SUITES.iter().map(line).collect::<String>())
        .with_context(|| format!("can't write {}", sources.display()))?;
    println!("kernels: lists of Debian's packages");
    process::quiet("kernel-lists", home.tool("apt-get").arg("update"))?;
    fs::write(&stamp, "").with_context(|| format!("can't write {}", stamp.display()))
}

impl Home {
    /// Fetches a package and unpacks it: its files, in a directory that the next one takes.
    fn unpacked(&self, package: &str) -> Result<PathBuf> {
        println!("fetching {package}");
        let part = self.dir.join("part");
        remove_dir(&part)?;
        fs::create_dir_all(&part).with_context(|| format!("can't make {}", part.display()))?;
        let mut download = self.tool("apt-get");
        process::quiet("kernel-download", download.args(["download", package]).current_dir(&part))?;
        let mut packages = fs::read_dir(&part)?.filter_map(|entry| Some(entry.ok()?.path()));
        let archive = packages.next().context("apt-get downloaded nothing")?;
        let tree = part.join("tree");
        process::quiet(
            "kernel-unpack",
            Command::new("dpkg-deb").arg("-x").arg(archive).arg(&tree),
        )?;
        Ok(tree)
    }

    /// apt that knows this directory alone.
    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut set = |name: &str, value: &str| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        let dir = |name: &str| self.dir.join(name).display().to_string();
        set("Dir::Etc", &dir("etc"));
        set("Dir::Etc::Parts", "/nonexistent");
        set("Dir::Etc::SourceParts", "/nonexistent");
        set("Dir::State", &dir("state"));
        set("Dir::State::status", "/dev/null");
        set("Dir::Cache", &dir("cache"));
        set("Acquire::Languages", "none");
        set("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false");
        // Lists of releases that are no longer maintained say that they are out of date.
        set("Acquire::Check-Valid-Until", "false");
        set("APT::Architecture", architecture(self.machine));
        set("APT::Architectures", architecture(self.machine));
        // It would not be let into the cache.
        set("APT::Sandbox::User", "root");
        command
    }
}

/// Of each series the newest, from names of packages. Which package has the file: `linux-binary-…` where there is one.
fn newest<'a>(names: impl Iterator<Item = &'a str>, machine: Machine) -> Vec<Packaged> {
    let mut all: Vec<Packaged> = names.filter_map(|name| kernel(name, machine)).collect();
    let key = |kernel: &Packaged| (numbers(&kernel.version), kernel.package.contains("-binary-"));
    all.sort_by_key(|kernel| (kernel.series, key(kernel)));
    let mut newest: Vec<Packaged> = Vec::new();
    for kernel in all {
        match newest.last_mut() {
            Some(last) if last.series == kernel.series => *last = kernel,
            _ => newest.push(kernel),
        }
    }
    newest
}

fn kernel(package: &str, machine: Machine) -> Option<Packaged> {
    let name = ["linux-image-", "linux-binary-"].iter().find_map(|kind| package.strip_prefix(kind));
    let version = name?.strip_suffix(&flavour(machine))?;
    let numbers = numbers(version);
    let [major, minor, _, ..] = numbers[..] else { return None };
    Some(Packaged {
        version: version.to_owned(),
        series: (major, minor),
        package: package.to_owned(),
        machine,
        packaged: String::new(),
    })
}

fn numbers(version: &str) -> Vec<u32> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_series_is_taken_from_the_package_that_has_it() {
        let names = [
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
            "linux-image-7.0.13+deb13-cloud-amd64",
            "linux-binary-7.0.13+deb13-cloud-amd64",
            "linux-image-5.10.0-46-cloud-amd64",
            "linux-headers-7.3.4+deb13-cloud-amd64",
        ];
        let newest = newest(names.into_iter(), Machine::X86_64);
        let found: Vec<_> = newest.iter().map(|one| (one.series, one.package.as_str())).collect();
        assert_eq!(
            found,
            [
                ((5, 10), "linux-image-5.10.0-46-cloud-amd64"),
                ((6, 1), "linux-image-6.1.0-56-cloud-amd64"),
                ((7, 0), "linux-binary-7.0.13+deb13-cloud-amd64"),
            ]
        );
        let named = |name: &str| choose(&newest, &[name.to_owned()]).map(|one| one[0].series);
        assert_eq!(named("6.1").ok(), Some((6, 1)));
        assert_eq!(named("7.0.13+deb13").ok(), Some((7, 0)));
        assert!(named("6").is_err());
    }
}

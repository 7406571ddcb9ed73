//! Kernels that Debian packages: which there are, and the bootable file of each.
//!
//! In: Debian's archives, through apt with a configuration of its own: nothing of this machine's packages is looked at or
//! changed. Out: files in the cache. Of each series (6.12) there are several packages; the newest is taken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

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

/// Made for virtual machines, and small.
const FLAVOUR: &str = "-cloud-amd64";

/// Lists of packages that are younger are not fetched again.
const LISTS_LAST: Duration = Duration::from_secs(24 * 3600);

/// All that are packaged, oldest first: of each series the newest.
pub fn list() -> Result<Vec<Packaged>> {
    let home = home()?;
    update(&home)?;
    let names = process::capture(tool("apt-cache", &home).args(["pkgnames", "linux-"]))?;
    let mut newest = newest(names.lines());
    for kernel in &mut newest {
        let shown = process::capture(tool("apt-cache", &home).args([
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
        let home = home()?;
        let file = home.join(format!("vmlinuz-{}", self.version));
        if file.is_file() {
            return Ok(file);
        }
        println!("fetching {} {}", self.package, self.packaged);
        let part = home.join("part");
        remove_dir(&part)?;
        fs::create_dir_all(&part).with_context(|| format!("can't make {}", part.display()))?;
        let package = format!("{}={}", self.package, self.packaged);
        let mut download = tool("apt-get", &home);
        process::quiet(
            "kernel-download",
            download.args(["download", &package]).current_dir(&part),
        )?;
        let mut packages = fs::read_dir(&part)?.filter_map(|entry| Some(entry.ok()?.path()));
        let archive = packages.next().context("apt-get downloaded nothing")?;
        let tree = part.join("tree");
        process::quiet(
            "kernel-unpack",
            Command::new("dpkg-deb").arg("-x").arg(archive).arg(&tree),
        )?;
        // Kernels since 7.2 lie beside their modules.
        let name = format!("{}{FLAVOUR}", self.version);
        let places = [format!("boot/vmlinuz-{name}"), format!("usr/lib/modules/{name}/vmlinuz")];
        let found = places.iter().map(|place| tree.join(place)).find(|path| path.is_file());
        let found = found.with_context(|| format!("{} has no kernel in it", self.package))?;
        fs::rename(&found, &file).with_context(|| format!("can't write {}", file.display()))?;
        remove_dir(&part)?;
        Ok(file)
    }

    #[cfg(test)]
    pub fn of_test(series: (u32, u32)) -> Self {
        let version = format!("{}.{}.0", series.0, series.1);
        Self { version, series, package: String::new(), packaged: String::new() }
    }
}

fn home() -> Result<PathBuf> {
    Ok(paths::cache_dir()?.join("kernels"))
}

/// Fetches lists of packages unless they are young.
fn update(home: &Path) -> Result<()> {
    let stamp = home.join("updated");
    let age = fs::metadata(&stamp).and_then(|file| file.modified());
    if age.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < LISTS_LAST)) {
        return Ok(());
    }
    if !Path::new(KEYS).is_file() {
        bail!("no keys of Debian's archive ({KEYS}): run `cargo xtask setup --for kernels`");
    }
    for dir in ["etc", "state/lists/partial", "cache/archives/partial"] {
        let dir = home.join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
    }
    let line = |(archive, suite): &(&str, &str)| {
        format!("deb [signed-by={KEYS}] {MIRROR}/{archive} {suite} main\n")
    };
    let sources = home.join("etc/sources.list");
    fs::write(&sources, SUITES.iter().map(line).collect::<String>())
        .with_context(|| format!("can't write {}", sources.display()))?;
    println!("kernels: lists of Debian's packages");
    process::quiet("kernel-lists", tool("apt-get", home).arg("update"))?;
    fs::write(&stamp, "").with_context(|| format!("can't write {}", stamp.display()))
}

/// apt that knows this directory alone.
fn tool(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    let mut set = |name: &str, value: &str| {
        command.arg("-o").arg(format!("{name}={value}"));
    };
    let dir = |name: &str| home.join(name).display().to_string();
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
    set("APT::Architecture", "amd64");
    // It would not be let into the cache.
    set("APT::Sandbox::User", "root");
    command
}

/// Of each series the newest, from names of packages. Which package has the file: `linux-binary-…` where there is one.
fn newest<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Packaged> {
    let mut all: Vec<Packaged> = names.filter_map(kernel).collect();
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

fn kernel(package: &str) -> Option<Packaged> {
    let name = ["linux-image-", "linux-binary-"].iter().find_map(|kind| package.strip_prefix(kind));
    let version = name?.strip_suffix(FLAVOUR)?;
    let numbers = numbers(version);
    let [major, minor, _, ..] = numbers[..] else { return None };
    Some(Packaged {
        version: version.to_owned(),
        series: (major, minor),
        package: package.to_owned(),
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
        let newest = newest(names.into_iter());
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

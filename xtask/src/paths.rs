//! Where the repository, the build output and the shared cache are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The top directory of the repository.
pub fn repo() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo's target directory, wherever flags, variables or configuration have put it: the one that
/// the running program (xtask or a test) was built into.
pub fn target_dir() -> PathBuf {
    // Cargo marks the top of a target directory with CACHEDIR.TAG.
    let exe = env::current_exe().unwrap_or_default();
    let marked = exe.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    marked.map_or_else(default_target_dir, Path::to_path_buf)
}

/// Where cargo builds to when nobody says otherwise.
pub fn default_target_dir() -> PathBuf {
    repo().join("target")
}

/// The kernel programs, linked.
pub fn bpf_object() -> PathBuf {
    target_dir().join("bpf/heaptap.o")
}

/// Where the Go programs that tests trace are built; those for another machine than this have a place of their own.
pub fn fixtures(goarch: Option<&str>) -> PathBuf {
    let own = target_dir().join("fixtures");
    goarch.map_or(own.clone(), |goarch| own.with_file_name(format!("fixtures-{goarch}")))
}

/// The variable that has `fixtures` build for another machine (GOARCH).
pub const FIXTURES_GOARCH: &str = "HEAPTAP_FIXTURES_GOARCH";

/// The program that `cargo xtask build --static` makes.
pub fn static_heaptap() -> PathBuf {
    target_dir().join("static/heaptap")
}

/// What is downloaded once per user and shared by all clones: `$HEAPTAP_CACHE`, else
/// `$XDG_CACHE_HOME/heaptap`, else `~/.cache/heaptap`.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("HEAPTAP_CACHE") {
        return Ok(dir);
    }
    if let Some(dir) = set("XDG_CACHE_HOME") {
        return Ok(dir.join("heaptap"));
    }
    let home = set("HOME").context("HOME is not set: set HEAPTAP_CACHE to a directory to keep")?;
    Ok(home.join(".cache/heaptap"))
}

/// Looks a program up in `PATH`, then in cargo's own `bin` directory.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(cargo_bin());
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Where `cargo install` puts programs.
pub fn cargo_bin() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("CARGO_HOME").or_else(|| set("HOME").map(|home| home.join(".cargo")));
    home.map(|home| home.join("bin"))
}

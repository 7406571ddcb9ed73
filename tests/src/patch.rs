//! Changes built programs: takes from them what they run without, or lets them lie about themselves.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

const BUILD_INFO: &[u8] = b"\xff Go buildinf:";

/// Erases section headers and Go's build info in place. Only 64-bit little-endian files, which is what the tests build.
pub fn sections_and_build_info(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") || bytes.len() < 64 {
        bail!("{} is no 64-bit little-endian ELF file", path.display());
    }
    let word = |bytes: &[u8], at: usize, width: usize| {
        bytes[at..at + width].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
    };
    // e_shoff, e_shentsize and e_shnum say where the headers lie.
    let (start, size) = (word(&bytes, 0x28, 8), word(&bytes, 0x3a, 2) * word(&bytes, 0x3c, 2));
    let table = bytes.get_mut(start..start + size).context("section headers lie outside")?;
    table.fill(0);
    bytes[0x28..0x30].fill(0);
    bytes[0x3c..0x40].fill(0);
    let found = bytes.windows(BUILD_INFO.len()).enumerate();
    // The magic is also a string of the programs that look for it; only the aligned one counts.
    let at: Vec<usize> =
        found.filter(|(at, part)| at % 16 == 0 && *part == BUILD_INFO).map(|(at, _)| at).collect();
    for at in at {
        bytes[at..at + BUILD_INFO.len()].fill(0);
    }
    fs::write(path, bytes).with_context(|| format!("can't write {}", path.display()))
}

/// Copies a program and puts `to` wherever it has `from`, which is as long.
pub fn replace(program: &Path, copy: &Path, from: &[u8], to: &[u8]) -> Result<()> {
    if from.len() != to.len() || from.is_empty() {
        bail!("only texts of the same length can be exchanged");
    }
    fs::copy(program, copy).with_context(|| format!("can't copy {}", program.display()))?;
    let mut bytes = fs::read(copy)?;
    let found: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter_map(|(at, part)| (part == from).then_some(at))
        .collect();
    if found.is_empty() {
        bail!("{} has no {:?}", program.display(), String::from_utf8_lossy(from));
    }
    for at in found {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    fs::write(copy, bytes).with_context(|| format!("can't write {}", copy.display()))
}

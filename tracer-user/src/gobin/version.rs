//! The Go release of a binary that has no build information: the runtime's own version string.
//!
//! In: an [`Image`] and its function table. Out: the text that `runtime.Version()` returns.

use super::facts::{GoVersion, MAX_RUNTIME_VERSION, has_text, header_text};
use super::image::Image;
use super::pclntab::{Function, Pclntab};
use crate::address::VAddr;

/// Longest function that is decoded in search of the version string.
const MAX_CODE: u64 = 16 << 10;

/// Most texts that are read in search of it: each may take a walk through the relocations.
const MAX_TEXTS: usize = 64;

/// The text of `runtime.buildVersion`. `runtime.schedinit` compares its length with 0 (proc.go, Go
/// 1.18 to 1.27), so its address is an operand there; a text is taken only if it is a version.
pub fn runtime_string(image: &Image, table: &Pclntab) -> Option<String> {
    let names = ["runtime.schedinit"];
    let named = table.named_like(&names).filter(|(_, name)| *name == names[0]);
    let mut left = MAX_TEXTS;
    let mut functions = named.filter_map(|(i, _)| table.function(i)).take(MAX_TEXTS);
    functions.find_map(|f| version_operand(image, &f, &mut left))
}

fn version_operand(image: &Image, function: &Function, left: &mut usize) -> Option<String> {
    let len = function.end.0.checked_sub(function.entry.0)?.min(MAX_CODE);
    let code = image.read(function.entry, len as usize).ok()?;
    let operands = image.machine().operands(&code, function.entry);
    operands.into_iter().find_map(|target| {
        // The operand is the length (second word of the string header) or the header itself.
        [target.0.wrapping_sub(8), target.0].into_iter().find_map(|at| {
            if !has_text(image, VAddr(at), MAX_RUNTIME_VERSION) || *left == 0 {
                return None;
            }
            *left -= 1;
            let text = header_text(image, VAddr(at), MAX_RUNTIME_VERSION)?;
            GoVersion::parse(&text).map(|_| text)
        })
    })
}

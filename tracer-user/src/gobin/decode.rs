//! What a function's instructions say of the data that they use.
//!
//! In: the code of a function. Out: its [`Step`]s in order: variables that it uses, and comparisons of a
//! register with a number. Knows no function, no symbol and no instruction: [`super::machine`] reads those.

use super::{Error, Function, GoBinary};
use crate::address::VAddr;

/// Longest function that is decoded; those that are looked at have less than 4 KiB.
pub const MAX_CODE: u64 = 64 << 10;

/// One instruction that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The address of a variable is taken.
    Address(VAddr),
    /// A variable of that many bytes is read into a register, or subtracted from one.
    Load(VAddr, usize),
    /// A variable of that many bytes is compared with a number.
    Test(VAddr, usize),
    /// A variable is used in another way: written, added to.
    Other(VAddr),
    /// A register is compared with a number.
    Compare(u64),
}

/// The code of a function, padding included.
///
/// # Errors
/// It is longer than [`MAX_CODE`], or the file does not have it.
pub fn code(binary: &GoBinary, function: &Function) -> Result<Vec<u8>, Error> {
    let size = function.end.0.saturating_sub(function.entry.0);
    if size > MAX_CODE {
        let what = "the code of one of its runtime's functions";
        return Err(Error::TooBig { what, size, limit: MAX_CODE });
    }
    binary.read(function.entry, size as usize)
}

/// The steps of a function, by linear decoding from its entry to its end.
pub fn steps(binary: &GoBinary, function: &Function) -> Result<Vec<Step>, Error> {
    let len = function.end.0.saturating_sub(function.entry.0).min(MAX_CODE);
    let code = binary.read(function.entry, len as usize)?;
    Ok(binary.machine().steps(&code, function.entry))
}

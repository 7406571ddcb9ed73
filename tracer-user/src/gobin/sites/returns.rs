//! Where a function returns.
//!
//! In: a binary's code. Out: sites at all its returns, which the kernel single-steps.

use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use super::{Site, SiteError, site_at};
use crate::address::VAddr;
use crate::gobin::GoBinary;
use crate::gobin::decode::code;

/// Every return of a function, by its name.
pub fn return_sites(binary: &GoBinary, name: &'static str) -> Result<Vec<Site>, SiteError> {
    let function =
        binary.find_function(name).ok_or_else(|| SiteError::NoFunction(name.to_owned()))?;
    let code = code(binary, &function)?;
    let undecodable =
        |why| SiteError::Decode { function: name.to_owned(), entry: function.entry, why };
    let site = |(at, length): (usize, usize)| {
        let vaddr = VAddr(function.entry.0 + at as u64);
        let bytes = code.get(at..at + length).unwrap_or_default();
        site_at(binary, name, vaddr, bytes, false)
            .ok_or_else(|| undecodable("it is not in the file"))
    };
    returns(&code).map_err(undecodable)?.into_iter().map(site).collect()
}

/// Offsets and lengths of the returns of a function that no jump leaves (facts 7.3).
pub(super) fn returns(code: &[u8]) -> Result<Vec<(usize, usize)>, &'static str> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut found = Vec::new();
    while decoder.can_decode() {
        let at = decoder.position();
        let instruction = decoder.decode();
        match instruction.mnemonic() {
            Mnemonic::INVALID => return Err("its code has no such instruction"),
            Mnemonic::Ret => found.push((at, instruction.len())),
            _ => {}
        }
    }
    if found.is_empty() { Err("it does not return") } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_return_is_found() {
        // test %eax,%eax; je +2; pop %rbp; ret; xor %eax,%eax; pop %rbp; ret; int3
        let code = [0x85, 0xc0, 0x74, 2, 0x5d, 0xc3, 0x31, 0xc0, 0x5d, 0xc3, 0xcc];
        assert_eq!(returns(&code), Ok(vec![(5, 1), (9, 1)]));
        // movabs $0xc3…,%rax is none.
        assert!(returns(&[0x48, 0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3]).is_err());
        assert!(returns(&[0x06]).is_err() && returns(&[]).is_err());
    }
}

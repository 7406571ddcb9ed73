//! Returns and calls of functions on amd64.

use iced_x86::{Code, Decoder, DecoderOptions, Mnemonic};

use crate::address::VAddr;

/// Offsets and lengths of the returns of a function that no jump leaves (facts 7.3).
pub fn returns(code: &[u8]) -> Result<Vec<(usize, usize)>, &'static str> {
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

/// Offset and length of the only call of a target.
pub fn only_call(code: &[u8], entry: VAddr, targets: &[VAddr]) -> Option<(usize, usize)> {
    let mut decoder = Decoder::with_ip(64, code, entry.0, DecoderOptions::NONE);
    let mut calls = Vec::new();
    while decoder.can_decode() {
        let offset = decoder.position();
        let instruction = decoder.decode();
        if instruction.code() == Code::Call_rel32_64
            && targets.contains(&VAddr(instruction.near_branch_target()))
        {
            calls.push((offset, instruction.len()));
        }
    }
    match calls[..] {
        [call] => Some(call),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// call +0x10 ; nop ; call -0x20
    const CODE: [u8; 11] = [0xe8, 0x10, 0, 0, 0, 0x90, 0xe8, 0xe0, 0xff, 0xff, 0xff];

    #[test]
    fn every_return_is_found() {
        // test %eax,%eax; je +2; pop %rbp; ret; xor %eax,%eax; pop %rbp; ret; int3
        let code = [0x85, 0xc0, 0x74, 2, 0x5d, 0xc3, 0x31, 0xc0, 0x5d, 0xc3, 0xcc];
        assert_eq!(returns(&code), Ok(vec![(5, 1), (9, 1)]));
        // movabs $0xc3…,%rax is none.
        assert!(returns(&[0x48, 0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3]).is_err());
        assert!(returns(&[0x06]).is_err() && returns(&[]).is_err());
    }

    #[test]
    fn a_call_is_found_by_what_it_calls() {
        let find = |targets: &[u64]| {
            only_call(
                &CODE,
                VAddr(0x1000),
                &targets.iter().map(|at| VAddr(*at)).collect::<Vec<_>>(),
            )
        };
        assert_eq!(find(&[0x1015]), Some((0, 5)));
        assert_eq!(find(&[0x0feb, 0x2000]), Some((6, 5)));
        // Nobody, and two of them.
        assert_eq!(find(&[0x1016]), None);
        assert_eq!(find(&[0x1015, 0x0feb]), None);
    }
}

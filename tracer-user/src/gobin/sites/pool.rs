//! Where a `sync.Pool` gives, finds nothing to give, and takes back.
//!
//! In: a binary's functions and code. Out: sites of the pool probe. `Get` and `Put` have one at P, where
//! the pool is the first argument. A `Get` that finds nothing ends in `if x == nil && p.New != nil`
//! (sync/pool.go, Go 1.18 to 1.27): the second comparison is made for such Gets alone, once each, and
//! its jump is a site that the kernel emulates; a `RET` of `getSlow` would be single-stepped.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::{Site, SiteError, site_at, whole_functions};
use crate::address::VAddr;
use crate::gobin::GoBinary;
use crate::gobin::decode::code;

/// Sites of the pool probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSites {
    /// P of `(*Pool).Get`; the pool is its first argument.
    pub get: Site,
    /// The jump of a Get that has found nothing: the pool is in RCX, its `New` in RDX, and the frame
    /// pointer is that of Get itself.
    pub miss: Site,
    /// P of `(*Pool).Put`: pool and value, two words of an interface, are its arguments. Nothing in a
    /// program that never gives anything back.
    pub put: Option<Site>,
}

const GET: &str = "sync.(*Pool).Get";
const PUT: &str = "sync.(*Pool).Put";

/// Byte offset of `New` in `sync.Pool`: behind two pointers and two lengths.
const NEW: u64 = 32;
/// Instructions that may stand between the jump and the call of `New`.
const TO_CALL: usize = 3;

/// Sites of the pool probe.
pub fn pool_sites(binary: &GoBinary) -> Result<PoolSites, SiteError> {
    let [get] = whole_functions(binary, [GET])?;
    let put = match whole_functions(binary, [PUT]) {
        Ok([put]) => Some(put),
        Err(SiteError::NoFunction(_)) => match binary.find_copies(PUT).first() {
            None => None,
            Some(into) => {
                let into = into.name.to_string();
                return Err(SiteError::Inlined { function: PUT, into });
            }
        },
        Err(err) => return Err(err),
    };
    let function = binary.find_function(GET).ok_or_else(|| SiteError::NoFunction(GET.into()))?;
    let undecodable = |why| SiteError::Decode { function: GET.into(), entry: function.entry, why };
    let code = code(binary, &function)?;
    let (at, length) = find_miss(&code).map_err(undecodable)?;
    let vaddr = VAddr(function.entry.0 + at as u64);
    let miss = site_at(binary, GET, vaddr, &code[at..at + length], true)
        .ok_or_else(|| undecodable("it is not in the file"))?;
    Ok(PoolSites { get, miss, put })
}

/// Offset and length of the jump that asks whether there is a `New`: `New` is loaded from the pool in
/// RCX to RDX, compared with nil, and called if it is not.
pub(super) fn find_miss(code: &[u8]) -> Result<(usize, usize), &'static str> {
    let decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let code: Vec<Instruction> =
        decoder.into_iter().filter(|i| i.mnemonic() != Mnemonic::Nop).collect();
    let calls_new = |from: usize| {
        let after = code[from..].iter().take(TO_CALL);
        let mut upto_jump = after.take_while(|i| i.mnemonic() != Mnemonic::Jmp);
        upto_jump.any(|i| i.mnemonic() == Mnemonic::Call && i.op0_kind() == OpKind::Register)
    };
    let jumps: Vec<&Instruction> = (code.windows(3).enumerate())
        .filter(|(_, three)| loads_new(&three[0]) && tests_new(&three[1]))
        .filter_map(|(index, three)| {
            let jump = &three[2];
            let target = code.iter().position(|i| i.ip() == jump.near_branch_target());
            let there = match jump.mnemonic() {
                Mnemonic::Jne => target?,
                Mnemonic::Je => index + 3,
                _ => return None,
            };
            calls_new(there).then_some(jump)
        })
        .collect();
    match jumps[..] {
        [jump] => Ok((jump.ip() as usize, jump.len())),
        [] => Err("nothing in it asks for the pool's New as is known of sync/pool.go"),
        _ => Err("it asks for the pool's New in more than one place"),
    }
}

/// `mov 0x20(%rcx),%rdx`.
fn loads_new(instruction: &Instruction) -> bool {
    instruction.code() == Code::Mov_r64_rm64
        && instruction.op0_register() == Register::RDX
        && instruction.memory_base() == Register::RCX
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() == NEW
}

/// `test %rdx,%rdx`.
fn tests_new(instruction: &Instruction) -> bool {
    instruction.code() == Code::Test_rm64_r64
        && instruction.op0_register() == Register::RDX
        && instruction.op1_register() == Register::RDX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// mov 0x38(%rsp),%rcx ; mov 0x20(%rcx),%rdx ; nop ; test %rdx,%rdx ; jne +7 ; mov 0x20(%rsp),%rbx ;
    /// jmp ; mov (%rdx),%rax ; call *%rax ; ret
    const MISS: [u8; 27] = [
        0x48, 0x8b, 0x4c, 0x24, 0x38, 0x48, 0x8b, 0x51, 0x20, 0x90, 0x48, 0x85, 0xd2, 0x75, 0x07,
        0x48, 0x8b, 0x5c, 0x24, 0x20, 0xeb, 0x05, 0x48, 0x8b, 0x02, 0xff, 0xd0,
    ];

    #[test]
    fn a_miss_is_the_jump_behind_the_question_for_new() {
        assert_eq!(find_miss(&MISS), Ok((13, 2)));
        // je over the call, without a jump back.
        let falls_through = [
            0x48, 0x8b, 0x51, 0x20, 0x48, 0x85, 0xd2, 0x74, 0x05, 0x48, 0x8b, 0x02, 0xff, 0xd0,
            0xc3,
        ];
        assert_eq!(find_miss(&falls_through), Ok((7, 2)));
    }

    #[test]
    fn what_looks_otherwise_is_refused() {
        // Another field, another pool register, another value register, no call, a jump elsewhere.
        for (at, byte) in [(8, 0x28), (7, 0x53), (7, 0x59), (26, 0xe0), (14, 0x00), (13, 0x7f)] {
            let mut code = MISS;
            code[at] = byte;
            let why = find_miss(&code).expect_err("must be refused");
            assert!(why.contains("nothing in it"), "{at}: {why}");
        }
        assert!(find_miss(&[]).is_err());
        let twice = [MISS, MISS].concat();
        assert!(find_miss(&twice).unwrap_err().contains("more than one"));
    }
}

//! Where iterations over maps begin, step and end.
//!
//! In: a binary's functions and code. Out: sites of the map probe. Compiled range loops, package
//! reflect and the shims that others reach by linkname all go through the same two functions: up to Go
//! 1.23 `runtime.mapiterinit` and `mapiternext`, since 1.24 `maps.(*Iter).Init` and `Next`. A
//! `runtime.mapiterinit` of a later release is such a shim, which compiled code never calls.
//!
//! In every release the first step is taken as part of the beginning, so that there is one call of
//! the second function for each element that is visited, and one more that finds the end. That one
//! stores nil into the iterator's first field (runtime/map.go, internal/runtime/maps/table.go).

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};

use super::{Site, SiteError, site_at, whole_functions};
use crate::address::VAddr;
use crate::gobin::GoBinary;
use crate::gobin::decode::code;

/// Sites of the map probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSites {
    /// P of the function that begins an iteration.
    pub start: Site,
    /// Whether its arguments are type, map, iterator (Go up to 1.23), not iterator, type, map.
    pub is_classic: bool,
    /// P of the function that steps; the iterator is its first argument.
    pub next: Site,
    /// Where it finds the end: the jump of the write barrier's check before the end is stored. The
    /// kernel emulates it, and the iterator is still in the first argument's register.
    pub ends: Vec<Site>,
}

/// Instructions that may stand between the end's store and the return.
const EPILOGUE: usize = 4;

/// Sites of the map probe.
pub fn map_sites(binary: &GoBinary) -> Result<MapSites, SiteError> {
    let facts = binary.facts();
    let version = facts.version.ok_or(SiteError::NoVersion)?;
    let has = |name: &str| facts.experiments.iter().any(|experiment| experiment == name);
    // The experiment of Go 1.24 and 1.25 brings the old maps back (internal/buildcfg/exp.go).
    let is_classic = !version.at_least(24) || has("noswissmap");
    let names = if is_classic {
        ["runtime.mapiterinit", "runtime.mapiternext"]
    } else {
        ["internal/runtime/maps.(*Iter).Init", "internal/runtime/maps.(*Iter).Next"]
    };
    let [start, next] = whole_functions(binary, names)?;
    let function =
        binary.find_function(names[1]).ok_or_else(|| SiteError::NoFunction(names[1].into()))?;
    let code = code(binary, &function)?;
    let undecodable =
        |why| SiteError::Decode { function: function.name.to_string(), entry: function.entry, why };
    let ends = find_ends(&code).map_err(undecodable)?;
    let site = |(at, length): (usize, usize)| {
        let vaddr = VAddr(function.entry.0 + at as u64);
        site_at(binary, function.name, vaddr, &code[at..at + length], true)
            .ok_or_else(|| undecodable("it is not in the file"))
    };
    let ends = ends.into_iter().map(site).collect::<Result<_, _>>()?;
    Ok(MapSites { start, is_classic, next, ends })
}

/// Offsets and lengths of the jumps over the write barrier of the end's store.
///
/// The end stores nil as key and element in one instruction, out of the register that Go keeps at zero
/// (`movups %xmm15,(%rax)`), and returns. The barrier in front of it is passed once, on or off.
pub(super) fn find_ends(code: &[u8]) -> Result<Vec<(usize, usize)>, &'static str> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut instructions: Vec<(usize, Instruction)> = Vec::new();
    while decoder.can_decode() {
        let at = decoder.position();
        instructions.push((at, decoder.decode()));
    }
    let mut ends = Vec::new();
    let stores = instructions.iter().enumerate().filter(|(_, (_, i))| stores_the_end(i));
    for (index, (at, _)) in stores {
        let mut after = instructions[index + 1..].iter().take(EPILOGUE);
        if !after.any(|(_, i)| matches!(i.mnemonic(), Mnemonic::Ret | Mnemonic::Jmp)) {
            return Err("what ends an iteration does not return");
        }
        let target = *at as u64;
        let skips =
            |i: &Instruction| i.mnemonic() == Mnemonic::Je && i.near_branch_target() == target;
        let mut jumps = instructions.iter().filter(|(_, i)| skips(i));
        // Up to Go 1.20 the barrier lies behind it, and what does not jump there falls through.
        let before = index.checked_sub(1).map(|index| &instructions[index]);
        let before = before.filter(|(_, i)| i.mnemonic() == Mnemonic::Jne);
        match (jumps.next(), jumps.next(), before) {
            (Some((at, jump)), None, None) | (None, None, Some((at, jump))) => {
                ends.push((*at, jump.len()));
            }
            _ => return Err("what ends an iteration has no write barrier of its own"),
        }
    }
    if ends.is_empty() { Err("nothing in it ends an iteration") } else { Ok(ends) }
}

/// `movups %xmm15,(%rax)`.
fn stores_the_end(instruction: &Instruction) -> bool {
    instruction.code() == Code::Movups_xmmm128_xmm
        && instruction.op1_register() == Register::XMM15
        && instruction.memory_base() == Register::RAX
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// cmpl $0,writeBarrier ; je ; mov (%rax),%rcx ; call ; movups %xmm15,(%rax) ; add $0x40,%rsp ;
    /// pop %rbp ; ret
    const END: [u8; 28] = [
        0x83, 0x3d, 1, 2, 3, 0, 0, 0x74, 0x08, 0x48, 0x8b, 0x08, 0xe8, 0, 0, 0, 0, 0x44, 0x0f,
        0x11, 0x38, 0x48, 0x83, 0xc4, 0x40, 0x5d, 0xc3, 0xcc,
    ];

    #[test]
    fn the_end_is_the_jump_over_the_barrier() {
        assert_eq!(find_ends(&END).unwrap(), [(7, 2)]);
        let twice = [END, END].concat();
        assert_eq!(find_ends(&twice).unwrap(), [(7, 2), (35, 2)]);
    }

    #[test]
    fn an_older_end_falls_through() {
        // cmpl $0,writeBarrier ; jne ; movups %xmm15,(%rax) ; jmp
        let code = [0x83, 0x3d, 1, 2, 3, 0, 0, 0x75, 0x06, 0x44, 0x0f, 0x11, 0x38, 0xeb, 0x10];
        assert_eq!(find_ends(&code).unwrap(), [(7, 2)]);
    }

    #[test]
    fn another_store_ends_nothing() {
        // To (%rcx), to 0x10(%rax), from %xmm14.
        for (at, bytes) in [(20, [0x39]), (19, [0x10]), (18, [0x0e])] {
            let mut code = END;
            code[at..at + 1].copy_from_slice(&bytes);
            assert!(find_ends(&code).is_err(), "{at}");
        }
        assert!(find_ends(&[]).is_err());
    }

    #[test]
    fn an_end_without_a_barrier_or_a_return_is_refused() {
        let mut code = END;
        code[8] = 0x0a;
        assert!(find_ends(&code).unwrap_err().contains("barrier"));
        let mut code = END;
        code[26] = 0x90;
        assert!(find_ends(&code).unwrap_err().contains("return"));
    }
}

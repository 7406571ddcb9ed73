//! Where an iteration over a map finds its end, on amd64.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};

use crate::gobin::machine::EPILOGUE;

/// Offsets and lengths of the jumps over the write barrier of the end's store.
///
/// The end stores nil as key and element in one instruction, out of the register that Go keeps at zero
/// (`movups %xmm15,(%rax)`), and returns. The barrier in front of it is passed once, on or off.
pub fn map_ends(code: &[u8]) -> Result<Vec<(usize, usize)>, &'static str> {
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
        assert_eq!(map_ends(&END).unwrap(), [(7, 2)]);
        let twice = [END, END].concat();
        assert_eq!(map_ends(&twice).unwrap(), [(7, 2), (35, 2)]);
    }

    #[test]
    fn an_older_end_falls_through() {
        // cmpl $0,writeBarrier ; jne ; movups %xmm15,(%rax) ; jmp
        let code = [0x83, 0x3d, 1, 2, 3, 0, 0, 0x75, 0x06, 0x44, 0x0f, 0x11, 0x38, 0xeb, 0x10];
        assert_eq!(map_ends(&code).unwrap(), [(7, 2)]);
    }

    #[test]
    fn another_store_ends_nothing() {
        // To (%rcx), to 0x10(%rax), from %xmm14.
        for (at, bytes) in [(20, [0x39]), (19, [0x10]), (18, [0x0e])] {
            let mut code = END;
            code[at..at + 1].copy_from_slice(&bytes);
            assert!(map_ends(&code).is_err(), "{at}");
        }
        assert!(map_ends(&[]).is_err());
    }

    #[test]
    fn an_end_without_a_barrier_or_a_return_is_refused() {
        let mut code = END;
        code[8] = 0x0a;
        assert!(map_ends(&code).unwrap_err().contains("barrier"));
        let mut code = END;
        code[26] = 0x90;
        assert!(map_ends(&code).unwrap_err().contains("return"));
    }
}

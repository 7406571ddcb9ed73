//! Where a `sync.Pool` finds nothing to give, on amd64.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::gobin::machine::{POOL_NEW, TO_CALL};

/// Offset and length of the jump that asks whether there is a `New`: `New` is loaded from the pool in
/// RCX to RDX, compared with nil, and called if it is not.
pub fn pool_miss(code: &[u8]) -> Result<(usize, usize), &'static str> {
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
        && instruction.memory_displacement64() == POOL_NEW
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
        assert_eq!(pool_miss(&MISS), Ok((13, 2)));
        // je over the call, without a jump back.
        let falls_through = [
            0x48, 0x8b, 0x51, 0x20, 0x48, 0x85, 0xd2, 0x74, 0x05, 0x48, 0x8b, 0x02, 0xff, 0xd0,
            0xc3,
        ];
        assert_eq!(pool_miss(&falls_through), Ok((7, 2)));
    }

    #[test]
    fn what_looks_otherwise_is_refused() {
        // Another field, another pool register, another value register, no call, a jump elsewhere.
        for (at, byte) in [(8, 0x28), (7, 0x53), (7, 0x59), (26, 0xe0), (14, 0x00), (13, 0x7f)] {
            let mut code = MISS;
            code[at] = byte;
            let why = pool_miss(&code).expect_err("must be refused");
            assert!(why.contains("nothing in it"), "{at}: {why}");
        }
        assert!(pool_miss(&[]).is_err());
        let twice = [MISS, MISS].concat();
        assert!(pool_miss(&twice).unwrap_err().contains("more than one"));
    }
}

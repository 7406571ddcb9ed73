//! The stack check of functions on amd64.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::gobin::machine::{CHECK_INSTRUCTIONS, P};

/// Finds P (facts 2.1): the first `jbe` after a comparison with `0x10(%r14)` or `0x18(%r14)` (the
/// goroutine's stack guards) ends the check. Without one the function has no check and can't
/// restart, so that P is its first instruction. When P is not emulated the jump is, whose flags say
/// whether the check fails; registers and stack pointer are the same at both.
pub fn find_p(code: &[u8]) -> Result<P, &'static str> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut first: Option<P> = None;
    let mut guard_read = false;
    let mut jump: Option<P> = None;
    for _ in 0..=CHECK_INSTRUCTIONS {
        if !decoder.can_decode() {
            break;
        }
        let offset = decoder.position();
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return Err("invalid instruction");
        }
        let emulated = is_emulated(&instruction);
        let here = P { offset, length: instruction.len(), emulated, at_check: false };
        if let Some(jump) = jump {
            return Ok(if emulated { here } else { jump });
        }
        first.get_or_insert(here);
        guard_read |= reads_stack_guard(&instruction);
        let is_jump = guard_read && instruction.mnemonic() == Mnemonic::Jbe;
        jump = is_jump.then_some(P { at_check: true, ..here });
    }
    if jump.is_some() {
        return Err("its code ends after the stack check");
    }
    first.ok_or("it is empty")
}

fn reads_stack_guard(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|op| instruction.op_kind(op) == OpKind::Memory)
        && instruction.memory_base() == Register::R14
        && instruction.memory_index() == Register::None
        && matches!(instruction.memory_displacement64(), 0x10 | 0x18)
}

/// `push %rbp` and conditional jumps are emulated (arch/x86/kernel/uprobes.c: push_setup_xol_ops,
/// branch_setup_xol_ops); what else stands at P is single-stepped.
fn is_emulated(instruction: &Instruction) -> bool {
    matches!(instruction.code(), Code::Push_r64 | Code::Jbe_rel8_64 | Code::Jbe_rel32_64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUSH_RBP: u8 = 0x55;

    fn p(code: &[u8]) -> P {
        find_p(code).unwrap()
    }

    #[test]
    fn p_follows_a_small_check() {
        // cmp 0x10(%r14),%rsp ; jbe +0x20 ; push %rbp
        let code = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, PUSH_RBP];
        assert_eq!(p(&code), P { offset: 6, length: 1, emulated: true, at_check: false });
    }

    #[test]
    fn p_follows_a_far_branch() {
        let code = [0x49, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0, 1, 0, 0, PUSH_RBP];
        assert_eq!(p(&code).offset, 10);
    }

    #[test]
    fn p_follows_a_check_of_a_larger_frame() {
        // lea -0x88(%rsp),%r12 ; cmp 0x10(%r14),%r12 ; jbe ; push %rbp
        let code = [
            0x4c, 0x8d, 0xa4, 0x24, 0x78, 0xff, 0xff, 0xff, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0,
            1, 0, 0, PUSH_RBP,
        ];
        assert_eq!(p(&code).offset, 18);
    }

    #[test]
    fn p_follows_the_second_jump_of_a_huge_frame() {
        // mov %rsp,%r12 ; sub $0x2000,%r12 ; jb ; cmp 0x10(%r14),%r12 ; jbe ; push %rbp
        let code = [
            0x49, 0x89, 0xe4, 0x49, 0x81, 0xec, 0, 0x20, 0, 0, 0x0f, 0x82, 0, 1, 0, 0, 0x4d, 0x3b,
            0x66, 0x10, 0x0f, 0x86, 0, 1, 0, 0, PUSH_RBP,
        ];
        assert_eq!(p(&code).offset, 26);
    }

    #[test]
    fn a_function_on_the_system_stack_has_the_other_guard() {
        let code = [0x49, 0x3b, 0x66, 0x18, 0x76, 0x20, PUSH_RBP];
        assert_eq!(p(&code).offset, 6);
    }

    #[test]
    fn without_a_check_p_is_the_first_byte() {
        // push %rbp ; mov %rsp,%rbp ; test ; jbe (no guard was read) ; ret
        let code = [PUSH_RBP, 0x48, 0x89, 0xe5, 0x48, 0x85, 0xc0, 0x76, 0x02, 0xc3];
        assert_eq!(p(&code).offset, 0);
    }

    #[test]
    fn what_is_not_emulated_is_trapped_at_the_jump_before_it() {
        // cmp ; jbe ; sub $0x78,%rsp
        let code = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x48, 0x83, 0xec, 0x78];
        assert_eq!(p(&code), P { offset: 4, length: 2, emulated: true, at_check: true });
        // Without a check: sub $0x18,%rsp.
        let code = [0x48, 0x83, 0xec, 0x18];
        assert_eq!(p(&code), P { offset: 0, length: 4, emulated: false, at_check: false });
    }

    #[test]
    fn code_that_ends_early_or_is_no_code_is_refused() {
        assert!(find_p(&[]).is_err());
        assert!(find_p(&[0x49, 0x3b, 0x66, 0x10, 0x76, 0x20]).is_err());
        assert!(find_p(&[0x06]).is_err());
        assert!(find_p(&[0x49, 0x3b]).is_err());
    }
}

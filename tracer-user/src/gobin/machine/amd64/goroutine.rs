//! Where a goroutine is made, on amd64.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::address::VAddr;
use crate::gobin::machine::DEAD;

/// Offset and length of the one call of `status` that finds a dead goroutine.
pub fn goroutine_made(
    code: &[u8],
    entry: VAddr,
    status: VAddr,
) -> Result<(usize, usize), &'static str> {
    let mut decoder = Decoder::with_ip(64, code, entry.0, DecoderOptions::NONE);
    // What the second argument was set to since the last jump or call.
    let mut old_status = None;
    let mut found = None;
    while decoder.can_decode() {
        let at = decoder.position();
        let instruction = decoder.decode();
        if goes_elsewhere(&instruction) {
            let is_call = instruction.code() == Code::Call_rel32_64
                && instruction.near_branch_target() == status.0;
            if is_call && old_status == Some(DEAD) {
                if found.is_some() {
                    return Err("it makes a goroutine in two places");
                }
                found = Some((at, instruction.len()));
            }
            old_status = None;
        } else if writes_second_argument(&instruction) {
            let immediate = instruction.op1_kind() == OpKind::Immediate32;
            old_status = (instruction.mnemonic() == Mnemonic::Mov && immediate)
                .then(|| u64::from(instruction.immediate32()));
        }
    }
    found.ok_or("nothing in it makes a goroutine out of a dead one")
}

/// A jump, a call or a return.
fn goes_elsewhere(instruction: &Instruction) -> bool {
    let to_label = instruction.op_count() > 0 && instruction.op0_kind() == OpKind::NearBranch64;
    to_label || matches!(instruction.mnemonic(), Mnemonic::Call | Mnemonic::Jmp | Mnemonic::Ret)
}

fn writes_second_argument(instruction: &Instruction) -> bool {
    instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::Register
        && matches!(
            instruction.op0_register(),
            Register::BL | Register::BH | Register::BX | Register::EBX | Register::RBX
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: VAddr = VAddr(0x1000);
    const STATUS: VAddr = VAddr(0x800);

    /// `mov $old,%ebx ; mov $1,%ecx ; nop ; call`, at an offset of the function.
    fn change(at: u64, old: u8, target: VAddr) -> Vec<u8> {
        let mut code = vec![0xbb, old, 0, 0, 0, 0xb9, 1, 0, 0, 0, 0x90, 0xe8];
        let next = ENTRY.0 + at + code.len() as u64 + 4;
        code.extend((target.0.wrapping_sub(next) as u32).to_le_bytes());
        code
    }

    #[test]
    fn a_goroutine_is_made_where_a_dead_one_changes() {
        let code = [change(0, 0, STATUS), change(16, 6, STATUS), change(32, 6, VAddr(0x900))];
        assert_eq!(goroutine_made(&code.concat(), ENTRY, STATUS), Ok((16 + 11, 5)));
    }

    #[test]
    fn nowhere_or_twice_is_refused() {
        assert!(goroutine_made(&[], ENTRY, STATUS).is_err());
        assert!(goroutine_made(&change(0, 1, STATUS), ENTRY, STATUS).is_err());
        let twice = [change(0, 6, STATUS), change(16, 6, STATUS)].concat();
        assert!(goroutine_made(&twice, ENTRY, STATUS).unwrap_err().contains("two places"));
    }

    #[test]
    fn what_is_set_before_a_jump_or_set_again_does_not_count() {
        // jmp +0 between; xor %ebx,%ebx after.
        let mut code = change(0, 6, STATUS);
        code[5..10].copy_from_slice(&[0xeb, 0, 0x90, 0x90, 0x90]);
        assert!(goroutine_made(&code, ENTRY, STATUS).is_err());
        code[5..10].copy_from_slice(&[0x31, 0xdb, 0x90, 0x90, 0x90]);
        assert!(goroutine_made(&code, ENTRY, STATUS).is_err());
    }
}

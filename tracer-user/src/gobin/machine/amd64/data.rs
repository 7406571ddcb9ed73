//! What instructions of amd64 say of variables: operands relative to the instruction.

use iced_x86::{Decoder, DecoderOptions, Instruction, MemorySize, Mnemonic, OpKind, Register};

use crate::address::VAddr;
use crate::gobin::decode::Step;

/// The steps of code that lies at `entry`.
pub fn steps(code: &[u8], entry: VAddr) -> Vec<Step> {
    let decoder = Decoder::with_ip(64, code, entry.0, DecoderOptions::NONE);
    decoder.into_iter().filter_map(|instruction| step(&instruction)).collect()
}

fn step(instruction: &Instruction) -> Option<Step> {
    let mut operands = (0..instruction.op_count()).map(|op| instruction.op_kind(op));
    let immediate = operands.clone().any(is_immediate);
    if !operands.any(|kind| kind == OpKind::Memory) {
        let compare = instruction.mnemonic() == Mnemonic::Cmp && immediate;
        return compare.then(|| Step::Compare(instruction.immediate(1)));
    }
    if instruction.memory_base() != Register::RIP {
        return None;
    }
    let target = VAddr(instruction.ip_rel_memory_address());
    let bytes = size(instruction.memory_size());
    let into_register = instruction.op_kind(0) == OpKind::Register;
    Some(match instruction.mnemonic() {
        Mnemonic::Lea => Step::Address(target),
        Mnemonic::Cmp if immediate => Step::Test(target, bytes),
        Mnemonic::Mov | Mnemonic::Movzx | Mnemonic::Sub if into_register => {
            Step::Load(target, bytes)
        }
        _ => Step::Other(target),
    })
}

/// Bytes of a number in memory; 0 for what is none.
fn size(size: MemorySize) -> usize {
    match size {
        MemorySize::UInt8 | MemorySize::Int8 => 1,
        MemorySize::UInt16 | MemorySize::Int16 => 2,
        MemorySize::UInt32 | MemorySize::Int32 => 4,
        MemorySize::UInt64 | MemorySize::Int64 => 8,
        _ => 0,
    }
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
}

/// Every place that an instruction has as its operand.
pub fn operands(code: &[u8], entry: VAddr) -> Vec<VAddr> {
    let decoder = Decoder::with_ip(64, code, entry.0, DecoderOptions::NONE);
    let operand = |instruction: Instruction| {
        let memory = (0..instruction.op_count()).any(|i| instruction.op_kind(i) == OpKind::Memory);
        let relative = memory && instruction.memory_base() == Register::RIP;
        relative.then(|| VAddr(instruction.ip_rel_memory_address()))
    };
    decoder.into_iter().filter_map(operand).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(code: &[u8]) -> Vec<Step> {
        steps(code, VAddr(0x1000))
    }

    #[test]
    fn operands_relative_to_the_instruction() {
        // mov 0x10(%rip),%rcx ; lea 0x20(%rip),%rax ; mov 0x30(%rip),%ecx
        let code = [
            0x48, 0x8b, 0x0d, 0x10, 0, 0, 0, 0x48, 0x8d, 0x05, 0x20, 0, 0, 0, 0x8b, 0x0d, 0x30, 0,
            0, 0,
        ];
        assert_eq!(
            decoded(&code),
            [
                Step::Load(VAddr(0x1017), 8),
                Step::Address(VAddr(0x102e)),
                Step::Load(VAddr(0x1044), 4)
            ]
        );
    }

    #[test]
    fn comparisons() {
        // cmpl $0x0,0x10(%rip) ; cmpq $0x0,0x10(%rip) ; cmpb $0x0,0x10(%rip)
        let code = [
            0x83, 0x3d, 0x10, 0, 0, 0, 0, 0x48, 0x83, 0x3d, 0x10, 0, 0, 0, 0, 0x80, 0x3d, 0x10, 0,
            0, 0, 0,
        ];
        assert_eq!(
            decoded(&code),
            [
                Step::Test(VAddr(0x1017), 4),
                Step::Test(VAddr(0x101f), 8),
                Step::Test(VAddr(0x1026), 1)
            ]
        );
        // cmp $0x3,%rcx ; cmp $0x2f,%al ; cmp %rax,%rcx ; cmp 0x10(%r14),%rsp
        let code = [0x48, 0x83, 0xf9, 3, 0x3c, 0x2f, 0x48, 0x39, 0xc1, 0x49, 0x3b, 0x66, 0x10];
        assert_eq!(decoded(&code), [Step::Compare(3), Step::Compare(0x2f)]);
    }

    #[test]
    fn writes_are_told_apart_and_garbage_is_nothing() {
        // mov %rax,0x10(%rip) ; sub 0x10(%rip),%ecx
        let code = [0x48, 0x89, 0x05, 0x10, 0, 0, 0, 0x2b, 0x0d, 0x10, 0, 0, 0];
        assert_eq!(decoded(&code), [Step::Other(VAddr(0x1017)), Step::Load(VAddr(0x101d), 4)]);
        assert_eq!(decoded(&[0x06, 0x06]), []);
        assert_eq!(decoded(&[0x48, 0x8b, 0x0d]), []);
    }
}

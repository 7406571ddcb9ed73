//! What instructions of arm64 say of variables.
//!
//! A variable is reached by two or three instructions that stand together: `adrp` takes its page, then a load or
//! store adds the rest, or an `add` does. Where the `add` is to the assembler's own register, or the next
//! instruction loads or stores there, the variable itself is used (atomic ones are, whose instructions can't
//! add, and all of position-independent programs of Go 1.19); elsewhere its address is taken.

use super::instruction::{Instruction, decode};
use crate::address::VAddr;
use crate::gobin::decode::Step;

/// The register that the assembler takes for itself (cmd/internal/obj/arm64, REGTMP).
const TEMPORARY: u8 = 27;

/// The steps of code that lies at `entry`.
pub fn steps(code: &[u8], entry: VAddr) -> Vec<Step> {
    let all = decode(code, entry.0);
    let mut reader = Reader { holds: [Holds::Unknown; 32], steps: Vec::new() };
    for (index, instruction) in all.iter().enumerate() {
        reader.read(instruction, all.get(index + 1));
    }
    reader.steps
}

/// Every variable that an instruction uses or whose address it takes.
pub fn operands(code: &[u8], entry: VAddr) -> Vec<VAddr> {
    let operand = |step: Step| match step {
        Step::Address(at) | Step::Load(at, _) | Step::Other(at) => Some(at),
        Step::Test(..) | Step::Compare(_) => None,
    };
    steps(code, entry).into_iter().filter_map(operand).collect()
}

/// What is known of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Unknown,
    /// The page of a variable.
    Page(u64),
    /// The address of a variable that is used itself.
    Variable(u64),
    /// A variable of that many bytes, as it was read.
    Value(VAddr, usize),
    Number(u64),
}

struct Reader {
    holds: [Holds; 32],
    steps: Vec<Step>,
}

impl Reader {
    fn read(&mut self, instruction: &Instruction, next: Option<&Instruction>) {
        use Instruction as I;
        match *instruction {
            I::Page { to, address } => self.set(to, Holds::Page(address)),
            I::Add { to, from, number } => self.add(to, from, number, next),
            I::Number { to, number } => self.set(to, Holds::Number(number)),
            I::Load { to, base, offset, bytes, acquires } => {
                let from = self.variable(base, offset);
                self.steps.extend(from.map(|at| Step::Load(at, bytes)));
                // An atomic variable is read before it is tested, on every machine.
                let value = from.filter(|_| !acquires).map(|at| Holds::Value(at, bytes));
                self.set(to, value.unwrap_or(Holds::Unknown));
            }
            I::LoadPair { to, base, offset } => {
                if let Some(at) = self.variable(base, offset) {
                    let second = VAddr(at.0.wrapping_add(8));
                    self.steps.extend([Step::Load(at, 8), Step::Load(second, 8)]);
                }
                to.into_iter().for_each(|to| self.set(to, Holds::Unknown));
            }
            I::Store { base, offset, .. } | I::StorePair { base, offset, .. } => {
                let to = self.variable(base, offset);
                self.steps.extend(to.map(Step::Other));
            }
            I::Atomic { base } => {
                // On amd64 the address is taken for this.
                if let Some(at) = self.variable(base, 0) {
                    self.steps.push(Step::Address(at));
                    self.set(base, Holds::Unknown);
                }
            }
            I::Compare { register, number } => self.compare(register, number),
            I::CompareWith { right, wide } => {
                if let Holds::Number(number) = self.holds[usize::from(right)] {
                    let cut = if wide { u64::MAX } else { u32::MAX.into() };
                    self.steps.push(Step::Compare(number & cut));
                }
            }
            I::JumpZero { register, .. } | I::JumpBit { register, .. } => {
                self.test(register);
            }
            // No register outlives a call, and what comes next is not reached from here.
            I::Call(_) | I::CallTo(_) | I::Jump(_) | I::JumpTo(_) | I::Return => {
                self.holds = [Holds::Unknown; 32];
            }
            I::Other { to } => self.set(to, Holds::Unknown),
            // It may write any register.
            I::Literal { .. } => self.holds = [Holds::Unknown; 32],
            I::JumpIf { .. } | I::Nop | I::Undefined | I::Data => {}
        }
    }

    fn set(&mut self, register: u8, holds: Holds) {
        // The last one is zero or the stack pointer.
        if register < 31 {
            self.holds[usize::from(register)] = holds;
        }
    }

    fn add(&mut self, to: u8, from: u8, number: u64, next: Option<&Instruction>) {
        let at = match self.holds[usize::from(from)] {
            Holds::Page(page) => page.wrapping_add(number),
            // What is far from the begin of a variable takes one more addition.
            Holds::Variable(at) if to == TEMPORARY => {
                return self.set(to, Holds::Variable(at.wrapping_add(number)));
            }
            _ => return self.set(to, Holds::Unknown),
        };
        let is_used = match next {
            Some(Instruction::Load { base, .. } | Instruction::LoadPair { base, .. }) => {
                *base == to
            }
            Some(Instruction::Store { base, .. } | Instruction::StorePair { base, .. }) => {
                *base == to
            }
            Some(Instruction::Add { to: TEMPORARY, from, .. }) => *from == to,
            _ => false,
        };
        if to == TEMPORARY || is_used {
            self.set(to, Holds::Variable(at));
        } else {
            self.steps.push(Step::Address(VAddr(at)));
            self.set(to, Holds::Unknown);
        }
    }

    /// The variable at an offset from a register.
    fn variable(&self, base: u8, offset: u64) -> Option<VAddr> {
        match self.holds[usize::from(base)] {
            Holds::Page(at) | Holds::Variable(at) => Some(VAddr(at.wrapping_add(offset))),
            _ => None,
        }
    }

    fn compare(&mut self, register: u8, number: u64) {
        if !self.test(register) {
            self.steps.push(Step::Compare(number));
        }
    }

    /// Tells whether what is compared is a variable.
    fn test(&mut self, register: u8) -> bool {
        let Holds::Value(at, bytes) = self.holds[usize::from(register)] else { return false };
        self.steps.push(Step::Test(at, bytes));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: VAddr = VAddr(0x10_0000);

    fn read(words: &[u32]) -> Vec<Step> {
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        steps(&code, ENTRY)
    }

    /// `adrp x27, +0x1000`, the same of x1.
    const PAGE: u32 = 0xb000_001b;
    const PAGE_1: u32 = 0xb000_0001;
    const RATE: VAddr = VAddr(0x10_1e90);

    #[test]
    fn the_assemblers_register_is_the_variable() {
        // add x27, x27, #0xe90 ; ldr x3, [x27] ; cbz x3
        let read_old = read(&[PAGE, 0x913a_437b, 0xf940_0363, 0xb400_0303]);
        assert_eq!(read_old, [Step::Load(RATE, 8), Step::Test(RATE, 8)]);
        // ldr x3, [x27, #0xe90] ; mov x3, x0 ; cbz x3
        assert_eq!(read(&[PAGE, 0xf947_4b63, 0xaa00_03e3, 0xb400_0303]), [Step::Load(RATE, 8)]);
        // str xzr, [x27, #0xe90]
        assert_eq!(read(&[PAGE, 0xf907_4b7f]), [Step::Other(RATE)]);
        // add x27, x27, #0xe90 ; ldp x1, x2, [x27]
        let second = VAddr(RATE.0 + 8);
        assert_eq!(
            read(&[PAGE, 0x913a_437b, 0xa940_0b61]),
            [Step::Load(RATE, 8), Step::Load(second, 8)]
        );
    }

    #[test]
    fn another_register_is_the_address() {
        // add x1, x1, #0xe90 ; bl ; ldr x0, [x1]
        let taken = read(&[PAGE_1, 0x913a_4021, 0x9400_0010, 0xf940_0020]);
        assert_eq!(taken, [Step::Address(RATE)]);
        // add x1, x1, #0xe90 ; ldr x0, [x1] ; ldr x0, [x1, #8]: two words of what lies there.
        let second = VAddr(RATE.0 + 8);
        assert_eq!(
            read(&[PAGE_1, 0x913a_4021, 0xf940_0020, 0xf940_0420]),
            [Step::Load(RATE, 8), Step::Load(second, 8)]
        );
    }

    #[test]
    fn what_is_far_from_a_variables_begin_takes_one_more_addition() {
        // add x1, x1, #0xe90 ; add x27, x1, #0x10, lsl #12 ; ldr x2, [x27, #488]
        let far = read(&[PAGE_1, 0x913a_4021, 0x9140_403b, 0xf940_f762]);
        assert_eq!(far, [Step::Load(VAddr(RATE.0 + 0x1_0000 + 488), 8)]);
    }

    #[test]
    fn atomic_variables_are_read_and_written() {
        // add x1, x1, #0xe90 ; ldar w2, [x1] ; cmp w2, #1
        let loaded = read(&[PAGE_1, 0x913a_4021, 0x88df_fc22, 0x7100_045f]);
        assert_eq!(loaded, [Step::Load(RATE, 4), Step::Compare(1)]);
        // stlr x0, [x1]
        assert_eq!(read(&[PAGE_1, 0x913a_4021, 0xc89f_fc20]), [Step::Other(RATE)]);
        // ldar w2, [x1] ; ldaxr w3, [x1]
        let swapped = read(&[PAGE_1, 0x913a_4021, 0x88df_fc22, 0x885f_fc23]);
        assert_eq!(swapped, [Step::Load(RATE, 4), Step::Address(RATE)]);
    }

    #[test]
    fn comparisons_with_numbers() {
        // cmp x1, #3 ; mov w27, #0x80000000 ; cmp w2, w27 ; cmp w2, w3
        let compared = read(&[0xf100_0c3f, 0x52b0_001b, 0x6b1b_005f, 0x6b03_005f]);
        assert_eq!(compared, [Step::Compare(3), Step::Compare(0x8000_0000)]);
        // Of 32 bits: mov x3, #0xffffffff80000000 ; cmp w2, w3
        assert_eq!(read(&[0xb261_83e3, 0x6b03_005f]), [Step::Compare(0x8000_0000)]);
        assert_eq!(read(&[0, 0xffff_ffff]), []);
    }
}

//! Instructions of arm64 (A64): those that say something of Go's code, the rest as it is.
//!
//! In: code and where it lies. Out: one [`Instruction`] for each word, with data that lies between code told
//! apart. Encodings: Arm Architecture Reference Manual, C4.1.

/// Register 31 in instructions that take it as zero.
pub const ZERO: u8 = 31;

/// One instruction, by its word's meaning. Registers by number, addresses absolute, offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `ret`
    Return,
    /// `b`
    Jump(u64),
    /// `br`
    JumpTo(u8),
    /// `bl`
    Call(u64),
    /// `blr`
    CallTo(u8),
    /// `b.cond`, by the number of the condition.
    JumpIf {
        condition: u8,
        target: u64,
    },
    /// `cbz`, `cbnz`
    JumpZero {
        register: u8,
        if_zero: bool,
        target: u64,
    },
    /// `tbz`, `tbnz`
    JumpBit {
        register: u8,
        target: u64,
    },
    /// `adrp`
    Page {
        to: u8,
        address: u64,
    },
    /// `add to, from, #number`, 64 bits.
    Add {
        to: u8,
        from: u8,
        number: u64,
    },
    /// `cmp register, #number`
    Compare {
        register: u8,
        number: u64,
    },
    /// `cmp left, right`; of 64 bits or of 32.
    CompareWith {
        right: u8,
        wide: bool,
    },
    /// `mov to, #number` by one instruction.
    Number {
        to: u8,
        number: u64,
    },
    /// `ldr` and its like with an offset; `ldar`, which acquires.
    Load {
        to: u8,
        base: u8,
        offset: u64,
        bytes: usize,
        acquires: bool,
    },
    /// `ldp` of two words with an offset.
    LoadPair {
        to: [u8; 2],
        base: u8,
        offset: u64,
    },
    /// `str` and its like with an offset; `stlr`, which releases.
    Store {
        base: u8,
        offset: u64,
        releases: bool,
    },
    /// `stp` of two words with an offset.
    StorePair {
        of: [u8; 2],
        base: u8,
        offset: u64,
    },
    /// One that reads and writes memory at a register's address at once (`ldaxr`, `casal`, `ldaddal` …).
    Atomic {
        base: u8,
    },
    /// `ldr to, address`: what lies at the address is data.
    Literal {
        address: u64,
        bytes: u64,
    },
    Nop,
    /// `udf`, and the zeros between functions.
    Undefined,
    /// A word that a [`Instruction::Literal`] reads.
    Data,
    /// Anything else. What it writes, if anything, is `to`.
    Other {
        to: u8,
    },
}

/// All words of code that lies at `entry`, in order; what is left of an incomplete one is none.
pub fn decode(code: &[u8], entry: u64) -> Vec<Instruction> {
    let words = code.as_chunks::<4>().0;
    let at = (0u64..).map(|index| entry.wrapping_add(4 * index));
    let read = at.zip(words).map(|(at, word)| instruction(u32::from_le_bytes(*word), at));
    let mut all: Vec<Instruction> = read.collect();
    for index in 0..all.len() {
        let Instruction::Literal { address, bytes } = all[index] else { continue };
        let first = address.wrapping_sub(entry) / 4;
        for at in first..first.saturating_add(bytes / 4) {
            if let Some(word) = usize::try_from(at).ok().and_then(|at| all.get_mut(at)) {
                *word = Instruction::Data;
            }
        }
    }
    all
}

/// The meaning of a word at an address.
fn instruction(word: u32, at: u64) -> Instruction {
    use Instruction as I;
    let (low, base) = ((word & 31) as u8, (word >> 5 & 31) as u8);
    let target = |bits: u32, from: u32| at.wrapping_add(signed(word >> from, bits) << 2);
    match word {
        w if w >> 16 == 0 => I::Undefined,
        0xd503_201f => I::Nop,
        w if w & 0xffff_fc1f == 0xd65f_0000 => I::Return,
        w if w & 0xffff_fc1f == 0xd61f_0000 => I::JumpTo(base),
        w if w & 0xffff_fc1f == 0xd63f_0000 => I::CallTo(base),
        w if w >> 26 == 0b00_0101 => I::Jump(target(26, 0)),
        w if w >> 26 == 0b10_0101 => I::Call(target(26, 0)),
        w if w & 0xff00_0010 == 0x5400_0000 => {
            I::JumpIf { condition: (w & 15) as u8, target: target(19, 5) }
        }
        w if w & 0x7e00_0000 == 0x3400_0000 => {
            I::JumpZero { register: low, if_zero: w >> 24 & 1 == 0, target: target(19, 5) }
        }
        w if w & 0x7e00_0000 == 0x3600_0000 => I::JumpBit { register: low, target: target(14, 5) },
        w if w & 0x9f00_0000 == 0x9000_0000 => {
            let pages = signed((w >> 5 & 0x7_ffff) << 2 | w >> 29 & 3, 21);
            I::Page { to: low, address: (at & !0xfff).wrapping_add(pages << 12) }
        }
        w if w & 0xff80_0000 == 0x9100_0000 => {
            I::Add { to: low, from: base, number: shifted_number(w) }
        }
        w if w & 0x7f80_001f == 0x7100_001f => {
            I::Compare { register: base, number: shifted_number(w) }
        }
        // Both registers as they are, without a shift.
        w if w & 0x7fe0_fc1f == 0x6b00_001f => {
            I::CompareWith { right: (w >> 16 & 31) as u8, wide: w >> 31 == 1 }
        }
        w if w & 0x1f80_0000 == 0x1280_0000 => moved(w, low),
        // orr to, zero, #number
        w if w & 0x7f80_03e0 == 0x3200_03e0 => match bit_mask(w) {
            Some(number) => I::Number { to: low, number },
            None => I::Other { to: low },
        },
        w if w & 0x3b00_0000 == 0x1800_0000 => {
            let bytes = [4, 8, if w >> 26 & 1 == 1 { 16 } else { 4 }, 0][(w >> 30) as usize];
            I::Literal { address: target(19, 5), bytes }
        }
        w => memory(w, low, base),
    }
}

/// Loads and stores.
fn memory(word: u32, low: u8, base: u8) -> Instruction {
    use Instruction as I;
    let bytes = 1 << (word >> 30);
    match word {
        // Of whole registers, unsigned scaled offset.
        w if w & 0x3f00_0000 == 0x3900_0000 => {
            let offset = u64::from(w >> 10 & 0xfff) * bytes as u64;
            match w >> 22 & 3 {
                0 => I::Store { base, offset, releases: false },
                _ => I::Load { to: low, base, offset, bytes, acquires: false },
            }
        }
        // Two words, signed offset.
        w if w & 0xff80_0000 == 0xa900_0000 => {
            let pair = [low, (w >> 10 & 31) as u8];
            let offset = signed(w >> 15, 7) << 3;
            match w >> 22 & 1 {
                0 => I::StorePair { of: pair, base, offset },
                _ => I::LoadPair { to: pair, base, offset },
            }
        }
        w if w & 0x3fff_fc00 == 0x08df_fc00 => {
            I::Load { to: low, base, offset: 0, bytes, acquires: true }
        }
        w if w & 0x3fff_fc00 == 0x089f_fc00 => I::Store { base, offset: 0, releases: true },
        w if w & 0x3f00_0000 == 0x0800_0000 || w & 0x3f20_0c00 == 0x3820_0000 => I::Atomic { base },
        _ => I::Other { to: low },
    }
}

/// `movz` and `movn`; `movk` keeps what else is in the register.
fn moved(word: u32, to: u8) -> Instruction {
    let number = u64::from(word >> 5 & 0xffff) << (16 * (word >> 21 & 3));
    let cut = if word >> 31 == 1 { u64::MAX } else { u32::MAX.into() };
    match word >> 29 & 3 {
        0b10 => Instruction::Number { to, number: number & cut },
        0b00 => Instruction::Number { to, number: !number & cut },
        _ => Instruction::Other { to },
    }
}

/// The number of 12 bits in arithmetic, which may be shifted by as many.
fn shifted_number(word: u32) -> u64 {
    u64::from(word >> 10 & 0xfff) << if word >> 22 & 1 == 1 { 12 } else { 0 }
}

/// The number in logic: a run of ones, rotated, in elements that repeat (DecodeBitMasks).
fn bit_mask(word: u32) -> Option<u64> {
    let (n, rotate, ones) = (word >> 22 & 1, word >> 16 & 63, word >> 10 & 63);
    let wide = word >> 31 == 1;
    let size = 1u32 << (n << 6 | !ones & 63).checked_ilog2()?;
    if size < 2 || n == 1 && !wide || ones & (size - 1) == size - 1 {
        return None;
    }
    let run = (1u64 << ((ones & (size - 1)) + 1)) - 1;
    let rotate = rotate & (size - 1);
    let element = if rotate == 0 { run } else { run >> rotate | run << (size - rotate) };
    let element = if size == 64 { element } else { element & ((1 << size) - 1) };
    let number = (0..64 / size).fold(0, |number, at| number | element << (at * size));
    Some(if wide { number } else { number & u64::from(u32::MAX) })
}

/// The lowest bits as a signed number.
fn signed(word: u32, bits: u32) -> u64 {
    let up = 64 - bits;
    ((u64::from(word) << up) as i64 >> up) as u64
}

#[cfg(test)]
mod tests {
    use super::Instruction as I;
    use super::*;

    fn one(word: u32) -> Instruction {
        instruction(word, 0x10_0000)
    }

    /// Words as Go's assembler and GNU's write them.
    #[test]
    fn words_mean_what_the_manual_says() {
        let words = [
            (0xd65f_03c0, I::Return),
            (0xd61f_0060, I::JumpTo(3)),
            (0xd63f_0000, I::CallTo(0)),
            (0x1400_0002, I::Jump(0x10_0008)),
            (0x97ff_ffff, I::Call(0xf_fffc)),
            (0x5400_0109, I::JumpIf { condition: 9, target: 0x10_0020 }),
            (0x3500_0083, I::JumpZero { register: 3, if_zero: false, target: 0x10_0010 }),
            (0xb400_005a, I::JumpZero { register: 26, if_zero: true, target: 0x10_0008 }),
            (0x3600_00c3, I::JumpBit { register: 3, target: 0x10_0018 }),
            (0x37ff_fff4, I::JumpBit { register: 20, target: 0xf_fffc }),
            (0xb000_001b, I::Page { to: 27, address: 0x10_1000 }),
            (0xf0ff_ffe0, I::Page { to: 0, address: 0xf_f000 }),
            (0x913a_437b, I::Add { to: 27, from: 27, number: 0xe90 }),
            (0x9140_0420, I::Add { to: 0, from: 1, number: 0x1000 }),
            (0xf100_0c3f, I::Compare { register: 1, number: 3 }),
            (0x7100_bc1f, I::Compare { register: 0, number: 0x2f }),
            (0x6b1b_005f, I::CompareWith { right: 27, wide: false }),
            (0xeb10_023f, I::CompareWith { right: 16, wide: true }),
            (0x5280_00c1, I::Number { to: 1, number: 6 }),
            (0x52b0_001b, I::Number { to: 27, number: 0x8000_0000 }),
            (0x92b0_0003, I::Number { to: 3, number: !0x8000_0000 }),
            (0xf280_0023, I::Other { to: 3 }),
            (0xf940_0b90, load(16, 28, 16, 8, false)),
            (0xb949_cb63, load(3, 27, 0x9c8, 4, false)),
            (0x394d_9363, load(3, 27, 868, 1, false)),
            (0xc8df_fc21, load(1, 1, 0, 8, true)),
            (0x88df_fc42, load(2, 2, 0, 4, true)),
            (0xa940_0b61, I::LoadPair { to: [1, 2], base: 27, offset: 0 }),
            (0xa97f_fbfd, I::LoadPair { to: [29, 30], base: 31, offset: 8u64.wrapping_neg() }),
            (0xa900_7c1f, I::StorePair { of: [31, 31], base: 0, offset: 0 }),
            (0xf900_137f, I::Store { base: 27, offset: 32, releases: false }),
            (0xc89f_fc20, I::Store { base: 1, offset: 0, releases: true }),
            (0x885f_fc22, I::Atomic { base: 1 }),
            (0xb8e0_0041, I::Atomic { base: 2 }),
            (0x5800_0043, I::Literal { address: 0x10_0008, bytes: 8 }),
            (0xd503_201f, I::Nop),
            (0, I::Undefined),
            // str x30, [sp, #-112]! ; sub x29, sp, #8 ; mov x2, x0
            (0xf819_0ffe, I::Other { to: 30 }),
            (0xd100_23fd, I::Other { to: 29 }),
            (0xaa00_03e2, I::Other { to: 2 }),
        ];
        for (word, meaning) in words {
            assert_eq!(one(word), meaning, "{word:#010x}");
        }
    }

    fn load(to: u8, base: u8, offset: u64, bytes: usize, acquires: bool) -> Instruction {
        I::Load { to, base, offset, bytes, acquires }
    }

    #[test]
    fn numbers_of_repeated_bits() {
        for (word, number) in [
            // orr w1, wzr, #6 ; orr x7, xzr, #1 ; orr w0, wzr, #0x80000000
            (0x321f_07e1, 6),
            (0xb240_03e7, 1),
            (0x3201_03e0, 0x8000_0000),
            // orr x0, xzr, #0x5555555555555555 ; orr x0, xzr, #0xffff0000ffff0000
            (0xb200_f3e0, 0x5555_5555_5555_5555),
            (0xb210_3fe0, 0xffff_0000_ffff_0000),
        ] {
            assert_eq!(one(word), I::Number { to: (word & 31) as u8, number }, "{word:#x}");
        }
        // All ones is no such number.
        assert_eq!(one(0xb240_ffe0), I::Other { to: 0 });
    }

    #[test]
    fn what_is_read_as_data_is_none() {
        // ldr x3, +8 ; ret ; a word that looks like ret, and another one.
        let words = [0x5800_0043, 0xd65f_03c0, 0xd65f_03c0, 0xd65f_03c0];
        let code: Vec<u8> = words.iter().flat_map(|w: &u32| w.to_le_bytes()).collect();
        let read = decode(&code, 0x1000);
        assert_eq!(read[1..], [I::Return, I::Data, I::Data]);
        // What lies elsewhere, and what is left of a word.
        let far = [0x5aff_ffe3u32.to_le_bytes().as_slice(), &[0xc0, 3]].concat();
        assert_eq!(decode(&far, 0x1000).len(), 1);
        assert_eq!(decode(&[], 0), []);
    }
}

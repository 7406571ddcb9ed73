//! Stack checks, returns, calls, and the shapes of a few functions on arm64.

use super::instruction::{Instruction, ZERO, decode};
use crate::address::VAddr;
use crate::gobin::machine::{CHECK_INSTRUCTIONS, DEAD, EPILOGUE, P, POOL_NEW, Place, TO_CALL};

/// Where the goroutine is.
const G: u8 = 28;
/// `b.ls`: the unsigned comparison found lower or same.
const LOWER_OR_SAME: u8 = 9;

/// The first `b.ls` after a load of one of the goroutine's stack guards ends the check (cmd/internal/obj/arm64,
/// stacksplit); it is emulated, what follows is not. Without one P is the first instruction.
pub fn find_p(code: &[u8]) -> Result<P, &'static str> {
    let all = decode(code, 0);
    let mut guard_read = false;
    for (index, instruction) in all.iter().enumerate().take(CHECK_INSTRUCTIONS) {
        match instruction {
            Instruction::Undefined => return Err("invalid instruction"),
            Instruction::Load { base: G, offset: 16 | 24, bytes: 8, .. } => guard_read = true,
            Instruction::JumpIf { condition: LOWER_OR_SAME, .. } if guard_read => {
                if index + 1 == all.len() {
                    return Err("its code ends after the stack check");
                }
                return Ok(P { offset: 4 * index, length: 4, emulated: true, at_check: true });
            }
            _ => {}
        }
    }
    let emulated = is_emulated(all.first().ok_or("it is empty")?);
    Ok(P { offset: 0, length: 4, emulated, at_check: false })
}

fn is_emulated(instruction: &Instruction) -> bool {
    use Instruction as I;
    let jumps = matches!(
        instruction,
        I::Jump(_) | I::JumpTo(_) | I::JumpIf { .. } | I::JumpZero { .. } | I::JumpBit { .. }
    );
    let calls = matches!(instruction, I::Call(_) | I::CallTo(_) | I::Return);
    jumps || calls || matches!(instruction, I::Page { .. })
}

/// Offsets and lengths of the returns of a function. Behind its code may be zeros up to the next function.
pub fn returns(code: &[u8]) -> Result<Vec<Place>, &'static str> {
    let all = decode(code, 0);
    let is_code = |i: &Instruction| !matches!(i, Instruction::Undefined | Instruction::Data);
    let end = all.iter().rposition(is_code).map_or(0, |last| last + 1);
    if all[..end].contains(&Instruction::Undefined) {
        return Err("its code has no such instruction");
    }
    let found: Vec<Place> = places(&all, |i| *i == Instruction::Return).collect();
    if found.is_empty() { Err("it does not return") } else { Ok(found) }
}

/// Offset and length of the only call of a target.
pub fn only_call(code: &[u8], entry: VAddr, targets: &[VAddr]) -> Option<Place> {
    let all = decode(code, entry.0);
    let is_call =
        |i: &Instruction| matches!(i, Instruction::Call(to) if targets.contains(&VAddr(*to)));
    let mut calls = places(&all, is_call);
    let call = calls.next()?;
    calls.next().is_none().then_some(call)
}

/// Offset and length of the one call of `status` whose second argument, the old status, is that of a dead
/// goroutine.
pub fn goroutine_made(code: &[u8], entry: VAddr, status: VAddr) -> Result<Place, &'static str> {
    use Instruction as I;
    // What the second argument was set to since the last jump or call.
    let mut old_status = None;
    let mut found = None;
    for (index, instruction) in decode(code, entry.0).into_iter().enumerate() {
        match instruction {
            I::Call(to) if to == status.0 && old_status == Some(DEAD) => {
                if found.is_some() {
                    return Err("it makes a goroutine in two places");
                }
                found = Some((4 * index, 4));
                old_status = None;
            }
            I::Call(_) | I::CallTo(_) | I::Jump(_) | I::JumpTo(_) | I::Return => old_status = None,
            I::JumpIf { .. } | I::JumpZero { .. } | I::JumpBit { .. } => old_status = None,
            I::Number { to: 1, number } => old_status = Some(number),
            I::Page { to: 1, .. } | I::Add { to: 1, .. } | I::Load { to: 1, .. } => {
                old_status = None;
            }
            I::LoadPair { to: [one, two], .. } if one == 1 || two == 1 => old_status = None,
            I::Other { to: 1 } | I::Literal { .. } | I::Atomic { .. } => old_status = None,
            _ => {}
        }
    }
    found.ok_or("nothing in it makes a goroutine out of a dead one")
}

/// Offsets and lengths of the jumps over the write barrier of the end's store.
///
/// The end stores nil as key and element in one instruction (`stp xzr, xzr, [x0]`) and returns. The barrier in
/// front of it is passed once, on or off.
pub fn map_ends(code: &[u8]) -> Result<Vec<Place>, &'static str> {
    let all = decode(code, 0);
    let end = Instruction::StorePair { of: [ZERO, ZERO], base: 0, offset: 0 };
    let mut ends = Vec::new();
    for (at, _) in places(&all, |i| *i == end) {
        let index = at / 4;
        let mut after = all[index + 1..].iter().take(EPILOGUE);
        if !after.any(|i| matches!(i, Instruction::Return | Instruction::Jump(_))) {
            return Err("what ends an iteration does not return");
        }
        let skips = |i: &Instruction| matches!(i, Instruction::JumpZero { if_zero: true, target, .. } if *target == at as u64);
        let mut jumps = places(&all, skips);
        // Up to Go 1.20 the barrier lies behind it, and what does not jump there falls through.
        let before = index.checked_sub(1).map(|before| (before, &all[before]));
        let before = before
            .filter(|(_, i)| matches!(i, Instruction::JumpZero { if_zero: false, .. }))
            .map(|(before, _)| (4 * before, 4));
        match (jumps.next(), jumps.next(), before) {
            (Some(jump), None, None) | (None, None, Some(jump)) => ends.push(jump),
            _ => return Err("what ends an iteration has no write barrier of its own"),
        }
    }
    if ends.is_empty() { Err("nothing in it ends an iteration") } else { Ok(ends) }
}

/// Offset and length of the jump that asks whether there is a `New`: `New` is loaded from the pool in R2 to R26,
/// compared with nil, and called if it is not.
pub fn pool_miss(code: &[u8]) -> Result<Place, &'static str> {
    use Instruction as I;
    let all = decode(code, 0);
    let without_nops: Vec<usize> = (0..all.len()).filter(|at| all[*at] != I::Nop).collect();
    let calls_new = |from: u64| {
        let after = without_nops.iter().filter(|at| 4 * **at as u64 >= from).take(TO_CALL);
        let mut upto_jump = after.map(|at| &all[*at]).take_while(|i| !matches!(i, I::Jump(_)));
        upto_jump.any(|i| matches!(i, I::CallTo(_)))
    };
    let loads_new = I::Load { to: 26, base: 2, offset: POOL_NEW, bytes: 8, acquires: false };
    let mut jumps = without_nops.windows(2).filter_map(|two| {
        let I::JumpZero { register: 26, if_zero, target } = all[two[1]] else { return None };
        let there = if if_zero { 4 * two[1] as u64 + 4 } else { target };
        (all[two[0]] == loads_new && calls_new(there)).then_some((4 * two[1], 4))
    });
    match (jumps.next(), jumps.next()) {
        (Some(jump), None) => Ok(jump),
        (None, _) => Err("nothing in it asks for the pool's New as is known of sync/pool.go"),
        _ => Err("it asks for the pool's New in more than one place"),
    }
}

/// Offsets and lengths of some instructions.
fn places(
    all: &[Instruction],
    wanted: impl Fn(&Instruction) -> bool,
) -> impl Iterator<Item = Place> {
    all.iter().enumerate().filter(move |(_, i)| wanted(i)).map(|(index, _)| (4 * index, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RET: u32 = 0xd65f_03c0;
    const NOP: u32 = 0xd503_201f;

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn at_check(offset: usize) -> Result<P, &'static str> {
        Ok(P { offset, length: 4, emulated: true, at_check: true })
    }

    #[test]
    fn the_site_is_the_jump_of_the_check() {
        // ldr x16, [x28, #16] ; cmp sp, x16 ; b.ls ; str x30, [sp, #-112]!
        let small = [0xf940_0b90, 0xeb30_63ff, 0x5400_4709, 0xf819_0ffe];
        assert_eq!(find_p(&bytes(&small)), at_check(8));
        assert!(find_p(&bytes(&small[..3])).is_err());
        // A larger frame: sub x17, sp, #0x90 between, and the other guard.
        let larger = [0xf940_0f90, 0xd102_43f1, 0xeb10_023f, 0x5400_4709, 0xf819_0ffe];
        assert_eq!(find_p(&bytes(&larger)), at_check(12));
        // A huge one: the first jump (b.cc) is not that of the guard.
        let huge = [0xf940_0b90, 0xd283_001b, 0xeb3b_63f1, 0x5400_0083, 0xeb10_023f, 0x5400_4709];
        assert_eq!(find_p(&bytes(&[&huge[..], &[NOP]].concat())), at_check(20));
    }

    #[test]
    fn without_a_check_p_is_the_first_instruction() {
        // str x30, [sp, #-32]! ; ldr x16, [x1, #16] (no guard) ; b.ls
        let code = bytes(&[0xf81e_0ffe, 0xf940_0830, 0x5400_4709, RET]);
        let first = P { offset: 0, length: 4, emulated: false, at_check: false };
        assert_eq!(find_p(&code), Ok(first));
        assert_eq!(find_p(&bytes(&[RET])), Ok(P { emulated: true, ..first }));
        assert!(find_p(&[]).is_err() && find_p(&[0; 4]).is_err() && find_p(&[1, 2]).is_err());
    }

    #[test]
    fn every_return_is_found() {
        let code = bytes(&[0xb400_0040, RET, NOP, RET, 0, 0]);
        assert_eq!(returns(&code), Ok(vec![(4, 4), (12, 4)]));
        // Data that looks like one; zeros amid code; none.
        assert!(returns(&bytes(&[0x5800_0043, NOP, RET, RET])).is_err());
        assert!(returns(&bytes(&[NOP, 0, RET])).is_err());
        assert!(returns(&bytes(&[NOP])).is_err() && returns(&[]).is_err());
    }

    #[test]
    fn a_call_is_found_by_what_it_calls() {
        // bl +0x10 ; nop ; bl -0x20
        let code = bytes(&[0x9400_0004, NOP, 0x97ff_fff8]);
        let find = |targets: &[u64]| {
            let targets: Vec<VAddr> = targets.iter().map(|at| VAddr(*at)).collect();
            only_call(&code, VAddr(0x1000), &targets)
        };
        assert_eq!(find(&[0x1010]), Some((0, 4)));
        assert_eq!(find(&[0x0fe8, 0x2000]), Some((8, 4)));
        assert_eq!((find(&[0x1014]), find(&[0x1010, 0x0fe8])), (None, None));
    }

    /// `orr w1, wzr, #6 ; orr w2, wzr, #1 ; nop ; bl`, which goes as far back as it lies at.
    fn change(at: u32, first: u32) -> Vec<u32> {
        vec![first, 0x3200_03e2, NOP, 0x9400_0000 | (0u32.wrapping_sub(at / 4 + 3) & 0x3ff_ffff)]
    }

    #[test]
    fn a_goroutine_is_made_where_a_dead_one_changes() {
        const SIX: u32 = 0x321f_07e1;
        const ENTRY: VAddr = VAddr(0x1000);
        let made = |words: &[u32]| goroutine_made(&bytes(words), ENTRY, ENTRY);
        // mov w1, #0 ; then 6.
        let two = [change(0, 0x5280_0001), change(16, SIX)].concat();
        assert_eq!(made(&two), Ok((28, 4)));
        assert!(made(&[change(0, SIX), change(16, SIX)].concat()).unwrap_err().contains("two"));
        assert!(made(&[]).is_err() && made(&change(0, 0x5280_0001)).is_err());
        // What is set before a jump, or set again: b +4 ; ldr x1, [sp, #8] ; mov x1, x0.
        for between in [0x1400_0001, 0xf940_07e1, 0xaa00_03e1] {
            let mut code = change(0, SIX);
            code[2] = between;
            assert!(made(&code).is_err(), "{between:#x}");
        }
    }

    /// cbz w1, +16 ; ldp x1, x2, [x0] ; bl ; stp x1, x2, [x25] ; stp xzr, xzr, [x0] ; ldur x29, [sp, #-8] ;
    /// ldr x30, [sp], #80 ; ret
    const END: [u32; 8] = [
        0x3400_0081,
        0xa940_0801,
        0x9400_1000,
        0xa900_0b21,
        0xa900_7c1f,
        0xf85f_83fd,
        0xf845_07fe,
        RET,
    ];

    #[test]
    fn the_end_is_the_jump_over_the_barrier() {
        assert_eq!(map_ends(&bytes(&END)), Ok(vec![(0, 4)]));
        assert_eq!(map_ends(&bytes(&[END, END].concat())), Ok(vec![(0, 4), (32, 4)]));
        // Go 1.19: cbnz w1, +12 ; stp ; b
        assert_eq!(map_ends(&bytes(&[0x3500_0061, 0xa900_7c1f, 0x1400_0006])), Ok(vec![(0, 4)]));
    }

    #[test]
    fn another_end_is_refused() {
        // To [x1], to [x0, #16], of x1 and x2; a jump elsewhere; no return.
        for (at, word, why) in [
            (4, 0xa900_7c3f, "nothing"),
            (4, 0xa901_7c1f, "nothing"),
            (4, 0xa900_0801, "nothing"),
            (0, 0x3400_00a1, "barrier"),
            (7, NOP, "return"),
        ] {
            let mut code = END;
            code[at] = word;
            let refused = map_ends(&bytes(&code)).unwrap_err();
            assert!(refused.contains(why), "{at}: {refused}");
        }
        assert!(map_ends(&[]).is_err());
    }

    /// ldr x2, [sp, #72] ; ldr x26, [x2, #32] ; nop ; cbnz x26, +12 ; ldr x1, [sp, #48] ; b +12 ;
    /// ldr x0, [x26] ; blr x0
    const MISS: [u32; 8] = [
        0xf940_27e2,
        0xf940_105a,
        NOP,
        0xb500_007a,
        0xf940_1be1,
        0x1400_0003,
        0xf940_0340,
        0xd63f_0000,
    ];

    #[test]
    fn a_miss_is_the_jump_behind_the_question_for_new() {
        assert_eq!(pool_miss(&bytes(&MISS)), Ok((12, 4)));
        // cbz over the call.
        let through = [0xf940_105a, 0xb400_007a, 0xf940_0340, 0xd63f_0000, RET];
        assert_eq!(pool_miss(&bytes(&through)), Ok((4, 4)));
        // Another field, pool register, value register; no call; a jump elsewhere.
        for (at, word) in
            [(1, 0xf940_145a), (1, 0xf940_107a), (1, 0xf940_1059), (7, NOP), (3, 0xb500_005a)]
        {
            let mut code = MISS;
            code[at] = word;
            assert!(pool_miss(&bytes(&code)).unwrap_err().contains("nothing in it"), "{at}");
        }
        assert!(pool_miss(&bytes(&[MISS, MISS].concat())).unwrap_err().contains("more than one"));
    }
}

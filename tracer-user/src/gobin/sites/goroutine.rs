//! Where goroutines begin and end.
//!
//! In: a binary's functions and code. Out: sites of the goroutine probe. Every goroutine of a `go`
//! statement, of a timer, of `iter.Pull` and of the runtime itself is made by `runtime.newproc1`, which
//! knows its `g` and start function when it turns it from dead to runnable (proc.go, coro.go): the
//! call of `casgstatus` with `_Gdead` as the old status happens once for each, and the kernel emulates a
//! call. Each ends once in `gdestroy`, up to Go 1.21 in `goexit0`. Threads of C that call Go borrow
//! a `g` for that; it comes from elsewhere and passes neither.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::{Site, SiteError, site_at, whole_functions};
use crate::address::VAddr;
use crate::gobin::GoBinary;
use crate::gobin::decode::code;

/// Sites of the goroutine probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoroutineSites {
    /// A call in `newproc1`: the new `g` is the first argument, the frame pointer is `newproc1`'s own.
    pub created: Site,
    /// P of the function that ends one; its `g` is the first argument.
    pub ended: Site,
}

const NEWPROC1: &str = "runtime.newproc1";
const CASGSTATUS: &str = "runtime.casgstatus";

/// Status of a `g` that is nobody's (runtime2.go, `_Gdead`; Go 1.18 to 1.27).
const DEAD: u64 = 6;

/// Sites of the goroutine probe.
pub fn goroutine_sites(binary: &GoBinary) -> Result<GoroutineSites, SiteError> {
    let version = binary.facts().version.ok_or(SiteError::NoVersion)?;
    let end = if version.at_least(22) { "runtime.gdestroy" } else { "runtime.goexit0" };
    let [_, ended] = whole_functions(binary, [NEWPROC1, end])?;
    let missing = |name: &str| SiteError::NoFunction(name.to_string());
    let [function, status] = binary.find_functions(&[NEWPROC1, CASGSTATUS])[..] else {
        return Err(missing(NEWPROC1));
    };
    let function = function.ok_or_else(|| missing(NEWPROC1))?;
    let status = status.ok_or_else(|| missing(CASGSTATUS))?;
    let inlined = binary.find_inlined(&[status]).into_iter().flatten();
    if let Some(into) = inlined.into_iter().find(|into| into.name == NEWPROC1) {
        return Err(SiteError::Inlined { function: CASGSTATUS, into: into.name.to_string() });
    }
    let code = code(binary, &function)?;
    let undecodable =
        |why| SiteError::Decode { function: NEWPROC1.to_string(), entry: function.entry, why };
    let (at, length) = find_created(&code, function.entry, status.entry).map_err(undecodable)?;
    let vaddr = VAddr(function.entry.0 + at as u64);
    let created = site_at(binary, NEWPROC1, vaddr, &code[at..at + length], true)
        .ok_or_else(|| undecodable("it is not in the file"))?;
    Ok(GoroutineSites { created, ended })
}

/// Offset and length of the one call of `status` that finds a dead goroutine.
pub(super) fn find_created(
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
        assert_eq!(find_created(&code.concat(), ENTRY, STATUS), Ok((16 + 11, 5)));
    }

    #[test]
    fn nowhere_or_twice_is_refused() {
        assert!(find_created(&[], ENTRY, STATUS).is_err());
        assert!(find_created(&change(0, 1, STATUS), ENTRY, STATUS).is_err());
        let twice = [change(0, 6, STATUS), change(16, 6, STATUS)].concat();
        assert!(find_created(&twice, ENTRY, STATUS).unwrap_err().contains("two places"));
    }

    #[test]
    fn what_is_set_before_a_jump_or_set_again_does_not_count() {
        // jmp +0 between; xor %ebx,%ebx after.
        let mut code = change(0, 6, STATUS);
        code[5..10].copy_from_slice(&[0xeb, 0, 0x90, 0x90, 0x90]);
        assert!(find_created(&code, ENTRY, STATUS).is_err());
        code[5..10].copy_from_slice(&[0x31, 0xdb, 0x90, 0x90, 0x90]);
        assert!(find_created(&code, ENTRY, STATUS).is_err());
    }
}

//! What the kernel has made of heaptap's programs.
//!
//! In: a heaptap's process id. Out: its programs at uprobes, and which of them have a stack of their own for each CPU,
//! by the instructions that x86 takes such a stack with.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context, Result, ensure};
use aya::programs::ProgramInfo;
use nix::libc;

use crate::holding::programs_held;

/// Programs at uprobes.
#[derive(Debug, Default)]
pub struct Uprobes {
    pub all: Vec<String>,
    pub with_private_stack: Vec<String>,
}

/// `BPF_PROG_TYPE_KPROBE`, which those at uprobes are of.
const KPROBE: u32 = 2;

impl Uprobes {
    pub fn of(heaptap: u32) -> Result<Uprobes> {
        let mut found = Uprobes::default();
        for info in programs_held(heaptap)? {
            if info.program_type() as u32 != KPROBE {
                continue;
            }
            let name = info.name_as_str().context("a program without a name")?.to_owned();
            if has_private_stack(&code(&info)?) {
                found.with_private_stack.push(name.clone());
            }
            found.all.push(name);
        }
        Ok(found)
    }
}

/// `movabs $stack, %r9; add %gs:…, %r9`.
fn has_private_stack(code: &[u8]) -> bool {
    let begins = |at: &[u8]| at[..2] == [0x49, 0xb9] && at[10..] == [0x65, 0x4c, 0x03, 0x0c, 0x25];
    code.windows(15).any(begins)
}

/// The begin of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct Told {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    machine_code_len: u32,
    translated_len: u32,
    machine_code: u64,
}

/// The machine code of a program.
fn code(info: &ProgramInfo) -> Result<Vec<u8>> {
    let program = info.fd()?;
    let program = program.as_fd().as_raw_fd();
    let mut code = vec![0; ask(program, &mut [])? as usize];
    let length = ask(program, &mut code)? as usize;
    ensure!(length == code.len() && code.iter().any(|byte| *byte != 0), "no machine code is told");
    Ok(code)
}

/// Reads as much of it as there is room for; how long it is.
fn ask(program: i32, code: &mut [u8]) -> Result<u32> {
    #[repr(C)]
    struct Asked {
        program: u32,
        length: u32,
        told: u64,
    }
    const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
    let mut told = Told {
        machine_code_len: code.len().try_into()?,
        machine_code: code.as_mut_ptr() as u64,
        ..Told::default()
    };
    let length = size_of::<Told>().try_into()?;
    let asked = Asked { program: program.try_into()?, length, told: &raw mut told as u64 };
    // SAFETY: the kernel writes what is told, no longer than said, and as much code as there is room for.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw const asked, size_of::<Asked>())
    };
    ensure!(done == 0, "bpf(BPF_OBJ_GET_INFO_BY_FD): {}", std::io::Error::last_os_error());
    Ok(told.machine_code_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_stack_is_known_by_its_instructions() {
        let taken = "f3 0f 1e fa 49 b9 88 77 66 55 44 33 22 11 65 4c 03 0c 25 18 00 00 00 c3";
        let bytes = |text: &str| -> Vec<u8> {
            text.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
        };
        assert!(has_private_stack(&bytes(taken)));
        assert!(!has_private_stack(&bytes(&taken.replace("65 4c", "65 48"))));
        assert!(!has_private_stack(&[]));
    }
}

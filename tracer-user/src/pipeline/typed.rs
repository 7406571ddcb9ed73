//! Types of what was allocated, boxed or made.
//!
//! In: a binary's types, a program, and what it split a stack by (`--by type`). Out: a name. Where the runtime
//! is given no type it says what is known instead.

use tracer_common::{boxed, record::NO_TYPES, slice};

use crate::{
    address::VAddr,
    gobin::types::Types,
    probe::Program,
    profile::{Name, Profile},
};

/// The type that a program's class stands for; nothing of programs that split by something else.
pub fn name(
    profile: &mut Profile,
    types: Option<&Types>,
    program: Program,
    class: u64,
) -> Option<Name> {
    let unnamed = match program {
        Program::Alloc => untyped(class),
        Program::Box => boxed_as(class),
        Program::Slice => elements(class),
        _ => return None,
    };
    let text = unnamed.unwrap_or_else(|| {
        let named = types.and_then(|types| types.get(VAddr(class)));
        named.map_or_else(
            || "[unknown type: made at run time, or damaged]".to_string(),
            |named| named.name.to_string(),
        )
    });
    Some(profile.names.intern(&text))
}

/// runtime/string.go, runtime/slice.go: rawstring, rawbyteslice and the like pass no type.
fn untyped(class: u64) -> Option<String> {
    (class == 0).then(|| "[no type: string or byte buffer]".to_string())
}

fn boxed_as(class: u64) -> Option<String> {
    let text = match u16::try_from(class).ok()? {
        boxed::BITS_16 => "[uint16-sized value]",
        boxed::BITS_32 => "[uint32-sized value]",
        boxed::BITS_64 => "[uint64-sized value]",
        boxed::STRING => "[string-shaped value]",
        boxed::SLICE => "[slice-shaped value]",
        _ => return None,
    };
    Some(text.to_string())
}

fn elements(class: u64) -> Option<String> {
    match class {
        slice::OF_RUNES => Some("int32".to_string()),
        slice::OF_SIZE => Some("[values without pointers]".to_string()),
        size @ slice::OF_SIZE..NO_TYPES => {
            Some(format!("[{}-byte values without pointers]", size - slice::OF_SIZE))
        }
        class => untyped(class),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_type_says_what_is_known() {
        assert_eq!(boxed_as(boxed::STRING.into()).as_deref(), Some("[string-shaped value]"));
        assert_eq!(boxed_as(0x50_0000), None);
        assert_eq!(boxed_as(0x1_0000 + u64::from(boxed::STRING)), None);
        let of = |class| elements(class).unwrap_or_default();
        assert_eq!(of(0), "[no type: string or byte buffer]");
        assert_eq!(of(slice::of_size(24)), "[24-byte values without pointers]");
        assert_eq!(of(slice::of_size(1 << 20)), "[values without pointers]");
        assert_eq!(elements(0x50_0000), None);
    }
}

//! Where fields lie in the running kernel's own structures, as it tells itself.
//!
//! In: the kernel's type information (/sys/kernel/btf/vmlinux, BTF: Documentation/bpf/btf.rst). Out: byte
//! offsets of members, through anonymous structs and unions. Nothing is assumed: what is not there, or
//! is not what it should be, is not found.

use std::collections::HashMap;

/// Kinds of types, by number.
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const QUALIFIERS: [u32; 3] = [9, 10, 11];
const FUNC_PROTO: u32 = 13;
const TYPE_TAG: u32 = 18;

const MAGIC: u16 = 0xeb9f;
/// Structs within structs that are looked into, and members that are looked at in search of one: the
/// largest struct of Linux has some 300 of its own.
const DEEPEST: u32 = 8;
const MOST_MEMBERS: u32 = 100_000;

/// The kernel's types.
pub struct Btf<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

/// A type as it lies there.
#[derive(Clone, Copy)]
struct Type<'a> {
    name: u32,
    kind: u32,
    /// Whether members carry the size of a bit field.
    flag: bool,
    /// Its size, or the type that it is of.
    size_or_type: u32,
    rest: &'a [u8],
}

/// A member of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the struct's beginning.
    pub offset: u32,
    kind: u32,
}

impl<'a> Btf<'a> {
    /// Reads a file's bytes; nothing when they are not well-formed.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(bytes, 4)? as usize;
        let section = |at: usize| {
            let from = header.checked_add(word(bytes, at)? as usize)?;
            bytes.get(from..from.checked_add(word(bytes, at + 4)? as usize)?)
        };
        let (mut left, strings) = (section(8)?, section(16)?);
        // Number 0 is no type.
        let void = Type { name: 0, kind: 0, flag: false, size_or_type: 0, rest: &[] };
        let mut types = vec![void];
        while !left.is_empty() {
            let (name, info) = (word(left, 0)?, word(left, 4)?);
            let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
            let length = match kind {
                1 | 14 | 17 => 4,
                ARRAY => 12,
                STRUCT | UNION | 15 | 19 => 12 * count,
                ENUM | FUNC_PROTO => 8 * count,
                PTR | 7..=12 | 16 | 18 => 0,
                _ => return None,
            };
            let rest = left.get(12..12 + length)?;
            types.push(Type {
                name,
                kind,
                flag: info >> 31 != 0,
                size_or_type: word(left, 8)?,
                rest,
            });
            left = &left[12 + length..];
        }
        Some(Self { types, strings })
    }

    /// The structs of some names, as numbers.
    pub fn structs(&self, names: &[&str]) -> HashMap<String, u32> {
        let mut found = HashMap::new();
        for (number, of) in (0..).zip(&self.types) {
            if of.kind == STRUCT
                && let Some(name) = names.iter().find(|name| self.is_named(of.name, name))
            {
                found.entry((*name).to_owned()).or_insert(number);
            }
        }
        found
    }

    /// Bytes of a struct.
    pub fn size(&self, number: u32) -> Option<u32> {
        let of = self.get(number)?;
        matches!(of.kind, STRUCT | UNION).then_some(of.size_or_type)
    }

    /// A member of a struct or union, also one of those without a name within it.
    pub fn member(&self, number: u32, name: &str) -> Option<Member> {
        self.member_within(number, name, DEEPEST, &mut { MOST_MEMBERS })
    }

    /// `left`: members that may still be looked at.
    fn member_within(&self, number: u32, name: &str, deep: u32, left: &mut u32) -> Option<Member> {
        let of = self.get(self.resolved(number)?)?;
        if !matches!(of.kind, STRUCT | UNION) {
            return None;
        }
        for raw in of.rest.chunks_exact(12) {
            *left = left.checked_sub(1)?;
            let (text, kind, bits) = (word(raw, 0)?, word(raw, 4)?, word(raw, 8)?);
            let bits = if of.flag { bits & 0x00ff_ffff } else { bits };
            if text == 0 {
                let deeper = deep.checked_sub(1);
                let within = deeper.and_then(|deep| self.member_within(kind, name, deep, left));
                if let Some(Member { offset, kind }) = within {
                    return Some(Member { offset: offset.checked_add(bits / 8)?, kind });
                }
            } else if self.is_named(text, name) {
                return (bits % 8 == 0).then_some(Member { offset: bits / 8, kind });
            }
        }
        None
    }

    /// A member of a member.
    pub fn member_of(&self, outer: Member, name: &str) -> Option<Member> {
        let inner = self.member(outer.kind, name)?;
        Some(Member { offset: outer.offset.checked_add(inner.offset)?, kind: inner.kind })
    }

    /// Of what struct a member is an array, as a number, and of how many.
    pub fn array(&self, member: Member) -> Option<(u32, u32)> {
        let of = self.get(self.resolved(member.kind)?)?;
        if of.kind != ARRAY {
            return None;
        }
        Some((self.resolved(word(of.rest, 0)?)?, word(of.rest, 8)?))
    }

    /// The type behind other names of it and qualifiers.
    fn resolved(&self, mut number: u32) -> Option<u32> {
        for _ in 0..32 {
            let of = self.get(number)?;
            if of.kind != TYPEDEF && of.kind != TYPE_TAG && !QUALIFIERS.contains(&of.kind) {
                return Some(number);
            }
            number = of.size_or_type;
        }
        None
    }

    fn get(&self, number: u32) -> Option<Type<'a>> {
        self.types.get(number as usize).copied()
    }

    fn is_named(&self, text: u32, name: &str) -> bool {
        let from = self.strings.get(text as usize..);
        let rest = from.and_then(|from| from.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// struct inner { u64 first; u64 second; }; struct outer { u64 pad; union { struct inner named;
    /// const inner *pointer; }; struct inner array[4]; }
    fn made() -> Vec<u8> {
        let strings = b"\0inner\0first\0second\0outer\0pad\0named\0array\0u64\0inner_not\0";
        let at = |name: &str| {
            let name: Vec<u8> = [b"\0", name.as_bytes(), b"\0"].concat();
            1 + strings.windows(name.len()).position(|w| w == name).unwrap() as u32
        };
        let info = |kind: u32, count: u32| kind << 24 | count;
        let mut types: Vec<u32> = Vec::new();
        types.extend([at("u64"), info(1, 0), 8, 64]); // 1
        types.extend([at("inner"), info(STRUCT, 2), 16]); // 2
        types.extend([at("first"), 1, 0, at("second"), 1, 64]);
        types.extend([0, info(10, 0), 2]); // 3: const inner
        types.extend([0, info(PTR, 0), 3]); // 4
        types.extend([0, info(UNION, 2), 16]); // 5
        types.extend([at("named"), 3, 0, at("pad"), 4, 0]);
        types.extend([0, info(ARRAY, 0), 0, 3, 1, 4]); // 6
        types.extend([at("outer"), info(STRUCT, 3), 88]); // 7
        types.extend([at("pad"), 1, 0, 0, 5, 64, at("array"), 6, 192]);
        types.extend([at("inner_not"), info(STRUCT, 0), 0]); // 8
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_through_what_has_no_name() {
        let bytes = made();
        let btf = Btf::parse(&bytes).unwrap();
        let found = btf.structs(&["outer", "inner", "none"]);
        assert_eq!((found["outer"], found["inner"], found.len()), (7, 2, 2));
        assert_eq!(btf.size(2), Some(16));
        let named = btf.member(7, "named").unwrap();
        assert_eq!(named.offset, 8);
        assert_eq!(btf.member_of(named, "second").unwrap().offset, 16);
        let array = btf.member(7, "array").unwrap();
        assert_eq!((array.offset, btf.array(array)), (24, Some((2, 4))));
        assert_eq!(btf.member(7, "pad").unwrap().offset, 0);
        assert_eq!((btf.member(7, "second"), btf.array(named)), (None, None));
        assert_eq!(
            (btf.member(1, "first"), btf.member(99, "first"), btf.size(1)),
            (None, None, None)
        );
    }

    #[test]
    fn structs_that_hold_themselves_are_not_looked_into_for_ever() {
        let members = 60_000;
        let mut types = vec![1, STRUCT << 24 | members, 8];
        types.extend([0, 1, 0].repeat(members as usize));
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types.len() as u32, types.len() as u32, 6] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(types);
        bytes.extend(b"\0self\0");
        let btf = Btf::parse(&bytes).unwrap();
        let number = btf.structs(&["self"])["self"];
        assert_eq!(btf.member(number, "other"), None);
    }

    #[test]
    fn what_is_damaged_is_refused_or_has_nothing() {
        let bytes = made();
        assert!(Btf::parse(&[]).is_none() && Btf::parse(&bytes[..23]).is_none());
        for length in 0..bytes.len() {
            assert!(Btf::parse(&bytes[..length]).is_none());
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let Some(btf) = Btf::parse(&damaged) else { continue };
                for number in 0..10 {
                    let member = btf.member(number, "array");
                    member.and_then(|member| btf.array(member));
                    btf.member(number, "second");
                }
                btf.structs(&["outer"]);
            }
        }
    }
}

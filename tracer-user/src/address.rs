//! Address spaces as types, so that one is never taken for another.
//!
//! A Go function has three addresses: where it lies in the file ([`FileOffset`], what the kernel
//! attaches by), where the linker put it ([`VAddr`], what symbol tables speak of) and where it is in
//! a running process ([`RuntimeAddr`], what a stack holds). `RuntimeAddr = VAddr + load bias`.

use std::fmt;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// Byte offset in a file.
    FileOffset
}
address! {
    /// Address the linker gave, before the loader moved the image (ELF `p_vaddr`, `st_value`).
    VAddr
}
address! {
    /// Address in the memory of a running process.
    RuntimeAddr
}

/// What was added to every [`VAddr`] when the image was loaded; 0 for fixed-address executables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct LoadBias(pub u64);

impl LoadBias {
    /// Address in the process of what the linker placed at `vaddr`.
    pub fn to_runtime(self, vaddr: VAddr) -> RuntimeAddr {
        RuntimeAddr(vaddr.0.wrapping_add(self.0))
    }

    /// Link-time address of what the process has at `addr`.
    pub fn to_vaddr(self, addr: RuntimeAddr) -> VAddr {
        VAddr(addr.0.wrapping_sub(self.0))
    }
}

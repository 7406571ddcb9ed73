//! Records and keys that the kernel programs and the loader share.
//!
//! Everything here crosses the kernel boundary as bytes: `repr(C)`, padded explicitly, no bool, no
//! enum, no Option. Sizes and offsets are asserted at compile time. This crate knows no Go version
//! and no aya map; with the `user` feature it adds the marker that lets aya read the records.
#![no_std]

pub mod assist;
pub mod boxed;
pub mod collection;
pub mod counter;
pub mod iteration;
pub mod os;
pub mod record;
pub mod size;
pub mod slice;
pub mod walk;

pub use counter::Counter;
pub use record::{Cookie, ProcEntry, StackKey, StackValue};

//! The runtime's own records, read out of a live process: no probe, no signal, no stop.
//!
//! In: an opened binary, where it was loaded, and the process's memory. Out: what the runtime has
//! written down of its heap, its goroutines and its collections. The process runs on meanwhile: what
//! is read may be torn, so that every value is bounded, checked for plausibility and read again when
//! two of them contradict each other; what can't be read consistently is an error, never a guess.
//! Walks no /proc and knows no symbolization and no output.

pub mod buckets;
mod caches;
pub mod cycles;
pub mod g;
pub mod goroutines;
pub mod labels;
mod live;
pub mod memory;
mod pacer;
pub mod sampler;
pub mod stats;
pub mod unwind;
mod windows;

pub use live::{Error, Live, Program, sampler_rate};
pub use memory::{Batch, Memory, MemoryError, ProcessMemory, Range};

//! heaptap: taps the memory of Go programs from outside. The library behind the `heaptap` binary.
//!
//! The way of the data, and who may know what, is told in `docs/internals.md`: `host` finds
//! processes, `gobin` reads binaries, `probe` loads and attaches kernel programs and drains their
//! maps, `runtime` reads the runtime's own records in a live process, `symbolize` names addresses, `profile` is the currency, `output` renders it, `tui` shows it live,
//! `forecast` tells where figures go, `agent` serves, sends and judges what was seen. Only
//! `pipeline` sees all stages; only `probe` imports aya; only `host` walks /proc.

pub mod address;
pub mod agent;
pub mod cli;
#[cfg(any(test, fuzzing))]
pub mod doors;
pub mod exit;
pub mod forecast;
pub mod gobin;
pub mod host;
pub mod output;
pub mod pipeline;
pub mod probe;
pub mod profile;
pub mod recording;
pub mod runtime;
pub mod symbolize;
pub mod tui;

//! The fuzzer of the door `binary`: any bytes go through it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| heaptap::doors::through("binary", bytes));

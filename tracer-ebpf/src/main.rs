//! heaptap's kernel programs: one small file per probe, one of maps, one stack walk.
//!
//! They know no Go version: what to count, where fields lie and who is traced reach them through
//! attach cookies, the process table and globals set at load time. Every early return counts
//! itself under a code of `tracer_common::Counter`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod alloc;
mod assist;
mod atomic;
mod bound;
mod boxed;
mod count;
mod empty;
mod ends;
mod gate;
mod gc;
mod goroutine;
mod labels;
mod lives;
mod map;
mod maps;
mod os;
mod pool;
mod process;
mod regs;
mod sample;
mod scratch;
mod slice;
mod span;
mod stack;
mod stackless;
mod target;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

//! A stack in one line: who it was, and on whose behalf.
//!
//! In: frames, innermost first. Out: text that may be shown anywhere.

use super::text::{printable, short_path};
use crate::profile::{Frame, FrameKind, Interner};

/// Functions of the program that are shown behind the innermost one.
const CALLERS: usize = 2;

/// A function and its line: `main.read (shop/conn.go:31)`.
pub fn place(names: &Interner, frame: &Frame) -> String {
    let name = printable(names.text(frame.function));
    match frame.line {
        0 => name.into_owned(),
        line => {
            let file = printable(short_path(names.text(frame.file)));
            format!("{name} ({file}:{line})")
        }
    }
}

/// The innermost function, and those of the program that called it.
pub fn chain(names: &Interner, frames: &[Frame]) -> String {
    let Some((inner, rest)) = frames.split_first() else { return "[no stack]".to_owned() };
    let mut text = place(names, inner);
    let of_program = |frame: &&Frame| frame.kind == FrameKind::Program;
    for (at, frame) in rest.iter().filter(of_program).take(CALLERS).enumerate() {
        let told = match at == 0 && !of_program(&inner) {
            true => place(names, frame),
            false => printable(names.text(frame.function)).into_owned(),
        };
        text.push_str(" ← ");
        text.push_str(&told);
    }
    text
}

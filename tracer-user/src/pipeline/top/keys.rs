//! Keys of a terminal. In: the bytes that it sends. Out: [`Input`]s.
//!
//! They are read here, because crossterm reads a terminal that has gone again and again, for ever: its
//! reads end at once with nothing, and no signal is looked at any more.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::exit::{Exit, Failure};
use crate::tui::model::Key;

/// What came from the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Key(Key),
    /// Draw everything anew.
    Redraw,
    Suspend,
    Quit,
}

/// How long the rest of a key may take that came in parts, in milliseconds: an escape alone is a key,
/// and how others begin.
const REST: u8 = 25;
/// Bytes of the longest key that is known, and far more.
const LONGEST: usize = 64;
const ESCAPE: u8 = 0x1b;

/// What has come from the terminal until now; it is known that there is something. A terminal that has
/// gone is the end.
///
/// # Errors
/// It can't be read.
pub fn inputs() -> Result<Vec<Input>, Failure> {
    read(io::stdin().as_fd()).map_err(|err| {
        let err = io::Error::from(err);
        Failure::new(Exit::Output, format!("the terminal can't be read: {err}"))
    })
}

fn read(terminal: BorrowedFd<'_>) -> nix::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    // The beginning of a key.
    let mut begun: Vec<u8> = Vec::new();
    loop {
        let mut fds = [PollFd::new(terminal, PollFlags::POLLIN)];
        let wait = if begun.is_empty() { 0 } else { REST };
        let more = poll(&mut fds, PollTimeout::from(wait));
        if more == Ok(0) || more == Err(Errno::EINTR) {
            if begun.first() == Some(&ESCAPE) {
                inputs.push(Input::Key(Key::Esc));
                take(&mut begun, 1, &mut inputs);
            }
            return Ok(inputs);
        }
        more?;
        let mut bytes = [0; 1024];
        match nix::unistd::read(terminal, &mut bytes) {
            // The other end is closed.
            Ok(0) | Err(Errno::EIO) => return Ok(vec![Input::Quit]),
            Ok(count) => begun.extend_from_slice(&bytes[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(err) => return Err(err),
        }
        take(&mut begun, 0, &mut inputs);
    }
}

/// Takes whole keys out of `bytes`, from `at` on.
fn take(bytes: &mut Vec<u8>, mut at: usize, inputs: &mut Vec<Input>) {
    while let Some((input, length)) = first(&bytes[at..]) {
        inputs.extend(input);
        at += length;
    }
    bytes.drain(..at);
}

/// What the first bytes stand for, if anything, and how many they are; nothing when there must be more.
fn first(bytes: &[u8]) -> Option<(Option<Input>, usize)> {
    let (first, rest) = bytes.split_first()?;
    let key = |key| Some((Some(Input::Key(key)), 1));
    match first {
        0x03 | 0x04 => Some((Some(Input::Quit), 1)),
        0x0c => Some((Some(Input::Redraw), 1)),
        0x1a => Some((Some(Input::Suspend), 1)),
        0x02 => key(Key::PageUp),
        0x06 => key(Key::PageDown),
        b'\t' => key(Key::Tab),
        b'\r' | b'\n' => key(Key::Enter),
        0x08 | 0x7f => key(Key::Backspace),
        &ESCAPE => match rest.first()? {
            b'[' => control(bytes),
            // As keys are sent that an application has asked for.
            b'O' => Some((ending(*bytes.get(2)?, &[]), 3)),
            // Another key was pressed soon after it.
            _ => key(Key::Esc),
        },
        ..0x20 => Some((None, 1)),
        _ => letter(bytes),
    }
}

/// A letter in UTF-8; a byte that is none is left out.
fn letter(bytes: &[u8]) -> Option<(Option<Input>, usize)> {
    let length = match bytes.first()? {
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        _ => 1,
    };
    let whole = match std::str::from_utf8(&bytes[..bytes.len().min(length)]) {
        Ok(whole) => whole,
        // It may come yet.
        Err(err) if err.error_len().is_none() && bytes.len() < length => return None,
        Err(_) => return Some((None, 1)),
    };
    let letter = whole.chars().next().filter(|c| !c.is_control());
    Some((letter.map(|c| Input::Key(Key::Char(c))), whole.len()))
}

/// `ESC [`, parameters, and a letter that ends it.
fn control(bytes: &[u8]) -> Option<(Option<Input>, usize)> {
    let body = bytes.get(2..)?;
    let Some(at) = body.iter().position(|byte| !(0x20..0x40).contains(byte)) else {
        return (bytes.len() >= LONGEST).then_some((None, bytes.len()));
    };
    Some((ending(body[at], &body[..at]), at + 3))
}

/// The key of a sequence by the byte that ends it, or by its first number.
fn ending(last: u8, parameters: &[u8]) -> Option<Input> {
    let number = parameters.split(|byte| *byte == b';').next().unwrap_or_default();
    let key = match (last, number) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', b"1" | b"7") => Key::Home,
        (b'F', _) | (b'~', b"4" | b"8") => Key::End,
        (b'Z', _) => Key::BackTab,
        (b'~', b"5") => Key::PageUp,
        (b'~', b"6") => Key::PageDown,
        // Of a number pad.
        (b'M', _) => Key::Enter,
        _ => return None,
    };
    Some(Input::Key(key))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    /// What is read of these bytes, and whether all of them were used.
    fn keys(bytes: &[u8]) -> Vec<Input> {
        let (from, to) = nix::unistd::pipe().unwrap();
        File::from(to.try_clone().unwrap()).write_all(bytes).unwrap();
        let found = read(from.as_fd()).unwrap();
        drop(to);
        found
    }

    fn pressed(keys: &[Key]) -> Vec<Input> {
        keys.iter().copied().map(Input::Key).collect()
    }

    #[test]
    fn keys_are_what_they_stand_for() {
        use Key::*;
        let letters: Vec<Key> = "qA/ü漢".chars().map(Char).collect();
        assert_eq!(keys("qA/ü漢".as_bytes()), pressed(&letters));
        assert_eq!(keys(b"\r\n\t\x7f\x08"), pressed(&[Enter, Enter, Tab, Backspace, Backspace]));
        assert_eq!(keys(b"\x1b[A\x1b[B\x1bOC\x1b[1;5D"), pressed(&[Up, Down, Right, Left]));
        let pages = b"\x1b[5~\x1b[6~\x1b[H\x1bOF\x1b[1~\x1b[4~\x1b[Z";
        assert_eq!(keys(pages), pressed(&[PageUp, PageDown, Home, End, Home, End, BackTab]));
        assert_eq!(keys(b"\x06\x02"), pressed(&[PageDown, PageUp]));
        let controls = [Input::Quit, Input::Quit, Input::Redraw, Input::Suspend];
        assert_eq!(keys(b"\x03\x04\x0c\x1a"), controls);
    }

    #[test]
    fn an_escape_alone_is_a_key() {
        assert_eq!(keys(b"\x1b"), pressed(&[Key::Esc]));
        assert_eq!(keys(b"\x1b\x1b"), pressed(&[Key::Esc, Key::Esc]));
        assert_eq!(keys(b"\x1b\x1b[A"), pressed(&[Key::Esc, Key::Up]));
        assert_eq!(keys(b"\x1bq"), pressed(&[Key::Esc, Key::Char('q')]));
        assert_eq!(keys(b"\x1bO"), pressed(&[Key::Esc, Key::Char('O')]));
        assert_eq!(keys(b""), [], "nothing is waited for");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        for unknown in [
            &b"\x1b[15~"[..],
            b"\x1bOP",
            b"\x1b[200;7;3u",
            b"\xff\xfe",
            b"\xc3(",
            b"\x00\x1f",
            "\u{85}".as_bytes(),
            b"\x1b[?1;2c",
        ] {
            let mut bytes = unknown.to_vec();
            bytes.push(b'q');
            let found = keys(&bytes);
            assert_eq!(found.last(), Some(&Input::Key(Key::Char('q'))), "{unknown:?}");
            let rest = &found[..found.len() - 1];
            assert!(
                rest.iter().all(|i| *i == Input::Key(Key::Char('('))),
                "{unknown:?}: {found:?}"
            );
        }
        assert_eq!(keys(&[&b"\x1b["[..], &[b'1'; 200], b"q"].concat()).len(), 0);
        assert_eq!(keys(b"\xe6\xbc"), [], "half a letter");
    }

    #[test]
    fn every_pair_of_bytes_is_read_to_its_end() {
        for (a, b) in (0..=255).flat_map(|a| (0..=255).map(move |b| (a, b))) {
            let bytes = [ESCAPE, a, b, b'z', b'z', b'z'];
            let mut at = 0;
            while let Some((_, length)) = first(&bytes[at..]) {
                assert!(length > 0 && at + length <= bytes.len(), "{bytes:?}");
                at += length;
            }
        }
    }

    #[test]
    fn a_key_that_comes_in_parts_is_one() {
        let (mut begun, mut inputs) = (Vec::new(), Vec::new());
        for byte in "\x1b[5~漢".bytes() {
            begun.push(byte);
            take(&mut begun, 0, &mut inputs);
        }
        assert_eq!((inputs, begun.len()), (pressed(&[Key::PageUp, Key::Char('漢')]), 0));
    }

    #[test]
    fn a_terminal_that_has_gone_is_the_end() {
        let (from, to) = nix::unistd::pipe().unwrap();
        File::from(to.try_clone().unwrap()).write_all(b"jj").unwrap();
        drop(to);
        assert_eq!(read(from.as_fd()).unwrap(), [Input::Quit]);
        assert_eq!(read(from.as_fd()).unwrap(), [Input::Quit]);
    }
}

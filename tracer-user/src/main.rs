//! The `heaptap` binary: hands the command line to the library and its verdict to the shell.

use std::io::{self, Write};
use std::process::ExitCode;

use heaptap::exit::Exit;
use heaptap::{cli, pipeline, probe::detacher};

fn main() -> ExitCode {
    if let Some(done) = detacher::run_if_asked() {
        return done;
    }
    let command = match cli::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(refusal) => return end(refusal.exit, &refusal.text, refusal.is_message),
    };
    match pipeline::run(command) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => end(failure.exit, &failure.message, true),
    }
}

/// Says why heaptap ends. A reader that went away changes nothing about the verdict.
fn end(exit: Exit, text: &str, is_message: bool) -> ExitCode {
    let text = if is_message { message(text) } else { text.to_owned() };
    let _ = match exit {
        Exit::Ok => writeln!(io::stdout(), "{text}"),
        _ => writeln!(io::stderr(), "{text}"),
    };
    exit.into()
}

/// One line whatever the text holds: names of other people's files end up in messages, and must
/// not drive the terminal.
fn message(text: &str) -> String {
    let mut line = String::from("heaptap: ");
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

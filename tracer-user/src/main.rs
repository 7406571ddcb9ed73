//! The `heaptap` binary: hands the command line to the library and its verdict to the shell.

fn main() {}

//! Flags and their help, and nothing that does I/O.

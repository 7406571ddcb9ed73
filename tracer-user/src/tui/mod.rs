//! The live view: what is shown and how it looks, and nothing that reads or draws by itself.
//!
//! `model` holds what was read and what the user chose; `views` turn it into cells of a screen. Both are
//! pure: they open no process, touch no terminal and ask no clock.

pub mod model;
pub mod views;

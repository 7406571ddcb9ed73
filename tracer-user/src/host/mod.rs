//! Which processes exist, what they are, and what this kernel can do. The only reader of /proc.

mod select;

pub use select::Selection;

//! amd64: Go's register ABI (arguments in RAX, RBX, RCX, RDI, RSI, R8 …, the goroutine in R14), as the compiler
//! of Go 1.18 to 1.27 uses it.

mod calls;
mod check;
mod data;
mod goroutine;
mod map;
mod pool;

pub use calls::{only_call, returns};
pub use check::find_p;
pub use data::{operands, steps};
pub use goroutine::goroutine_made;
pub use map::map_ends;
pub use pool::pool_miss;

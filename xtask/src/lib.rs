//! What setup, build and the integration tests share: which versions are pinned, and where things
//! lie. In: the environment. Out: paths and facts; nothing here installs or builds.

pub mod manifests;
pub mod paths;
pub mod pins;
pub mod programs;
pub mod toolchain;

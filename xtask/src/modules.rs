//! Programs that are built from Go modules.
//!
//! In: a module, its version, and a Go release of the cache. Out: a program. Modules, and what is compiled of them, are removed
//! afterwards: they are a gigabyte.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::setup::remove_dir;
use xtask::{pins::GoModule, toolchain};

/// Builds a module's program into `bin`, with `scratch` for what lies about meanwhile.
pub fn build(label: &str, module: &GoModule, bin: &Path, scratch: &Path) -> Result<()> {
    let (_, go) = toolchain::installed_go(module.go)?;
    let source = scratch.join("module");
    std::fs::create_dir_all(&source).with_context(|| format!("can't make {}", source.display()))?;
    let command = || {
        let mut command = toolchain::go_command(&go);
        command.env("GOPATH", scratch.join("path")).env("GOCACHE", scratch.join("cache"));
        command.env("CGO_ENABLED", "0").env("GOFLAGS", "-modcacherw -trimpath -mod=mod");
        match env::var_os("GOPROXY") {
            Some(proxy) => command.env("GOPROXY", proxy),
            None => command.env_remove("GOPROXY").env_remove("GOENV"),
        };
        command.current_dir(&source);
        command
    };
    // A module of our own around it: `go install` takes none that has something replaced.
    process::quiet(label, command().args(["mod", "init", "built"]))?;
    let wanted = format!("{}@{}", module.path, module.version);
    process::quiet(label, command().args(["get", &wanted]))?;
    process::quiet(label, command().args(["build", "-o"]).arg(bin).arg(module.program()))?;
    if !process::succeeds(Command::new(bin).arg(module.tells_version)) {
        bail!("the {label} that was built does not run");
    }
    remove_dir(scratch)
}

//! What the Go compiler is called with to compile a large package of the standard library.

use std::{ffi::OsString, path::Path};

use anyhow::{Result, ensure};
use xtask::{paths, pins::GoRelease, toolchain::go_command};

use super::write;

/// The largest package of the standard library outside of the compiler.
pub const PACKAGE: &str = "net/http";

/// Builds what the package imports (once) and returns the compiler's arguments.
pub fn arguments(go: &Path, release: GoRelease, dir: &Path) -> Result<Vec<OsString>> {
    let cache = paths::target_dir().join(format!("bench/go-cache-{}", release.version));
    let list = |arguments: &[&str]| -> Result<String> {
        let output = go_command(go)
            .arg("list")
            .args(arguments)
            .arg(PACKAGE)
            .env("GOCACHE", &cache)
            .env("GOFLAGS", "")
            .env("CGO_ENABLED", "0")
            .current_dir(dir)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "go list {PACKAGE} failed: {}", said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    eprintln!("compile: building what {PACKAGE} imports (a minute the first time)");
    let export = "{{if .Export}}packagefile {{.ImportPath}}={{.Export}}{{end}}";
    let renamed = "{{range $from, $to := .ImportMap}}importmap {{$from}}={{$to}}\n{{end}}";
    let packages = list(&["-deps", "-export", "-f", export])? + &list(&["-f", renamed])?;
    let config = dir.join("importcfg");
    write(&config, &packages)?;
    let files = list(&["-f", "{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}\n{{end}}"])?;
    let mut arguments: Vec<OsString> =
        ["-p", PACKAGE, "-std", "-complete", "-pack"].into_iter().map(OsString::from).collect();
    arguments.extend(["-importcfg".into(), config.into(), "-o".into(), dir.join("out.a").into()]);
    arguments.extend(files.lines().map(OsString::from));
    Ok(arguments)
}

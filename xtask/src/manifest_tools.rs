//! Installs what the tests check the manifests in `deploy/` with.
//!
//! In: pins. Out: kubernetes-validate (PyPI) and helm (a Go module) in the cache, kubectl from the distribution.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::setup::{Apt, pip_install_all, remove_dir};
use xtask::pins::{self, GoRelease};
use xtask::{manifests, paths, toolchain};

/// Whether one is missing.
pub fn is_missing() -> Result<bool> {
    let is_there = manifests::python()?.is_some()
        && manifests::helm()?.is_some()
        && manifests::kubectl().is_some();
    let systemd = paths::find_program("systemd-analyze").is_some();
    Ok(!is_there || !systemd)
}

/// Installs those that are.
pub fn install(apt: &mut Apt) -> Result<()> {
    if manifests::python()?.is_none() {
        validate(apt)?;
    }
    if manifests::helm()?.is_none() {
        helm()?;
    }
    if manifests::kubectl().is_none() {
        apt.install(&["kubernetes-client"])?;
    }
    // systemd-analyze checks the unit.
    if paths::find_program("systemd-analyze").is_none() {
        apt.install(&["systemd"])?;
    }
    Ok(())
}

fn validate(apt: &mut Apt) -> Result<()> {
    println!("setup: kubernetes-validate {}", pins::KUBERNETES_VALIDATE);
    let root = manifests::validate_root()?;
    let part = root.with_extension("part");
    remove_dir(&part)?;
    let package = format!("kubernetes-validate=={}", pins::KUBERNETES_VALIDATE);
    let packages: Vec<&str> =
        [&*package].into_iter().chain(pins::KUBERNETES_VALIDATE_NEEDS.iter().copied()).collect();
    pip_install_all("kubernetes-validate", &packages, &part, apt)?;
    fs::rename(&part, &root).with_context(|| format!("can't move to {}", root.display()))
}

fn helm() -> Result<()> {
    println!("setup: helm {} (two to four minutes)", pins::HELM);
    let root = manifests::helm_root()?;
    let part = root.with_extension("part");
    remove_dir(&part)?;
    let (_, go) = toolchain::installed_go(GoRelease::newest().minor())?;
    let mut install = toolchain::go_command(&go);
    // Modules and what is compiled go with the directory; they are a gigabyte.
    install.env("GOPATH", part.join("path")).env("GOCACHE", part.join("cache"));
    install.env("GOBIN", part.join("bin")).env("CGO_ENABLED", "0");
    match env::var_os("GOPROXY") {
        Some(proxy) => install.env("GOPROXY", proxy),
        None => install.env_remove("GOPROXY").env_remove("GOENV"),
    };
    install.env("GOFLAGS", "-modcacherw -trimpath");
    install.arg("install").arg(format!("helm.sh/helm/v3/cmd/helm@{}", pins::HELM));
    process::quiet("helm", &mut install)?;
    let built = part.join("bin");
    process::succeeds(Command::new(built.join("helm")).arg("version"))
        .then_some(())
        .context("the helm that was built does not run")?;
    remove_dir(&root)?;
    fs::rename(&built, &root).with_context(|| format!("can't move to {}", root.display()))?;
    remove_dir(&part)
}

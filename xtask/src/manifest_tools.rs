//! Installs what the tests check the manifests in `deploy/` with.
//!
//! In: pins. Out: kubernetes-validate (PyPI) and helm (a Go module) in the cache, kubectl from the distribution.

use std::fs;

use anyhow::{Context, Result};

use crate::modules;
use crate::setup::{Apt, pip_install_all, remove_dir};
use xtask::{manifests, paths, pins};

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
    println!("setup: helm {} (two to four minutes)", pins::HELM.version);
    let root = manifests::helm_root()?;
    let part = root.with_extension("part");
    remove_dir(&part)?;
    fs::create_dir_all(&part).with_context(|| format!("can't make {}", part.display()))?;
    modules::build("helm", &pins::HELM, &part.join("helm"), &part.join("scratch"))?;
    remove_dir(&root)?;
    fs::rename(&part, &root).with_context(|| format!("can't move to {}", root.display()))
}

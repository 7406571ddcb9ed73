//! Where the tools lie that read the manifests in `deploy/`. Only looks; `setup` installs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{paths, pins};

/// Where kubernetes-validate and what it needs are, or are to be, unpacked.
pub fn validate_root() -> Result<PathBuf> {
    Ok(paths::cache_dir()?.join(format!("kubernetes-validate-{}", pins::KUBERNETES_VALIDATE)))
}

/// Where helm is, or is to be, built to.
pub fn helm_root() -> Result<PathBuf> {
    Ok(paths::cache_dir()?.join(format!("helm-{}", pins::HELM.version)))
}

/// Python with kubernetes-validate and PyYAML.
pub fn python() -> Result<Option<Command>> {
    let root = validate_root()?;
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", &root).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(root.is_dir().then_some(python))
}

/// The pinned helm.
pub fn helm() -> Result<Option<PathBuf>> {
    let program = helm_root()?.join("helm");
    Ok(program.is_file().then_some(program))
}

/// kubectl, for its `kustomize`.
pub fn kubectl() -> Option<PathBuf> {
    paths::find_program("kubectl")
}

/// What a test says where setup has not run.
pub fn needed<T>(name: &str, found: Option<T>) -> Result<T> {
    found.with_context(|| format!("no {name}: run `cargo xtask setup`"))
}

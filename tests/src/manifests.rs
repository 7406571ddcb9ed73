//! Manifests in `deploy/`: read as documents, rendered and validated by their own tools.
//!
//! In: paths below `deploy/`, YAML. Out: JSON values, or what a tool has against them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::{manifests, paths};

/// The oldest Kubernetes that the chart is for, one in between, and the newest that has schemas.
const VERSIONS: [&str; 3] = ["1.25", "1.33", "1.37"];

/// A file below `deploy/`.
pub fn deploy(path: &str) -> PathBuf {
    paths::repo().join("deploy").join(path)
}

/// The documents of a text of YAML.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    let mut python = manifests::needed("PyYAML", manifests::python()?)?;
    let read = "import json, sys, yaml\n\
                json.dump([d for d in yaml.safe_load_all(sys.stdin) if d is not None], sys.stdout)";
    python.args(["-c", read]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.spawn().context("can't start python3")?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(yaml.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "no YAML: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The documents of a file below `deploy/`.
pub fn read(path: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(deploy(path)).with_context(|| path.to_owned())?;
    documents(&text).with_context(|| path.to_owned())
}

/// The only document of this kind.
pub fn of_kind(documents: &[Value], kind: &str) -> Result<Value> {
    let mut found = documents.iter().filter(|document| document["kind"] == kind);
    let one = found.next().with_context(|| format!("no {kind}"))?;
    ensure!(found.next().is_none(), "more than one {kind}");
    Ok(one.clone())
}

/// Fails unless Kubernetes' own schemas know everything in the documents of a text.
pub fn validate(name: &str, yaml: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("objects.yaml");
    fs::write(&file, yaml)?;
    let mut python = manifests::needed("kubernetes-validate", manifests::python()?)?;
    let run = "import sys; from kubernetes_validate.__main__ import main; sys.exit(main())";
    python.args(["-W", "ignore", "-c", run, "--strict"]);
    for version in VERSIONS {
        python.args(["-k", version]);
    }
    said(python.arg(&file)).with_context(|| name.to_owned()).map(drop)
}

/// What the chart becomes with these flags.
pub fn helm(flags: &[&str]) -> Result<String> {
    let mut helm = Command::new(manifests::needed("helm", manifests::helm()?)?);
    helm.args(["template", "heaptap"]).arg(deploy("helm/heaptap")).args(flags);
    // A helm that `go install` has built takes the cluster for an older one than any there is.
    helm.args(["--kube-version", VERSIONS[0]]);
    alone(&mut helm)
}

/// What helm has against the chart.
pub fn lint() -> Result<()> {
    let mut helm = Command::new(manifests::needed("helm", manifests::helm()?)?);
    alone(helm.args(["lint", "--strict"]).arg(deploy("helm/heaptap"))).map(drop)
}

/// What the directory's `kustomization.yaml` becomes.
pub fn kustomize(dir: &Path) -> Result<String> {
    let mut kubectl = Command::new(manifests::needed("kubectl", manifests::kubectl())?);
    alone(kubectl.arg("kustomize").arg(dir))
}

/// Runs a tool where it finds no settings of the user.
fn alone(command: &mut Command) -> Result<String> {
    let home = tempfile::tempdir()?;
    said(command.env("HOME", home.path()).env_remove("KUBECONFIG"))
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().context("can't start a tool: run `cargo xtask setup`")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let program = command.get_program().display().to_string();
    let err = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {text}{err}");
    Ok(text)
}

//! What lies in `deploy/`: rules and configurations that their own tools and the agent itself accept, and no metric that
//! the agent does not tell.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use heaptap::agent::config;
use heaptap::agent::metrics::{Numbers, OF_NODE, OF_PROCESSES};
use heaptap_tests::real;
use xtask::paths;

fn deploy(path: &str) -> PathBuf {
    paths::repo().join("deploy").join(path)
}

fn text(path: &str) -> Result<String> {
    fs::read_to_string(deploy(path)).with_context(|| path.to_owned())
}

fn promtool(args: &[&str], dir: &Path) -> Result<()> {
    let output = Command::new(real::promtool()?).args(args).current_dir(dir).output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool {}: {said}", args.join(" "));
    Ok(())
}

#[test]
fn promtool_accepts_rules_and_their_tests_and_the_scrape_configuration() -> Result<()> {
    let dir = deploy("prometheus");
    promtool(&["check", "rules", "rules.yml"], &dir)?;
    promtool(&["test", "rules", "rules_test.yml"], &dir)?;
    promtool(&["check", "config", "--syntax-only", "scrape.yml"], &dir)
}

#[test]
fn the_agent_accepts_its_configurations() -> Result<()> {
    let accept = |name: &str, text: &str| {
        config::parse(text).map(drop).map_err(|problem| anyhow::anyhow!("{name}:{problem}"))
    };
    for path in ["heaptap-agent.toml", "kubernetes/heaptap-agent.toml"] {
        accept(path, &text(path)?)?;
    }
    // The chart's values have a part of one.
    let values = text("helm/heaptap/values.yaml")?;
    let (_, part) = values.split_once("config: |\n").context("no config")?;
    let lines = part.lines().take_while(|line| line.is_empty() || line.starts_with("  "));
    let part: Vec<&str> = lines.map(|line| line.trim_start()).collect();
    accept("values.yaml", &part.join("\n"))
}

/// Names of metrics that a text asks for.
fn asked(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !is_part(c));
    let is_ours = |word: &&str| word.starts_with("go_") || word.starts_with("heaptap_");
    words.filter(is_ours).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_rules_ask_for_nothing_that_nobody_tells() -> Result<()> {
    let mut told = BTreeSet::from(["heaptap_series_dropped".to_owned()]);
    let mut add = |name: String, is_histogram: bool| {
        let parts = if is_histogram { &["_bucket", "_sum", "_count"][..] } else { &[""] };
        told.extend(parts.iter().map(|part| format!("{name}{part}")));
    };
    for family in OF_NODE {
        add(family.full_name(), matches!(family.numbers, Numbers::Histogram(_)));
    }
    for family in OF_PROCESSES {
        add(family.full_name(), matches!(family.numbers, Numbers::Histogram(_)));
    }
    let labels = BTreeSet::from(["go_memory_type".to_owned()]);
    let dashboard: serde_json::Value = serde_json::from_str(&text("grafana/heaptap.json")?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let exprs: Vec<&str> = targets.filter_map(|target| target["expr"].as_str()).collect();
    ensure!(exprs.len() > 15 && panels.iter().any(|panel| panel["type"] == "heatmap"));
    let rules = text("prometheus/rules.yml")?;
    let rules: Vec<&str> = rules.lines().filter(|line| !line.contains("record:")).collect();
    for (from, text) in [("dashboard", exprs.join("\n")), ("rules", rules.join("\n"))] {
        // Recorded ones have a level before their name.
        let unknown: Vec<String> = asked(&text).difference(&told).cloned().collect();
        let unknown: Vec<&String> = unknown.iter().filter(|name| !labels.contains(*name)).collect();
        ensure!(unknown.is_empty(), "{from}: {unknown:?}");
    }
    Ok(())
}

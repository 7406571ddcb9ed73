//! The dashboard and the rules in `deploy/`, before a real Prometheus that scrapes an agent beside a program that works
//! and leaks: each query gives data, each rule is evaluated.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heaptap_tests::agent::Agent;
use heaptap_tests::manifests::deploy;
use heaptap_tests::prometheus::{Prometheus, value};
use heaptap_tests::{Fixture, Running, Variant, require_root};
use serde_json::Value;

/// A leak has to be sure, and Prometheus to have seen rates.
const PATIENCE: Duration = Duration::from_secs(150);
/// What the dashboard's variables stand for when "all" is chosen, and `$__rate_interval` for scrapes each second.
const VARIABLES: [(&str, &str); 4] =
    [("$__rate_interval", "10s"), ("$node", ".*"), ("$namespace", ".*"), ("$comm", ".*")];
/// Numbers that are nought where nothing is wrong, or where a program is in Go alone.
const MAY_BE_NOUGHT: [&str; 4] = [
    "heaptap_series_dropped",
    "heaptap_processes_left_out",
    "heaptap_processes_unreadable",
    "heaptap_memory_off_heap_bytes",
];

fn filled(query: &str) -> String {
    VARIABLES.iter().fold(query.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// Every query of the dashboard: those of panels, and those that its variables are made of.
fn queries() -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(deploy("grafana/heaptap.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let mut queries = BTreeSet::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.insert(filled(target["expr"].as_str().context("no expression")?));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().context("no variables")? {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (series, label) =
            inner.and_then(|inner| inner.rsplit_once(", ")).context("no label")?;
        let name = variable["name"].as_str().unwrap_or_default();
        ensure!(VARIABLES.iter().any(|(known, _)| *known == format!("${name}")), "{name}");
        queries.insert(filled(&format!("group by ({label}) ({series})")));
    }
    for query in &queries {
        ensure!(!query.contains('$'), "a variable that nobody fills in: {query}");
    }
    Ok(queries)
}

/// A program that allocates, collects, has goroutines, a limit and a leak.
fn program() -> Result<Running> {
    require_root()?;
    let fixture = Fixture::build("leaks", "1.27", Variant::Stripped)?;
    let mut command = Command::new(&fixture.program);
    command.arg("fast").env("LEAKS_RATE", "8192").env("GOMEMLIMIT", "1GiB");
    Running::start(command)
}

#[test]
fn each_query_of_the_dashboard_gives_data_and_each_rule_is_evaluated() -> Result<()> {
    let program = program()?;
    let pid = program.pid().to_string();
    let agent = Agent::start(&["--every", "100ms", "--cpu", "20%", "-p", &pid, "--node", "n1"])?;
    // Programs of a cluster have these labels of the agent itself; here the one on the host gets them on its way.
    let prometheus = Prometheus::start(&format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         scrape_configs: [{{job_name: heaptap, static_configs: [{{targets: ['{}'], \
         labels: {{namespace: shop, pod: shop-0}}}}]}}]\n",
        deploy("prometheus/rules.yml").display(),
        agent.address
    ))?;
    let rules = fs::read_to_string(deploy("prometheus/rules.yml"))?;
    let of_rules = |key: &str| -> Vec<String> {
        let key = format!("- {key}: ");
        let named = |line: &str| Some(line.trim().strip_prefix(&key)?.trim().to_owned());
        rules.lines().filter_map(named).collect()
    };
    let (recorded, alerts) = (of_rules("record"), of_rules("alert"));
    ensure!(recorded.len() == 4 && alerts.len() == 6, "{recorded:?} {alerts:?}");
    let mut waiting = queries()?;
    ensure!(waiting.len() > 20, "{waiting:?}");
    waiting.extend(recorded.iter().cloned());

    let until = Instant::now() + PATIENCE;
    while !waiting.is_empty() {
        ensure!(Instant::now() < until, "no data:\n{waiting:#?}\n{}", agent.metrics()?.0);
        waiting.retain(|query| {
            let may_be_nought = MAY_BE_NOUGHT.iter().any(|name| query.contains(name));
            let found = prometheus.query(query).unwrap_or_default();
            let tells = |series: &Value| value(series).is_some_and(|n| n != 0.0 && !n.is_nan());
            !found.iter().any(|series| may_be_nought || tells(series))
        });
        thread::sleep(Duration::from_millis(200));
    }

    // What this program does is what two of them are about; they wait for it to last.
    let states = [
        ("GoLeak", "pending"),
        ("GoMemoryLimitNear", "pending"),
        ("HeaptapAgentDown", "inactive"),
        ("HeaptapLoses", "inactive"),
    ];
    loop {
        let groups = prometheus.get("/api/v1/rules")?;
        let groups = groups["groups"].as_array().context("no groups")?;
        let all: Vec<&Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().into_iter().flatten())
            .collect();
        ensure!(all.len() == recorded.len() + alerts.len(), "{groups:#?}");
        for rule in &all {
            ensure!(rule["health"] == "ok", "{rule:#}");
        }
        let is_so = |(name, state): &(&str, &str)| {
            all.iter().any(|rule| rule["name"] == *name && rule["state"] == *state)
        };
        if states.iter().all(is_so) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "alerts are not {states:?}: {groups:#?}");
        thread::sleep(Duration::from_millis(200));
    }
}

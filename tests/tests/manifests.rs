//! Manifests in `deploy/`: Kubernetes' schemas know all that is in them, helm and Kustomize make the same of theirs, and
//! systemd has nothing against the unit.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use heaptap_tests::manifests::{self, deploy};
use serde_json::{Value, json};

/// The containers' settings and all around them that both ways must agree on.
fn agent(documents: &[Value]) -> Result<Value> {
    let set = manifests::of_kind(documents, "DaemonSet")?;
    let pod = &set["spec"]["template"]["spec"];
    let mut container = pod["containers"][0].clone();
    ensure!(pod["containers"].as_array().map(Vec::len) == Some(1), "{pod:#}");
    // Kustomize gives configurations a name of their content.
    let mut volumes = pod["volumes"].clone();
    for volume in volumes.as_array_mut().context("no volumes")? {
        if !volume["configMap"].is_null() {
            volume["configMap"] = json!("a configuration");
        }
    }
    container["image"] = json!("an image");
    let mut same = pod.clone();
    same["containers"] = json!([container]);
    same["volumes"] = volumes;
    same["update"] = set["spec"]["updateStrategy"].clone();
    Ok(same)
}

#[test]
fn kubernetes_knows_all_that_manifests_say() -> Result<()> {
    let mut count = 0;
    for dir in ["kubernetes", "autoscaling"] {
        for entry in deploy(dir).read_dir()? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let documents = match path.extension().is_some_and(|end| end == "yaml") {
                true => manifests::documents(&text)?,
                false => continue,
            };
            // Of other programs than Kubernetes.
            let is_kubernetes =
                |one: &Value| one["kind"].is_string() && one["kind"] != "Kustomization";
            if documents.iter().all(is_kubernetes) {
                manifests::validate(&path.display().to_string(), &text)?;
                count += 1;
            }
        }
    }
    ensure!(count == 5, "{count} files were looked at");
    let wrong = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {portz: []}\n";
    ensure!(manifests::validate("wrong", wrong).is_err(), "everything is accepted");
    Ok(())
}

#[test]
fn the_chart_and_the_kustomization_describe_the_same_agent() -> Result<()> {
    manifests::lint()?;
    let (chart, base) = (manifests::helm(&[])?, manifests::kustomize(&deploy("kubernetes"))?);
    manifests::validate("the chart", &chart)?;
    manifests::validate("the kustomization", &base)?;
    let (chart, base) = (manifests::documents(&chart)?, manifests::documents(&base)?);
    let (of_chart, of_base) = (agent(&chart)?, agent(&base)?);
    ensure!(of_chart == of_base, "{of_chart:#}\nis not\n{of_base:#}");
    // What they have it do, too.
    let config = |documents: &[Value]| -> Result<String> {
        let map = manifests::of_kind(documents, "ConfigMap")?;
        let text = map["data"]["heaptap-agent.toml"].as_str().context("no configuration")?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(lines.collect::<Vec<_>>().join("\n"))
    };
    ensure!(config(&chart)? == config(&base)?, "{}", config(&chart)?);
    let service = |documents: &[Value]| -> Result<Value> {
        Ok(manifests::of_kind(documents, "Service")?["spec"]["ports"].clone())
    };
    ensure!(service(&chart)? == service(&base)?);
    Ok(())
}

const ALL_VALUES: &str = r#"
image: {repository: registry.example/heaptap, tag: "9.9", pullPolicy: Always}
imagePullSecrets: [{name: pull}]
tokenSecret: other
port: 9999
config: |
  [watch]
  every = "2s"
probes: false
resources: {limits: {memory: 1Gi}}
tolerations: [{key: a, operator: Equal, value: b, effect: NoSchedule}]
nodeSelector: {disk: ssd}
priorityClassName: high
state: {sizeLimit: 1Gi, hostPath: /var/lib/heaptap}
podAnnotations: {a.example/b: "c"}
"#;

#[test]
fn every_value_of_the_chart_is_used() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("values.yaml");
    std::fs::write(&file, ALL_VALUES)?;
    // Each value has one here that it does not have by default.
    let keys = |yaml: &str| -> Result<Vec<String>> {
        let values = manifests::documents(yaml)?;
        let mut keys: Vec<String> =
            values[0].as_object().context("no values")?.keys().cloned().collect();
        keys.sort();
        Ok(keys)
    };
    let defaults = std::fs::read_to_string(deploy("helm/heaptap/values.yaml"))?;
    ensure!(keys(&defaults)? == keys(ALL_VALUES)?, "{:?}", keys(&defaults)?);
    let text = manifests::helm(&["--values", &file.to_string_lossy()])?;
    manifests::validate("the chart with all values", &text)?;
    let documents = manifests::documents(&text)?;
    let set = manifests::of_kind(&documents, "DaemonSet")?;
    let pod = &set["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    ensure!(container["image"] == "registry.example/heaptap:9.9", "{container:#}");
    ensure!(
        container["imagePullPolicy"] == "Always" && pod["imagePullSecrets"][0]["name"] == "pull"
    );
    ensure!(container["ports"][0]["containerPort"] == 9999);
    ensure!(container["resources"]["limits"]["memory"] == "1Gi", "{container:#}");
    let capabilities = &container["securityContext"]["capabilities"];
    ensure!(capabilities["add"] == json!(["SYS_PTRACE", "DAC_READ_SEARCH"]), "{capabilities}");
    ensure!(pod["tolerations"][0]["key"] == "a" && pod["nodeSelector"]["disk"] == "ssd");
    ensure!(pod["priorityClassName"] == "high", "{pod:#}");
    let volumes = pod["volumes"].as_array().context("no volumes")?;
    let has = |key: &str, value: &str| {
        volumes.iter().any(|volume| volume.pointer(key).is_some_and(|found| found == value))
    };
    ensure!(has("/secret/secretName", "other") && has("/hostPath/path", "/var/lib/heaptap"));
    ensure!(set["spec"]["template"]["metadata"]["annotations"]["a.example/b"] == "c");
    let map = manifests::of_kind(&documents, "ConfigMap")?;
    let config = map["data"]["heaptap-agent.toml"].as_str().context("no configuration")?;
    ensure!(config.contains("0.0.0.0:9999") && config.contains("every = \"2s\""), "{config}");
    // The other place for captures.
    let text = manifests::helm(&["--set", "state.sizeLimit=7Mi"])?;
    ensure!(text.contains("sizeLimit: 7Mi"), "{text}");
    Ok(())
}

/// How exposed the unit may be, of 10; what it needs (other programs' memory, files and BPF) is most of it.
const EXPOSURE: f64 = 3.0;

#[test]
fn systemd_accepts_the_unit_and_finds_it_hardened() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // It looks for the program that is started.
    let unit = dir.path().join("heaptap-agent.service");
    let text = std::fs::read_to_string(deploy("systemd/heaptap-agent.service"))?;
    ensure!(text.contains("ExecStart=/usr/local/bin/heaptap "), "another program");
    let program = heaptap_tests::heaptap::program()?;
    let here = text.replace("/usr/local/bin/heaptap", &program.display().to_string());
    std::fs::write(&unit, here)?;
    let analyze = |args: &[&str]| -> Result<String> {
        let output = Command::new("systemd-analyze").args(args).arg(&unit).output();
        let output = output.context("no systemd-analyze: run `cargo xtask setup`")?;
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "systemd-analyze {args:?}: {said}");
        Ok(said.into_owned())
    };
    let said = analyze(&["verify", "--man=no"])?;
    ensure!(!said.contains("heaptap-agent.service"), "{said}");
    let said = analyze(&["security", "--offline=true", "--no-pager"])?;
    let level = said.split("Overall exposure level for heaptap-agent.service: ").nth(1);
    let level: f64 =
        level.and_then(|rest| rest.split(' ').next()?.parse().ok()).context(said.clone())?;
    println!("exposure {level}");
    ensure!(level <= EXPOSURE, "{level}:\n{said}");
    Ok(())
}

//! What an agent pushes over OTLP: metrics by the names of the conventions, profiles, and what of it is not taken.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use heaptap_tests::pushing::{Bench, now, table};
use heaptap_tests::receivers::{Came, Mood, Receiver};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

/// Attributes that are texts or numbers.
fn attributes(resource: Option<&Resource>) -> BTreeMap<String, String> {
    let all = resource.into_iter().flat_map(|resource| &resource.attributes);
    let of = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    all.filter_map(|one| Some((one.key.clone(), of(one.value.as_ref()?.value.as_ref()?)))).collect()
}

fn otlp(protocol: &str) -> Result<()> {
    let mut bench = Bench::start()?;
    let receiver = Receiver::start()?;
    let more = format!("protocol = \"{protocol}\"\nprofiles = true");
    let (_, before) = bench.own()?;
    let agent = bench.agent(&table("otlp", &receiver.url(), &more))?;
    let is_metrics = |came: &&Came| came.path.contains("etrics");
    receiver.wait("both signals", |came| {
        came.iter().any(|came| is_metrics(&came)) && !came.iter().all(|came| is_metrics(&came))
    })?;
    bench.work(20)?;
    let (_, own) = bench.own()?;
    let told = now()?;
    let start = |came: &Came| -> Result<i128> {
        let request = ExportProfilesServiceRequest::decode(&*came.parts[""])?;
        let profiles = &request.resource_profiles[0].scope_profiles[0].profiles;
        Ok(profiles[0].time_unix_nano.into())
    };
    let came = receiver.wait("a profile after that", |came| {
        let last = came.iter().rfind(|came| !is_metrics(came));
        last.is_some_and(|last| start(last).is_ok_and(|start| start > told))
    })?;
    let pid = bench.program.pid().to_string();
    // Metrics: those that /metrics has, by their names in the conventions.
    let last = came.iter().rfind(is_metrics).context("no metrics")?;
    let request = ExportMetricsServiceRequest::decode(&*last.parts[""])?;
    let of_program = request
        .resource_metrics
        .iter()
        .find(|of| attributes(of.resource.as_ref()).get("process.pid") == Some(&pid));
    let of_program = of_program.context("nothing of the program")?;
    let attributes = attributes(of_program.resource.as_ref());
    ensure!(attributes["service.name"] == bench.comm()? && attributes["host.name"] == "n1");
    ensure!(attributes["process.runtime.version"].starts_with("go1.27"), "{attributes:?}");
    let metrics: BTreeMap<&str, &metric::Data> = of_program.scope_metrics[0]
        .metrics
        .iter()
        .filter_map(|metric| Some((metric.name.as_str(), metric.data.as_ref()?)))
        .collect();
    let Some(metric::Data::Sum(sum)) = metrics.get("go.memory.allocated") else {
        bail!("{:?}", metrics.keys());
    };
    ensure!(sum.is_monotonic);
    let served = agent.metrics()?;
    let served = served.of(bench.program.pid(), "go_memory_allocated_bytes_total", &[]);
    let Some(number_data_point::Value::AsInt(sent)) = sum.data_points[0].value else {
        bail!("{sum:?}");
    };
    ensure!(sent > 0 && sent as f64 <= served.context("not served")?, "{sent} and {served:?}");
    let Some(metric::Data::Sum(used)) = metrics.get("go.memory.used") else { bail!("no used") };
    ensure!(!used.is_monotonic && used.data_points.len() == 2, "{used:?}");
    ensure!(used.data_points[0].attributes[0].key == "go.memory.type", "{used:?}");
    ensure!(metrics.contains_key("heaptap.memory.resident"), "{:?}", metrics.keys());
    // Profiles: all that was allocated, over all of them.
    let mut all = 0;
    for came in came.iter().filter(|came| !is_metrics(came)) {
        let request = ExportProfilesServiceRequest::decode(&*came.parts[""])?;
        let tables = request.dictionary.context("no dictionary")?;
        let profiles = &request.resource_profiles[0].scope_profiles[0].profiles;
        for profile in profiles {
            let kind = profile.sample_type.context("no type")?.type_strindex as usize;
            if tables.string_table[kind] == "alloc_space" {
                all += profile.samples.iter().flat_map(|sample| &sample.values).sum::<i64>();
            }
        }
    }
    let truth = own.total(1) - before.total(1);
    ensure!(all == truth && all > 0, "{all} bytes came, {truth} were allocated");
    Ok(())
}

#[test]
fn otlp_over_http() -> Result<()> {
    otlp("http")
}

#[test]
fn otlp_over_grpc() -> Result<()> {
    otlp("grpc")
}

/// What a receiver says it has not taken of an upload is counted, and told once.
#[test]
fn points_that_are_not_taken_are_counted() -> Result<()> {
    for protocol in ["http", "grpc"] {
        let bench = Bench::start()?;
        let receiver = Receiver::start()?;
        receiver.set(Mood::TakesPartly);
        let agent =
            bench.agent(&table("otlp", &receiver.url(), &format!("protocol = \"{protocol}\"")))?;
        let metrics = agent.wait("points that were not taken", |metrics| {
            metrics.number("heaptap_push_rejected_total", &[]) >= Some(14.0)
        })?;
        let sent = metrics.number("heaptap_push_sent_total", &[]).context("nothing sent")?;
        ensure!(metrics.number("heaptap_push_rejected_total", &[]) == Some(7.0 * sent));
        ensure!(metrics.series("heaptap_push_dropped_total", &[]).sum::<f64>() == 0.0);
    }
    Ok(())
}

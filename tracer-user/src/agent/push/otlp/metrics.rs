//! The picture's numbers as OpenTelemetry's metrics: those of /metrics, by the names of the semantic conventions.
//!
//! In: a [`Node`]. Out: an upload. Families of /metrics are named after the conventions with `_` for `.`; here they
//! are called by their right names.

use std::time::SystemTime;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::{METRICS, attribute, nanos, resource, scope};
use crate::agent::metrics::{
    self as numbers, Family, Number, Numbers, OF_NODE, OF_PROCESSES, Unit,
};
use crate::agent::node::Node;
use crate::agent::push::client::Protocol;
use crate::agent::push::labels::{self, Pattern};
use crate::agent::push::spool::Upload;

/// An upload of everything that a picture says.
pub fn metrics(node: &Node, service: &Pattern, protocol: Protocol, began: SystemTime) -> Upload {
    let name = &node.name;
    let of_agent = Resource {
        attributes: vec![
            attribute("service.name", Value::StringValue("heaptap".to_owned())),
            attribute("service.instance.id", Value::StringValue(format!("{name}:heaptap"))),
            attribute("host.name", Value::StringValue(name.to_string())),
        ],
        ..Resource::default()
    };
    let time = nanos(node.time);
    let mut resource_metrics =
        vec![of_resource(of_agent, OF_NODE, node, Times { start: nanos(began), time })];
    resource_metrics.extend(node.processes.iter().map(|process| {
        let who = &process.who;
        let resource = resource(&service.fill(&labels::of(who, name)), who, name);
        let start = node.time.checked_sub(who.id.age()).unwrap_or(node.time);
        of_resource(resource, OF_PROCESSES, process, Times { start: nanos(start), time })
    }));
    METRICS.upload(protocol, node.time, &ExportMetricsServiceRequest { resource_metrics })
}

/// Since when counters count, and now, in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    start: u64,
    time: u64,
}

fn of_resource<Of>(
    resource: Resource,
    families: &[Family<Of>],
    of: &Of,
    times: Times,
) -> ResourceMetrics {
    let metrics = families.iter().filter_map(|family| of_family(family, of, times)).collect();
    let scope = ScopeMetrics { scope: Some(scope()), metrics, schema_url: String::new() };
    ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![scope],
        schema_url: String::new(),
    }
}

/// Nothing where nothing is known.
fn of_family<Of>(family: &Family<Of>, of: &Of, times: Times) -> Option<Metric> {
    let mut data_points = Vec::new();
    family.each(of, &mut |labels, number| {
        let attributes = labels
            .iter()
            .map(|(key, value)| attribute(&dotted(key), Value::StringValue((*value).to_owned())));
        data_points.push(point(attributes.collect(), number, times));
    });
    let cumulative = AggregationTemporality::Cumulative as i32;
    let data = match &family.numbers {
        Numbers::Histogram(read) => metric::Data::Histogram(Histogram {
            data_points: vec![histogram(read(of)?, times)],
            aggregation_temporality: cumulative,
        }),
        _ if data_points.is_empty() => return None,
        Numbers::Counter(_) => metric::Data::Sum(Sum {
            data_points,
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        // The conventions have all of a runtime's levels as sums that go up and down.
        Numbers::Gauge(_) if family.name.starts_with("go_") => metric::Data::Sum(Sum {
            data_points,
            aggregation_temporality: cumulative,
            is_monotonic: false,
        }),
        Numbers::Gauge(_) => metric::Data::Gauge(Gauge { data_points }),
    };
    Some(Metric {
        name: dotted(family.name),
        description: family.help.to_owned(),
        unit: unit(family.name, family.unit).to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

fn point(attributes: Vec<KeyValue>, number: Number, times: Times) -> NumberDataPoint {
    let value = match number {
        Number::Int(value) => match i64::try_from(value) {
            Ok(value) => number_data_point::Value::AsInt(value),
            Err(_) => number_data_point::Value::AsDouble(value as f64),
        },
        Number::Float(value) => number_data_point::Value::AsDouble(value),
    };
    NumberDataPoint {
        attributes,
        start_time_unix_nano: times.start,
        time_unix_nano: times.time,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn histogram(of: numbers::Histogram, times: Times) -> HistogramDataPoint {
    let finite = of.buckets.iter().map(|(end, _)| *end).filter(|end| end.is_finite());
    HistogramDataPoint {
        start_time_unix_nano: times.start,
        time_unix_nano: times.time,
        count: of.count,
        sum: Some(of.sum),
        explicit_bounds: finite.collect(),
        bucket_counts: of.buckets.iter().map(|(_, count)| *count).collect(),
        ..HistogramDataPoint::default()
    }
}

/// As the conventions spell it.
fn dotted(name: &str) -> String {
    name.replace('_', ".")
}

/// Units as UCUM has them.
fn unit(name: &str, unit: Option<Unit>) -> &'static str {
    match (name, unit) {
        (_, Some(Unit::Bytes)) => "By",
        (_, Some(Unit::Seconds)) => "s",
        (_, Some(Unit::Percent)) => "%",
        (_, Some(Unit::Ratio)) => "1",
        ("go_memory_allocations", _) => "{allocation}",
        ("go_goroutine_count", _) => "{goroutine}",
        ("go_processor_limit", _) => "{thread}",
        _ => "1",
    }
}

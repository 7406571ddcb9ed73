//! OpenTelemetry's protocol: metrics, and profiles as far as they are published, over HTTP or gRPC.
//!
//! In: pictures of the node, and heap profiles. Out: uploads: messages of the crate `opentelemetry-proto` for the
//! paths and methods of the protocol (open-telemetry/opentelemetry-proto, docs/specification.md). Each process is a
//! resource of its own, with attributes after OpenTelemetry's semantic conventions.

mod metrics;
mod profiles;

use std::time::SystemTime;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::client::Protocol;
use super::spool::Upload;
use crate::agent::node::Who;

pub use metrics::metrics;
pub use profiles::profiles;

/// Where requests of a kind go.
struct Place {
    path: &'static str,
    method: &'static str,
}

const METRICS: Place = Place {
    path: "/v1/metrics",
    method: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
};
const PROFILES: Place = Place {
    path: "/v1development/profiles",
    method: "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
};

impl Place {
    fn upload(&self, protocol: Protocol, made: SystemTime, request: &impl Message) -> Upload {
        let (path, content_type) = match protocol {
            Protocol::Http => (self.path, "application/x-protobuf"),
            Protocol::Grpc => (self.method, "application/grpc"),
        };
        Upload {
            made,
            path: path.to_owned(),
            content_type: content_type.to_owned(),
            body: request.encode_to_vec().into(),
        }
    }
}

/// What tells a process, and where it runs.
fn resource(service: &str, who: &Who, node: &str) -> Resource {
    let text = |key: &'static str, value: &str| {
        (!value.is_empty()).then(|| attribute(key, Value::StringValue(value.to_owned())))
    };
    let (pid, start) = (who.id.pid, who.id.start);
    let number = |key, value: i64| Some(attribute(key, Value::IntValue(value)));
    let workload = &who.workload;
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    // As Go itself says it.
    let version = match who.go_version.as_deref() {
        Some(version) if !version.starts_with("go") => format!("go{version}"),
        version => version.unwrap_or_default().to_owned(),
    };
    let attributes = [
        text("service.name", service),
        // Tells processes of one service from each other, and a pid from its next use.
        text("service.instance.id", &format!("{node}:{pid}:{start}")),
        number("process.pid", pid.into()),
        text("process.executable.name", &who.comm),
        text("process.executable.path", &who.path),
        text("process.runtime.name", "go"),
        text("process.runtime.version", &version),
        text("container.id", &optional(&who.container)),
        text("container.name", &optional(&workload.container)),
        text("k8s.pod.name", &optional(&workload.pod)),
        text("k8s.namespace.name", &optional(&workload.namespace)),
        text("systemd.unit", &optional(&workload.unit)),
        text("host.name", node),
    ];
    Resource { attributes: attributes.into_iter().flatten().collect(), ..Resource::default() }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "heaptap".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn nanos(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

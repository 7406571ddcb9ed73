//! A heap profile as OpenTelemetry's profiles signal has it, which is still in development: v1development.
//!
//! In: a message of pprof with allocation since the last one, and times. Out: an upload: one profile for each kind of
//! value, that share one dictionary. All tables begin with an entry that means nothing, as the protocol wants.

use std::collections::HashMap;
use std::time::SystemTime;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::profiles::v1development as otlp;
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::{PROFILES, nanos, resource, scope};
use crate::agent::node::Who;
use crate::agent::push::client::Protocol;
use crate::agent::push::spool::Upload;
use crate::output::pprof::proto;

/// An upload of a profile.
pub fn profiles(
    service: &str,
    (who, node): (&Who, &str),
    times: (SystemTime, SystemTime),
    profile: &proto::Profile,
    protocol: Protocol,
) -> Upload {
    let request = request(resource(service, who, node), times, profile);
    PROFILES.upload(protocol, times.1, &request)
}

fn request(
    resource: Resource,
    (from, until): (SystemTime, SystemTime),
    profile: &proto::Profile,
) -> ExportProfilesServiceRequest {
    let mut tables = Tables::new(profile);
    let samples: Vec<Shared> = profile.sample.iter().map(|sample| tables.sample(sample)).collect();
    let of_kind = |(at, kind): (usize, &proto::ValueType)| otlp::Profile {
        sample_type: Some(tables.value_type(kind)),
        samples: samples.iter().filter_map(|shared| shared.with_value(at)).collect(),
        time_unix_nano: nanos(from),
        duration_nano: nanos(until).saturating_sub(nanos(from)),
        period_type: profile.period_type.as_ref().map(|kind| tables.value_type(kind)),
        period: profile.period,
        ..otlp::Profile::default()
    };
    let profiles = profile.sample_type.iter().enumerate().map(of_kind).collect();
    let scope_profiles =
        vec![otlp::ScopeProfiles { scope: Some(scope()), profiles, schema_url: String::new() }];
    ExportProfilesServiceRequest {
        resource_profiles: vec![otlp::ResourceProfiles {
            resource: Some(resource),
            scope_profiles,
            schema_url: String::new(),
        }],
        dictionary: Some(tables.made),
    }
}

/// A sample of all kinds of values.
struct Shared<'p> {
    stack: i32,
    attributes: Vec<i32>,
    values: &'p [i64],
}

impl Shared<'_> {
    fn with_value(&self, at: usize) -> Option<otlp::Sample> {
        let value = self.values.get(at).copied().filter(|value| *value != 0)?;
        Some(otlp::Sample {
            stack_index: self.stack,
            attribute_indices: self.attributes.clone(),
            values: vec![value],
            ..otlp::Sample::default()
        })
    }
}

/// The dictionary. Strings, functions, locations and mappings are pprof's own, whose ids count from 1 as well.
struct Tables {
    made: otlp::ProfilesDictionary,
    stacks: HashMap<Vec<i32>, i32>,
    attributes: HashMap<(i64, i64, i64), i32>,
}

impl Tables {
    fn new(profile: &proto::Profile) -> Self {
        let made = otlp::ProfilesDictionary {
            mapping_table: vec![otlp::Mapping::default()],
            location_table: vec![otlp::Location::default()],
            function_table: vec![otlp::Function::default()],
            link_table: vec![otlp::Link::default()],
            string_table: profile.string_table.clone(),
            attribute_table: vec![otlp::KeyValueAndUnit::default()],
            stack_table: vec![otlp::Stack::default()],
        };
        let mut tables = Self { made, stacks: HashMap::new(), attributes: HashMap::new() };
        tables.binaries(profile);
        let functions = profile.function.iter().map(|function| otlp::Function {
            name_strindex: index(function.name),
            system_name_strindex: index(function.system_name),
            filename_strindex: index(function.filename),
            start_line: function.start_line,
        });
        tables.made.function_table.extend(functions);
        let locations = profile.location.iter().map(|location| otlp::Location {
            mapping_index: index(location.mapping_id as i64),
            address: location.address,
            lines: location.line.iter().map(line).collect(),
            attribute_indices: Vec::new(),
        });
        tables.made.location_table.extend(locations);
        tables
    }

    fn binaries(&mut self, profile: &proto::Profile) {
        for mapping in &profile.mapping {
            let id = usize::try_from(mapping.build_id).ok();
            let id = id.and_then(|at| profile.string_table.get(at)).filter(|id| !id.is_empty());
            let attribute = id.map(|id| {
                // Go's own ids have parts between slashes, the linker's are hexadecimal.
                let kind = if id.contains('/') { "go" } else { "gnu" };
                let key = self.string(&format!("process.executable.build_id.{kind}"));
                self.attribute(key, Value::StringValue(id.clone()))
            });
            self.made.mapping_table.push(otlp::Mapping {
                memory_start: mapping.memory_start,
                memory_limit: mapping.memory_limit,
                file_offset: mapping.file_offset,
                filename_strindex: index(mapping.filename),
                attribute_indices: attribute.into_iter().collect(),
            });
        }
    }

    fn sample<'p>(&mut self, sample: &'p proto::Sample) -> Shared<'p> {
        let locations: Vec<i32> = sample.location_id.iter().map(|id| index(*id as i64)).collect();
        let next = self.made.stack_table.len() as i32;
        let stack = *self.stacks.entry(locations).or_insert_with_key(|locations| {
            let location_indices = locations.clone();
            self.made.stack_table.push(otlp::Stack { location_indices });
            next
        });
        let attributes = sample.label.iter().map(|label| self.label(label)).collect();
        Shared { stack, attributes, values: &sample.value }
    }

    fn label(&mut self, label: &proto::Label) -> i32 {
        let key = (label.key, label.str, label.num);
        if let Some(known) = self.attributes.get(&key) {
            return *known;
        }
        let value = match label.str {
            0 => Value::IntValue(label.num),
            text => {
                let text = self.made.string_table.get(index(text) as usize);
                Value::StringValue(text.cloned().unwrap_or_default())
            }
        };
        let made = self.attribute(index(label.key), value);
        self.attributes.insert(key, made);
        made
    }

    fn attribute(&mut self, key_strindex: i32, value: Value) -> i32 {
        let value = Some(AnyValue { value: Some(value) });
        let attribute = otlp::KeyValueAndUnit { key_strindex, value, unit_strindex: 0 };
        self.made.attribute_table.push(attribute);
        self.made.attribute_table.len() as i32 - 1
    }

    fn string(&mut self, text: &str) -> i32 {
        if let Some(at) = self.made.string_table.iter().position(|known| known == text) {
            return at as i32;
        }
        self.made.string_table.push(text.to_owned());
        self.made.string_table.len() as i32 - 1
    }

    fn value_type(&self, kind: &proto::ValueType) -> otlp::ValueType {
        otlp::ValueType { type_strindex: index(kind.kind), unit_strindex: index(kind.unit) }
    }
}

fn line(line: &proto::Line) -> otlp::Line {
    otlp::Line { function_index: index(line.function_id as i64), line: line.line, column: 0 }
}

/// Tables of a profile are far smaller than that.
fn index(at: i64) -> i32 {
    i32::try_from(at).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost::Message;

    use super::*;
    use crate::agent::push::labels::tests::who;
    use crate::output::{pprof, sample};

    #[test]
    fn every_stack_and_value_arrives() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let profile = pprof::of_one(&sample::heap(), 3);
        let upload =
            profiles("orders", (&who(), "n1"), (at(100), at(115)), &profile, Protocol::Http);
        assert_eq!(upload.path, "/v1development/profiles");
        let request = ExportProfilesServiceRequest::decode(upload.body).unwrap();
        let tables = request.dictionary.unwrap();
        assert_eq!(tables.string_table[0], "");
        assert_eq!(tables.stack_table[0], otlp::Stack::default());
        assert_eq!(tables.location_table[0], otlp::Location::default());
        assert_eq!(tables.attribute_table[0], otlp::KeyValueAndUnit::default());
        let text = |at: i32| tables.string_table[at as usize].as_str();
        let all = &request.resource_profiles[0].scope_profiles[0].profiles;
        let kinds: Vec<_> =
            all.iter().map(|of| text(of.sample_type.unwrap().type_strindex)).collect();
        assert_eq!(kinds, ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]);
        let inuse = &all[3];
        assert_eq!((inuse.time_unix_nano, inuse.duration_nano), (100_000_000_000, 15_000_000_000));
        let [one] = &inuse.samples[..] else { panic!("what is in use alone: {inuse:?}") };
        assert_eq!(one.values, [12 << 20]);
        let stack = &tables.stack_table[one.stack_index as usize].location_indices;
        let names: Vec<_> = stack
            .iter()
            .flat_map(|at| &tables.location_table[*at as usize].lines)
            .map(|line| text(tables.function_table[line.function_index as usize].name_strindex))
            .collect();
        assert_eq!(names, ["main.(*cache).put", "main.main"]);
        let attribute = &tables.attribute_table[one.attribute_indices[0] as usize];
        assert_eq!(text(attribute.key_strindex), "bytes");
        let value = attribute.value.clone().and_then(|value| value.value);
        assert_eq!(value, Some(Value::IntValue(512 << 10)));
        assert_eq!(all[0].samples.len(), 2);
    }
}

//! Parca: profiles over gRPC, as its own agent writes them.
//!
//! In: a heap profile as the program itself would write it, its labels and time. Out: an upload for
//! `parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw` (parca-dev/parca,
//! proto/parca/profilestore/v1alpha1/profilestore.proto; pkg/normalizer). Values are those since the program began:
//! a profile without a duration is one of a moment there, and rates are the query's matter. Its name
//! is `memory`, as of those that Parca scrapes itself.

use std::time::SystemTime;

use prost::Message;

use super::labels::Labels;
use super::spool::Upload;

/// The method.
pub const METHOD: &str = "/parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw";
/// The label that holds a profile's name.
const NAME: &str = "__name__";
const MEMORY: &str = "memory";
/// What Parca calls the program in its own configuration.
const JOB: &str = "job";

/// An upload of a compressed profile.
pub fn upload(service: &str, labels: &Labels, at: SystemTime, profile: Vec<u8>) -> Upload {
    let own = [(NAME, MEMORY.to_owned()), (JOB, service.to_owned())];
    let labels = own.into_iter().chain(labels.iter().cloned());
    let labels = labels.map(|(name, value)| Label { name: name.to_owned(), value }).collect();
    let series = RawProfileSeries {
        labels: Some(LabelSet { labels }),
        samples: vec![RawSample { raw_profile: profile }],
    };
    // Addresses are those of the file, not of the process.
    let request = WriteRawRequest { series: vec![series], normalized: true };
    Upload {
        made: at,
        path: METHOD.to_owned(),
        content_type: "application/grpc".to_owned(),
        body: request.encode_to_vec().into(),
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct WriteRawRequest {
    #[prost(message, repeated, tag = "2")]
    pub series: Vec<RawProfileSeries>,
    #[prost(bool, tag = "3")]
    pub normalized: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawProfileSeries {
    #[prost(message, optional, tag = "1")]
    pub labels: Option<LabelSet>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<RawSample>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LabelSet {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct RawSample {
    #[prost(bytes = "vec", tag = "1")]
    pub raw_profile: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct WriteRawResponse {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::push::labels;

    #[test]
    fn the_message_is_as_published() {
        let labels = labels::of(&labels::tests::who(), "n1");
        let upload = upload("orders", &labels, SystemTime::UNIX_EPOCH, b"gz".to_vec());
        let request = WriteRawRequest::decode(upload.body.clone()).unwrap();
        let [series] = &request.series[..] else { panic!("{request:?}") };
        let labels = &series.labels.as_ref().unwrap().labels;
        let names: Vec<_> = labels.iter().map(|label| label.name.as_str()).collect();
        let expected = ["__name__", "job", "pid", "comm", "container", "pod", "namespace", "node"];
        assert_eq!(names, expected);
        assert_eq!((labels[0].value.as_str(), labels[1].value.as_str()), ("memory", "orders"));
        assert_eq!(series.samples[0].raw_profile, b"gz");
        // By hand, from the .proto: field 2 of the request, of it field 2, of it field 1.
        assert!(upload.body.ends_with(&[0x12, 0x04, 0x0a, 0x02, b'g', b'z', 0x18, 0x01]));
    }
}

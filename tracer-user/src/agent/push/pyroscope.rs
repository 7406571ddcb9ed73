//! Grafana Pyroscope: profiles over HTTP as its own Go client sends them.
//!
//! In: a heap profile with allocation since the last one, its labels and times. Out: an upload for `POST /ingest`: a form
//! with the profile and what its values mean (grafana/pyroscope-go, upstream/remote/remote.go and sample_types.go;
//! grafana/pyroscope, pkg/ingester/pyroscope/ingest_handler.go). The server compares no profiles with each
//! other and refuses clients that send two at once, so that none of the values is cumulative.

use std::time::SystemTime;

use bytes::Bytes;

use super::labels::Labels;
use super::spool::Upload;

/// What values mean: allocation is added up over time, what is in use is averaged.
const SAMPLE_TYPES: &str = r#"{"alloc_objects":{"units":"objects"},"alloc_space":{"units":"bytes"},"inuse_objects":{"units":"objects","aggregation":"average"},"inuse_space":{"units":"bytes","aggregation":"average"}}"#;

/// An upload of a compressed profile.
pub fn upload(
    service: &str,
    labels: &Labels,
    (from, until): (SystemTime, SystemTime),
    profile: &[u8],
) -> Upload {
    let (content_type, body) = form(profile);
    let nanos = |at: SystemTime| {
        at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
    };
    let mut path = String::from("/ingest?name=");
    escape(&name(service, labels), &mut path);
    path.extend(["&from=", &nanos(from), "&until=", &nanos(until)]);
    // As who reads Go's own profiles: the server chooses by it how frames are shown.
    path.push_str("&spyName=gospy&sampleRate=100");
    Upload { made: until, path, content_type, body }
}

/// `service{key=value,key=value}`. There is no quoting: what would end a value is replaced.
fn name(service: &str, labels: &Labels) -> String {
    let mut name: String = service.chars().map(|c| if is_of_name(c) { c } else { '_' }).collect();
    if name.is_empty() {
        name.push_str("unknown");
    }
    name.push('{');
    for (at, (key, value)) in labels.iter().enumerate() {
        if at > 0 {
            name.push(',');
        }
        name.extend([key, "="]);
        name.extend(
            value.chars().map(|c| if c.is_control() || "{},=\"".contains(c) { '_' } else { c }),
        );
    }
    name.push('}');
    name
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-/".contains(c)
}

/// A form with the profile and its types.
fn form(profile: &[u8]) -> (String, Bytes) {
    let boundary = (0u64..)
        .map(|number| format!("heaptap-form-{number:016x}"))
        .find(|boundary| memchr::memmem::find(profile, boundary.as_bytes()).is_none())
        .unwrap_or_default();
    let mut body = Vec::with_capacity(profile.len() + 1024);
    let parts = [
        ("profile", "profile.pprof", profile),
        ("sample_type_config", "sample_type_config.json", SAMPLE_TYPES.as_bytes()),
    ];
    for (name, file, content) in parts {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend(head.as_bytes());
        body.extend(content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body.into())
}

/// For a query: all but what is never reserved (RFC 3986, 2.3).
fn escape(text: &str, to: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                to.push(byte.into());
            }
            _ => to.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::push::labels;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn the_address_says_who_and_when() {
        let labels = labels::of(&labels::tests::who(), "n1");
        let upload = upload("shop/orders", &labels, (at(100), at(115)), b"profile");
        assert_eq!(
            upload.path,
            "/ingest?name=shop%2Forders%7Bpid%3D77%2Ccomm%3Dorders%2Ccontainer%3D0123456789ab%2C\
             pod%3Dorders-5d9%2Cnamespace%3Dshop%2Cnode%3Dn1%7D&from=100000000000&\
             until=115000000000&spyName=gospy&sampleRate=100"
        );
        assert_eq!(upload.made, at(115));
    }

    #[test]
    fn names_that_would_break_the_syntax_are_changed() {
        let labels = vec![("comm", "a{b}=c,d\"\n".to_owned()), ("node", "ü".to_owned())];
        assert_eq!(name("my app{}", &labels), "my_app__{comm=a_b__c_d__,node=ü}");
        assert_eq!(name("", &Vec::new()), "unknown{}");
        let mut escaped = String::new();
        escape("ü&#%", &mut escaped);
        assert_eq!(escaped, "%C3%BC%26%23%25");
    }

    #[test]
    fn the_form_holds_the_profile_whatever_is_in_it() {
        let hostile = b"--heaptap-form-0000000000000000--\r\n\0\x1f";
        let (content_type, body) = form(hostile);
        assert_eq!(content_type, "multipart/form-data; boundary=heaptap-form-0000000000000001");
        let text = String::from_utf8_lossy(&body);
        assert!(text.starts_with("--heaptap-form-0000000000000001\r\n"), "{text}");
        assert!(text.ends_with("\r\n--heaptap-form-0000000000000001--\r\n"), "{text}");
        assert!(memchr::memmem::find(&body, hostile).is_some());
        serde_json::from_str::<serde_json::Value>(SAMPLE_TYPES).unwrap();
    }
}

//! Sends one upload to one receiver, over HTTP or gRPC.
//!
//! In: where the receiver is, what it is to be told of us, uploads. Out: what became of each. One connection, kept;
//! TLS with the host's roots or those of a file; redirects are not followed; the token's file is read for each
//! upload, so that a new token is used as soon as it is there. Knows no upload's insides.

mod grpc;
mod partial;
pub mod tls;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Http, ResponseFuture};
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::retry::{Answer, of_http};
use super::spool::Upload;
use crate::exit::one_line;
use crate::output::text::printable;

/// What we call ourselves.
pub const AGENT: &str = concat!("heaptap/", env!("CARGO_PKG_VERSION"));
/// What is read of an answer, and what is told of it.
const ANSWER_BYTES: usize = 64 << 10;
const TOLD_CHARS: usize = 200;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Where a receiver is and what it wants to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// `http` or `https`, host and port.
    pub url: Url,
    pub headers: HeaderMap,
    /// A bearer token.
    pub token_file: Option<PathBuf>,
    /// Roots to trust, instead of the host's.
    pub ca_file: Option<PathBuf>,
    /// For one upload, from connecting to its answer.
    pub timeout: Duration,
    pub protocol: Protocol,
}

/// How uploads are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Grpc,
}

/// A receiver's address: what a path is put behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub is_https: bool,
    pub authority: Authority,
    /// Without a slash at the end; may be empty.
    pub path: String,
}

impl Url {
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|err| format!("{err}"))?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("it must begin with http:// or https://".to_owned()),
        };
        let authority = uri.authority().ok_or("it has no host")?.clone();
        if authority.as_str().contains('@') {
            return Err("it must hold no user and password: use headers or token_file".to_owned());
        }
        if uri.query().is_some() {
            return Err("it must have no query".to_owned());
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { is_https, authority, path })
    }

    /// With a path and query behind it.
    fn with(&self, path: &str) -> Result<Uri, http::Error> {
        // An address as it is, which may be that of a host alone.
        let path = if self.path.is_empty() && path.is_empty() { "/" } else { path };
        Uri::builder()
            .scheme(if self.is_https { "https" } else { "http" })
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path}", self.path))
            .build()
    }

    /// Whether what is sent there leaves this host.
    pub fn is_loopback(&self) -> bool {
        let host = self.authority.host().trim_matches(['[', ']']);
        host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("{url} can't be reached: {why}")]
    Address { url: String, why: String },
}

/// Sends to one receiver.
pub struct Client {
    target: Target,
    way: Way,
}

enum Way {
    Http(Box<Http<HttpsConnector<HttpConnector>, Full<Bytes>>>),
    Grpc(grpc::Caller),
}

impl Client {
    /// Must be called in a tokio runtime.
    ///
    /// # Errors
    /// There are no roots to trust, or none of the file's can be read.
    pub fn new(target: Target) -> Result<Self, Error> {
        let tls = tls::config(target.url.is_https, target.ca_file.as_deref())?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let way = match target.protocol {
            Protocol::Http => {
                let connector = https.enable_http1().wrap_connector(connector);
                Way::Http(Box::new(Http::builder(TokioExecutor::new()).build(connector)))
            }
            Protocol::Grpc => {
                let connector = https.enable_http2().wrap_connector(connector);
                let base = target.url.with("/").map_err(|err| Error::Address {
                    url: target.url.authority.to_string(),
                    why: err.to_string(),
                })?;
                Way::Grpc(grpc::Caller::new(&base, connector))
            }
        };
        Ok(Self { target, way })
    }

    /// Sends an upload and waits for its answer.
    pub async fn send(&self, upload: &Upload) -> Answer {
        let headers = match self.headers() {
            Ok(headers) => headers,
            // The file may be about to be replaced.
            Err(why) => return Answer::Later(why, None),
        };
        let sent = async {
            match &self.way {
                Way::Http(http) => self.post(http, upload, headers).await,
                Way::Grpc(caller) => caller.call(upload, headers).await,
            }
        };
        let limit = self.target.timeout;
        match timeout(limit, sent).await {
            Ok(answer) => answer,
            Err(_) => Answer::Later(format!("no answer within {} s", limit.as_secs_f64()), None),
        }
    }

    async fn post(
        &self,
        http: &Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
        upload: &Upload,
        headers: HeaderMap,
    ) -> Answer {
        let request = self.target.url.with(&upload.path).and_then(|uri| {
            let content_type = HeaderValue::from_str(&upload.content_type)?;
            let mut request = Request::post(uri).body(Full::new(upload.body.clone()))?;
            *request.headers_mut() = headers;
            request.headers_mut().insert(CONTENT_TYPE, content_type);
            Ok(request)
        });
        let asked: ResponseFuture = match request {
            Ok(request) => http.request(request),
            Err(err) => return Answer::Refused(format!("it can't be sent: {err}")),
        };
        match asked.await {
            Ok(response) => answer(response).await,
            Err(err) => Answer::Later(one_line(&err), None),
        }
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = self.target.headers.clone();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        if let Some(file) = &self.target.token_file {
            headers.insert(AUTHORIZATION, bearer(file)?);
        }
        Ok(headers)
    }
}

/// The header that a token's file makes.
fn bearer(file: &Path) -> Result<HeaderValue, String> {
    let failed = |why: String| format!("token of {}: {why}", file.display());
    let text = fs::read_to_string(file).map_err(|err| failed(err.to_string()))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(failed("it is empty".to_owned()));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| failed("it is no token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn answer<B>(response: Response<B>) -> Answer
where
    B: BodyExt<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let status = response.status().as_u16();
    let after = response.headers().get(RETRY_AFTER).cloned();
    let after = after.as_ref().and_then(|after| after.to_str().ok());
    let is_message =
        response.headers().get(CONTENT_TYPE).is_some_and(|of| of == "application/x-protobuf");
    // A connection whose answer was read whole is used again.
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    if is_message && (200..300).contains(&status) {
        return partial::of_message(&body);
    }
    of_http(status, &told(&String::from_utf8_lossy(&body)), after, SystemTime::now())
}

/// What is told of a receiver's words.
fn told(said: &str) -> String {
    let line = said.trim().lines().next().unwrap_or_default();
    let short: String = line.chars().take(TOLD_CHARS).collect();
    printable(&short).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let url = Url::parse("https://push.example.org:4040/a/b/").unwrap();
        assert_eq!(
            url.with("/ingest?x=1").unwrap(),
            "https://push.example.org:4040/a/b/ingest?x=1"
        );
        for wrong in ["push.example.org", "ftp://a", "https://u:p@a", "http://a/?b", "", "http://"]
        {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
        for (text, is_loopback) in [
            ("http://localhost:1", true),
            ("http://127.0.0.1", true),
            ("http://[::1]:80/", true),
            ("http://10.0.0.1", false),
            ("http://pyroscope:4040", false),
        ] {
            assert_eq!(Url::parse(text).unwrap().is_loopback(), is_loopback, "{text}");
        }
    }

    #[test]
    fn tokens_are_read_anew_and_never_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        assert!(bearer(&file).is_err());
        for (text, header) in [("one\n", Some("Bearer one")), ("two", Some("Bearer two"))] {
            fs::write(&file, text).unwrap();
            let found = bearer(&file).unwrap();
            assert_eq!(Some(found.to_str().unwrap()), header);
            assert!(!format!("{found:?}").contains("Bearer"));
        }
        for wrong in ["", " \n", "a\u{1}b"] {
            fs::write(&file, wrong).unwrap();
            let why = bearer(&file).unwrap_err();
            assert!(!why.contains('\u{1}'), "{why}");
        }
    }

    #[test]
    fn answers_are_told_in_one_short_line() {
        assert_eq!(told("\n bad \u{1b}[1m\nmore"), "bad \\x1b[1m");
        assert_eq!(told(&"a".repeat(1000)).len(), TOLD_CHARS);
    }
}

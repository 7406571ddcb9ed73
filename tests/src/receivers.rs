//! A receiver of profiles and metrics, made by the tests: it speaks the published protocols and keeps what comes.
//!
//! HTTP/1 and, for gRPC, HTTP/2 on one port. Requests of gRPC are read by tonic's server. What is wrong with a
//! request by the rules of the real receiver is an answer that says so, as the real one gives it.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::profiles::v1development::{
    ExportProfilesServiceRequest, ExportProfilesServiceResponse,
};
use prost::Message;
use tokio::sync::oneshot;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;

/// Bytes of one request at most.
const MOST: usize = 64 << 20;
/// Patience with what should happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came, in its order.
#[derive(Clone, Debug)]
pub struct Came {
    /// With its query.
    pub path: String,
    pub query: HashMap<String, String>,
    pub headers: HeaderMap,
    /// Parts of a form by name, or `""`: the body, of gRPC its message.
    pub parts: HashMap<String, Vec<u8>>,
}

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Takes,
    /// But for seven points, where the protocol can say that (OTLP's metrics).
    TakesPartly,
    /// With this status, and `Retry-After` in seconds.
    Refuses(u16, Option<u64>),
    /// Not at all.
    Silent,
}

#[derive(Debug)]
struct Kept {
    /// What was taken.
    came: Mutex<Vec<Came>>,
    mood: Mutex<Mood>,
}

/// It answers until it is dropped.
pub struct Receiver {
    pub address: SocketAddr,
    kept: Arc<Kept>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// On a free port.
    pub fn start() -> Result<Self> {
        Self::at("127.0.0.1:0".parse()?, Vec::new(), None)
    }

    /// With a certificate and its key, for 127.0.0.1.
    pub fn with_tls(config: rustls::ServerConfig) -> Result<Self> {
        Self::at("127.0.0.1:0".parse()?, Vec::new(), Some(config))
    }

    /// The same again, after it was away.
    pub fn again(address: SocketAddr, before: Vec<Came>) -> Result<Self> {
        Self::at(address, before, None)
    }

    fn at(
        address: SocketAddr,
        before: Vec<Came>,
        tls: Option<rustls::ServerConfig>,
    ) -> Result<Self> {
        let listener = TcpListener::bind(address).context("no port for a receiver")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let kept = Arc::new(Kept { came: Mutex::new(before), mood: Mutex::new(Mood::Takes) });
        let (stop, stopped) = oneshot::channel::<()>();
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&kept));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let serve = async {
                    match tls {
                        None => drop(axum::serve(listener, app).await),
                        Some(tls) => serve_tls(listener, tls, app).await,
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, kept, stop: Some(stop), thread: Some(thread) })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, mood: Mood) {
        *self.kept.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// What was taken.
    pub fn taken(&self) -> Vec<Came> {
        self.kept.came().clone()
    }

    /// Waits until what was taken is as it should be.
    pub fn wait(&self, what: &str, mut is_so: impl FnMut(&[Came]) -> bool) -> Result<Vec<Came>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let taken = self.kept.came();
            if is_so(&taken) {
                return Ok(taken.clone());
            }
            if Instant::now() > until {
                let paths: Vec<_> = taken.iter().map(|came| &came.path).collect();
                bail!("{what}: not within {PATIENCE:?}; came: {paths:#?}");
            }
            drop(taken);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Kept {
    fn came(&self) -> MutexGuard<'_, Vec<Came>> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve_tls(
    listener: tokio::net::TcpListener,
    mut tls: rustls::ServerConfig,
    app: axum::Router,
) {
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, app) = (acceptor.clone(), app.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = hyper_util::service::TowerToHyperService::new(app);
            let executor = hyper_util::rt::TokioExecutor::new();
            let io = hyper_util::rt::TokioIo::new(stream);
            let builder = hyper_util::server::conn::auto::Builder::new(executor);
            let _ = builder.serve_connection(io, service).await;
        });
    }
}

async fn answer(State(kept): State<Arc<Kept>>, request: Request) -> Response {
    let mood = *kept.mood.lock().unwrap_or_else(PoisonError::into_inner);
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let mut came = Came {
        path,
        query: query(parts.uri.query().unwrap_or_default()),
        headers: parts.headers.clone(),
        parts: HashMap::new(),
    };
    let is_grpc = parts.headers.get("content-type").is_some_and(|of| of == "application/grpc");
    let keep = |came: Came| kept.came().push(came);
    let partial = (mood == Mood::TakesPartly).then(|| ExportMetricsPartialSuccess {
        rejected_data_points: 7,
        error_message: "too old".to_owned(),
    });
    let metrics = ExportMetricsServiceResponse { partial_success: partial };
    match mood {
        Mood::Takes | Mood::TakesPartly => {}
        Mood::Silent => {
            return std::future::pending().await;
        }
        Mood::Refuses(status, after) => {
            let mut response = Response::new(Body::from("not now"));
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
            if let Some(after) = after {
                response.headers_mut().insert("retry-after", after.into());
            }
            return response;
        }
    }
    let request = Request::from_parts(parts, Body::from(body.clone()));
    let read = if is_grpc {
        return call(request, came, keep, metrics).await;
    } else if request.uri().path().ends_with("/ingest") {
        form(request).await.and_then(|parts| pyroscope(&came, &parts).map(|()| parts))
    } else {
        Ok(HashMap::from([(String::new(), body.to_vec())]))
    };
    match read {
        Ok(read) => {
            came.parts = read;
            let is_metrics = came.path == "/v1/metrics";
            keep(came);
            match is_metrics {
                true => ([("content-type", "application/x-protobuf")], metrics.encode_to_vec())
                    .into_response(),
                false => StatusCode::OK.into_response(),
            }
        }
        Err(err) => (StatusCode::BAD_REQUEST, format!("{err:#}")).into_response(),
    }
}

fn query(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), unescaped(value))).collect()
}

fn unescaped(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        (rest, _) = match (first, byte) {
            (b'%', Some(byte)) => (&tail[2..], bytes.push(byte)),
            _ => (tail, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn form(request: Request) -> Result<HashMap<String, Vec<u8>>> {
    let mut form = Multipart::from_request(request, &()).await?;
    let mut parts = HashMap::new();
    while let Some(field) = form.next_field().await? {
        let name = field.name().context("a part without a name")?.to_owned();
        parts.insert(name, field.bytes().await?.to_vec());
    }
    Ok(parts)
}

/// What Pyroscope asks of a request (grafana/pyroscope, pkg/ingester/pyroscope/ingest_handler.go).
fn pyroscope(came: &Came, parts: &HashMap<String, Vec<u8>>) -> Result<()> {
    let name = came.query.get("name").context("no name")?;
    let (app, labels) = name.split_once('{').context("no labels")?;
    ensure!(!app.is_empty() && labels.ends_with('}'), "{name}");
    ensure!(!came.query.contains_key("format"), "a form is not read with format=pprof");
    ensure!(!parts.contains_key("prev_profile"), "unsupported client version");
    for when in ["from", "until"] {
        let nanos: i128 = came.query.get(when).context(when)?.parse()?;
        ensure!(nanos > 1_600_000_000_000_000_000, "{when}={nanos}: these are no nanoseconds");
    }
    ensure!(parts.contains_key("profile"), "no profile");
    Ok(())
}

/// What a method of gRPC was asked, by its path.
async fn call(
    request: Request,
    came: Came,
    keep: impl Fn(Came),
    metrics: ExportMetricsServiceResponse,
) -> Response {
    let path = request.uri().path().to_owned();
    let taken = Arc::new(Mutex::new(None));
    let response = match path.as_str() {
        "/parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw" => {
            unary::<parca::WriteRawRequest, _>(request, &taken, parca::WriteRawResponse {}).await
        }
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
            unary::<ExportMetricsServiceRequest, _>(request, &taken, metrics).await
        }
        "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export" => {
            let told = ExportProfilesServiceResponse::default();
            unary::<ExportProfilesServiceRequest, _>(request, &taken, told).await
        }
        other => return tonic::Status::unimplemented(other.to_owned()).into_http(),
    };
    if let Some(message) = taken.lock().unwrap_or_else(PoisonError::into_inner).take() {
        keep(Came { parts: HashMap::from([(String::new(), message)]), ..came });
    }
    response
}

/// Has tonic's server read a request, and answers with a message.
async fn unary<Asked, Answered>(
    request: Request,
    taken: &Arc<Mutex<Option<Vec<u8>>>>,
    told: Answered,
) -> Response
where
    Asked: Message + Default + 'static,
    Answered: Message + Default + Clone + 'static,
{
    let taken = Arc::clone(taken);
    let service = tower::service_fn(move |request: tonic::Request<Asked>| {
        let message = request.into_inner().encode_to_vec();
        *taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
        let told = told.clone();
        async { Ok::<_, tonic::Status>(tonic::Response::new(told)) }
    });
    let mut grpc =
        Grpc::new(ProstCodec::<Answered, Asked>::default()).max_decoding_message_size(MOST);
    grpc.unary(service, request).await.map(Body::new)
}

/// The messages of parca-dev/parca, proto/parca/profilestore/v1alpha1/profilestore.proto.
pub mod parca {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct WriteRawRequest {
        #[prost(string, tag = "1")]
        pub tenant: String,
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
}

//! One call of a gRPC method whose message is encoded already.
//!
//! In: an upload: the method's path and its message. Out: what became of it.

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::partial::of_message;
use super::{CONNECT, told};
use crate::agent::push::retry::{Answer, of_grpc};
use crate::agent::push::spool::Upload;
use crate::exit::one_line;

/// Calls methods of one server.
pub struct Caller(Channel);

impl Caller {
    /// Connects when it is called first, and again whenever that is needed.
    pub fn new(base: &Uri, connector: HttpsConnector<HttpConnector>) -> Self {
        let endpoint = Endpoint::from(base.clone()).connect_timeout(CONNECT);
        Self(endpoint.connect_with_connector_lazy(connector))
    }

    pub async fn call(&self, upload: &Upload, headers: HeaderMap) -> Answer {
        let path: PathAndQuery = match upload.path.parse() {
            Ok(path) => path,
            Err(err) => return Answer::Refused(format!("it can't be sent: {err}")),
        };
        let mut request = Request::new(upload.body.clone());
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        let mut grpc = Grpc::new(self.0.clone());
        if let Err(err) = grpc.ready().await {
            return Answer::Later(one_line(&err), None);
        }
        match grpc.unary(request, path, Raw).await {
            Ok(response) => of_message(response.get_ref()),
            Err(status) => of_status(&status),
        }
    }
}

fn of_status(status: &Status) -> Answer {
    // Whatever broke on the way is no word of the receiver.
    if let Some(broken) = std::error::Error::source(status) {
        return Answer::Later(one_line(broken), None);
    }
    let name = format!("{:?}", status.code());
    of_grpc(status.code() as i32, &name, &told(status.message()))
}

/// Bytes as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

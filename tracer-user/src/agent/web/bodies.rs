//! Bodies of answers that are large: they take little memory, however many are taken at once and however slowly.

use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use hyper::body::{Bytes, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// Bytes that have a place among those that may be in memory, until they are taken or nobody takes them any more.
pub struct Held {
    bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

impl Held {
    pub fn new(bytes: Bytes, place: OwnedSemaphorePermit) -> Self {
        Self { bytes, _place: place }
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.bytes.is_empty() {
            return Poll::Ready(None);
        }
        // In parts: a whole would be on its way, and its place free.
        let part = this.bytes.split_to(this.bytes.len().min(CHUNK as usize));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

/// A file, read as it is sent: many that are taken at once are not in memory.
pub struct Chunks {
    pub file: File,
    pub left: u64,
}

/// Bytes that are read at once.
const CHUNK: u64 = 64 << 10;

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = vec![0; this.left.min(CHUNK) as usize];
        let read = this.file.read(&mut chunk).and_then(|read| match read {
            // It has become shorter.
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        });
        Poll::Ready(Some(read.map(|read| {
            this.left -= read as u64;
            chunk.truncate(read);
            Frame::data(chunk.into())
        })))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

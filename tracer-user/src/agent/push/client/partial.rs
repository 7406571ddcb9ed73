//! Uploads of OTLP that a receiver took only in part (`ExportMetricsServiceResponse` and its like: they are the same).
//!
//! In: the message of an answer. Out: how much of the upload was not taken, and why not.

use prost::Message;

use super::told;
use crate::agent::push::retry::Answer;

#[derive(Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Message)]
struct PartialSuccess {
    /// Data points, or samples.
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// What the message of an answer means that says otherwise that all is well. What can't be understood says no more.
pub fn of_message(message: &[u8]) -> Answer {
    let partial = Response::decode(message).ok().and_then(|response| response.partial_success);
    let Some(PartialSuccess { rejected, error_message }) = partial else { return Answer::Taken };
    match u64::try_from(rejected) {
        // With none there may be a warning, which changes nothing.
        Ok(0) | Err(_) => Answer::Taken,
        Ok(rejected) => Answer::Partly(rejected, told(&error_message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_taken_is_told() {
        let of = |rejected, why: &str| {
            let error_message = why.to_owned();
            let partial_success = Some(PartialSuccess { rejected, error_message });
            of_message(&Response { partial_success }.encode_to_vec())
        };
        assert_eq!(of(3, "too old\n"), Answer::Partly(3, "too old".to_owned()));
        assert_eq!(of(0, "soon it will be refused"), Answer::Taken);
        assert_eq!(of(-1, ""), Answer::Taken);
        assert_eq!(of_message(&[]), Answer::Taken);
        assert_eq!(of_message(b"\xff\xff no message"), Answer::Taken);
    }
}

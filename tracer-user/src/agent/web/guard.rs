//! Who is answered.
//!
//! In: a request's head and where it comes from. Out: nothing, or why it is refused.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Instant;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use subtle::ConstantTimeEq as _;

use super::page;
use super::rates::Rates;
use super::refused::Refused;

/// Bytes of a request's body.
pub const LARGEST_BODY: u64 = 64 << 10;
/// What tells nothing of anybody is told to everybody: whoever keeps the agent running has no token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Decides.
#[derive(Debug)]
pub struct Guard {
    /// What has to be known to be answered.
    token: RwLock<Option<String>>,
    /// Only who asks for this host by its own name is answered: a page from elsewhere, whose name its owner has made
    /// to mean 127.0.0.1, has a browser ask here too.
    only_local: bool,
    rates: Mutex<Rates>,
}

impl Guard {
    pub fn new(token: Option<String>, only_local: bool, per_second: f64) -> Self {
        let rates = Mutex::new(Rates::new(per_second, Instant::now()));
        Self { token: RwLock::new(token), only_local, rates }
    }

    /// From now on this is what has to be known.
    pub fn set_token(&self, token: Option<String>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, head: &Parts, who: IpAddr) -> Result<(), Refused> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if !rates.allows(who, Instant::now()) {
            return Err(Refused::Rate);
        }
        drop(rates);
        if self.only_local && !is_local(head) {
            return Err(Refused::Host);
        }
        let path = head.uri.path();
        let is_open = OPEN.contains(&path) || page::is_open(path);
        if !is_open && !self.knows_token(head) {
            return Err(Refused::Token);
        }
        if !head.method.is_safe() && !is_of_this_site(head) {
            return Err(Refused::Origin);
        }
        let length = head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        match length {
            Some(length) if length > LARGEST_BODY => Err(Refused::Body),
            _ => Ok(()),
        }
    }

    fn knows_token(&self, head: &Parts) -> bool {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = &*token else { return true };
        let said = head.headers.get(header::AUTHORIZATION);
        let said = said.and_then(|said| said.as_bytes().strip_prefix(b"Bearer "));
        said.is_some_and(|said| bool::from(said.ct_eq(token.as_bytes())))
    }
}

/// Whether no page of another site can have had a browser send this: it may send no such type without being asked
/// whether it may, which nobody answers, and a browser says where a request comes from.
fn is_of_this_site(head: &Parts) -> bool {
    let said = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_json = said(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
    });
    let is_own = match said(header::ORIGIN) {
        None => !head.headers.contains_key(header::ORIGIN),
        Some(origin) => {
            let of = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            of.is_some() && of == said(header::HOST)
        }
    };
    let is_near = match said(HeaderName::from_static("sec-fetch-site")) {
        None => true,
        Some(from) => from == "same-origin" || from == "none",
    };
    is_json && is_own && is_near
}

/// Whether a request asks for a name that only this host itself has.
fn is_local(head: &Parts) -> bool {
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.or_else(|| head.uri.authority().map(|of| of.as_str())) else {
        // Nothing that asks for names sends none.
        return true;
    };
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = without_port.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The answer to who is refused.
pub fn refusal(why: Refused) -> Response<Body> {
    let (status, text) = match why {
        Refused::Connections => (StatusCode::SERVICE_UNAVAILABLE, "too many connections\n"),
        Refused::Rate => (StatusCode::TOO_MANY_REQUESTS, "too many requests\n"),
        Refused::Token => {
            (StatusCode::UNAUTHORIZED, "a token is needed: Authorization: Bearer …\n")
        }
        Refused::Host => (StatusCode::FORBIDDEN, "ask for localhost or 127.0.0.1\n"),
        Refused::Origin => (
            StatusCode::FORBIDDEN,
            "send Content-Type: application/json, and no Origin but this one\n",
        ),
        Refused::Headers => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers\n"),
        Refused::Body => (StatusCode::PAYLOAD_TOO_LARGE, "too large a body\n"),
        Refused::Malformed | Refused::Tls => (StatusCode::BAD_REQUEST, "not understood\n"),
        Refused::Slow => (StatusCode::REQUEST_TIMEOUT, "too slow\n"),
        Refused::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy: ask again later\n"),
    };
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    match why {
        Refused::Token => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Refused::Rate | Refused::Busy | Refused::Connections => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{Method, Request};
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn head(path: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_token_and_nothing_like_it() {
        let guard = Guard::new(Some("correct-horse-battery".into()), false, 100.0);
        let ask = |path, authorization| {
            guard.check(&head(path, &[("authorization", authorization)]), HERE)
        };
        assert_eq!(ask("/metrics", "Bearer correct-horse-battery"), Ok(()));
        for wrong in ["Bearer correct-horse-batter", "Bearer ", "correct-horse-battery", "Basic x"]
        {
            assert_eq!(ask("/metrics", wrong), Err(Refused::Token), "{wrong}");
        }
        assert_eq!(guard.check(&head("/metrics", &[]), HERE), Err(Refused::Token));
        for open in ["/healthz", "/readyz", "/", "/assets/page.css"] {
            assert_eq!(guard.check(&head(open, &[]), HERE), Ok(()), "{open}");
        }
        for closed in ["/assets/x", "/api/v1/node", "//", "/?token=correct-horse-battery"] {
            let asked = guard.check(&head(closed, &[]), HERE);
            assert_eq!(asked.is_ok(), closed.starts_with("/?"), "{closed}");
        }
        let in_address = head("/metrics?token=correct-horse-battery", &[]);
        assert_eq!(guard.check(&in_address, HERE), Err(Refused::Token));
    }

    #[test]
    fn names_of_others_are_no_names_of_this_host() {
        let guard = Guard::new(None, true, 100.0);
        let ask = |host| guard.check(&head("/metrics", &[("host", host)]), HERE);
        for own in ["localhost", "LOCALHOST:9467", "127.0.0.1:9467", "[::1]:9467", "127.0.0.2"] {
            assert_eq!(ask(own), Ok(()), "{own}");
        }
        for other in ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "", "localhost:x"] {
            assert_eq!(ask(other), Err(Refused::Host), "{other}");
        }
    }

    #[test]
    fn nothing_is_done_for_pages_of_other_sites() {
        let guard = Guard::new(None, false, 100.0);
        let ask = |headers: &[(&str, &str)]| {
            let mut head = head("/api/v1/processes/1/captures", headers);
            head.method = Method::POST;
            guard.check(&head, HERE)
        };
        let json = ("content-type", "application/json");
        let host = ("host", "localhost:9467");
        assert_eq!(ask(&[json, host]), Ok(()), "no browser");
        let own =
            [json, host, ("origin", "http://localhost:9467"), ("sec-fetch-site", "same-origin")];
        assert_eq!(ask(&own), Ok(()));
        for other in [
            &[host][..],
            &[host, ("content-type", "text/plain")],
            &[json, host, ("origin", "http://evil.example")],
            &[json, host, ("origin", "null")],
            &[json, host, ("origin", "http://localhost:1")],
            &[json, host, ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(ask(other), Err(Refused::Origin), "{other:?}");
        }
    }

    #[test]
    fn large_bodies_and_many_requests() {
        let guard = Guard::new(None, false, 2.0);
        let large = head("/metrics", &[("content-length", "65537")]);
        assert_eq!(guard.check(&large, HERE), Err(Refused::Body));
        let plain = head("/metrics", &[]);
        let refused = (0..100).find_map(|_| guard.check(&plain, HERE).err());
        assert_eq!(refused, Some(Refused::Rate));
    }
}

//! The page: files that are part of the program, and hold nothing of the node.
//!
//! In: a path. Out: a file. All that a browser shows comes from `/api/v1`; the page's own policy has it load nothing from
//! elsewhere and run no script but these. What zooms and searches in flame graphs is inferno's: it is taken out of a
//! picture that inferno has drawn, so that frames can be shown where no script in a picture may run.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::OnceLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Bytes;

use crate::output::svg;

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; \
                   img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// Where files are, below the root.
pub const ASSETS: &str = "/assets/";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal, $kind:expr;)*) => {
        [$(($name, $kind, include_str!(concat!("page/", $name)))),*]
    };
}

/// Name, type and text.
const FILES: [(&str, &str, &str); 16] = files! {
    "index.html", HTML;
    "page.css", CSS;
    "main.js", JS;
    "ask.js", JS;
    "dom.js", JS;
    "text.js", JS;
    "table.js", JS;
    "node.js", JS;
    "process.js", JS;
    "told.js", JS;
    "charts.js", JS;
    "profile.js", JS;
    "captures.js", JS;
    "flame.html", HTML;
    "flame.css", CSS;
    "flame.js", JS;
};

/// A file to answer with.
struct File {
    kind: &'static str,
    tag: String,
    text: Bytes,
}

/// The first page.
pub async fn index(headers: HeaderMap) -> Response {
    answer("index.html", &headers)
}

/// A file of it.
pub async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

/// Whether everybody may have it, since it tells nothing.
pub fn is_open(path: &str) -> bool {
    path == "/" || path.strip_prefix(ASSETS).is_some_and(|name| files().contains_key(name))
}

fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = files().get(name) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    // Asked for each time, sent when it has changed: a newer heaptap is never half an older one.
    let common =
        [(header::ETAG, file.tag.as_str()), (header::CACHE_CONTROL, "no-cache, must-revalidate")];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == file.tag)) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let policy = [(header::CONTENT_TYPE, file.kind), (header::CONTENT_SECURITY_POLICY, CSP)];
    (common, policy, file.text.clone()).into_response()
}

fn files() -> &'static BTreeMap<&'static str, File> {
    static MADE: OnceLock<BTreeMap<&str, File>> = OnceLock::new();
    MADE.get_or_init(|| {
        let drawn = svg::parts();
        let own = FILES.map(|(name, kind, text)| match name {
            "flame.css" => (name, kind, format!("{}\n{text}", drawn.style)),
            _ => (name, kind, text.to_owned()),
        });
        let all = own.into_iter().chain([("inferno.js", JS, drawn.script)]);
        let file = |kind, text: String| {
            let mut hash = DefaultHasher::new();
            text.hash(&mut hash);
            File { kind, tag: format!("\"{:016x}\"", hash.finish()), text: text.into() }
        };
        all.map(|(name, kind, text)| (name, file(kind, text))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_a_file_names_is_there_and_no_script_is_in_a_page() {
        for (name, kind, text) in FILES {
            for part in text.split(['"', '\'']).filter(|part| part.starts_with(ASSETS)) {
                assert!(is_open(part), "{name}: {part}");
            }
            for part in text.split(['"', '\'']).filter_map(|part| part.strip_prefix("./")) {
                assert!(!part.ends_with(".js") || files().contains_key(part), "{name}: {part}");
            }
            if kind == HTML {
                let of = |begin: &str| text.matches(begin).count();
                let named =
                    of("<script src=\"/assets/") + of("<script type=\"module\" src=\"/assets/");
                assert_eq!(of("<script"), named, "{name}");
                let listens = |word: &str| word.starts_with("on") && word.contains("=\"");
                assert!(!text.contains("style=") && !text.split(' ').any(listens), "{name}");
            }
            assert!(text.lines().count() < 300, "{name}");
            assert!(!text.contains("innerHTML") && !text.contains("eval("), "{name}");
        }
        assert!(is_open("/") && !is_open("/assets/") && !is_open("/assets/../x"));
        assert!(!is_open("/api/v1/node") && !is_open("/metrics"));
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let first = answer("page.css", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert!(
            first.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .is_ok_and(|of| !of.contains("unsafe"))
        );
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(answer("page.css", &headers).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer("main.js", &headers).status(), StatusCode::OK);
        assert_eq!(answer("x", &headers).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn what_moves_flame_graphs_is_infernos() {
        let script = std::str::from_utf8(&files()["inferno.js"].text).unwrap();
        for part in
            ["var fluiddrawing = true;", "function init(", "function search(", "function zoom("]
        {
            assert!(script.contains(part), "{part}");
        }
        assert!(!script.contains("]]>"));
        assert!(files()["flame.css"].text.starts_with(b"\ntext {"));
    }
}

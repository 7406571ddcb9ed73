//! Pictures as JSON documents, for the page and for scripts.
//!
//! In: a [`Node`], courses of processes. Out: documents that openapi.json describes; a test holds the two equal.

mod documents;
#[cfg(test)]
mod tests;

pub use documents::{
    CaptureDocument, FindingOf, NodeDocument, Overview, ProcessDocument, Summary, TimelineDocument,
};

use super::node::Node;

/// The description of everything below `/api/v1`.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Every process in short.
pub fn processes(node: &Node) -> Vec<Summary<'_>> {
    node.processes.iter().map(|process| Summary::new(process)).collect()
}

/// What grows in any of them; leaks first.
pub fn findings(node: &Node) -> Vec<FindingOf<'_>> {
    let mut found = Vec::new();
    for process in &node.processes {
        let findings = process.trends.iter().flat_map(|trends| &trends.findings);
        let who = &process.who;
        found.extend(findings.map(|finding| FindingOf::new(who.id.pid, &who.comm, finding)));
    }
    found.sort_by_key(FindingOf::is_doubted);
    found
}

//! What the agent serves, sends and judges.
//!
//! In: a picture of the node ([`node::Node`]) for each round, and a configuration. Out: metrics, answers, and
//! what is sent. Knows no process, no /proc and no kernel program, needs no root; who looks at processes and makes
//! pictures is `pipeline::agent`.

pub mod api;
pub mod asked;
pub mod captured;
pub mod config;
pub mod iterations;
pub mod metrics;
pub mod node;
pub mod notify;
pub mod pauses;
pub mod push;
pub mod rules;
pub mod timeline;
pub mod web;

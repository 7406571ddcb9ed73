//! The commands: the only place that sees all stages.

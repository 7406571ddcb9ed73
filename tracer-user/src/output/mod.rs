//! Renders profiles: SVG, pprof, folded, JSON, table. Never symbolizes.

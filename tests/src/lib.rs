//! Helpers of the integration tests: fixtures, toolchains, running heaptap.

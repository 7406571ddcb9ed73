//! Where goroutines help the collector to mark before they may allocate.
//!
//! In: a binary's functions and code. Out: sites of the assist probe. Whoever owes the collector marking calls
//! `runtime.gcAssistAlloc` (mgcmark.go; malloc.go up to Go 1.26, malloc_stubs.go and malloc_generated.go in
//! 1.27), which marks in `gcAssistAlloc1` on the thread's own stack, and waits where there is nothing to
//! mark. The goroutine is the first argument of both, the same in Go 1.19 to 1.27.

use super::{Site, SiteError, returns::return_sites, whole_functions};
use crate::gobin::GoBinary;

const ASSIST: &str = "runtime.gcAssistAlloc";
const MARK: &str = "runtime.gcAssistAlloc1";

/// Sites of the assist probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssistSites {
    /// An assist begins.
    pub begin: Site,
    /// It ends: returns.
    pub ends: Vec<Site>,
    /// It marks.
    pub mark: Site,
    /// It does so no more: returns.
    pub marked: Vec<Site>,
}

/// Sites of the assist probe.
pub fn assist_sites(binary: &GoBinary) -> Result<AssistSites, SiteError> {
    let version = binary.facts().version.ok_or(SiteError::NoVersion)?;
    if version.major != 1 || !matches!(version.minor, 19..=27) {
        return Err(SiteError::Arguments(version));
    }
    let [begin, mark] = whole_functions(binary, [ASSIST, MARK])?;
    let (ends, marked) = (return_sites(binary, ASSIST)?, return_sites(binary, MARK)?);
    Ok(AssistSites { begin, ends, mark, marked })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gobin::fake::{self, Fake};

    #[test]
    fn a_release_that_was_not_read_and_a_program_without_assists_are_refused() {
        let error = |release| {
            let fake = Fake::with_build_info(release, "path\tfake\n");
            assist_sites(&fake::open(&fake.bytes).unwrap()).unwrap_err().to_string()
        };
        assert!(error("go1.18.10").contains("Go 1.18.10"), "{}", error("go1.18.10"));
        assert!(error("go1.26.1").contains(ASSIST));
    }
}

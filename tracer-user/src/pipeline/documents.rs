//! `heaptap man`: manual pages, printed or written.

use std::fs;

use super::print;
use crate::cli::{ManConfig, documents};
use crate::exit::{Exit, Failure};

/// Prints the page that is asked for, or writes all of them.
///
/// # Errors
/// The page can't be printed, or one can't be written.
pub fn man(config: &ManConfig) -> Result<(), Failure> {
    let pages = documents::pages();
    let pages = pages.map_err(|err| Failure::new(Exit::Failure, err.to_string()))?;
    let Some(dir) = &config.dir else {
        let page = pages.iter().find(|page| page.command == config.command);
        return page.map_or(Ok(()), |page| print(&page.text));
    };
    let refused = |path: &std::path::Path, err: std::io::Error| {
        Failure::new(Exit::Output, format!("{} can't be written: {err}", path.display()))
    };
    fs::create_dir_all(dir).map_err(|err| refused(dir, err))?;
    for page in &pages {
        let path = dir.join(&page.file);
        fs::write(&path, &page.text).map_err(|err| refused(&path, err))?;
    }
    Ok(())
}

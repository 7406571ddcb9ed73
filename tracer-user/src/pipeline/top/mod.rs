//! `heaptap top`: all Go programs live, on a terminal; or once, as a table or a document.
//!
//! In: the configuration. Out: a screen, a table, or documents `heaptap.top/1` (docs/top-json.md). What
//! is read is what `heaptap stats` reads; nothing is attached.

pub mod footprint;
mod json;
mod keys;
mod live;
mod opened;
mod plain;
mod reading;
mod screen;

use std::ops::ControlFlow;

use super::{print, print_more, watch};
use crate::cli::top::{Config, Form};
use crate::exit::Failure;
use crate::tui::model::Model;
use reading::Reading;

/// Shows what it is told to.
///
/// # Errors
/// A pid that was asked for can't be read; there is no terminal; what is shown can't be written.
pub fn run(config: &Config) -> Result<(), Failure> {
    match config.form {
        Form::Live => live::run(config),
        // Rates are known from the second look on.
        Form::Once => after(config, 2, &|model| print(&plain::table(model, config.color))),
        Form::Json { once: true } => after(config, 2, &|model| print(&json::document(model)?)),
        Form::Json { once: false } => documents(config),
    }
}

/// Looks some times and shows the last of it.
fn after(
    config: &Config,
    looks: usize,
    show: &dyn Fn(&Model) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reading = Reading::new(config);
    let mut model = Model::default();
    let mut looked = 0;
    watch::every(config.period, None, || {
        reading.round(&mut model, looked == 0)?;
        looked += 1;
        Ok(if looked == looks { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    // A signal came meanwhile: what there is is shown.
    show(&model)?;
    reading.verdict()
}

fn documents(config: &Config) -> Result<(), Failure> {
    let mut reading = Reading::new(config);
    let mut model = Model::default();
    let mut first = true;
    watch::every(config.period, None, || {
        reading.round(&mut model, first)?;
        if !std::mem::take(&mut first) && reading.has_ended(&model) {
            return Ok(ControlFlow::Break(()));
        }
        print_more(&json::document(&model)?)
    })
}

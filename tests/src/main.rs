//! Builds every fixture of the catalogue, or those that are named (`alloc-go1.27-stripped`), with a line for each:
//! `cargo run -p heaptap-tests`.

use std::process::ExitCode;
use std::time::Instant;

use heaptap_tests::{Fixture, Variant, catalog};
use xtask::pins::GoRelease;
use xtask::toolchain;

fn main() -> ExitCode {
    let mut all = catalog::all();
    let named: Vec<String> = std::env::args().skip(1).collect();
    let stem = |(name, go, variant): &(&str, &str, Variant)| Fixture::stem(name, go, *variant);
    let unknown = named.iter().find(|named| !all.iter().any(|one| stem(one) == **named));
    if let Some(unknown) = unknown {
        eprintln!("no fixture of the catalogue is called {unknown}");
        return ExitCode::FAILURE;
    }
    all.retain(|one| named.is_empty() || named.contains(&stem(one)));
    let mut failed = 0;
    for (at, (name, go, variant)) in all.iter().enumerate() {
        let label = format!("[{}/{}] {name} go{go} {}", at + 1, all.len(), variant.name());
        let started = Instant::now();
        match Fixture::build(name, go, *variant) {
            Ok(built) if built.fresh => {
                println!("{label}: built in {:.1} s", started.elapsed().as_secs_f64());
            }
            Ok(_) => println!("{label}: there"),
            Err(_) if is_unavailable(go) => println!("{label}: no such package here"),
            Err(err) => {
                eprintln!("{label}: {err:#}");
                failed += 1;
            }
        }
    }
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Whether setup found that this distribution does not have the release.
fn is_unavailable(go: &str) -> bool {
    let mark = GoRelease::find(go).map(toolchain::unavailable_mark);
    mark.and_then(Result::ok).is_some_and(|mark| mark.is_file())
}

//! Finds the kernel programs' object, which `cargo xtask build` makes from tracer-ebpf.

use std::{env, fs, path::PathBuf, process};

fn main() {
    println!("cargo::rerun-if-env-changed=HEAPTAP_BPF_OBJECT");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    let object = env::var_os("HEAPTAP_BPF_OBJECT").map(PathBuf::from).unwrap_or_else(|| {
        let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        target.unwrap_or_else(|| PathBuf::from("../target")).join("bpf/heaptap.o")
    });
    match fs::canonicalize(&object) {
        Ok(object) => {
            println!("cargo::rerun-if-changed={}", object.display());
            println!("cargo::rustc-env=HEAPTAP_BPF_OBJECT={}", object.display());
        }
        Err(err) => {
            println!(
                "cargo::error=no kernel programs at {}: {err}; run `cargo xtask build` first",
                object.display()
            );
            process::exit(1);
        }
    }
}

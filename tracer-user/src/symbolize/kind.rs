//! Whose code a Go function is: the runtime's, the standard library's or the program's.
//!
//! In: a function's name and the path of the main module. Out: [`FrameKind`]. Knows no binary.

use crate::profile::FrameKind;

/// First path elements of the standard library's packages, Go 1.18 to 1.27 (`ls $GOROOT/src`).
const STANDARD: &[&str] = &[
    "archive",
    "arena",
    "bufio",
    "builtin",
    "bytes",
    "cmp",
    "compress",
    "container",
    "context",
    "crypto",
    "database",
    "debug",
    "embed",
    "encoding",
    "errors",
    "expvar",
    "flag",
    "fmt",
    "go",
    "hash",
    "html",
    "image",
    "index",
    "internal",
    "io",
    "iter",
    "log",
    "maps",
    "math",
    "mime",
    "net",
    "os",
    "path",
    "plugin",
    "reflect",
    "regexp",
    "runtime",
    "simd",
    "slices",
    "sort",
    "strconv",
    "strings",
    "structs",
    "sync",
    "syscall",
    "testing",
    "text",
    "time",
    "unicode",
    "unique",
    "unsafe",
    "uuid",
    "vendor",
    "weak",
];

/// Tells frames apart for one program.
#[derive(Clone, Debug)]
pub struct Kinds {
    /// A module may be named like a package of the standard library.
    main_module: Option<String>,
}

impl Kinds {
    /// For the program whose main module has this path.
    pub fn new(main_module: Option<&str>) -> Self {
        Self { main_module: main_module.map(str::to_owned) }
    }

    /// Whose code the function of that name is.
    pub fn of(&self, function: &str) -> FrameKind {
        let package = package(function);
        if package.is_empty() {
            // Assembly without a package (`memeqbody`, `_rt0_amd64`) and the compiler's own.
            return FrameKind::Runtime;
        }
        if package == "runtime"
            || package.starts_with("internal/runtime/")
            || package.starts_with("runtime/internal/")
        {
            return FrameKind::Runtime;
        }
        if self.is_of_main_module(package) {
            return FrameKind::Program;
        }
        let first = package.split('/').next().unwrap_or_default();
        match STANDARD.binary_search(&first) {
            Ok(_) => FrameKind::Standard,
            Err(_) => FrameKind::Program,
        }
    }

    fn is_of_main_module(&self, package: &str) -> bool {
        self.main_module.as_deref().is_some_and(|module| {
            package
                .strip_prefix(module)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// The package path that a function's name begins with; empty when there is none.
///
/// `net/http.(*Server).Serve.func1` → `net/http`. Equality and hash functions that the compiler makes
/// (`type:.eq.main.T`, up to Go 1.19 `type..eq.main.T`) count as their type's.
pub fn package(function: &str) -> &str {
    let name = function.strip_prefix("type:.").or_else(|| function.strip_prefix("type.."));
    let name = match name {
        Some(made) => made.split_once('.').map_or("", |(_, of)| of),
        None => function,
    };
    // What follows a bracket or a parenthesis may hold paths of other packages.
    let end = name.find(['[', '(', '{', ' ']).unwrap_or(name.len());
    let name = &name[..end];
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[last..].find('.') {
        Some(dot) => &name[..last + dot],
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages() {
        assert_eq!(package("main.main"), "main");
        assert_eq!(package("net/http.(*Server).Serve.func1"), "net/http");
        assert_eq!(package("slices.Sort[github.com/a/b.T]"), "slices");
        assert_eq!(package("gopkg.in/yaml%2ev3.(*Decoder).Decode"), "gopkg.in/yaml%2ev3");
        assert_eq!(package("type:.eq.github.com/a/b.T"), "github.com/a/b");
        assert_eq!(package("type..hash.[4]main.T"), "");
        assert_eq!(package("memeqbody"), "");
        assert_eq!(package(""), "");
    }

    #[test]
    fn kinds() {
        let of = |name| Kinds::new(Some("net-tool")).of(name);
        for name in ["runtime.mallocgc", "runtime.(*mheap).alloc", "internal/runtime/maps.newTable"]
        {
            assert_eq!(of(name), FrameKind::Runtime, "{name}");
        }
        for name in ["runtime/pprof.WriteTo", "vendor/golang.org/x/net/idna.f", "bytes.Clone"] {
            assert_eq!(of(name), FrameKind::Standard, "{name}");
        }
        for name in ["main.main", "net-tool/net.F", "github.com/a/runtime.F", "main._Cfunc_twice"] {
            assert_eq!(of(name), FrameKind::Program, "{name}");
        }
        assert_eq!(Kinds::new(Some("log/app")).of("log/app/db.Open"), FrameKind::Program);
        assert_eq!(Kinds::new(Some("log/app")).of("log.Printf"), FrameKind::Standard);
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(STANDARD.is_sorted());
    }
}

//! Profiles that the tests of all outputs share.

use crate::address::VAddr;
use crate::profile::build::Build;
use crate::profile::iterations::{Ended, Iterations, Worst};
use crate::profile::{
    ALLOC_OBJECTS, ALLOC_SPACE, Ages, CONTENTIONS, CounterValue, DELAY, GOROUTINES_CREATED,
    GOROUTINES_ENDED, GOROUTINES_LIVE, INUSE_OBJECTS, INUSE_SPACE, MAP_ITERATIONS, MAP_STEPS,
    MAP_TIME, POOL, POOL_GETS, POOL_MISSES, POOL_PUTS, Profile, Raw, SPACE, STACK_COPIED,
    STACK_GROWTHS, STACK_SHRINKS, Source, TRUNCATED, Workload,
};

/// One process, exact: inlining, generics, closures, every kind of code, a truncated stack.
pub fn server() -> Profile {
    let mut build = Build::new(Source::Exact);
    let p = build.process(4242, "server", "go1.26.6");
    let serve = [
        "main.(*API).ServeHTTP /home/ann/src/shop/api.go:88:61",
        "net/http.HandlerFunc.ServeHTTP /usr/local/go/src/net/http/server.go:2322:2321",
        "net/http.(*conn).serve /usr/local/go/src/net/http/server.go:2090:1908",
    ];
    let decode = [
        "encoding/json.(*decodeState).literalStore \
         /usr/local/go/src/encoding/json/decode.go:1012:886",
        "encoding/json.(*decodeState).object /usr/local/go/src/encoding/json/decode.go:800:658",
        "encoding/json.Unmarshal /usr/local/go/src/encoding/json/decode.go:113:97",
        "main.(*API).decode /home/ann/src/shop/api.go:131:120",
    ];
    let cache = [
        "+strings.Clone /usr/local/go/src/strings/clone.go:23:22",
        "github.com/acme/cache.(*Cache[...]).Put \
         /home/ann/go/pkg/mod/github.com/acme/cache@v1.4.2/cache.go:57:44",
        "main.(*API).ServeHTTP.func1 /home/ann/src/shop/api.go:80:79",
    ];
    build.stack(p, &[&decode[..], &serve].concat(), 120_000, 48 << 20).go_type("map[string]any");
    build.stack(p, &[&cache[..], &serve].concat(), 30_000, 16 << 20);
    build.stack(p, &serve, 2_000, 3 << 20).go_type("struct { a int; b []byte }");
    let timer = [
        "time.NewTimer /usr/local/go/src/time/sleep.go:149:145",
        "main.tick /home/ann/src/shop/tick.go:14:9",
        "runtime.main /usr/local/go/src/runtime/proc.go:285:151",
    ];
    build.stack(p, &timer, 600, 4 << 20).go_type("time.Timer");
    let runtime = [
        "runtime.allgadd /usr/local/go/src/runtime/proc.go:710:700",
        "runtime.newproc1 /usr/local/go/src/runtime/proc.go:5240:5200",
    ];
    build.stack(p, &runtime, 12, 512 << 10).go_type("runtime.g");
    let native = ["native:sqlite3_step", "unknown:[no~symbol:~libsqlite3.so.0+0x8f2c1]"];
    build.stack(p, &native, 4, 256 << 10);
    build.stack(p, &["main.walk /home/ann/src/shop/tree.go:31:30", TRUNCATED], 400, 64 << 10);
    build.done()
}

/// Three processes of two binaries, estimates, a loss and a note.
pub fn fleet() -> Profile {
    let mut build = Build::new(Source::Span);
    let web = build.process(41, "web", "go1.27.3");
    let blue = build.process(77, "worker", "go1.21.13");
    let green = build.process(78, "worker", "");
    let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    build.container(green, id);
    let [container, pod, namespace] = ["job", "worker-5d9", "shop"].map(|name| Some(name.into()));
    build.workload(green, Workload { container, pod, namespace, unit: None });
    build.workload(web, Workload { unit: Some("web.service".into()), ..Workload::default() });
    let page = ["bytes.growSlice /go/src/bytes/buffer.go:250", "main.page /src/web/page.go:12:10"];
    let job = ["main.job /src/worker/job.go:40:33", "main.main /src/worker/main.go:9:5"];
    build.stack(web, &page, 900, 9 << 20).error(90.0, 700_000.0);
    build.stack(blue, &job, 5_000, 3 << 20).error(400.0, 200_000.0);
    build.stack(green, &job, 4_000, 2 << 20).error(350.5, 150_000.0);
    build.counter(CounterValue {
        name: "recorded".into(),
        help: "events counted under a stack".into(),
        is_loss: false,
        count: 321,
    });
    build.counter(CounterValue {
        name: "lost_stacks_full".into(),
        help: "events dropped because the table of stacks is full (--max-stacks)".into(),
        is_loss: true,
        count: 1_200,
    });
    build.note("worker (pid 78) has no build info: its Go version was guessed from its tables");
    build.done()
}

/// A heap as a runtime's records have it.
pub fn heap() -> Profile {
    let mut build = Build::new(Source::Records);
    let p = build.process(4242, "server", "go1.26.6");
    build.values(&[ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE], 3);
    let method = "heap as of the last completed collection (cycle 7), one sample per 512.0 KiB";
    build.records(method, SPACE, 512 << 10);
    let put = ["main.(*cache).put /src/cache.go:12:10", "main.main /src/main.go:9:5"];
    build.stack(p, &put, 0, 0).valued(&[24, 12 << 20, 24, 12 << 20]).label("bytes", 512 << 10);
    build.stack(p, &put[1..], 0, 0).valued(&[1200, 100 << 20, 0, 0]).label("bytes", 81920);
    build.done()
}

/// Addresses that have no names yet, found in each way.
pub fn raw() -> Profile {
    let mut build = Build::new(Source::Exact);
    let process = build.process(77, "orders", "go1.27.3");
    build.stack(process, &["main.f main.go:3", "main.main main.go:9"], 2, 64);
    let mut profile = build.done();
    let binary = profile.processes[0].binary;
    for (at, raw) in (0x47_0000..).step_by(16).zip(Raw::ALL) {
        let id = profile.raw(raw, binary, VAddr(at));
        profile.samples[0].stack.insert(0, id);
        profile.samples[0].leaf = Some(id);
    }
    profile
}

/// Contention as a runtime's records have it.
pub fn block() -> Profile {
    let mut build = Build::new(Source::Records);
    let p = build.process(4242, "server", "go1.26.6");
    build.values(&[CONTENTIONS, DELAY], 1);
    build.records("waiting since the start", CONTENTIONS, 1);
    let lock = ["sync.(*Mutex).Lock /go/src/sync/mutex.go:45:40", "main.main /src/main.go:9:5"];
    build.stack(p, &lock, 0, 0).valued(&[2, 2_499_000_000]);
    build.stack(p, &lock[1..], 0, 0).valued(&[1, 1_000_000]);
    build.done()
}

/// Iterations over maps: short ones often, long ones now and then, some nested deep.
pub fn maps() -> Profile {
    let mut build = Build::new(Source::Exact);
    let p = build.process(4242, "shop", "go1.26.6");
    build.values(&[MAP_ITERATIONS, MAP_STEPS, MAP_TIME], 1);
    let main = "main.main /home/ann/src/shop/main.go:12:5";
    let rebuild = ["main.rebuild /home/ann/src/shop/index.go:88:80", main];
    let lookup = [
        "main.(*Shop).lookup /home/ann/src/shop/shop.go:40:33",
        "main.rebuild /home/ann/src/shop/index.go:91:80",
        main,
    ];
    let second = 1_000_000_000;
    let mut made = |frames: &[&str], count: u64, steps: u64, time: u64, depth: u32| {
        let mut of = Iterations::default();
        for at in 0..count {
            let what = Worst { goroutine: 17 + at % 3, steps, time: time + at };
            let began = at * second / 4;
            let between = (began, began + time);
            of.add_one(&Ended { what, is_complete: at % 8 != 7, cost: time / 10, between });
        }
        of.add_depth(depth, count);
        let values = [of.count, of.steps, of.time];
        build.stack(p, frames, 0, 0).valued(&values).iterations(of);
    };
    made(&rebuild, 40, 250_000, 30_000_000, 1);
    made(&lookup, 32, 8, 2_000, 5);
    build.done()
}

/// Goroutines, of which nearly all of one creator end and none of another's.
pub fn goroutines() -> Profile {
    let mut build = Build::new(Source::Exact);
    let p = build.process(4242, "shop", "go1.26.6");
    build.values(&[GOROUTINES_CREATED, GOROUTINES_ENDED, GOROUTINES_LIVE], 0);
    let start = ["go~main.(*Shop).handle /home/ann/src/shop/shop.go:60:60"];
    let serve = ["main.(*Shop).serve /home/ann/src/shop/shop.go:33:30"];
    let mut ages = Ages::default();
    (ages.freed[0], ages.freed[4], ages.live[0]) = (6_000, 3_998, 2);
    build.stack(p, &[start, serve].concat(), 0, 0).valued(&[10_000, 9_998, 2]).ages(&ages);
    let start = ["go~main.(*Hub).pump /home/ann/src/shop/hub.go:70:70"];
    let subscribe = ["main.(*Hub).subscribe /home/ann/src/shop/hub.go:40:31"];
    let mut ages = Ages::default();
    (ages.freed[2], ages.live[9], ages.live[13]) = (1, 100, 199);
    build.stack(p, &[start, subscribe].concat(), 0, 0).valued(&[300, 1, 299]).ages(&ages);
    build.done()
}

/// Moves of stacks.
pub fn moves() -> Profile {
    let mut build = Build::new(Source::Exact);
    let p = build.process(4242, "shop", "go1.26.6");
    build.values(&[STACK_GROWTHS, STACK_SHRINKS, STACK_COPIED], 2);
    let parse = "main.parse /home/ann/src/shop/parse.go:12:10";
    let grown = ["group:2.0~KiB~→~4.0~KiB", parse];
    build.stack(p, &grown, 0, 0).valued(&[30, 0, 90 << 10]);
    build.stack(p, &["group:4.0~KiB~→~2.0~KiB", parse], 0, 0).valued(&[0, 10, 10 << 10]);
    build.done()
}

/// Pools: one that gets nothing back, one that is emptied too soon, one of a library, one on the heap.
pub fn pools() -> Profile {
    let mut build = Build::new(Source::Exact);
    let p = build.process(4242, "shop", "go1.26.6");
    build.values(&[POOL_GETS, POOL_MISSES, POOL_PUTS], 0);
    let get = "sync.(*Pool).Get /go/src/sync/pool.go:134:133";
    let put = "sync.(*Pool).Put /go/src/sync/pool.go:100:99";
    let main = "main.main /home/ann/src/shop/main.go:12:5";
    let mut made = |pool: &str, frames: &[&str], values: [u64; 3]| {
        build.stack(p, frames, 0, 0).valued(&values).text(POOL, pool);
    };
    let frames = "main.frames (New main.newFrame)";
    let read = "main.(*conn).read /home/ann/src/shop/conn.go:31:20";
    let close = "main.(*conn).close /home/ann/src/shop/conn.go:58:50";
    made(frames, &[get, read, main], [9_000, 8_995, 0]);
    made(frames, &[put, close, main], [0, 0, 10]);
    let sweep = "main.sweep /home/ann/src/shop/sweep.go:9:3";
    made("main.rare", &[get, sweep, main], [1_000, 700, 0]);
    made("main.rare", &[put, sweep, main], [0, 0, 1_000]);
    let report = "main.report /home/ann/src/shop/main.go:70:60";
    let printer = "fmt.newPrinter /go/src/fmt/print.go:152:151";
    let free = "fmt.(*pp).free /go/src/fmt/print.go:180:165";
    made("fmt.ppFree", &[get, printer, report, main], [400, 2, 0]);
    made("fmt.ppFree", &[put, free, report, main], [0, 0, 400]);
    made("0xc0000a2000 on the heap", &[put, close, main], [0, 0, 2]);
    build.done()
}

/// What a malicious binary may call its functions.
pub fn hostile() -> Profile {
    let mut build = Build::new(Source::Exact);
    let p = build.process(1, "<b>\x1b[31m;--x", "go1.26.6\n");
    let names = [
        "# comment",
        "main.a;b 12",
        "main.\u{202e}evil 34 56",
        "</title><script>alert(1)</script>",
        "\x1b]0;title\x07 \"quoted\" 'single' & more",
        "main.line\nbreak\ttab\0nul",
        "--",
        "",
        "   ",
        "main.F_[k]",
        "main.f (1,234 bytes, 5%)",
    ];
    for (at, name) in names.iter().enumerate() {
        let frame = format!("{} /x/(evil)<&>.go:1", name.replace(' ', "~"));
        build.stack(p, &[&frame, "main.main /src/main.go:1"], 1, 100 + at as u64);
        build.stack(p, &[&frame], 1, 50);
    }
    build.note("note with \x1b[2J and <b>");
    build.done()
}

/// A process in which nothing happened.
pub fn empty() -> Profile {
    let mut build = Build::new(Source::Exact);
    build.process(4242, "idle", "go1.26.6");
    build.done()
}

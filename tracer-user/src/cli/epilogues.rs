//! What the help of each command ends with: how it is read, examples, exit codes. Texts and nothing else.

macro_rules! exit_codes {
    () => {
        "Exit codes:
  0  everything that was asked for was done
  1  a failure that has no code of its own
  2  the command line can't be understood
  3  a privilege is missing
  4  no such process, or not a Go program, or it went away before anything could be seen
  5  this Go version, this binary or this kernel can't serve the request
  6  at least one output could not be written; the others were
  7  heaptap leaks: at least one leak was found
  8  heaptap forecast: a program is at a memory limit, or will be within --within"
    };
}

pub(super) const MAIN_EPILOGUE: &str = concat!(
    "Examples:
  sudo heaptap ps                                  which Go programs run here
  sudo heaptap record -p 4242 -d 10                ten seconds of one program, as a table
  sudo heaptap record -p 4242 -d 10 -o heap.svg    the same as a flame graph
  sudo heaptap heap -p 4242                        what is alive on its heap, no probe
  sudo heaptap stats -p 4242                       its heap, collector and stacks, no probe
  sudo heaptap goroutines -p 4242                  what every goroutine waits for
  sudo heaptap gc -p 4242                          each collection as it ends, no probe
  sudo heaptap leaks -p 4242                       what leaks, and at which line, no probe
  sudo heaptap forecast -p 4242                    when its memory runs out, and why, no probe
  sudo heaptap top                                 all Go programs, live
  sudo heaptap doctor                              why it does not work here

",
    exit_codes!()
);

pub(super) const PS_EPILOGUE: &str = concat!(
    "Columns: LOAD is fixed or pie, SYMS says whether the symbol table is there, TRACE names the
modes that `heaptap record` can use, or why there is none.

Examples:
  sudo heaptap ps
  sudo heaptap ps --json | jq '.processes[] | {pid, go_version}'

",
    exit_codes!()
);

pub(super) const RECORD_EPILOGUE: &str = concat!(
    "Examples:
  sudo heaptap record -p 4242                      until Ctrl-C, top stacks as a table
  sudo heaptap record -p 4242 -p 4243 -d 30s       two programs, half a minute
  sudo heaptap record --exe /usr/bin/caddy -d 10 -o heap.svg -o heap.pb.gz
  sudo heaptap record --comm 'api-*' --mode span -d 2m -o churn.folded
  sudo heaptap record --all -d 10 --by type        what is allocated, by Go type
  sudo heaptap record -p 4242 --every 10s -o run.htap    a recording, for heaptap export

",
    exit_codes!()
);

pub(super) const MAPS_EPILOGUE: &str = concat!(
    "Each step of a followed iteration costs the program a trap; what that takes is measured and taken out of
the times. --mode count takes one trap for each iteration.

Examples:
  sudo heaptap maps -p 4242 -d 10                  who iterates, how far and how long
  sudo heaptap maps -p 4242 -d 10 --mode count     how often, and over how large maps
  sudo heaptap maps -p 4242 -d 60 -o maps.svg --heat heat.svg
  sudo heaptap maps -p 4242 -d 10 --value time --p99-over 200

",
    exit_codes!()
);

pub(super) const POOLS_EPILOGUE: &str = concat!(
    "Each Get and each Put costs the program a trap, a Get that finds nothing two.

Columns: MISSES are Gets that found nothing, HITS the share of the others, BALANCE is puts less gets. A
pool has the name of its variable, where the program has symbols; New is the function that makes what
it has not.

Examples:
  sudo heaptap pools -p 4242 -d 10                 which pools are worth their while
  sudo heaptap pools -p 4242 -d 10 --value misses  who finds nothing
  sudo heaptap pools -p 4242 -d 60 -o pools.svg -o pools.json

",
    exit_codes!()
);

pub(super) const STATS_EPILOGUE: &str = concat!(
    "Nothing is attached and nothing stopped: the figures are read out of the process's memory.

Examples:
  sudo heaptap stats -p 4242                       everything about one program
  sudo heaptap stats -p 4242 --watch 1             a row each second, until Ctrl-C
  sudo heaptap stats --all                         a row for each Go program of this host
  sudo heaptap stats --all --json | jq '.processes[] | {pid, goal: .heap.goal}'

",
    exit_codes!()
);

pub(super) const TOP_EPILOGUE: &str = concat!(
    "Nothing is attached and nothing stopped: the figures are read out of the processes' memory. Press ?
for keys and for what the columns mean.

Examples:
  sudo heaptap top                                 every Go program of this host
  sudo heaptap top --container 'web-*' -w 2        of some containers, every two seconds
  sudo heaptap top --once                          one table, for a script or a ticket
  sudo heaptap top --json | jq '.processes[] | {pid, alloc_rate}'

",
    exit_codes!()
);

pub(super) const WATCH_EPILOGUE: &str = concat!(
    "Each process is looked at again and again: nothing is attached to it and it is not stopped. What the
last looks told is kept in memory, and written when the kernel kills the process because memory has run
out, when a signal other than SIGTERM, SIGINT, SIGHUP and the like ends it, or when it ends with a
status that is not 0: words.txt and words.json (what happened, and statistics of each look), heap.htap
(the heap over time, for heaptap export), heap.svg and heap.txt (the last look), goroutines.txt and .json.

Examples:
  sudo heaptap watch                               every Go program of this host, until Ctrl-C
  sudo heaptap watch --comm 'api-*' -o /var/log/heaptap --every 1
  heaptap export heaptap-last-words/orders-4242-*/heap.htap -o heap.html

",
    exit_codes!()
);

pub(super) const AGENT_EPILOGUE: &str = concat!(
    "Every Go program of this node is looked at again and again: nothing is attached to it and it is not
stopped. What was seen is served over HTTP: /metrics for Prometheus, /healthz and /readyz for whoever
keeps the agent running. Metrics, their units and where they come from: docs/agent.md.

Examples:
  sudo heaptap agent                               http://127.0.0.1:9467/metrics, until Ctrl-C
  sudo heaptap agent --config /etc/heaptap/heaptap-agent.toml

",
    exit_codes!()
);

pub(super) const GC_EPILOGUE: &str = concat!(
    "What the runtime has written down of each collection is read out of the program's memory before the
next one begins. A program that collects too fast for that gets a trap at the end of each collection;
what was missed until then is shown with its number and pauses alone.

Columns: WHY is GOGC or limit (the heap grew to the goal that this one made), forced or periodic;
PAUSES the time the program was stopped; MARK the time of marking beside it; ASSISTS the CPU time of
goroutines that had to mark before they could allocate; CPU the collector's share since the last one.

Examples:
  sudo heaptap gc -p 4242                          a line for each collection, until Ctrl-C
  sudo heaptap gc -p 4242 -d 30 -o gc.svg -o -     and a picture over time
  sudo heaptap gc --all -d 60 -o gc.json
  jq '.processes[].cycles[] | select(.pause_ns > 1e6)' gc.json

",
    exit_codes!()
);

pub(super) const LEAKS_EPILOGUE: &str = concat!(
    "Nothing is attached and nothing stopped: heap profiles, goroutines and statistics are read out of the
process's memory each second. What grows evenly to the end, lets go of nothing and is not explained by more
requests is a leak; what grows and passes only some of that is told as growing, with what is in doubt.

Examples:
  sudo heaptap leaks -p 4242                       a minute, then what leaks and where
  sudo heaptap leaks -p 4242 --for 10m --stacks    slower ones, with whole stacks
  sudo heaptap leaks --all --json | jq '.processes[] | {pid, findings}'
  sudo heaptap heap -p 4242 --every 5s -o run.htap; heaptap leaks run.htap
  heaptap leaks run.htap || test $? -ne 7          in a script: fails when something leaks

",
    exit_codes!()
);

pub(super) const GOROUTINES_EPILOGUE: &str = concat!(
    "Nothing is attached and nothing stopped: goroutines are read out of the process's memory.

Examples:
  sudo heaptap goroutines -p 4242                  who made them, what they wait for, where
  sudo heaptap goroutines -p 4242 --by state --watch 1
  sudo heaptap goroutines -p 4242 -o stuck.svg     flame graph with the creators at the bottom
  sudo heaptap goroutines -p 4242 -o all.pb.gz     as the program's own goroutine profile
  sudo heaptap goroutines -p 4242 -o all.json      each goroutine

",
    exit_codes!()
);

pub(super) const HEAP_EPILOGUE: &str = concat!(
    "The numbers are those of the program's own pprof heap profile. A program whose linker left the
sampler off has none; --enable-sampler turns it on.

Examples:
  sudo heaptap heap -p 4242                        what is alive, as a table
  sudo heaptap heap -p 4242 -o heap.svg -o heap.pb.gz
  sudo heaptap heap -p 4242 --type alloc_space     allocated since the program began
  sudo heaptap heap --all -o host.svg              every Go program that has a heap profile
  sudo heaptap heap -p 4242 --watch 2              the table anew every two seconds
  sudo heaptap heap -p 4242 --watch 60 -o now.svg  a file that is replaced every minute
  sudo heaptap heap -p 4242 --enable-sampler -d 30
  sudo heaptap heap -p 4242 --every 10s -o run.htap    a recording, for heaptap export

",
    exit_codes!()
);

pub(super) const BLOCK_EPILOGUE: &str = concat!(
    "The program keeps one when it has called runtime.SetBlockProfileRate.

Examples:
  sudo heaptap block -p 4242
  sudo heaptap block -p 4242 --type contentions -o block.pb.gz

",
    exit_codes!()
);

pub(super) const MUTEX_EPILOGUE: &str = concat!(
    "The program keeps one when it has called runtime.SetMutexProfileFraction.

Examples:
  sudo heaptap mutex -p 4242
  sudo heaptap mutex -p 4242 -o mutex.svg

",
    exit_codes!()
);

pub(super) const EXPORT_EPILOGUE: &str = concat!(
    "A recording is made by heaptap record, heap, block or mutex with -o FILE.htap. Reading one needs no
privilege, none of the programs and no particular machine.

Examples:
  heaptap export run.htap                          what it holds
  heaptap export run.htap -o -                     its last snapshot, as a table
  heaptap export run.htap -o last.svg -o last.pb.gz
  heaptap export run.htap --at 90s -o then.svg     as it was 90 s after the first snapshot
  heaptap export run.htap --from 60s --to 120s -o minute.svg
  heaptap export run.htap --at 2026-11-21T18:30:00Z --process 4242 -o -

",
    exit_codes!()
);

pub(super) const SYMBOLIZE_EPILOGUE: &str = concat!(
    "A recording made with --raw has addresses and build ids in place of names, so that the host that makes it
needs no memory and no time for them. Any machine that has the binaries can name it. What no file is given
for stays an address, and can be named later.

Examples:
  sudo heaptap record --all --raw -o raw.htap -d 60       on the small device
  heaptap symbolize raw.htap -b orders -o run.htap        on another machine
  heaptap symbolize raw.htap -b /srv/releases -o run.htap
  heaptap export run.htap -o run.svg

",
    exit_codes!()
);

pub(super) const DIFF_EPILOGUE: &str = concat!(
    "Stacks are the same when their functions and lines are; process ids and addresses do not matter. CHANGE
is what is there after, less what was there before. What can't be compared (other values, another
sampling period) is refused.

Examples:
  heaptap diff run.htap --from 60s --to 1h         what grew in that hour
  heaptap diff run.htap --from 60s -o grown.svg    until the end, as a flame graph
  heaptap diff old.htap new.htap --by function     two builds, wherever their lines are
  heaptap diff before.pb.gz after.pb.gz --type alloc_space
  heaptap diff monday.htap@12h friday.htap@12h --process 'api-*'
  heaptap diff run.htap --phases start=0s,load=30s,steady=2m

",
    exit_codes!()
);

pub(super) const DOCTOR_EPILOGUE: &str = concat!(
    "Ends with 0 when recording can work here, 3 when a privilege is missing, 5 when this kernel
can't.

",
    exit_codes!()
);

pub(super) const COMPLETIONS_EPILOGUE: &str = concat!(
    "Examples:
  heaptap completions bash | sudo tee /usr/share/bash-completion/completions/heaptap
  heaptap completions zsh > ~/.zfunc/_heaptap      a directory of $fpath
  heaptap completions fish > ~/.config/fish/completions/heaptap.fish
  source <(heaptap completions bash)               for this shell only

",
    exit_codes!()
);

pub(super) const MAN_EPILOGUE: &str = concat!(
    "Examples:
  heaptap man | man -l -                           heaptap itself
  heaptap man record | man -l -                    one command
  sudo heaptap man -o /usr/local/share/man/man8    all pages, for man heaptap-record

",
    exit_codes!()
);

pub(super) const FORECAST_EPILOGUE: &str = concat!(
    "Nothing is attached and nothing stopped: memory, statistics and limits are read again and again,
and where they go is told with a 95 % interval. Limits are the nearest one of the process's control
groups, and GOMEMLIMIT. docs/forecast.md says what every figure is.

Examples:
  sudo heaptap forecast -p 4242                    a minute of one program
  sudo heaptap forecast --all --for 10m            every Go program of this host, surer
  sudo heaptap forecast --pod 'web-*' --within 24h -q || echo 'full within a day'
  sudo heaptap forecast -p 4242 --json | jq '.processes[].limits'

",
    exit_codes!()
);

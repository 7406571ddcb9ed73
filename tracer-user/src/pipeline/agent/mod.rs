//! `heaptap agent`: the loop that looks at every Go program of the node and shows what it has seen.
//!
//! In: flags and a file. Out: a picture of the node for each round, to whoever serves, sends and judges it
//! (`crate::agent`). All looking is done here, by one thread, and nothing of it is done because somebody asks.

mod access;
mod captures;
mod counters;
mod growth;
mod heaps;
mod judged;
mod lacks;
mod least;
mod maps;
mod pressure;
mod pushed;
mod recorder;
mod round;
mod settings;
mod turns;
mod watched;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{heap, watch};
use crate::agent::web::{self, Shown};
use crate::agent::{asked, captured};
use crate::cli::agent::Config as Flags;
use crate::cli::heap::Config as HeapConfig;
use crate::exit::{Exit, Failure};
use crate::host;
use crate::output::text::printable;
use judged::Judged;
use least::Least;
use maps::Maps;
use pushed::Pushed;
use round::{Beside, Rounds};
use settings::Settings;

/// Bytes that the records of one heap may take while they are read.
const MOST_MEMORY: usize = 64 << 20;

/// Watches and serves until a signal comes.
///
/// # Errors
/// The file is wrong; the address can't be had; /proc can't be listed.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut settings = Settings::read(flags)?;
    let address = settings.listen.address;
    let access = access::access(&settings.listen)?;
    let scheme = if access.secrets.tls.is_some() { "https" } else { "http" };
    let listener = TcpListener::bind(address)
        .map_err(|err| Failure::new(Exit::Failure, format!("{address}: {err}")))?;
    let (questions, mut asked) = asked::questions();
    let (wishes, mut wished) = captured::wishes();
    let shown = Arc::new(Shown::new(settings.watch.max_series, questions, wishes));
    let heap = HeapConfig { max_memory: MOST_MEMORY, ..heap::plain() };
    tell_lacks(&settings, None);
    let least = least::give_up(who_records(&settings).is_some());
    watch::block_on(async {
        let mut signals = Signals::new()?;
        let mut rounds = Rounds::new(&flags.selection, &settings.watch, &heap);
        let mut pushed = Pushed::start(&settings.push)?;
        let mut judged = Judged::start(&settings)?;
        let mut maps = Maps::new(&settings, Instant::now())?;
        let beside = |pushed: &Pushed, judged: &Judged| {
            let mut push = pushed.figures();
            push.extend(judged.figures());
            Beside { requests: shown.requests(), push, judged: judged.state() }
        };
        let mut node = rounds.look(beside(&pushed, &judged))?;
        shown.show(Arc::clone(&node));
        shown.show_captured(judged.captured());
        let server = web::start(listener, Arc::clone(&shown), access)
            .map_err(|err| Failure::new(Exit::Failure, format!("{address}: {err}")))?;
        eprintln!("heaptap: watching this node; {scheme}://{}/metrics", server.address);
        let mut ticks = interval(settings.watch.every);
        // A round that takes longer than the period does not make the next ones come faster.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            let may_look = rounds.may_look();
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Asked::End => return Ok(()),
                    Asked::Reload => match Settings::read(flags) {
                        Ok(new) => {
                            let changed = settings.reload(new);
                            renew(&server, &settings);
                            tell_lacks(&settings, Some(least));
                            if changed.push {
                                pushed.restart(&settings.push);
                            }
                            if changed.rules {
                                judged.restart(&settings, &node);
                            }
                            rounds.set(&settings.watch);
                            if changed.maps {
                                match Maps::new(&settings, Instant::now()) {
                                    Ok(new) => maps = new,
                                    Err(failure) => eprintln!("heaptap: {failure}"),
                                }
                            }
                        }
                        Err(failure) => eprintln!("heaptap: not reloaded: {failure}"),
                    },
                },
                _ = ticks.tick() => {
                    node = rounds.look(beside(&pushed, &judged))?;
                    shown.show(Arc::clone(&node));
                    pushed.round(&mut rounds, &node);
                    judged.round(&mut rounds, &node);
                    shown.show_captured(judged.captured());
                    maps.round(&mut rounds, Instant::now());
                }
                Some(wish) = wished.recv() => judged.wish(wish, &node),
                Some(one) = asked.recv(), if may_look => rounds.answer(one),
                () = sleep(rounds.wait()), if !may_look => {}
            }
        }
    })
}

/// Reads token and certificates anew; where one is wrong all of them stay.
fn renew(server: &web::Server, settings: &Settings) {
    match access::secrets(&settings.listen) {
        Ok(secrets) => server.renew(secrets),
        Err(failure) => {
            eprintln!("heaptap: token and certificates are as they were: {failure}");
        }
    }
}

/// Who wants recordings.
fn who_records(settings: &Settings) -> Option<String> {
    lacks::who_records(&settings.rules, &settings.watch, &settings.captures)
}

/// What is not allowed here, or not any more.
fn tell_lacks(settings: &Settings, least: Option<Least>) {
    let mut system = host::system();
    if least.is_some() {
        // Recordings have more than is in force here.
        system.capabilities = host::permitted().unwrap_or(system.capabilities);
    }
    let gave_up = least.is_some_and(|least| !least.may_record);
    for line in lacks::lacks(&system, who_records(settings).as_deref(), gave_up) {
        eprintln!("heaptap: {}", printable(&line));
    }
}

/// Signals that end the agent, and the one that has it read its file again.
struct Signals {
    hangup: Signal,
    ends: [Signal; 3],
}

/// What a signal asks for.
enum Asked {
    End,
    Reload,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|err| {
                Failure::new(Exit::Failure, format!("signals can't be waited for: {err}"))
            })
        };
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            ends: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::quit())?,
            ],
        })
    }

    async fn next(&mut self) -> Asked {
        let [a, b, c] = &mut self.ends;
        tokio::select! {
            _ = a.recv() => Asked::End,
            _ = b.recv() => Asked::End,
            _ = c.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

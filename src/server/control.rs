//! The control thread: signals, metrics, probes, names.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::admin;
use crate::config::{Config, format_duration};
use crate::net::names::Names;
use crate::net::postgres::Users;

use super::boot::{self, Booted};
use super::dev::PageUsers;
use super::scrape::Scraper;
use super::systemd::Systemd;
use super::{CUT_SHORT, OK, WRONG, drain, records, reload, watched};

/// What the end may be held up by a file or a socket that takes no records.
const LAST_RECORDS: Duration = Duration::from_millis(300);

/// What `systemctl status` shows.
const SERVING: &str = "Serving";
const SERVING_AS_BEFORE: &str =
    "Serving with the settings before the last reload, which found errors in the file";

/// Serves until a signal ends it, a chat page for these users too; returns the process's exit code.
pub fn serve(booted: Booted, page: Option<PageUsers>) -> u8 {
    let Booted {
        path,
        config,
        bound,
        settings,
        shards,
        names,
        users,
        database,
        admin,
        level,
        records,
        record_counts,
        runtime,
    } = booted;
    let mesh = shards.mesh.clone();
    let (code, records) = runtime.block_on(async {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "cannot wait for signals");
                return (WRONG, None);
            }
        };
        let (readiness, ready) = watch::channel(true);
        let (scrapes, requests) = mpsc::channel(8);
        let admin_address = admin
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());
        let (facts, known) = watch::channel(reload::facts(&settings));
        tokio::task::spawn(Scraper::new(mesh.clone()).run(requests));
        if let Some(listener) = admin {
            let counts = record_counts.clone();
            let totals = move || records::totals(&counts);
            let names = config.admin.hosts.iter().map(ToString::to_string);
            let page = page.and_then(|users| users.page(&config, &bound, admin_address));
            tokio::task::spawn(admin::serve(
                listener,
                admin::Hosts::new(admin_address, names),
                admin::State::new(scrapes, ready, known, totals),
                page,
            ));
        }
        let mut reloader = reload::Reloader {
            path,
            config: config.clone(),
            bound: bound.clone(),
            admin: admin_address,
            level,
            facts,
            records,
            record_counts,
            database,
            watched: watched::Watched::new(&config),
            settings,
        };
        let systemd = Systemd::of_environment();
        tokio::task::spawn(systemd.clone().feed_watchdog(mesh.clone()));
        let work = async {
            announce(&config, &bound, admin_address, boot::workers(&config));
            systemd.ready(SERVING);
            loop {
                tokio::select! {
                    wish = signals.next() => match wish {
                        Wish::Reload => {
                            systemd.reloading();
                            let taken = reloader.reload(&mesh).await;
                            systemd.ready(if taken { SERVING } else { SERVING_AS_BEFORE });
                        }
                        Wish::Reopen => reopen(reloader.records.as_ref()),
                        Wish::Quit => {
                            tracing::warn!("SIGQUIT: ending now, what is held is lost");
                            return CUT_SHORT;
                        }
                        Wish::End(name) => break tell_of_drain(name, reloader.config.relay.drain_delay),
                    },
                    () = tokio::time::sleep(watched::LOOK) => reloader.look(&mesh).await,
                }
            }
            let _ = readiness.send(false);
            let drain_timeout = reloader.config.relay.drain_timeout;
            let delay = reloader.config.relay.drain_delay;
            systemd.stopping(delay + drain_timeout + drain::AFTER);
            let drained = async {
                // A sleep of nothing takes a millisecond, in which a session could begin.
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                drain::drain(&mesh, drain_timeout).await;
            };
            tokio::select! {
                () = drained => OK,
                () = signals.end(reloader.records.as_ref()) => {
                    tracing::warn!("a second signal: ending now, what was held is lost");
                    CUT_SHORT
                }
            }
        };
        let code = tokio::select! {
            code = work => code,
            code = until_the_shards_end(names, users) => code,
        };
        reloader.level.tell_left_out(true);
        (code, reloader.records)
    });
    if code == OK {
        drain::join(shards);
    }
    if let Some(records) = records {
        records.finish(LAST_RECORDS);
    }
    if code == OK {
        tracing::info!("ended");
    }
    code
}

/// Shards hold the ways to the names and the users, so these end with them.
async fn until_the_shards_end(names: Names, users: Users) -> u8 {
    tokio::join!(names.run(), users.run());
    std::future::pending().await
}

fn announce(
    config: &Config,
    bound: &[std::net::SocketAddr],
    admin: Option<std::net::SocketAddr>,
    workers: usize,
) {
    use crate::config::TextSetting;
    let listen: Vec<String> = config
        .listen
        .iter()
        .zip(bound)
        .map(|(listen, bound)| format!("{} {bound}", listen.transport.text()))
        .collect();
    let hosts: Vec<String> = config.relay.hosts.iter().map(ToString::to_string).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        hosts = hosts.join(" "),
        listen = listen.join(", "),
        admin = admin.map_or("off".to_owned(), |address| address.to_string()),
        workers,
        "ready"
    );
}

fn tell_of_drain(signal: &str, delay: Duration) {
    if delay.is_zero() {
        tracing::info!(signal, "draining");
    } else {
        let after = format_duration(delay);
        tracing::info!(
            signal,
            after,
            "not ready any more; draining after relay.drain_delay"
        );
    }
}

/// Files that were renamed are opened again under their names.
fn reopen(records: Option<&records::Sink>) {
    match records {
        Some(records) => {
            tracing::info!("SIGUSR1: opening the file of records again");
            records.reopen();
        }
        None => tracing::info!("SIGUSR1: there is no file to open again"),
    }
}

enum Wish {
    Reload,
    Reopen,
    /// Drain, then end.
    End(&'static str),
    /// End at once.
    Quit,
}

/// Those that would end the process where nobody takes them, and say nothing to it.
const SAY_NOTHING: [SignalKind; 4] = [
    SignalKind::alarm(),
    SignalKind::io(),
    SignalKind::from_raw(libc::SIGVTALRM),
    SignalKind::from_raw(libc::SIGPROF),
];

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
    reopen: Signal,
    upgrade: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        for kind in SAY_NOTHING {
            // Whoever has asked for one hears it; nobody listens.
            drop(signal(kind)?);
        }
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Wish {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Wish::End("SIGTERM"),
                _ = self.interrupt.recv() => return Wish::End("SIGINT"),
                _ = self.hangup.recv() => return Wish::Reload,
                _ = self.quit.recv() => return Wish::Quit,
                _ = self.reopen.recv() => return Wish::Reopen,
                _ = self.upgrade.recv() => {
                    tracing::warn!("SIGUSR2: this version has no upgrade in place; drain it and start the new one");
                }
            }
        }
    }

    /// Until one asks for the end.
    async fn end(&mut self, records: Option<&records::Sink>) {
        loop {
            match self.next().await {
                Wish::Reload => tracing::warn!("SIGHUP: not reloading while draining"),
                Wish::Reopen => reopen(records),
                Wish::End(_) | Wish::Quit => return,
            }
        }
    }
}

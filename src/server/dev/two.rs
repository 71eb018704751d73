//! Two relays at once: a process for each, and this one to end them together.
//!
//! They are in process groups of their own, so that Ctrl-C comes here alone and each of them is told once; and they end
//! with this process however it ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::super::{OK, WRONG};

const NAMES: [&str; 2] = ["relay-a", "relay-b"];
/// Between two looks at whether one has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Runs both until a signal, or the end of one, ends them.
pub(super) fn run(folder: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let mut signals = Signals::new()?;
            let mut relays = Vec::new();
            for name in NAMES {
                match start(folder, name) {
                    Ok(relay) => relays.push(relay),
                    Err(error) => {
                        tell(&relays, Signal::TERM);
                        return Err(error);
                    }
                }
            }
            supervise(&mut relays, &mut signals).await
        })
    });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: cannot run the two relays: {error}");
            ExitCode::from(WRONG)
        }
    }
}

fn start(folder: &Path, name: &str) -> io::Result<Child> {
    let relay = Command::new(std::env::current_exe()?)
        .args(["dev", "--one-of-two", name, "--dir"])
        .arg(folder)
        .process_group(0)
        .spawn()?;
    let pid = format!("{}\n", relay.id());
    super::write(folder, &format!("{name}.pid"), &pid).map_err(io::Error::other)?;
    Ok(relay)
}

/// The exit code: that of the first relay that did not end well.
async fn supervise(relays: &mut [Child], signals: &mut Signals) -> io::Result<u8> {
    let mut codes = [None; NAMES.len()];
    let mut ending = false;
    loop {
        for (code, relay) in codes.iter_mut().zip(&mut *relays) {
            if code.is_none() {
                *code = relay.try_wait()?.map(code_of);
            }
        }
        if codes.iter().all(Option::is_some) {
            let bad = codes.into_iter().flatten().find(|code| *code != OK);
            return Ok(bad.unwrap_or(OK));
        }
        if !ending && codes.iter().any(Option::is_some) {
            ending = true;
            tell(relays, Signal::TERM);
        }
        tokio::select! {
            signal = signals.next() => {
                ending |= signal == Signal::TERM;
                tell(relays, signal);
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn code_of(status: ExitStatus) -> u8 {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(WRONG)
}

/// One that has ended already is not there to hear it.
fn tell(relays: &[Child], signal: Signal) {
    for relay in relays {
        let pid = i32::try_from(relay.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    reopen: tokio::signal::unix::Signal,
    upgrade: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            reopen: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// What the relays are to be told.
    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.reopen.recv() => Signal::USR1,
            _ = self.upgrade.recv() => Signal::USR2,
        }
    }
}

//! Connections that do not come about: how long each step may take, and what to do about its failure.

use std::cmp::Reverse;
use std::io;

use crate::plan::{Relay, Transport};

use super::Engine;
use super::connection::Stage;

impl Engine {
    /// If another AUTH has gone out: its answer may take so long.
    pub(super) fn expect_answer(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        let Some(since) = connection.endpoint.waits_since() else {
            return;
        };
        if connection.asked_at != since {
            connection.asked_at = since;
            let until = since + self.board.plan.auth_timeout.as_nanos() as u64;
            self.expected.push(Reverse((until, key)));
        }
    }

    /// Gives up on what has not come as far as it should in its time.
    pub(super) fn give_up_connecting(&mut self) {
        while let Some(&Reverse((until, key))) = self.expected.peek()
            && until <= self.board.now
        {
            self.expected.pop();
            match self.connections[key].stage {
                Stage::Opening => self.give_up_opening(key, until),
                Stage::LoggingIn => self.give_up_logging_in(key, until),
                _ => {}
            }
        }
    }

    fn give_up_opening(&mut self, key: usize, until: u64) {
        let allowed = self.board.plan.connect_timeout;
        let connection = &self.connections[key];
        let is_this_one = connection.opened_at + allowed.as_nanos() as u64 == until;
        if connection.accepted || !is_this_one {
            return;
        }
        let step = match (connection.tcp_at, connection.secured_at) {
            (0, _) => "TCP is not connected",
            (_, 0) => "TLS is not established",
            _ => "the request for WebSocket is not answered",
        };
        let text = format!("{step} after {:.1} s", allowed.as_secs_f64());
        self.fail_to_connect(key, &io::Error::new(io::ErrorKind::TimedOut, text));
    }

    /// Where another AUTH has gone out since, that has its own time.
    fn give_up_logging_in(&mut self, key: usize, until: u64) {
        let allowed = self.board.plan.auth_timeout;
        let since = self.connections[key].endpoint.waits_since();
        if since.is_none_or(|since| since + allowed.as_nanos() as u64 != until) {
            return;
        }
        let host = &self.board.plan.relays[self.connections[key].relay].host;
        let text = format!(
            "AUTH for `{host}` is not answered after {:.1} s",
            allowed.as_secs_f64()
        );
        self.fail_to_connect(key, &io::Error::new(io::ErrorKind::TimedOut, text));
    }

    pub(super) fn fail_to_connect(&mut self, key: usize, error: &io::Error) {
        self.opening -= 1;
        let was = std::mem::replace(&mut self.connections[key].stage, Stage::Closed);
        if let Some(mut link) = self.connections[key].link.take() {
            let _ = self.poll.registry().deregister(link.stream());
        }
        self.cannot_connect(key, was, error);
    }

    /// `was`: how far it had come.
    pub(super) fn cannot_connect(&mut self, key: usize, was: Stage, error: &io::Error) {
        if self.returns() {
            return self.try_again(key, error);
        }
        let target = self.connections[key].target(&self.board.plan);
        let advice = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "nothing listens there: start the relay (`cargo run --release -- dev`), or check --address".into()
            }
            io::ErrorKind::AddrNotAvailable => {
                "no local port is left: use --source-spread, or fewer connections".into()
            }
            io::ErrorKind::TimedOut if was == Stage::LoggingIn => {
                "does the relay serve that name (--host), and is it not overloaded? its log should say; --auth-timeout gives it longer".into()
            }
            io::ErrorKind::TimedOut => {
                let what = self.connections[key].transport.spoken();
                format!("is the address right, does {what} listen there, and does no firewall drop packets? --connect-timeout gives it longer")
            }
            _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                "no file descriptor is left: raise `ulimit -n`, or use fewer connections".into()
            }
            _ => format!("check --address and the network ({} connections are open)", self.open),
        };
        self.board.fatal.get_or_insert_with(|| {
            let what = match was {
                Stage::LoggingIn => "log in at",
                _ => "connect to",
            };
            format!("cannot {what} {target}: {error}; {advice}")
        });
    }
}

/// What to do about an end of the connection before the run began.
pub(super) fn advice(why: &str, stage: Stage, relay: &Relay, transport: Transport) -> String {
    if why.contains("certificate") || why.contains("UnknownIssuer") {
        return format!(
            "; the relay's certificate must come from the authority in --ca and be good for `{}` (--host)",
            relay.host
        );
    }
    match stage {
        Stage::Opening if why.contains("closed") || why.contains("InvalidContentType") => {
            let what = transport.spoken();
            format!("; does {what} listen at this address, and does it accept more connections?")
        }
        Stage::LoggingIn if why.contains("closed") => {
            format!(
                "; does the relay serve the name `{}` (--host)? its log should say why it closed",
                relay.host
            )
        }
        _ if why.contains("closed") => "; the relay's log should say why it closed".into(),
        _ => String::new(),
    }
}

//! Events of the sockets: what came is parsed, what waits is written, what failed is taken out.

use std::cmp::Reverse;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Token};

use crate::notices::Kind;
use crate::plan::Transport;

use super::connection::{Connection, Stage, Throttle};
use super::endpoint::EndpointError;
use super::link::{Link, LinkError};
use super::session::Stage as SessionStage;
use super::tls::Tls;
use super::{ANY_SESSION, Engine, LISTENERS, TIMER, giving_up};

/// Reads of one connection in one turn, so that a film does not hold up the rest.
const READS_PER_TURN: usize = 4;

impl Engine {
    pub(super) fn poll_once(&mut self, wait: Option<Duration>) {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        self.board.read_clock();
        self.board.may_wait(wait);
        if let Err(error) = self.poll.poll(&mut events, wait)
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.board.fatal = Some(format!("epoll: {error}"));
        }
        self.board.read_clock();
        for event in &events {
            match event.token() {
                TIMER => {}
                Token(token) if token >= LISTENERS => self.accept(token - LISTENERS),
                Token(key) => {
                    if event.is_writable() {
                        self.writable(key);
                    }
                    if event.is_read_closed() || event.is_error() {
                        self.connections[key].ending = true;
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.readable(key);
                    }
                }
            }
        }
        self.events = events;
    }

    fn writable(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        let Some(link) = &mut connection.link else {
            return;
        };
        if connection.stage == Stage::Opening && connection.tcp_at == 0 {
            match link.check_connected() {
                Ok(false) => return,
                Ok(true) => {
                    connection.tcp_at = self.board.now;
                    let took = self.board.now - connection.opened_at;
                    self.board
                        .took_to_set_up(took, |record| &mut record.connecting);
                    if let Err(error) = link.start(&mut self.scratch) {
                        return self.fail(key, &describe(&error));
                    }
                    self.opened(key);
                }
                Err(error) => return self.fail_to_connect(key, &error),
            }
            return;
        }
        match link.resume() {
            Ok(()) if link.waiting() == 0 => {
                self.board.ready.append(&mut connection.endpoint.blocked);
                self.touch(key);
            }
            Ok(()) => {}
            Err(error) => self.fail(key, &error.to_string()),
        }
    }

    pub(super) fn readable(&mut self, key: usize) {
        for _ in 0..READS_PER_TURN {
            let connection = &mut self.connections[key];
            let Some(link) = &mut connection.link else {
                return;
            };
            if connection.stands_still && self.sending.0 != u64::MAX {
                return;
            }
            if connection.stage == Stage::Opening && connection.tcp_at == 0 {
                // An error of connect() shows as readability, too.
                return self.writable(key);
            }
            let limit = match &mut connection.throttle {
                None => usize::MAX,
                Some(throttle) => match throttle.refill(self.board.now) {
                    0 => {
                        self.throttled
                            .push(Reverse((self.board.now + 2_000_000, key)));
                        return;
                    }
                    octets => octets as usize,
                },
            };
            let endpoint = &mut connection.endpoint;
            let board = &mut self.board;
            let result = link.read(&mut self.scratch, limit, |incoming| {
                endpoint.receive(incoming, key, board)
            });
            let said_something = !endpoint.out.is_empty();
            let outcome = match result {
                Ok(outcome) => outcome,
                Err(error) => {
                    let text = describe_received(&error);
                    return self.fail(key, &text);
                }
            };
            if let Some(throttle) = &mut connection.throttle {
                throttle.credit = throttle.credit.saturating_sub(outcome.octets as u64);
            }
            if connection.stage != Stage::Ready {
                self.opened(key);
            }
            self.adopt();
            if said_something {
                self.touch(key);
            }
            if outcome.ended {
                let text = self.connections[key].how_it_ended();
                return self.fail(key, &text);
            }
            if outcome.drained && (outcome.octets == 0 || !self.connections[key].ending) {
                return;
            }
        }
        if !std::mem::replace(&mut self.connections[key].unread, true) {
            self.unread.push(key);
        }
    }

    pub(super) fn read_unread(&mut self) {
        for key in std::mem::take(&mut self.unread) {
            self.connections[key].unread = false;
            self.board.read_clock();
            self.readable(key);
        }
    }

    fn accept(&mut self, listener: usize) {
        loop {
            let (listener, place) = &self.listeners[listener];
            let place = *place;
            let (mut stream, _) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let _ = stream.set_nodelay(true);
            let tls = match &self.board.plan.server_config {
                Some(config) => match Tls::server(Arc::clone(config)) {
                    Ok(tls) => Some(tls),
                    Err(error) => {
                        self.board.fatal = Some(format!("TLS as a server: {error}"));
                        return;
                    }
                },
                None => None,
            };
            let key = self.connections.len();
            let interests = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self
                .poll
                .registry()
                .register(&mut stream, Token(key), interests)
            {
                self.board.fatal = Some(format!("epoll: {error}"));
                return;
            }
            let uri = match place {
                ANY_SESSION => String::new(),
                _ => self.receiver_uri(place),
            };
            let mut connection = Connection::new(vec![uri], None, 0, Transport::Tls);
            connection.accepted = true;
            connection.link = Some(Link::new(stream, tls, None, true));
            connection.stage = Stage::Opening;
            connection.opened_at = self.board.now;
            connection.tcp_at = self.board.now;
            self.connections.push(connection);
            self.opening += 1;
            if place != ANY_SESSION {
                self.give_receiver(place, key);
            }
            self.opened(key);
        }
    }

    fn adopt(&mut self) {
        while let Some((key, place)) = self.board.adopted.pop() {
            self.give_receiver(place, key);
        }
    }

    fn give_receiver(&mut self, place: usize, key: usize) {
        self.board.sessions[place].receiver = Some(key);
        self.connections[key].sessions.push(place);
        self.slow_down(place, key);
    }

    /// Makes a receiver as slow as the plan wants it.
    pub(super) fn slow_down(&mut self, place: usize, key: usize) {
        let receiver = &mut self.connections[key];
        let plan = &self.board.plan;
        let session = &self.board.sessions[place];
        receiver.stands_still |= session.flow.stands_still();
        let group = &plan.groups[session.slot.group];
        let rate = group.receiver_rate;
        if let Some(octets_per_second) = rate {
            receiver.throttle = Some(Throttle {
                octets_per_second,
                credit: 0,
                refilled_at: self.board.now,
            });
        }
    }

    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            let connection = &mut self.connections[key];
            connection.dirty = false;
            let Some(link) = &mut connection.link else {
                continue;
            };
            if !link.is_open() || link.waiting() > 0 {
                continue;
            }
            if !connection.endpoint.out.is_empty()
                && let Err(error) = link.write(&mut connection.endpoint.out, &mut self.scratch)
            {
                self.fail(key, &describe(&error));
                continue;
            }
            if link.waiting() == 0 {
                self.board.ready.append(&mut connection.endpoint.blocked);
            }
        }
        // Failing may have touched others.
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }

    /// The connection has something to write.
    pub(super) fn touch(&mut self, key: usize) {
        if !std::mem::replace(&mut self.connections[key].dirty, true) {
            self.dirty.push(key);
        }
    }

    fn fail(&mut self, key: usize, why: &str) {
        let connection = &mut self.connections[key];
        let Some(mut link) = connection.link.take() else {
            return;
        };
        let _ = self.poll.registry().deregister(link.stream());
        let was = std::mem::replace(&mut connection.stage, Stage::Closed);
        if was == Stage::Ready {
            self.open -= 1;
        } else {
            self.opening -= 1;
        }
        if self.closing {
            return;
        }
        if connection.stands_still {
            // What it deserves: the relay waits for nobody for ever.
            self.standing_ended += 1;
        } else {
            self.lost_connections += 1;
        }
        let uri = connection.endpoint.seats[0].uri.clone();
        // Once reset a socket knows its peer no more.
        let to = match connection.accepted {
            true => link.stream().peer_addr().ok(),
            false => Some(connection.target(&self.board.plan)),
        };
        let to = to
            .map(|address| format!(" at {address}"))
            .unwrap_or_default();
        let session = connection.sessions.first();
        let session = session.map(|place| self.board.sessions[*place].id);
        self.board
            .notices
            .note(Kind::ConnectionLost, None, why.to_owned(), session, || {
                format!("{uri}{to}")
            });
        let setting_up = self.sending.0 == u64::MAX;
        if setting_up {
            let Connection {
                relay, transport, ..
            } = self.connections[key];
            let relay = &self.board.plan.relays[relay];
            let advice = giving_up::advice(why, was, relay, transport);
            self.board
                .fatal
                .get_or_insert_with(|| format!("{why}{advice}"));
        }
        for place in &self.connections[key].sessions {
            let session = &mut self.board.sessions[*place];
            if session.sender == key || session.receiver == Some(key) {
                session.stage = SessionStage::Broken;
            }
        }
        if self.returns() {
            self.return_later(key);
        }
    }
}

fn describe(error: &LinkError<()>) -> String {
    match error {
        LinkError::Io(error) => error.to_string(),
        LinkError::Tls(error) => format!("TLS: {error}"),
        LinkError::Web(text) => text.clone(),
        LinkError::Sink(()) => "refused".into(),
    }
}

fn describe_received(error: &LinkError<EndpointError>) -> String {
    match error {
        LinkError::Io(error) => error.to_string(),
        LinkError::Tls(error) => format!("TLS: {error}"),
        LinkError::Web(text) => text.clone(),
        LinkError::Sink(EndpointError::NotOneMessage) => {
            "the relay sent a WebSocket message that is not exactly one of MSRP (RFC 7977 5.1)"
                .into()
        }
        LinkError::Sink(EndpointError::Codec(error)) => {
            format!("the relay sent no valid MSRP: {error}")
        }
        LinkError::Sink(EndpointError::Auth(text)) => text.clone(),
        LinkError::Sink(EndpointError::Binding(code)) => {
            format!("the relay refused the first SEND of a session with {code}")
        }
    }
}

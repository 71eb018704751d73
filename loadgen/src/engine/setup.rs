//! Getting ready: connections are opened a few at a time, log in, and every session's first SEND
//! goes through before the clock starts. Errors here say what to do.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Interest, Token};

use crate::ids;
use crate::ledger::Report;
use crate::plan::{Group, Plan, Relay, Role, Shape, Slot, Standing, Transport, Work};

use super::connection::{Connection, Stage, connect};
use super::login::auth_uri;
use super::record::Owner;
use super::requests::Request;
use super::session::{BINDING, Flow, Session, Stage as SessionStage};
use super::template::{Asked, SendTemplate};
use super::{ANY_SESSION, Engine, LISTENERS};

impl Engine {
    /// Makes the connections and sessions of this thread, none of them open yet.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        let plan = std::sync::Arc::clone(&self.board.plan);
        let (thread, threads) = (self.board.thread, plan.threads);
        if plan.work == Work::Idle {
            for number in (thread..plan.connections).step_by(threads) {
                self.add_connection(&plan, (0, plan.idle_transport), true, number, 1);
            }
            return Ok(());
        }
        let shapes = |group: &Group| group.shapes.contains(&Shape::Piped);
        if plan.groups.iter().any(shapes) {
            let address = SocketAddr::new(plan.listen_address, plan.listen_port);
            self.listen(address, ANY_SESSION)?;
        }
        // Sessions that share connections are on one thread.
        let slots = plan.slots().into_iter().enumerate();
        let mut carriers: HashMap<usize, (usize, Option<usize>)> = HashMap::new();
        for (id, slot) in slots.filter(|(_, slot)| slot.carrier % threads == thread) {
            let group = &plan.groups[slot.group];
            let place = self.board.sessions.len();
            let (sender, receiver) = match carriers.get(&slot.carrier) {
                Some(ends) => *ends,
                None => self.add_carrier(&plan, slot, place)?,
            };
            carriers.insert(slot.carrier, (sender, receiver));
            let flow = Flow::new(group, owner(&plan, slot));
            let session = Session::new(id as u32, slot, flow, sender, receiver);
            for key in session.ends() {
                self.connections[key].sessions.push(place);
            }
            self.board.add_session(session);
            if let Some(key) = receiver {
                self.slow_down(place, key);
            }
        }
        Ok(())
    }

    /// The connections of a session, and of those that share them.
    fn add_carrier(
        &mut self,
        plan: &Plan,
        slot: Slot,
        place: usize,
    ) -> io::Result<(usize, Option<usize>)> {
        let group = &plan.groups[slot.group];
        let number = slot.number / group.sessions_per_connection;
        let seats = group
            .sessions_per_connection
            .min(group.sessions - number * group.sessions_per_connection);
        let foreign = matches!(slot.shape, Shape::Foreign | Shape::Piped);
        let transport = group.sender_transport.of(!foreign);
        let sender = self.add_connection(plan, (0, transport), !foreign, 2 * slot.carrier, seats);
        let receiver = match slot.shape {
            Shape::RelayDials => {
                self.listen(SocketAddr::new(plan.listen_address, 0), place)?;
                None
            }
            Shape::Piped => None,
            _ => {
                let authenticated = slot.shape != Shape::ReceiverConnects;
                let number = 2 * slot.carrier + 1;
                let to = (
                    plan.last_relay(),
                    group.receiver_transport.of(authenticated),
                );
                Some(self.add_connection(plan, to, authenticated, number, seats))
            }
        };
        for key in [Some(sender), receiver].into_iter().flatten() {
            self.connections[key]
                .config
                .clone_from(&group.client_config);
        }
        Ok((sender, receiver))
    }

    fn add_connection(
        &mut self,
        plan: &Plan,
        (relay, transport): (usize, Transport),
        authenticated: bool,
        number: usize,
        seats: usize,
    ) -> usize {
        let users = &plan.relays[relay].users;
        let user = authenticated.then(|| users[number % users.len()].clone());
        let uris = (0..seats).map(|_| client_uri(number, transport)).collect();
        self.connections
            .push(Connection::new(uris, user, relay, transport));
        self.connections.len() - 1
    }

    fn listen(&mut self, address: SocketAddr, place: usize) -> io::Result<()> {
        let mut listener = TcpListener::bind(address)
            .map_err(|e| io::Error::new(e.kind(), format!("listening at {address}: {e}")))?;
        let token = Token(LISTENERS + self.listeners.len());
        self.poll
            .registry()
            .register(&mut listener, token, Interest::READABLE)?;
        self.listeners.push((listener, place));
        Ok(())
    }

    /// The URI of a receiver that listens.
    pub(super) fn receiver_uri(&self, place: usize) -> String {
        let listener = self.listeners.iter().find(|(_, p)| *p == place);
        let port = listener
            .and_then(|(l, _)| l.local_addr().ok())
            .map_or(0, |a| a.port());
        let plan = &self.board.plan;
        let scheme = if plan.server_config.is_some() {
            "msrps"
        } else {
            "msrp"
        };
        format!("{scheme}://{}:{port}/listener{place};tcp", plan.listen_host)
    }

    pub(super) fn open_more(&mut self) {
        let threads = self.board.plan.threads;
        let at_once = self.board.plan.opening_at_once.div_ceil(threads).max(1);
        while self.opening < at_once && self.next_queued < self.connections.len() && !self.failed()
        {
            let key = self.next_queued;
            self.next_queued += 1;
            if self.connections[key].stage == Stage::Queued {
                self.open(key);
            }
        }
    }

    pub(super) fn open(&mut self, key: usize) {
        self.board.read_clock();
        let plan = std::sync::Arc::clone(&self.board.plan);
        let connection = &mut self.connections[key];
        connection.opened_at = self.board.now;
        let number = key * plan.threads + self.board.thread;
        let result = connect(&plan, connection, number as u64).and_then(|mut link| {
            let interests = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(link.stream(), Token(key), interests)?;
            Ok(link)
        });
        match result {
            Ok(link) => {
                connection.link = Some(link);
                connection.stage = Stage::Opening;
                self.opening += 1;
                let until = self.board.now + plan.connect_timeout.as_nanos() as u64;
                self.expected.push(Reverse((until, key)));
            }
            Err(error) => self.cannot_connect(key, Stage::Opening, &error),
        }
    }

    /// A connection that is not ready may have come further.
    pub(super) fn opened(&mut self, key: usize) {
        let now = self.board.now;
        let connection = &mut self.connections[key];
        let Some(link) = &connection.link else {
            return;
        };
        if connection.stage == Stage::Opening && link.is_secured() && connection.secured_at == 0 {
            connection.secured_at = now;
            // Without TLS there is nothing that took time.
            if link.is_tls() {
                let took = now - connection.tcp_at;
                self.board
                    .took_to_set_up(took, |record| &mut record.handshake);
            }
        }
        if connection.stage == Stage::Opening && link.is_open() {
            if link.is_web() {
                let took = now - connection.secured_at;
                self.board
                    .took_to_set_up(took, |record| &mut record.upgrade);
            }
            connection.stage = Stage::LoggingIn;
            if let Some(user) = connection.user.clone() {
                let plan = &self.board.plan;
                let port = connection.target(plan).port();
                let web_port = connection.transport.is_web().then_some(port);
                let uri = auth_uri(&plan.relays[connection.relay].host, web_port);
                connection.endpoint.log_in(user, uri, &self.board);
                self.touch(key);
            }
        }
        self.expect_answer(key);
        let connection = &mut self.connections[key];
        if connection.stage == Stage::LoggingIn && connection.endpoint.is_ready() {
            connection.stage = Stage::Ready;
            self.opening -= 1;
            self.open += 1;
            for place in connection.sessions.clone() {
                self.bind(place);
            }
            self.open_more();
        }
    }

    /// Sends the session's first SEND once both ends are there (RFC 4975 §5.4).
    fn bind(&mut self, place: usize) {
        let session = &self.board.sessions[place];
        let is_ready = |key: usize| self.connections[key].stage == Stage::Ready;
        let both = is_ready(session.sender) && session.receiver.is_none_or(is_ready);
        if session.stage != SessionStage::Opening || !both {
            return;
        }
        let seat = session.slot.seat;
        let sender = &self.connections[session.sender].endpoint.seats[seat];
        let receiver_uri = match session.receiver {
            Some(key) => self.connections[key].endpoint.seats[seat].uri.clone(),
            None if session.shape == Shape::Piped => {
                client_uri(2 * session.id as usize + 1, Transport::Tls)
            }
            None => self.receiver_uri(place),
        };
        // What the receiver offers: its relays from the outside in, then itself (W-04).
        let receiver_path = session
            .receiver
            .map(|key| &self.connections[key].endpoint.seats[seat].use_path[..]);
        let offered = receiver_path
            .unwrap_or_default()
            .iter()
            .rev()
            .map(String::as_str);
        let mut to_path: Vec<&str> = sender.use_path.iter().map(String::as_str).collect();
        to_path.extend(offered);
        let stand_in = stand_in_uri(&self.board.plan.relays[0]);
        if session.shape == Shape::Piped {
            to_path.push(&stand_in);
        }
        to_path.push(&receiver_uri);
        let from = sender.uri.clone();
        let backwards = session.shape == Shape::ReceiverConnects;
        let sender_path = sender.use_path.clone();
        let receiver = session.receiver;
        let plan = std::sync::Arc::clone(&self.board.plan);
        let session = &mut self.board.sessions[place];
        let group = &plan.groups[session.slot.group];
        let asked = Asked {
            report: group.report,
            success_report: group.success_report,
            content_type: &group.content_type,
        };
        session.address(&to_path, &from, &asked);
        session.stage = SessionStage::Binding {
            arrived: false,
            answered: false,
        };
        let (speaker, path, speaker_uri) = match receiver.filter(|_| backwards) {
            Some(receiver) => {
                let mut path: Vec<&str> = sender_path.iter().rev().map(String::as_str).collect();
                path.push(&from);
                (receiver, path.join(" "), receiver_uri.clone())
            }
            None => (session.sender, to_path.join(" "), from.clone()),
        };
        let id = ids::message_id(self.board.run, session.id, BINDING);
        let endpoint = &mut self.connections[speaker].endpoint;
        let tid = endpoint.request(Request::Binding { session: place }, Report::Yes);
        let plain = Asked {
            report: Report::Yes,
            success_report: false,
            content_type: "",
        };
        let template = SendTemplate::new(&path, &speaker_uri, &plain);
        template.bodiless(&mut endpoint.out.octets, &tid, &id);
        endpoint.out.end_text();
        self.touch(speaker);
    }

    pub(super) fn is_set_up(&self) -> bool {
        self.next_queued >= self.connections.len()
            && self.opening == 0
            && self.dirty.is_empty()
            && self.board.bound == self.board.sessions.len()
    }

    pub(super) fn describe_stuck(&self) -> String {
        let count = |stage| self.connections.iter().filter(|c| c.stage == stage).count();
        let waiting = self.board.sessions.len() - self.board.bound;
        format!(
            "{} connections are ready, {} wait for TCP or TLS, {} for their AUTH; the first SEND of {waiting} sessions has not arrived or was not answered",
            self.open,
            count(Stage::Opening),
            count(Stage::LoggingIn),
        )
    }
}

/// By WebSocket it is `msrps` also without TLS: that is between the relay and the server that ends it.
pub(super) fn client_uri(number: usize, transport: Transport) -> String {
    let (scheme, parameter) = match transport {
        Transport::Tls => ("msrps", "tcp"),
        Transport::Tcp => ("msrp", "tcp"),
        Transport::Wss | Transport::Ws => ("msrps", "ws"),
    };
    let session = ids::letters::<20>();
    format!(
        "{scheme}://c{number}.client.invalid:2855/{};{parameter}",
        session.escape_ascii()
    )
}

/// As long as what a relay would have given the receiver: 128 random bits and something.
fn stand_in_uri(relay: &Relay) -> String {
    let session = ids::letters::<24>();
    format!("msrps://{}:2855/{};tcp", relay.host, session.escape_ascii())
}

/// Where the results of a session go.
fn owner(plan: &Plan, slot: Slot) -> Owner {
    let role = plan.groups[slot.group].role;
    let stands_still = match plan.standing {
        Standing::Nobody => false,
        Standing::Chat => role == Role::Main,
        Standing::Film => role == Role::Film,
    };
    let first = plan.groups.iter().position(|group| group.role == role);
    match stands_still && slot.number == 0 && first == Some(slot.group) {
        true => Owner {
            bucket: plan.groups.len(),
            role: None,
        },
        false => Owner {
            bucket: slot.group,
            role: Some(role),
        },
    }
}

/// How long a run may take to get ready.
pub(super) fn time_allowed(connections: usize) -> Duration {
    Duration::from_secs(60)
        + Duration::from_millis(10) * u32::try_from(connections).unwrap_or(u32::MAX / 16)
}

//! Getting ready: connections are opened a few at a time, log in, and every session's first SEND
//! goes through before the clock starts. Errors here say what to do.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Interest, Token};

use crate::ids;
use crate::ledger::Report;
use crate::plan::{Films, Plan, Relay, Shape, Standing, Work};
use crate::sizes::Sizes;

use super::connection::{Connection, Stage, connect};
use super::requests::Request;
use super::session::{BINDING, Flow, Pace, Role, Session, Stage as SessionStage};
use super::template::SendTemplate;
use super::{ANY_SESSION, Engine, LISTENERS};

impl Engine {
    /// Makes the connections and sessions of this thread, none of them open yet.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        let plan = std::sync::Arc::clone(&self.board.plan);
        let (thread, threads) = (self.board.thread, plan.threads);
        if plan.work == Work::Idle {
            for number in (thread..plan.connections).step_by(threads) {
                self.add_connection(&plan, 0, true, number);
            }
            return Ok(());
        }
        if plan.shapes.contains(&Shape::Piped) {
            let address = SocketAddr::new(plan.listen_address, plan.listen_port);
            self.listen(address, ANY_SESSION)?;
        }
        for (place, id) in (thread..plan.sessions()).step_by(threads).enumerate() {
            match plan.films.filter(|_| id >= plan.pairs) {
                Some(films) if films.shared => self.add_to_connections(&plan, place, id, films),
                films => self.add_pair(&plan, place, id, films)?,
            }
        }
        Ok(())
    }

    /// A session with connections of its own.
    fn add_pair(
        &mut self,
        plan: &Plan,
        place: usize,
        id: usize,
        films: Option<Films>,
    ) -> io::Result<()> {
        let shape = plan.shapes[id % plan.shapes.len()];
        let foreign = matches!(shape, Shape::Foreign | Shape::Piped);
        let sender = self.add_connection(plan, 0, !foreign, 2 * id);
        self.connections[sender].sessions.push(place);
        let receiver = match shape {
            Shape::RelayDials => {
                self.listen(SocketAddr::new(plan.listen_address, 0), place)?;
                None
            }
            Shape::Piped => None,
            _ => {
                let authenticated = shape != Shape::ReceiverConnects;
                let key = self.add_connection(plan, plan.last_relay(), authenticated, 2 * id + 1);
                self.connections[key].sessions.push(place);
                Some(key)
            }
        };
        let flow = flow(plan, id, films);
        let session = Session::new(id as u32, shape, sender, receiver, plan.report, flow);
        self.board.sessions.push(session);
        if let Some(key) = receiver {
            self.slow_down(place, key);
        }
        Ok(())
    }

    /// A film's session that uses the connections of a chat.
    fn add_to_connections(&mut self, plan: &Plan, place: usize, id: usize, films: Films) {
        let chats = (plan.pairs - self.board.thread).div_ceil(plan.threads);
        let chat = &self.board.sessions[place % chats.max(1)];
        let (shape, sender, receiver) = (chat.shape, chat.sender, chat.receiver);
        let flow = flow(plan, id, Some(films));
        let session = Session::new(id as u32, shape, sender, receiver, plan.report, flow);
        self.board.sessions.push(session);
        for key in [Some(sender), receiver].into_iter().flatten() {
            self.connections[key].sessions.push(place);
        }
    }

    fn add_connection(
        &mut self,
        plan: &Plan,
        relay: usize,
        authenticated: bool,
        number: usize,
    ) -> usize {
        let users = &plan.relays[relay].users;
        let user = authenticated.then(|| users[number % users.len()].clone());
        let uri = client_uri(number, authenticated || plan.foreign_tls);
        self.connections.push(Connection::new(uri, user, relay));
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
        let result = connect(
            &plan,
            connection.relay,
            connection.user.is_some(),
            number as u64,
        )
        .and_then(|mut link| {
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
            }
            Err(error) => self.cannot_connect(key, &error),
        }
    }

    pub(super) fn fail_to_connect(&mut self, key: usize, error: &io::Error) {
        self.opening -= 1;
        self.connections[key].stage = Stage::Closed;
        self.connections[key].link = None;
        self.cannot_connect(key, error);
    }

    fn cannot_connect(&mut self, key: usize, error: &io::Error) {
        let plan = &self.board.plan;
        let foreign = self.connections[key].user.is_none();
        let address = if foreign {
            plan.foreign_address
        } else {
            plan.relays[self.connections[key].relay].address
        };
        let advice = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "nothing listens there: start the relay (`cargo run --release -- dev`), or check --address".into()
            }
            io::ErrorKind::AddrNotAvailable => {
                "no local port is left: use --source-spread, or fewer connections".into()
            }
            _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                "no file descriptor is left: raise `ulimit -n`, or use fewer connections".into()
            }
            _ => format!("check --address and the network ({} connections are open)", self.open),
        };
        self.board
            .fatal
            .get_or_insert_with(|| format!("cannot connect to {address}: {error}; {advice}"));
    }

    /// A connection that is not ready may have come further.
    pub(super) fn opened(&mut self, key: usize) {
        let now = self.board.now;
        let connection = &mut self.connections[key];
        let Some(link) = &connection.link else {
            return;
        };
        if connection.stage == Stage::Opening && link.is_open() {
            let took = now - connection.tcp_at;
            self.board
                .took_to_set_up(took, |record| &mut record.handshake);
            connection.stage = Stage::LoggingIn;
            if let Some(user) = connection.user.clone() {
                connection.endpoint.log_in(user, &self.board);
                self.touch(key);
            }
        }
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
        let sender = &self.connections[session.sender].endpoint;
        let receiver_uri = match session.receiver {
            Some(key) => self.connections[key].endpoint.uri.clone(),
            None if session.shape == Shape::Piped => client_uri(2 * session.id as usize + 1, true),
            None => self.receiver_uri(place),
        };
        // What the receiver offers: its relays from the outside in, then itself (W-04).
        let receiver_path = session
            .receiver
            .map(|key| &self.connections[key].endpoint.use_path[..]);
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
        let (report, success) = (self.board.plan.report, self.board.plan.success_report);
        let from = sender.uri.clone();
        let backwards = session.shape == Shape::ReceiverConnects;
        let sender_path = sender.use_path.clone();
        let receiver = session.receiver;
        let session = &mut self.board.sessions[place];
        session.address(&to_path, &from, report, success);
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
        let template = SendTemplate::new(&path, &speaker_uri, Report::Yes, false);
        template.bodiless(&mut endpoint.out, &tid, &id);
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

pub(super) fn client_uri(number: usize, tls: bool) -> String {
    let scheme = if tls { "msrps" } else { "msrp" };
    let session = ids::letters::<20>();
    format!(
        "{scheme}://c{number}.client.invalid:2855/{};tcp",
        session.escape_ascii()
    )
}

/// As long as what a relay would have given the receiver: 128 random bits and something.
fn stand_in_uri(relay: &Relay) -> String {
    let session = ids::letters::<24>();
    format!("msrps://{}:2855/{};tcp", relay.host, session.escape_ascii())
}

/// What the session of this id sends.
fn flow(plan: &Plan, id: usize, films: Option<Films>) -> Flow {
    let first = id == 0 || id == plan.pairs;
    let stands_still = first
        && match plan.standing {
            Standing::Nobody => false,
            Standing::Chat => films.is_none(),
            Standing::Film => films.is_some(),
        };
    let role = match films {
        _ if stands_still => Role::Standing,
        Some(_) => Role::Film,
        None => Role::Main,
    };
    match films {
        Some(films) => Flow {
            role,
            pace: Pace::Window(1),
            sizes: Sizes::Fixed(films.octets),
            chunk_octets: plan.chunk_octets,
            messages_max: films.each,
        },
        None => Flow {
            role,
            pace: match plan.rate {
                Some(_) if plan.round.is_none() => Pace::Open,
                _ => Pace::Window(plan.window),
            },
            sizes: plan.sizes.clone(),
            chunk_octets: plan.chunk_octets,
            messages_max: plan.round,
        },
    }
}

/// What to do about an end of the connection before the run began.
pub(super) fn advice(why: &str, stage: Stage, relay: &Relay) -> String {
    if why.contains("certificate") || why.contains("UnknownIssuer") {
        return format!(
            "; the relay's certificate must come from the authority in --ca and be good for `{}` (--host)",
            relay.host
        );
    }
    match stage {
        Stage::Opening if why.contains("closed") || why.contains("InvalidContentType") => {
            "; does TLS listen at this --address, and does it accept more connections?".into()
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

/// How long a run may take to get ready.
pub(super) fn time_allowed(connections: usize) -> Duration {
    Duration::from_secs(60)
        + Duration::from_millis(10) * u32::try_from(connections).unwrap_or(u32::MAX / 16)
}

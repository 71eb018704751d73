//! Users in a PostgreSQL database, asked for by shards and found on the control thread.
//!
//! A few connections, opened when they are wanted; a prepared statement; one look-up, connecting
//! included, takes `timeout` at most. What was found is remembered for a while, that there was
//! nothing too. Once the database does not answer or cannot be reached, look-ups fail at once for a
//! second, doubling to 30 s, but for one that tries: AUTH then fails fast instead of piling up.

mod memory;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::LocalSet;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::directory::{Directory, Found, Question, Row};
use super::tls::DatabaseTls;

use memory::Memory;

/// Questions that may wait to be looked at; shards get an error beyond it.
const WAITING_MAX: usize = 4096;
/// Look-ups at the same time, those that wait for a connection included.
const UNDER_WAY_MAX: usize = 1024;
/// How long nobody asks after the first failure, and after many.
const BREAK_MIN: Duration = Duration::from_secs(1);
const BREAK_MAX: Duration = Duration::from_secs(30);

/// Where users are, and how to ask.
pub struct Access {
    server: Config,
    tls: MakeRustlsConnect,
    query: String,
    connections: usize,
    timeout: Duration,
    cache: Duration,
    negative_cache: Duration,
}

/// What the operator says of it besides the URL.
pub struct AccessOptions {
    pub tls: DatabaseTls,
    /// Gives the row of user `$1` in realm `$2`.
    pub query: String,
    pub connections: usize,
    /// One look-up, connecting included.
    pub timeout: Duration,
    /// How long a row is remembered, and that there is none.
    pub cache: Duration,
    pub negative_cache: Duration,
}

impl Access {
    /// The error says nothing of what is secret in the URL.
    pub fn new(url: &str, options: AccessOptions) -> Result<Self, String> {
        let mut server = Config::from_str(url).map_err(|error| format!("{}", Chain(&error)))?;
        if server.get_hosts().is_empty() && server.get_hostaddrs().is_empty() {
            return Err("it names no host".to_owned());
        }
        server.connect_timeout(options.timeout);
        if server.get_application_name().is_none() {
            server.application_name("msrpd");
        }
        Ok(Self {
            server,
            tls: MakeRustlsConnect::new(options.tls.config()),
            query: options.query,
            connections: options.connections,
            timeout: options.timeout,
            cache: options.cache,
            negative_cache: options.negative_cache,
        })
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(..)")
    }
}

/// Other access from now on, or none; what was remembered is forgotten.
pub type AccessSender = watch::Sender<Option<Arc<Access>>>;

/// Answers shards on the control thread.
pub struct Users {
    questions: mpsc::Receiver<Question>,
    access: watch::Receiver<Option<Arc<Access>>>,
}

/// The service, the way to it, and the way to change it.
pub fn users(access: Option<Arc<Access>>) -> (Directory, AccessSender, Users) {
    let (directory, questions) = mpsc::channel(WAITING_MAX);
    let (sender, access) = watch::channel(access);
    (directory, sender, Users { questions, access })
}

impl Users {
    /// Answers until every asker is gone.
    pub async fn run(mut self) {
        LocalSet::new()
            .run_until(async {
                let mut database = Database::of(&mut self.access);
                let mut may_change = true;
                loop {
                    tokio::select! {
                        biased;
                        changed = self.access.changed(), if may_change => {
                            may_change = changed.is_ok();
                            database = Database::of(&mut self.access);
                        }
                        question = self.questions.recv() => match (question, &database) {
                            (None, _) => return,
                            (Some(question), Some(database)) => database.answer(question),
                            // Asked before a reload took the database away.
                            (Some(question), None) => drop(question.reply.send(Found::Failed)),
                        }
                    }
                }
            })
            .await;
    }
}

struct Database {
    access: Arc<Access>,
    /// Connections that nobody uses now.
    idle: RefCell<Vec<Asker>>,
    permits: Semaphore,
    under_way: Cell<usize>,
    memory: RefCell<Memory>,
    circuit: RefCell<Circuit>,
}

/// A connection with its prepared statement.
struct Asker {
    client: Client,
    statement: Statement,
}

/// Why there is no answer.
enum Failure {
    /// The server has said what is wrong; it lives.
    Said(String),
    /// It was not reached, or says nothing.
    Silent(String),
}

impl Database {
    fn of(access: &mut watch::Receiver<Option<Arc<Access>>>) -> Option<Rc<Self>> {
        let access = access.borrow_and_update().clone()?;
        Some(Rc::new(Self {
            permits: Semaphore::new(access.connections),
            memory: RefCell::new(Memory::new(access.cache, access.negative_cache)),
            access,
            idle: RefCell::default(),
            under_way: Cell::new(0),
            circuit: RefCell::default(),
        }))
    }

    fn answer(self: &Rc<Self>, question: Question) {
        let Question { user, realm, reply } = question;
        // No text of the database holds it, so nobody has such a name.
        if user.contains('\0') || realm.contains('\0') {
            return drop(reply.send(Found::Nobody));
        }
        let now = Instant::now();
        if let Some(known) = self.memory.borrow_mut().get(now, &user, &realm) {
            let known = known.map_or(Found::Nobody, Found::User);
            return drop(reply.send(known));
        }
        if self.under_way.get() >= UNDER_WAY_MAX || !self.circuit.borrow_mut().lets_ask(now) {
            return drop(reply.send(Found::Failed));
        }
        self.under_way.set(self.under_way.get() + 1);
        let database = self.clone();
        tokio::task::spawn_local(async move {
            let found = database.look_up(&user, &realm).await;
            database.under_way.set(database.under_way.get() - 1);
            let _ = reply.send(found);
        });
    }

    async fn look_up(self: &Rc<Self>, user: &Arc<str>, realm: &Arc<str>) -> Found {
        let asked = tokio::time::timeout(self.access.timeout, self.ask(user, realm)).await;
        let now = Instant::now();
        let asked = asked.unwrap_or_else(|_| {
            let timeout = self.access.timeout;
            Err(Failure::Silent(format!("no answer within {timeout:?}")))
        });
        match asked {
            Ok(row) => {
                self.circuit.borrow_mut().closes();
                let row = row.map(Arc::new);
                let mut memory = self.memory.borrow_mut();
                memory.put(now, user, realm, row.clone());
                row.map_or(Found::Nobody, Found::User)
            }
            Err(Failure::Said(what)) => {
                self.circuit.borrow_mut().said(&what);
                Found::Failed
            }
            Err(Failure::Silent(what)) => {
                self.circuit.borrow_mut().opens(now, &what);
                Found::Failed
            }
        }
    }

    async fn ask(self: &Rc<Self>, user: &str, realm: &str) -> Result<Option<Row>, Failure> {
        let _permit = self.permits.acquire().await.expect("it is never closed");
        loop {
            let known = self.idle.borrow_mut().pop();
            let fresh = known.is_none();
            let asker = match known {
                Some(asker) if asker.client.is_closed() => continue,
                Some(asker) => asker,
                None => self.connect().await?,
            };
            let rows = asker.client.query(&asker.statement, &[&user, &realm]).await;
            match rows {
                Ok(rows) => {
                    self.idle.borrow_mut().push(asker);
                    return row(&rows);
                }
                Err(error) if asker.client.is_closed() || error.is_closed() => {
                    // The server was restarted since this connection was last used.
                    if fresh {
                        return Err(Failure::Silent(Chain(&error).to_string()));
                    }
                }
                Err(error) => return Err(Failure::Said(Chain(&error).to_string())),
            }
        }
    }

    async fn connect(&self) -> Result<Asker, Failure> {
        let silent = |error: &tokio_postgres::Error| Failure::Silent(Chain(error).to_string());
        let access = &self.access;
        let connected = access.server.connect(access.tls.clone()).await;
        let (client, connection) = connected.map_err(|error| silent(&error))?;
        tokio::task::spawn_local(async move {
            // Whoever uses the client sees why it has ended.
            let _ = connection.await;
        });
        let types = [Type::TEXT, Type::TEXT];
        let statement = client.prepare_typed(&access.query, &types).await;
        let statement = statement.map_err(|error| match error.as_db_error() {
            Some(_) => Failure::Said(Chain(&error).to_string()),
            None => silent(&error),
        })?;
        Ok(Asker { client, statement })
    }
}

/// The hashes of the one row, if there is one.
fn row(rows: &[tokio_postgres::Row]) -> Result<Option<Row>, Failure> {
    let [row] = rows else {
        return match rows {
            [] => Ok(None),
            _ => Err(Failure::Said("the query gives several rows".to_owned())),
        };
    };
    let column = |name: &str| {
        let index = row
            .columns()
            .iter()
            .position(|column| column.name() == name);
        let value = index.map(|index| row.try_get::<_, Option<String>>(index));
        value
            .transpose()
            .map_err(|error| Failure::Said(format!("column {name} is no text: {}", Chain(&error))))
    };
    let (ha1, ha1_sha256) = (column("ha1")?, column("ha1_sha256")?);
    if ha1.is_none() && ha1_sha256.is_none() {
        let what = "the query gives neither a column ha1 nor ha1_sha256";
        return Err(Failure::Said(what.to_owned()));
    }
    Ok(Some(Row {
        ha1: ha1.flatten(),
        ha1_sha256: ha1_sha256.flatten(),
    }))
}

/// Whether anybody is asked.
#[derive(Default)]
struct Circuit {
    failures: u32,
    /// Nobody is asked until then; afterwards one tries.
    open_until: Option<Instant>,
    trying: bool,
    /// The log has it that look-ups fail.
    told: bool,
}

impl Circuit {
    fn lets_ask(&mut self, now: Instant) -> bool {
        match self.open_until {
            None => true,
            Some(until) if now < until || self.trying => false,
            Some(_) => {
                self.trying = true;
                true
            }
        }
    }

    fn closes(&mut self) {
        if std::mem::take(self).told {
            tracing::info!("users are looked up again");
        }
    }

    /// The server lives and does not do what it is asked.
    fn said(&mut self, what: &str) {
        self.trying = false;
        self.open_until = None;
        self.tell(what);
    }

    fn opens(&mut self, now: Instant, what: &str) {
        if self.open_until.is_some_and(|until| now < until) {
            // It was asked together with those before it.
            return;
        }
        self.trying = false;
        let wait = BREAK_MIN * 2_u32.pow(self.failures.min(5));
        self.failures += 1;
        self.open_until = Some(now + wait.min(BREAK_MAX));
        self.tell(what);
    }

    fn tell(&mut self, what: &str) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                error = what,
                "users cannot be looked up; their AUTHs are answered with 408"
            );
        }
    }
}

/// An error with what has caused it.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> AccessOptions {
        AccessOptions {
            tls: DatabaseTls::load(None).expect("the system's authorities"),
            query: "SELECT 1".to_owned(),
            connections: 1,
            timeout: Duration::from_secs(1),
            cache: Duration::ZERO,
            negative_cache: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        for url in [
            "postgresql://msrpd:s3cret@db:notaport/x",
            "postgresql://msrpd:s3cret@/x?nonsense=1",
            "user=msrpd password=s3cret",
            "user=msrpd password=s3cret port=abc",
        ] {
            let why = Access::new(url, options()).expect_err(url);
            assert!(!why.contains("s3cret"), "{why}");
        }
        for url in [
            "postgresql://msrpd:s3cret@db.example.com/kamailio?sslmode=require",
            "host=/run/postgresql user=msrpd dbname=kamailio",
        ] {
            let access = Access::new(url, options()).expect(url);
            assert!(!format!("{access:?}").contains("s3cret"));
        }
    }

    #[test]
    fn the_circuit_opens_for_longer_each_time_and_one_tries() {
        let mut circuit = Circuit::default();
        let mut now = Instant::now();
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            assert!(circuit.lets_ask(now));
            circuit.opens(now, "gone");
            let wait = Duration::from_secs(wait);
            assert!(!circuit.lets_ask(now + wait - Duration::from_millis(1)));
            now += wait;
        }
        assert!(circuit.lets_ask(now));
        assert!(!circuit.lets_ask(now), "one tries");
        circuit.closes();
        assert!(circuit.lets_ask(now) && circuit.lets_ask(now));
    }
}

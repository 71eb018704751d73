//! Users whom the machine wants looked up: the control thread asks, and always answers.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::net::directory::{Found, Question};
use crate::relay::{Algorithm, Ha1, Hashes, LookUpKey, LookedUp};

use super::Shard;

pub(super) async fn look_up(shard: Rc<Shard>, asker: LookUpKey, user: Arc<str>, realm: Arc<str>) {
    let (reply, answer) = oneshot::channel();
    let question = Question { user, realm, reply };
    // A full channel is a database that does not keep up.
    let found = match shard.directory.try_send(question) {
        Ok(()) => answer.await.unwrap_or(Found::Failed),
        Err(_) => Found::Failed,
    };
    let now = shard.now();
    shard
        .relay
        .borrow_mut()
        .looked_up(now, asker, looked_up(found));
    shard.ask_flush();
}

fn looked_up(found: Found) -> LookedUp {
    let Found::User(row) = found else {
        return match found {
            Found::Nobody => LookedUp::Nobody,
            _ => LookedUp::Failed,
        };
    };
    let read = |algorithm, digits: &Option<String>| {
        let digits = digits.as_deref()?;
        Ha1::from_hex(algorithm, digits)
    };
    let hashes = Hashes {
        md5: read(Algorithm::Md5, &row.ha1),
        sha256: read(Algorithm::Sha256, &row.ha1_sha256),
    };
    LookedUp::Found(hashes)
}

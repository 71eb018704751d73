//! Users whom only somebody else knows: the AUTH waits until its user was looked up. One that cannot
//! be judged is answered 408 and is no failed attempt.

use std::sync::Arc;
use std::time::Instant;

use super::Relay;
use super::auth_request::{AuthStep, PendingAuth, addressed_host};
use super::command::Command;
use super::keys::{ConnectionKey, PendingAuthKey};
use super::refresh::Held;
use crate::auth::Hashes;
use crate::metrics::{LookUpLabel, RefusalReason};
use crate::wire::Head;

/// The AUTH that a look-up is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LookUpKey(PendingAuthKey);

/// What came of a look-up.
#[derive(Clone, Debug)]
pub enum LookedUp {
    Found(Hashes),
    Nobody,
    /// Nobody could tell, or not in time.
    Failed,
}

impl Relay {
    pub(super) fn look_up(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        head: Head,
        refresh: Option<Held>,
        user: Arc<str>,
        realm: Arc<str>,
    ) {
        let limits = &self.settings.limits;
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let many = connection.look_ups >= limits.look_ups_per_connection;
        let share = (limits.look_ups / usize::from(self.workers)).max(1);
        if (many && !connection.speaks_for_many()) || self.look_ups >= share {
            self.not_judged(key, &head);
            return;
        }
        let asker = self.keep_waiting(PendingAuth {
            connection: key,
            head,
            began: now,
            step: AuthStep::LookUp { refresh },
        });
        let Some(asker) = asker else {
            return;
        };
        self.look_ups += 1;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.look_ups += 1;
        }
        self.commands.push_back(Command::LookUp {
            asker: LookUpKey(asker),
            user,
            realm,
        });
    }

    /// The answer to a [`Command::LookUp`], exactly one for each.
    pub fn looked_up(&mut self, now: Instant, LookUpKey(asker): LookUpKey, found: LookedUp) {
        self.now = now;
        self.go_on_with(now, asker, &found);
        self.deliver_ups(now);
        self.relieve(now);
    }

    fn go_on_with(&mut self, now: Instant, asker: PendingAuthKey, found: &LookedUp) {
        let Some(PendingAuth {
            connection: key,
            head,
            began,
            step: AuthStep::LookUp { refresh },
        }) = self.take_waiting(asker)
        else {
            return;
        };
        self.look_ups -= 1;
        self.metrics.looked_up(match found {
            LookedUp::Found(_) => LookUpLabel::Found,
            LookedUp::Nobody => LookUpLabel::Unknown,
            LookedUp::Failed => LookUpLabel::Failed,
        });
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.look_ups -= 1;
        if connection.closing.is_some() {
            return;
        }
        let hashes = match found {
            LookedUp::Failed => return self.not_judged(key, &head),
            _ if self.draining.is_some() => return self.not_judged(key, &head),
            LookedUp::Found(hashes) => Some(hashes),
            LookedUp::Nobody => None,
        };
        let uri = head.to_path().last().unwrap_or_default();
        let host = addressed_host(uri);
        let authorization = head.authorization().unwrap_or_default();
        let judgement = self
            .auth
            .judge_found(now, &host, authorization, uri, hashes);
        self.act_on(now, key, head, refresh, judgement, began);
    }

    /// A drain has begun: AUTHs that wait for somebody else's word are answered now (CON-12). Their
    /// answers, when they come, find nobody.
    pub(super) fn end_look_ups(&mut self) {
        for key in self.pending_auths.keys() {
            let waits = self.pending_auths.get(key);
            if !waits.is_some_and(|waits| matches!(waits.step, AuthStep::LookUp { .. })) {
                continue;
            }
            let Some(waits) = self.take_waiting(key) else {
                continue;
            };
            self.look_ups -= 1;
            let Some(connection) = self.connections.get_mut(waits.connection) else {
                continue;
            };
            connection.look_ups -= 1;
            if connection.closing.is_none() {
                self.not_judged(waits.connection, &waits.head);
            }
        }
    }

    fn not_judged(&mut self, key: ConnectionKey, head: &Head) {
        self.metrics.refusal(RefusalReason::UserNotLookedUp);
        self.answer_other(key, head, 408, &[]);
    }
}

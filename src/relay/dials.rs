//! Whose turn it is to have a connection opened. Every dial takes one of a bounded number of
//! slots until it is up or has failed: names that no server answers for and addresses that
//! swallow what is sent to them keep a slot for the whole `dial.connect_timeout`.
//!
//! No user and no session may have more than a share of the slots. What exceeds that waits, and
//! slots that become free go to the users in turn, and to each user's sessions in turn. The last
//! slots are for next hops that were reached before. The wait is bounded in number and time. Last
//! hops that are up count for the user who had them dialled: nobody may fill the table of
//! connections with his own.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::Relay;
use super::command::{Command, Loss, Verify};
use super::keys::{ConnectionKey, SessionKey, ShardId};
use super::limits::Limits;
use super::timers::Timer;
use crate::wire::Authority;

/// The session under which a request causes a dial, and its user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Payer {
    pub user: User,
    pub session: SessionId,
}

/// A user of a realm.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct User {
    pub name: Arc<str>,
    pub realm: Arc<str>,
}

/// A session of any shard.
pub(super) type SessionId = (ShardId, SessionKey);

/// Which slots a dial may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// To a next hop that was reached before: any.
    Known,
    /// All but the reserve.
    New,
}

impl Class {
    const ALL: [Self; 2] = [Self::Known, Self::New];
}

/// What becomes of a dial for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    Now,
    Waits,
    Refused,
}

/// Bounds of one shard: equal shares of those of all shards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    under_way: usize,
    reserved: usize,
    of_user: usize,
    of_session: usize,
    waiting: usize,
    waiting_of_user: usize,
    up_of_user: usize,
}

impl Bounds {
    pub fn of(limits: &Limits, workers: u16) -> Self {
        let share = |bound: usize| bound.div_ceil(usize::from(workers));
        Self {
            under_way: share(limits.dials),
            reserved: share(limits.dials_reserved),
            of_user: share(limits.dials_per_user),
            of_session: share(limits.dials_per_session),
            waiting: share(limits.dials_waiting),
            waiting_of_user: share(limits.dials_waiting_per_user),
            up_of_user: share(limits.dialled_per_user),
        }
    }

    /// Whether there is a slot while so many of each class are taken.
    fn has_room(&self, class: Class, taken: [usize; 2]) -> bool {
        let [known, new] = taken;
        // However small the bounds are, one next hop can be found.
        let of_new = self.under_way.saturating_sub(self.reserved).max(1);
        known + new < self.under_way && (class == Class::Known || new < of_new)
    }
}

/// What the shard is to be told once it is the dial's turn.
#[derive(Clone, Debug)]
struct Target {
    authority: Authority,
    verify: Verify,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// For its turn, until then.
    Waits(Instant),
    UnderWay,
    /// Another one has its place in the queue; it fails as soon as the timers are looked at.
    Displaced,
    /// It is up, and counts until it ends.
    Up,
}

#[derive(Clone, Debug)]
struct Dial {
    payer: Option<Payer>,
    class: Class,
    target: Target,
    state: State,
}

impl Dial {
    /// Links to relays serve everybody.
    fn counts_when_up(&self) -> bool {
        self.payer.is_some() && self.target.verify != Verify::Relay
    }
}

/// Dials of one user. Those that the relay needs for itself (REPORTs, second links) have an
/// account of their own, which has no bound but the total.
#[derive(Default, Debug)]
struct Account {
    under_way: usize,
    by_session: BTreeMap<Option<SessionId>, usize>,
    /// Last hops that are up.
    up: usize,
    /// For each class its sessions in turn, with what waits of each.
    waiting: [VecDeque<(Option<SessionId>, VecDeque<ConnectionKey>)>; 2],
    waiting_count: usize,
    /// It stands in the ring of the class.
    in_ring: [bool; 2],
}

type Owner = Option<User>;

/// The dials of one shard.
#[derive(Default)]
pub(super) struct Dials {
    dials: HashMap<ConnectionKey, Dial>,
    accounts: BTreeMap<Owner, Account>,
    /// Accounts that may have a dial whose turn it is, for each class.
    rings: [VecDeque<Owner>; 2],
    /// Of each class.
    under_way: [usize; 2],
    waiting: usize,
}

impl Account {
    fn may_begin(&self, owner: &Owner, session: Option<SessionId>, bounds: &Bounds) -> bool {
        if owner.is_none() {
            return true;
        }
        let of_session = self.by_session.get(&session).copied().unwrap_or_default();
        self.under_way < bounds.of_user && of_session < bounds.of_session
    }

    fn begin(&mut self, session: Option<SessionId>) {
        self.under_way += 1;
        *self.by_session.entry(session).or_default() += 1;
    }

    fn end(&mut self, session: Option<SessionId>) {
        self.under_way -= 1;
        if let Some(count) = self.by_session.get_mut(&session) {
            *count -= 1;
            if *count == 0 {
                self.by_session.remove(&session);
            }
        }
    }

    fn push(&mut self, class: Class, session: Option<SessionId>, key: ConnectionKey) {
        let sessions = &mut self.waiting[class as usize];
        match sessions.iter_mut().find(|(known, _)| *known == session) {
            Some((_, queue)) => queue.push_back(key),
            None => sessions.push_back((session, VecDeque::from([key]))),
        }
        self.waiting_count += 1;
    }

    /// The next of a session that may begin one; that session stands last from then on.
    fn pop(&mut self, owner: &Owner, class: Class, bounds: &Bounds) -> Option<ConnectionKey> {
        let sessions = &self.waiting[class as usize];
        let at = sessions
            .iter()
            .position(|(session, _)| self.may_begin(owner, *session, bounds))?;
        let sessions = &mut self.waiting[class as usize];
        let (session, mut queue) = sessions.remove(at)?;
        let key = queue.pop_front();
        if !queue.is_empty() {
            sessions.push_back((session, queue));
        }
        self.waiting_count -= usize::from(key.is_some());
        key
    }

    fn take_out(&mut self, class: Class, session: Option<SessionId>, key: ConnectionKey) {
        let sessions = &mut self.waiting[class as usize];
        let Some(at) = sessions.iter().position(|(known, _)| *known == session) else {
            return;
        };
        let queue = &mut sessions[at].1;
        if let Some(place) = queue.iter().position(|waiting| *waiting == key) {
            queue.remove(place);
            self.waiting_count -= 1;
        }
        if queue.is_empty() {
            sessions.remove(at);
        }
    }

    fn is_empty(&self) -> bool {
        self.under_way == 0 && self.waiting_count == 0 && self.up == 0
    }
}

impl Dials {
    /// A dial is wanted; until it is begun its state says how long it may wait. One that waits may
    /// have made room for it before, see [`Self::displace_for`].
    fn ask(&mut self, key: ConnectionKey, mut dial: Dial, bounds: &Bounds) -> Turn {
        let (owner, session) = owner_of(&dial.payer);
        let class = dial.class;
        let account = self.accounts.entry(owner.clone()).or_default();
        let his = account.up + account.under_way + account.waiting_count;
        if dial.counts_when_up() && his >= bounds.up_of_user {
            self.forget_if_empty(&owner);
            return Turn::Refused;
        }
        // Whoever waits while there is a slot has his share already: nobody is overtaken.
        let free = bounds.has_room(class, self.under_way);
        let turn = if free && account.may_begin(&owner, session, bounds) {
            account.begin(session);
            self.under_way[class as usize] += 1;
            dial.state = State::UnderWay;
            Turn::Now
        } else if self.waiting < bounds.waiting
            && (owner.is_none() || account.waiting_count < bounds.waiting_of_user)
        {
            account.push(class, session, key);
            self.waiting += 1;
            self.stand_in_ring(&owner, class);
            Turn::Waits
        } else {
            self.forget_if_empty(&owner);
            return Turn::Refused;
        };
        self.dials.insert(key, dial);
        turn
    }

    /// Takes out the youngest that waits of the user with the most, if a dial of this payer would
    /// find no room otherwise and its user has fewer.
    fn displace_for(&mut self, payer: &Option<Payer>, bounds: &Bounds) -> Option<ConnectionKey> {
        if self.waiting < bounds.waiting {
            return None;
        }
        let (owner, _) = owner_of(payer);
        let own = self.accounts.get(&owner).map_or(0, |own| own.waiting_count);
        let (_, most) = self
            .accounts
            .iter_mut()
            .max_by_key(|(_, account)| account.waiting_count)?;
        if most.waiting_count <= own + 1 {
            return None;
        }
        let [known, new] = &most.waiting;
        let (_, queue) = new.back().or(known.back())?;
        let key = *queue.back()?;
        let dial = self.dials.get_mut(&key)?;
        dial.state = State::Displaced;
        let (_, session) = owner_of(&dial.payer);
        most.take_out(dial.class, session, key);
        self.waiting -= 1;
        Some(key)
    }

    /// A dial has ended, however it did, or is not wanted any more.
    fn over(&mut self, key: ConnectionKey) -> bool {
        let Some(dial) = self.dials.remove(&key) else {
            return false;
        };
        let (owner, session) = owner_of(&dial.payer);
        let Some(account) = self.accounts.get_mut(&owner) else {
            return true;
        };
        match dial.state {
            State::Waits(_) => {
                account.take_out(dial.class, session, key);
                self.waiting -= 1;
            }
            State::UnderWay => {
                account.end(session);
                self.under_way[dial.class as usize] -= 1;
                for class in Class::ALL {
                    self.stand_in_ring(&owner, class);
                }
            }
            State::Displaced => {}
            State::Up => account.up -= 1,
        }
        self.forget_if_empty(&owner);
        true
    }

    /// It is up: its slot is free.
    fn came_up(&mut self, key: ConnectionKey) -> bool {
        let Some(dial) = self.dials.get(&key) else {
            return false;
        };
        if dial.state == State::Up {
            return false;
        }
        let counts = dial.counts_when_up().then(|| Dial {
            state: State::Up,
            ..dial.clone()
        });
        self.over(key);
        if let Some(dial) = counts {
            let (owner, _) = owner_of(&dial.payer);
            self.accounts.entry(owner).or_default().up += 1;
            self.dials.insert(key, dial);
        }
        true
    }

    /// Whose turn it is, if a slot is free for him.
    fn next(&mut self, bounds: &Bounds) -> Option<ConnectionKey> {
        for class in Class::ALL {
            if !bounds.has_room(class, self.under_way) {
                continue;
            }
            while let Some(owner) = self.rings[class as usize].pop_front() {
                let Some(account) = self.accounts.get_mut(&owner) else {
                    continue;
                };
                account.in_ring[class as usize] = false;
                // Whoever has his share comes back into the ring when one of his dials ends.
                let Some(key) = account.pop(&owner, class, bounds) else {
                    continue;
                };
                self.waiting -= 1;
                self.stand_in_ring(&owner, class);
                let Some(dial) = self.dials.get_mut(&key) else {
                    continue;
                };
                dial.state = State::UnderWay;
                let (_, session) = owner_of(&dial.payer);
                self.under_way[class as usize] += 1;
                if let Some(account) = self.accounts.get_mut(&owner) {
                    account.begin(session);
                }
                return Some(key);
            }
        }
        None
    }

    /// Whether the dial has not been begun.
    fn waits(&self, key: ConnectionKey) -> bool {
        let dial = self.dials.get(&key);
        dial.is_some_and(|dial| matches!(dial.state, State::Waits(_) | State::Displaced))
    }

    /// Whether it must not wait any longer.
    fn is_overdue(&self, now: Instant, key: ConnectionKey) -> bool {
        self.dials.get(&key).is_some_and(|dial| match dial.state {
            State::Waits(until) => until <= now,
            State::Displaced => true,
            State::UnderWay | State::Up => false,
        })
    }

    fn stand_in_ring(&mut self, owner: &Owner, class: Class) {
        let Some(account) = self.accounts.get_mut(owner) else {
            return;
        };
        let stands = &mut account.in_ring[class as usize];
        if !*stands && !account.waiting[class as usize].is_empty() {
            *stands = true;
            self.rings[class as usize].push_back(owner.clone());
        }
    }

    fn forget_if_empty(&mut self, owner: &Owner) {
        if self.accounts.get(owner).is_some_and(Account::is_empty) {
            self.accounts.remove(owner);
            // It may stand in a ring still; it is passed over there.
            for ring in &mut self.rings {
                ring.retain(|other| other != owner);
            }
        }
    }

    pub fn assert_sums(&self) {
        let count = |is: fn(&State) -> bool| {
            let states = self.dials.values().map(|dial| &dial.state);
            states.filter(|state| is(state)).count()
        };
        let waiting = count(|state| matches!(state, State::Waits(_)));
        assert_eq!(waiting, self.waiting, "dials that wait");
        let under_way = count(|state| *state == State::UnderWay);
        let [known, new] = self.under_way;
        assert_eq!(under_way, known + new, "dials under way");
        let sums = self.accounts.values().fold((0, 0), |sums, account| {
            (sums.0 + account.under_way, sums.1 + account.waiting_count)
        });
        assert_eq!(sums, (under_way, self.waiting), "of all users");
        let up = self.accounts.values().map(|account| account.up);
        let all = count(|state| *state == State::Up);
        assert_eq!(up.sum::<usize>(), all, "dialled, of all users");
    }

    pub fn is_waiting_or_under_way(&self, key: ConnectionKey) -> bool {
        self.dials.contains_key(&key)
    }
}

fn owner_of(payer: &Option<Payer>) -> (Owner, Option<SessionId>) {
    match payer {
        Some(payer) => (Some(payer.user.clone()), Some(payer.session)),
        None => (None, None),
    }
}

impl Relay {
    /// A connection in the table is to be opened. False: there is no room for one more that
    /// waits, and the caller takes it out of the table.
    pub(super) fn ask_dial(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        authority: Authority,
        verify: Verify,
        payer: Option<Payer>,
        class: Class,
    ) -> bool {
        let bounds = self.dial_bounds();
        if let Some(displaced) = self.dials.displace_for(&payer, &bounds) {
            // Not here: what its end leads to must not happen in the middle of an opening.
            self.timers.set(now, Timer::DialTurn(displaced));
        }
        let until = now + self.settings.limits.dial_wait;
        let dial = Dial {
            payer,
            class,
            target: Target { authority, verify },
            state: State::Waits(until),
        };
        match self.dials.ask(key, dial, &bounds) {
            Turn::Now => self.begin_dial(key),
            Turn::Waits => self.timers.set(until, Timer::DialTurn(key)),
            Turn::Refused => return false,
        }
        true
    }

    /// Another request leads to a next hop whose dial waits: it waits with the user who has less
    /// waiting, so that nobody can draw a next hop that others need into his own queue.
    pub(super) fn join_dial(&mut self, now: Instant, key: ConnectionKey, payer: &Option<Payer>) {
        let dial = self.dials.dials.get(&key);
        let Some(dial) = dial.filter(|dial| matches!(dial.state, State::Waits(_))) else {
            return;
        };
        let count = |payer: &Option<Payer>| {
            let (owner, _) = owner_of(payer);
            let account = self.dials.accounts.get(&owner);
            account.map_or(0, |account| account.waiting_count)
        };
        if dial.payer == *payer || count(payer) + 1 >= count(&dial.payer) {
            return;
        }
        let (class, Target { authority, verify }) = (dial.class, dial.target.clone());
        self.dials.over(key);
        // There is room, for it waited already.
        self.ask_dial(now, key, authority, verify, payer.clone(), class);
    }

    /// A dial is over: the next one begins.
    pub(super) fn dial_over(&mut self, key: ConnectionKey) {
        if !self.dials.over(key) {
            return;
        }
        let bounds = self.dial_bounds();
        while let Some(next) = self.dials.next(&bounds) {
            self.begin_dial(next);
        }
    }

    /// A dialled connection is up: the next one begins.
    pub(super) fn dial_is_up(&mut self, key: ConnectionKey) {
        if self.dials.came_up(key) {
            let bounds = self.dial_bounds();
            while let Some(next) = self.dials.next(&bounds) {
                self.begin_dial(next);
            }
        }
    }

    /// It has waited for as long as it may.
    pub(super) fn dial_turn_due(&mut self, now: Instant, key: ConnectionKey) {
        if self.dials.is_overdue(now, key) {
            self.metrics.refusal(crate::metrics::RefusalReason::Dials);
            let loss = Loss::DialFailed("too many connections are being opened".to_owned());
            self.connection_lost(now, key, &loss);
        }
    }

    /// Whether nobody has tried to reach it yet: that says nothing about the next hop.
    pub(super) fn waits_for_turn(&self, key: ConnectionKey) -> bool {
        self.dials.waits(key)
    }

    fn begin_dial(&mut self, key: ConnectionKey) {
        let Some(dial) = self.dials.dials.get(&key) else {
            return;
        };
        let (owner, _) = owner_of(&dial.payer);
        let Target { authority, verify } = dial.target.clone();
        self.commands.push_back(Command::Dial {
            connection: key,
            target: authority,
            verify,
            on_behalf_of: owner.map_or(0, |user| self.number_of(&user)),
        });
    }

    /// The same number for the same user, on every shard; never 0.
    fn number_of(&self, user: &User) -> u64 {
        let parts = [
            b"dials".as_slice(),
            user.name.as_bytes(),
            user.realm.as_bytes(),
        ];
        self.hash_key.hash(&parts) | 1
    }

    fn dial_bounds(&self) -> Bounds {
        Bounds::of(&self.settings.limits, self.workers)
    }
}

//! Nonces (D-18): time and random bits under a key, so that authenticity and age are checked
//! without a table. That none is used twice is the [`super::NonceLedger`]'s part.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::farm_keys::FarmKey;

/// Milliseconds, 16 random octets, 12 of the code: 36 octets, 48 characters without padding.
const TIME: usize = 8;
const RANDOM: usize = 16;
const CODE: usize = 12;
const OCTETS: usize = TIME + RANDOM + CODE;

/// How far another node's clock may be ahead of ours.
const SKEW: Duration = Duration::from_secs(60);

/// What the clock on the wall said at an instant. It is set while the relay runs; whoever holds
/// one reads it anew every now and then.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    at: Instant,
    /// Milliseconds since 1970.
    millis: u64,
}

impl WallClock {
    /// `unix_now` is the time since 1970 at `now`.
    pub fn new(now: Instant, unix_now: Duration) -> Self {
        Self {
            at: now,
            millis: unix_now.as_millis() as u64,
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.at);
        self.millis.saturating_add(since.as_millis() as u64)
    }
}

/// Keys of nonces, shared by all shards. The first one mints, all verify.
pub struct NonceKeys {
    keys: Vec<[u8; 32]>,
    /// Nonces under our own key, the last, have no other clock than this: no setting of the wall
    /// clock makes them older or younger. Those that a farm shares follow the wall clock.
    steady: WallClock,
}

/// What a nonce turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Age {
    NotOurs,
    Old,
    Fresh { id: u128, expires: Instant },
}

/// How long nonces live. One that was minted under a shorter life keeps it: the ledger forgets
/// it after that, and would let it be used again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    now: Duration,
    /// The life of those minted until then.
    earlier: Option<(Instant, Duration)>,
}

/// Shards do not change at the same moment: what is minted so soon after counts as before.
const CHANGING: Duration = Duration::from_secs(1);

impl Lifetimes {
    pub fn new(lifetime: Duration) -> Self {
        Self {
            now: lifetime,
            earlier: None,
        }
    }

    /// Changes the life of nonces minted after `now`.
    pub fn change(&mut self, now: Instant, lifetime: Duration) {
        if lifetime == self.now {
            return;
        }
        let shortest = self
            .earlier
            .map_or(self.now, |(_, earlier)| earlier.min(self.now));
        self.earlier = Some((now + CHANGING, shortest));
        self.now = lifetime;
    }

    fn of(&self, minted: u64, millis: impl Fn(Instant) -> u64) -> Duration {
        match self.earlier {
            Some((until, lifetime)) if minted <= millis(until) => lifetime.min(self.now),
            _ => self.now,
        }
    }
}

impl NonceKeys {
    /// `unix_now` is the wall clock at `now`, so that nodes which share keys agree on ages.
    ///
    /// # Panics
    /// Without a key.
    pub fn new(keys: Vec<[u8; 32]>, now: Instant, unix_now: Duration) -> Self {
        assert!(!keys.is_empty(), "a nonce needs a key");
        Self {
            keys,
            steady: WallClock::new(now, unix_now),
        }
    }

    /// The same clock, and the keys of a farm before our own: what this node minted stays good whatever the farm's keys do.
    pub fn in_farm(&self, farm: &[FarmKey]) -> Self {
        let own = self.keys.last().expect("there is always a key");
        Self {
            keys: farm.iter().chain([own]).copied().collect(),
            steady: self.steady,
        }
    }

    /// The wall clock at the start.
    pub(super) fn clock(&self) -> WallClock {
        self.steady
    }

    /// By what the time is told in nonces under this key.
    fn clock_of<'a>(&'a self, key: usize, wall: &'a WallClock) -> &'a WallClock {
        match key + 1 == self.keys.len() {
            true => &self.steady,
            false => wall,
        }
    }

    pub(super) fn mint_by(&self, now: Instant, wall: &WallClock, random: &[u8; 24]) -> String {
        let mut octets = [0; OCTETS];
        let millis = self.clock_of(0, wall).millis(now);
        octets[..TIME].copy_from_slice(&millis.to_be_bytes());
        octets[TIME..TIME + RANDOM].copy_from_slice(&random[..RANDOM]);
        let code = code(&self.keys[0], &octets[..TIME + RANDOM]);
        octets[TIME + RANDOM..].copy_from_slice(&code);
        STANDARD.encode(octets)
    }

    pub(super) fn age_by(
        &self,
        now: Instant,
        wall: &WallClock,
        nonce: &str,
        lifetimes: &Lifetimes,
    ) -> Age {
        let mut octets = [0; OCTETS];
        if !matches!(STANDARD.decode_slice(nonce, &mut octets), Ok(OCTETS)) {
            return Age::NotOurs;
        }
        let (content, given) = octets.split_at(TIME + RANDOM);
        let is_of = |key: &[u8; 32]| bool::from(code(key, content).ct_eq(given));
        let Some(key) = self.keys.iter().position(is_of) else {
            return Age::NotOurs;
        };
        let clock = self.clock_of(key, wall);
        let minted = u64::from_be_bytes(content[..TIME].try_into().expect("eight octets"));
        let id = u128::from_be_bytes(content[TIME..].try_into().expect("sixteen octets"));
        let lifetime = lifetimes.of(minted, |then| clock.millis(then));
        // By its own time alone, so that each shard and each use finds the same end of its life:
        // until then the ledger must remember it.
        let expires = minted.saturating_add(lifetime.as_millis() as u64);
        let said = clock.millis(now);
        if expires <= said || minted > said.saturating_add(SKEW.as_millis() as u64) {
            return Age::Old;
        }
        let expires = match expires.checked_sub(clock.millis) {
            Some(after) => clock.at + Duration::from_millis(after),
            None => now + Duration::from_millis(expires - said),
        };
        Age::Fresh { id, expires }
    }
}

impl WallClock {
    /// How long it is from `now` to a time in seconds since 1970; `None` if that is less than a
    /// second.
    pub(super) fn left_until(&self, now: Instant, unix_seconds: u64) -> Option<Duration> {
        let left = unix_seconds
            .saturating_mul(1000)
            .checked_sub(self.millis(now))?;
        (left >= 1000).then(|| Duration::from_millis(left))
    }
}

/// HMAC-SHA-256 (RFC 2104), cut to 96 bits.
fn code(key: &[u8; 32], content: &[u8]) -> [u8; CODE] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        for (octet, key) in block.iter_mut().zip(key) {
            *octet ^= key;
        }
        block
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(content)
        .finalize();
    let outer = Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize();
    outer[..CODE].try_into().expect("a hash is longer")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(300);
    const UNIX_NOW: Duration = Duration::from_secs(1_700_000_000);

    fn random(n: u64) -> [u8; 24] {
        let mut random = [0xa5; 24];
        random[..8].copy_from_slice(&n.to_be_bytes());
        random
    }

    /// By the clock that the keys were made with.
    impl NonceKeys {
        fn mint(&self, now: Instant, random: &[u8; 24]) -> String {
            self.mint_by(now, &self.clock(), random)
        }

        fn age(&self, now: Instant, nonce: &str, lifetimes: &Lifetimes) -> Age {
            self.age_by(now, &self.clock(), nonce, lifetimes)
        }
    }

    /// D-18: the wall clock is set while a node runs, one way and the other. What it minted under its
    /// own key does not hear of it; in a farm it is back in step at once.
    #[test]
    fn a_clock_that_is_set_moves_the_farms_nonces_and_not_our_own() {
        let start = Instant::now();
        let lifetimes = Lifetimes::new(LIFETIME);
        let second = Duration::from_secs(1);
        let hour = 3600 * second;
        let alone = NonceKeys::new(vec![[1; 32]], start, UNIX_NOW);
        let ours = alone.mint(start, &random(1));
        let farm = NonceKeys::new(vec![[2; 32]], start, UNIX_NOW + hour).in_farm(&[[7; 32]]);
        let other = NonceKeys::new(vec![[3; 32]], start, UNIX_NOW).in_farm(&[[7; 32]]);
        let theirs = other.mint(start, &random(2));
        let fresh = |keys: &NonceKeys, nonce: &str, at: Instant, wall: Duration| {
            let wall = WallClock::new(at, wall);
            matches!(keys.age_by(at, &wall, nonce, &lifetimes), Age::Fresh { .. })
        };
        let at = start + 10 * second;
        for wall in [
            UNIX_NOW - hour,
            UNIX_NOW + 10 * second,
            UNIX_NOW + 24 * hour,
        ] {
            assert!(fresh(&alone, &ours, at, wall));
            assert!(
                !fresh(&alone, &ours, start + LIFETIME, wall),
                "nor lives longer"
            );
        }
        assert!(
            !fresh(&farm, &theirs, at, UNIX_NOW + hour + 10 * second),
            "an hour off"
        );
        assert!(
            fresh(&farm, &theirs, at, UNIX_NOW + 10 * second),
            "set right"
        );
        let right = WallClock::new(at, UNIX_NOW + 10 * second);
        let nonce = farm.mint_by(at, &right, &random(3));
        assert!(fresh(&other, &nonce, at, UNIX_NOW + 10 * second));
        let wrong = WallClock::new(at, UNIX_NOW + hour);
        let nonce = farm.mint_by(at, &wrong, &random(4));
        assert!(
            !fresh(&other, &nonce, at, UNIX_NOW + 10 * second),
            "set wrong"
        );
    }

    /// RFC 4231 §4.3 has a key shorter than ours; padded with zeros it is the same key.
    #[test]
    fn the_code_is_hmac_sha_256() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let expected = [
            0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26,
        ];
        assert_eq!(code(&key, b"what do ya want for nothing?"), expected);
    }

    /// D-18 in a farm: two keys at a time, and each node's own last.
    #[test]
    fn a_farm_changes_its_key_node_by_node() {
        let now = Instant::now();
        let node = |own: u8, farm: &[FarmKey]| {
            NonceKeys::new(vec![[own; 32]], now, UNIX_NOW).in_farm(farm)
        };
        let (old, new) = ([7; 32], [8; 32]);
        let fresh = |keys: &NonceKeys, nonce: &str| {
            matches!(
                keys.age(now, nonce, &Lifetimes::new(LIFETIME)),
                Age::Fresh { .. }
            )
        };
        // One has the new key already, with the old one behind it; the other has not.
        let (first, second) = (node(1, &[new, old]), node(2, &[old]));
        assert!(fresh(&first, &second.mint(now, &random(1))));
        assert!(!fresh(&second, &first.mint(now, &random(2))));
        // So the new key comes second everywhere before it comes first anywhere.
        let (first, second) = (node(1, &[old, new]), node(2, &[new, old]));
        for (minter, judge) in [(&first, &second), (&second, &first)] {
            assert!(fresh(judge, &minter.mint(now, &random(3))));
        }
        // A node outside the farm is nobody; what a node minted before it joined stays good.
        let alone = node(1, &[]);
        assert!(!fresh(&first, &node(3, &[]).mint(now, &random(4))));
        assert!(fresh(&alone.in_farm(&[new]), &alone.mint(now, &random(5))));
    }

    /// AUT-14
    #[test]
    fn nonces_are_distinct_of_one_length_and_legal_bare_or_quoted() {
        let now = Instant::now();
        let keys = NonceKeys::new(vec![[7; 32]], now, UNIX_NOW);
        let nonces: HashSet<_> = (0..10_000).map(|n| keys.mint(now, &random(n))).collect();
        assert_eq!(nonces.len(), 10_000);
        for nonce in nonces {
            assert_eq!(nonce.len(), 48);
            assert!(
                nonce
                    .bytes()
                    .all(|o| o.is_ascii_alphanumeric() || b"+/".contains(&o))
            );
        }
    }

    /// AUT-13, AUT-14
    #[test]
    fn a_nonce_is_fresh_for_its_lifetime_and_ends_at_one_moment() {
        let start = Instant::now();
        let keys = NonceKeys::new(vec![[7; 32]], start, UNIX_NOW);
        let minted = start + Duration::from_millis(12_345);
        let nonce = keys.mint(minted, &random(1));
        let expires = minted + LIFETIME;
        for later in [0, 1, 1500, 299_999] {
            let Age::Fresh { id, expires: told } = keys.age(
                minted + Duration::from_millis(later),
                &nonce,
                &Lifetimes::new(LIFETIME),
            ) else {
                panic!("not fresh after {later} ms");
            };
            assert_eq!(id, u128::from_be_bytes(random(1)[..16].try_into().unwrap()));
            assert_eq!(told, expires);
        }
        for later in [300_000, 300_001, 1_000_000_000] {
            let age = keys.age(
                minted + Duration::from_millis(later),
                &nonce,
                &Lifetimes::new(LIFETIME),
            );
            assert_eq!(age, Age::Old, "after {later} ms");
        }
    }

    /// AUT-12
    #[test]
    fn a_nonce_with_another_octet_is_not_ours() {
        let now = Instant::now();
        let keys = NonceKeys::new(vec![[7; 32]], now, UNIX_NOW);
        let nonce = keys.mint(now, &random(1));
        for index in 0..nonce.len() {
            let mut other = nonce.clone().into_bytes();
            other[index] = if other[index] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(
                keys.age(now, &other, &Lifetimes::new(LIFETIME)),
                Age::NotOurs,
                "{index}"
            );
        }
        for other in [
            "",
            "A",
            "Z2uLuEznJn3VIN7KSBHI8QpT5jY1LwaY",
            &nonce[1..],
            &format!("{nonce}A"),
            &"=".repeat(48),
        ] {
            assert_eq!(
                keys.age(now, other, &Lifetimes::new(LIFETIME)),
                Age::NotOurs,
                "{other}"
            );
        }
    }

    #[test]
    fn keys_are_replaced_without_breaking_what_the_old_one_minted() {
        let now = Instant::now();
        let of =
            |keys: &[u8]| NonceKeys::new(keys.iter().map(|k| [*k; 32]).collect(), now, UNIX_NOW);
        let nonce = of(&[1]).mint(now, &random(1));
        assert!(matches!(
            of(&[2, 1]).age(now, &nonce, &Lifetimes::new(LIFETIME)),
            Age::Fresh { .. }
        ));
        assert_eq!(
            of(&[2]).age(now, &nonce, &Lifetimes::new(LIFETIME)),
            Age::NotOurs
        );
        let nonce = of(&[2, 1]).mint(now, &random(1));
        assert_eq!(
            of(&[1]).age(now, &nonce, &Lifetimes::new(LIFETIME)),
            Age::NotOurs
        );
    }

    /// Another node that shares the key started at another time, and its clock is off.
    #[test]
    fn nodes_that_share_a_key_agree_on_ages() {
        let start = Instant::now();
        let node = |unix_now| NonceKeys::new(vec![[7; 32]], start, unix_now);
        let nonce = node(UNIX_NOW).mint(start, &random(1));
        let age = |unix_now| node(unix_now).age(start, &nonce, &Lifetimes::new(LIFETIME));
        let second = Duration::from_secs(1);
        assert!(
            matches!(age(UNIX_NOW + 299 * second), Age::Fresh { expires, .. } if expires == start + second)
        );
        assert_eq!(age(UNIX_NOW + 300 * second), Age::Old);
        assert!(
            matches!(age(UNIX_NOW - 59 * second), Age::Fresh { expires, .. } if expires == start + 359 * second)
        );
        assert_eq!(
            age(UNIX_NOW - 61 * second),
            Age::Old,
            "no nonce lives for years because a clock was set back"
        );
    }

    /// AUT-14: what the ledger has forgotten must not become fresh again.
    #[test]
    fn a_nonce_keeps_the_life_that_it_was_minted_with_if_that_is_shorter() {
        let start = Instant::now();
        let keys = NonceKeys::new(vec![[7; 32]], start, UNIX_NOW);
        let mut lifetimes = Lifetimes::new(LIFETIME);
        let old = keys.mint(start, &random(1));
        let change = start + Duration::from_secs(10);
        lifetimes.change(change, 10 * LIFETIME);
        let new = keys.mint(change + 2 * CHANGING, &random(2));
        let age = |at: Instant, nonce: &str, lifetimes: &Lifetimes| {
            matches!(keys.age(at, nonce, lifetimes), Age::Fresh { .. })
        };
        let last = start + LIFETIME - Duration::from_millis(1);
        assert!(age(last, &old, &lifetimes));
        assert!(!age(start + LIFETIME, &old, &lifetimes));
        assert!(age(change + 9 * LIFETIME, &new, &lifetimes));
        // Shorter again: for all at once, and never longer for the oldest.
        lifetimes.change(change + 3 * CHANGING, LIFETIME / 2);
        assert!(!age(change + LIFETIME, &new, &lifetimes));
        lifetimes.change(change + 4 * CHANGING, 20 * LIFETIME);
        assert!(!age(start + LIFETIME, &old, &lifetimes));
        assert!(
            !age(change + LIFETIME, &new, &lifetimes),
            "the shortest of all"
        );
    }
}

//! Nonces (D-18): time and random bits under a key, so that their age is checked without a
//! table; and a record of the highest count that each was used with, so that none is used twice.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Milliseconds, 16 random octets, 12 of the code: 36 octets, 48 characters without padding.
const TIME: usize = 8;
const RANDOM: usize = 16;
const CODE: usize = 12;
const OCTETS: usize = TIME + RANDOM + CODE;

/// Keys of nonces. The first one mints, all verify.
pub struct NonceKeys {
    keys: Vec<[u8; 32]>,
    origin: Instant,
    /// Milliseconds at `origin` since whatever all who share the keys count from.
    origin_millis: u64,
}

/// What a nonce turns out to be.
pub(super) enum Age {
    NotOurs,
    Old,
    Fresh { id: u128, expires: Instant },
}

impl NonceKeys {
    /// `unix_now` is the wall clock at `now`, so that nodes which share keys agree on ages.
    pub fn new(keys: Vec<[u8; 32]>, now: Instant, unix_now: Duration) -> Self {
        assert!(!keys.is_empty(), "a nonce needs a key");
        Self {
            keys,
            origin: now,
            origin_millis: unix_now.as_millis() as u64,
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        self.origin_millis + now.saturating_duration_since(self.origin).as_millis() as u64
    }

    pub(super) fn mint(&self, now: Instant, random: &[u8; 24]) -> String {
        let mut octets = [0; OCTETS];
        octets[..TIME].copy_from_slice(&self.millis(now).to_be_bytes());
        octets[TIME..TIME + RANDOM].copy_from_slice(&random[..RANDOM]);
        let code = code(&self.keys[0], &octets[..TIME + RANDOM]);
        octets[TIME + RANDOM..].copy_from_slice(&code);
        STANDARD.encode(octets)
    }

    pub(super) fn age(&self, now: Instant, nonce: &str, lifetime: Duration) -> Age {
        let mut octets = [0; OCTETS];
        if !matches!(STANDARD.decode_slice(nonce, &mut octets), Ok(OCTETS)) {
            return Age::NotOurs;
        }
        let (content, given) = octets.split_at(TIME + RANDOM);
        if !self
            .keys
            .iter()
            .any(|key| bool::from(code(key, content).ct_eq(given)))
        {
            return Age::NotOurs;
        }
        let minted = u64::from_be_bytes(content[..TIME].try_into().expect("eight octets"));
        let id = u128::from_be_bytes(content[TIME..].try_into().expect("sixteen octets"));
        let age = Duration::from_millis(self.millis(now).saturating_sub(minted));
        match lifetime.checked_sub(age) {
            Some(left) if !left.is_zero() => Age::Fresh {
                id,
                expires: now + left,
            },
            _ => Age::Old,
        }
    }

    /// What stands for the password of a user who is not known: it costs the same.
    pub(super) fn decoy(&self, user: &str) -> [u8; CODE] {
        code(&self.keys[0], user.as_bytes())
    }
}

/// HMAC-SHA-256, cut.
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

/// Highest count of each nonce in use, kept by the shard that the nonce's bits name.
pub struct NonceLedger {
    highest: HashMap<u128, u32>,
    /// In order of first use; a nonce lives as long as any other, so nearly in order of expiry.
    expiry: VecDeque<(Instant, u128)>,
    bound: usize,
}

impl NonceLedger {
    pub fn new(bound: usize) -> Self {
        Self {
            highest: HashMap::new(),
            expiry: VecDeque::new(),
            bound,
        }
    }

    /// Whether this use is the first with so high a count. At the bound a nonce that is not
    /// known is refused, which makes it stale: forgetting a live one would allow a replay.
    pub fn claim(&mut self, now: Instant, id: u128, nc: u32, expires: Instant) -> bool {
        while let Some((until, old)) = self.expiry.front().copied() {
            if until > now {
                break;
            }
            self.expiry.pop_front();
            self.highest.remove(&old);
        }
        if nc == 0 {
            return false;
        }
        let full = self.highest.len() >= self.bound;
        match self.highest.get_mut(&id) {
            Some(highest) if nc > *highest => {
                *highest = nc;
                true
            }
            Some(_) => false,
            None if full => false,
            None => {
                self.highest.insert(id, nc);
                // Never forgotten before it has expired, whatever the order of first uses.
                let until = self
                    .expiry
                    .back()
                    .map_or(expires, |(last, _)| expires.max(*last));
                self.expiry.push_back((until, id));
                true
            }
        }
    }
}

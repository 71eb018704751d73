//! Messages between the machines of two shards: how they are sent, and which rule each leads to.

use std::time::Instant;

use super::Relay;
use super::command::Command;
use super::handoff::Handoff;
use super::keys::ShardId;
use super::limits::{HANDOFFS_AT_ONCE, HANDOFFS_EXPECTED};
use super::planted::{Fault, planted};

impl Relay {
    /// From another shard's machine.
    pub fn handoff(&mut self, now: Instant, handoff: Handoff) {
        self.now = now;
        match handoff {
            Handoff::Open(opening) => self.advance(now, opening),
            Handoff::Down { flow, down } => self.down(now, flow, down),
            Handoff::Up { route, up } => self.up(now, route, up),
            Handoff::Response {
                to,
                octets,
                failed_auth,
            } => self.returned(now, to, octets, failed_auth),
            Handoff::Report { to, octets, code } => self.reported(to, octets, code),
            Handoff::ReportOn {
                relay,
                octets,
                code,
            } => self.report_by_relay(now, relay, octets, code),
            Handoff::Register { hop, place } => self.register(now, hop, place),
            Handoff::Unregister { hop, place, failed } => self.unregister(now, hop, place, failed),
            Handoff::Pulse { hop, place, pulse } => self.hop_pulse(&hop, place, pulse),
            Handoff::ClaimPulse {
                token,
                place,
                pulse,
            } => self.claim_pulse(token, place, pulse),
            Handoff::OneOfSeveral { connection } => self.one_of_several(connection),
            Handoff::DialSecond { relay } => self.dial_second(now, relay),
            Handoff::ClaimUri { token, uri, place } => self.claim_uri(now, token, *uri, place),
            Handoff::UnclaimUris { token, place } => self.unclaim(token, place),
            Handoff::ClaimOver {
                connection,
                token,
                hash,
            } => self.claim_over(connection, token, hash),
            Handoff::HostServed { host, up } => self.host_served(&host, up),
            Handoff::Claim {
                from,
                pending,
                proof,
            } => {
                let fresh = self
                    .nonces
                    .claim(now, proof.nonce_id, proof.nc, proof.nonce_expires);
                self.recount_tables();
                self.hand(from, Handoff::Claimed { pending, fresh });
            }
            Handoff::Claimed { pending, fresh } => self.claimed(now, pending, fresh),
            Handoff::Guess(guess) => self.count_guess(now, guess),
            Handoff::Notice(notice) => self.noticed(now, notice),
            Handoff::StopGuesses { key, until } => self.stop_guesses(key, until),
            Handoff::Ask(question) => self.asked(now, *question),
            Handoff::Quota(message) => self.quota(now, message),
            Handoff::SessionOver { route } => self.session_over(now, route),
            Handoff::Share {
                session,
                back,
                along,
                share,
            } => self.shared(session, back, along, share),
            Handoff::Answer { pending, use_path } => self.answered(now, pending, use_path),
        }
        self.deliver_ups(now);
        self.relieve(now);
    }

    pub(super) fn next_handoffs(&mut self) -> Option<Command> {
        let to = *self.handing.front()?;
        let outgoing = &mut self.outgoing[usize::from(to.0)];
        let rest = match outgoing.len() > HANDOFFS_AT_ONCE {
            true => outgoing.split_off(HANDOFFS_AT_ONCE),
            false => {
                self.handing.pop_front();
                Vec::new()
            }
        };
        let handoffs = std::mem::replace(outgoing, rest);
        Some(Command::Handoffs { to, handoffs })
    }

    pub(super) fn hand(&mut self, to: ShardId, handoff: Handoff) {
        self.metrics.handoffs += 1;
        let outgoing = &mut self.outgoing[usize::from(to.0)];
        if outgoing.is_empty() {
            outgoing.reserve(HANDOFFS_EXPECTED);
            self.handing.push_back(to);
        }
        outgoing.push(handoff);
        if planted(Fault::HandoffReordered)
            && let [.., before, last] = &mut outgoing[..]
        {
            std::mem::swap(before, last);
        }
    }
}

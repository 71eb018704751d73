//! What leaves by a connection: octets for its next send, and what follows once the kernel has them.

use std::time::Instant;

use super::Relay;
use super::custody;
use super::egress::{Books, Carried, Pen};
use super::handoff::Up;
use super::keys::ConnectionKey;
use super::planted::{Fault, planted};
use super::timers::Timer;

impl Relay {
    /// Appends what is to be sent now to `out`, at most about 64 KiB. False: nothing, and no
    /// `sent` is expected.
    pub fn transmit(&mut self, now: Instant, key: ConnectionKey, out: &mut Vec<u8>) -> bool {
        self.now = now;
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        let egress = &mut connection.egress;
        egress.announced = false;
        if egress.in_flight || !connection.established {
            return false;
        }
        let mut pen = Pen {
            flows: &mut self.flows,
            books: Books {
                custodies: &mut self.custodies,
                transactions: &mut self.transactions,
                random: &mut self.random,
                metrics: &mut self.metrics,
                resting: &mut self.resting,
                now,
                connection: key,
            },
        };
        if !egress.transmit(out, &mut pen) {
            self.settle_later(key);
            self.deliver_ups(now);
            return false;
        }
        egress.in_flight = true;
        egress.waiting_since = Some(now);
        if !std::mem::replace(&mut connection.stall_timer, true) {
            self.timers
                .set(now + self.settings.limits.stall_timeout, Timer::Stall(key));
        }
        true
    }

    /// The kernel has taken some of the last `transmit`.
    pub fn progress(&mut self, now: Instant, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && connection.egress.in_flight
        {
            connection.egress.waiting_since = Some(now);
        }
    }

    /// The kernel has taken nothing of the last `transmit` for a while: what waits behind it may do so for long, and shall
    /// take no more memory than it needs.
    pub fn receiver_stalls(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.egress.carried.shrink_to_fit();
        for key in &connection.egress.flows {
            if let Some(flow) = self.flows.get_mut(*key) {
                flow.queue.shrink();
            }
        }
    }

    /// The kernel has taken all of the last `transmit`: timers start, credit goes back.
    pub fn sent(&mut self, now: Instant, key: ConnectionKey) {
        self.now = now;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let egress = &mut connection.egress;
        egress.in_flight = false;
        egress.waiting_since = None;
        connection.used = now;
        let mut carried = std::mem::take(&mut egress.carried);
        for carried in carried.drain(..) {
            self.carried(now, carried);
        }
        if let Some(connection) = self.connections.get_mut(key) {
            // The queue's memory is used again, unless a burst made it large.
            if carried.capacity() <= 256 {
                connection.egress.carried = carried;
            }
        }
        self.settle_later(key);
        self.deliver_ups(now);
        self.judge_control(key);
        self.announce(key);
    }

    fn carried(&mut self, now: Instant, carried: Carried) {
        match carried {
            Carried::Piece {
                transaction,
                received,
            } => {
                self.observe_forward(now, received);
                self.piece_sent(now, transaction);
            }
            Carried::Released { covered, received } => {
                self.observe_forward(now, received);
                for custody in covered.iter() {
                    self.custodies.piece_resolved(
                        *custody,
                        custody::Fate::Released,
                        &mut self.metrics.ledger,
                    );
                }
            }
            Carried::Request(key) => {
                if let Some(transaction) = self.transactions.get(key) {
                    let unread = self.unread_time(transaction.connection);
                    let patience = self.settings.limits.hop_timeout;
                    self.transactions.wait(key, now, patience, unread);
                }
            }
            Carried::Credit { back, flow, octets } => {
                if let Some(key) = flow {
                    self.flow_credited(key, octets);
                }
                if !planted(Fault::CreditLost) {
                    self.ups.push_back((back, Up::Credit(octets)));
                }
            }
        }
    }

    fn observe_forward(&mut self, now: Instant, received: Option<Instant>) {
        if let Some(received) = received {
            self.metrics
                .forward_duration
                .record(now.saturating_duration_since(received));
        }
    }
}

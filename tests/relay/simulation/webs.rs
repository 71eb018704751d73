//! Clients that come by WebSocket, and what those do that break its rules.

use msrpd::net::websocket::CloseCode;
use msrpd::relay::Transport;

use super::*;
use crate::web::{self, BINARY, CLOSE, LAST, PING, TEXT};

/// The Message-ID of what comes in frames that must not be.
pub(super) const FORGED: &str = "forged";

impl Simulation {
    /// By what the next client comes.
    pub(super) fn way_in(&mut self) -> Transport {
        if self.web && self.dice.chance(65) {
            self.dice.pick(&[Transport::Wss, Transport::Ws])
        } else {
            Transport::Tls
        }
    }

    /// A client with sessions, maybe inside a message, sends what no client may: its connection ends.
    pub(super) fn break_rules(&mut self, actor: usize) {
        let peer = self.actors[actor].client.peer;
        let Some(web) = &self.world.sockets[peer].web else {
            return;
        };
        let inside = web.is_inside();
        if !self.can_write(actor) {
            return;
        }
        let (frames, code) = self.broken(actor, inside);
        self.world.write_frames(peer, &frames);
        let web = self.world.sockets[peer].web.as_mut();
        web.expect("looked at above").broken = Some(code);
        let actor = &mut self.actors[actor];
        actor.shut = true;
        actor.out.clear();
        actor.open = None;
        actor.owed.clear();
    }

    /// Frames that break a rule, something forged behind them, and the code that says so.
    fn broken(&mut self, actor: usize, inside: bool) -> (Vec<u8>, CloseCode) {
        let forged = self.forged(actor, b"forged");
        let half = self.dice.roll(forged.len());
        let protocol = CloseCode::Protocol;
        let new = |inside: bool, code| if inside { CloseCode::Protocol } else { code };
        let (mut frames, code) = match self.dice.roll(12) {
            // Not masked.
            0 => {
                let octets = [&[BINARY, forged.len().min(125) as u8][..], &forged].concat();
                (octets, protocol)
            }
            // Reserved bits and opcodes.
            1 => {
                let bit = self.dice.pick(&[0x10, 0x20, 0x40]);
                let opcode = self.dice.pick(&[TEXT, BINARY, PING, LAST]);
                (web::frame(opcode | bit, &forged), protocol)
            }
            2 => {
                let opcode = self.dice.pick(&[0x83, 0x87, 0x8b, 0x8f]);
                (web::frame(opcode, b"x"), protocol)
            }
            // Control frames that are too long, or in pieces.
            3 => (web::frame(PING, &[b'p'; 126]), protocol),
            4 => (web::frame(PING & !LAST, b"p"), protocol),
            // A message that ends in its middle, or a continuation of nothing.
            5 => (web::frame(LAST, b""), protocol),
            6 if inside => (web::frame(LAST, b"\r\n"), protocol),
            6 => (web::frame(BINARY, &forged[..half]), protocol),
            // Two in one, or one inside another.
            7 => {
                let first = self.forged_to_none(actor);
                (
                    web::frame(BINARY, &[first, forged.clone()].concat()),
                    protocol,
                )
            }
            8 => {
                let spoilt = self.forged(actor, b"\xed\xa0\x80");
                let code = new(inside, CloseCode::NotUtf8);
                (web::frame(TEXT, &spoilt), code)
            }
            9 => {
                let octets = web::header(BINARY, web::MESSAGE_OCTETS + 1);
                (
                    [octets, vec![0; 4], forged.clone()].concat(),
                    new(inside, CloseCode::TooBig),
                )
            }
            10 => {
                let payload =
                    self.dice
                        .pick(&[&b"\x03"[..], &[3, 0xed], &[0, 0], &[3, 0xe8, 0xff]]);
                let code = match payload.len() {
                    3 => CloseCode::NotUtf8,
                    _ => protocol,
                };
                (web::frame(CLOSE, payload), code)
            }
            _ => (web::frame(TEXT, b""), protocol),
        };
        frames.extend(web::frame(BINARY, &forged));
        (frames, code)
    }

    /// A SEND that must never be complete for its receiver.
    fn forged(&mut self, actor: usize, body: &[u8]) -> Vec<u8> {
        let to = match self.actors[actor].streams.first() {
            Some(stream) => stream.to.clone(),
            None => vec![NOBODY.to_owned()],
        };
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        Builder::request(&self.fresh_tid(actor), "SEND")
            .to_path(&to)
            .from_path(&[&self.actors[actor].client.uri])
            .header("Message-ID", FORGED)
            .header("Byte-Range", "1-*/*")
            .header("Failure-Report", "no")
            .header("Content-Type", "text/plain")
            .body(body)
            .encode()
    }

    /// A keep-alive to the relay itself, which nobody gets.
    fn forged_to_none(&mut self, actor: usize) -> Vec<u8> {
        let token = self.actors[actor].client.token.clone();
        let token = if token.is_empty() { NOBODY } else { &token };
        Builder::request(&self.fresh_tid(actor), "SEND")
            .to_path(&[token])
            .from_path(&[&self.actors[actor].client.uri])
            .header("Message-ID", FORGED)
            .header("Byte-Range", "1-0/0")
            .header("Failure-Report", "no")
            .encode()
    }

    /// A stranger's messages: each in its frame, all in one, or in fragments without an end.
    pub(super) fn spoilt_frames(&mut self, octets: &[u8], ends: &[usize]) -> Vec<u8> {
        match self.dice.roll(4) {
            0 => web::frame(BINARY, octets),
            1 => {
                let mut frames = web::frame(BINARY & !LAST, b"");
                for piece in octets.chunks(1 + self.dice.roll(30)) {
                    frames.extend(web::frame(0, piece));
                    frames.extend(web::frame(0, b""));
                    frames.extend(web::frame(PING, b"still here"));
                }
                frames
            }
            _ => {
                let mut begin = 0;
                let mut frames = Vec::new();
                for end in ends {
                    frames.extend(web::frame(BINARY, &octets[begin..*end]));
                    begin = *end;
                }
                frames
            }
        }
    }

    /// Who broke a rule is gone, who did not is told apart from whoever is; and idle clients answer pings.
    pub(super) fn check_webs(&mut self) {
        if !self.web {
            return;
        }
        for socket in &self.world.sockets {
            let Some(web) = &socket.web else { continue };
            assert!(
                web.broken.is_none() || !socket.alive(),
                "RFC 6455 §7.1.7: open after {:?}",
                web.broken
            );
            if let Some(Ended::Closed(reason)) = &socket.ended
                && socket.kernel_len() == 0
            {
                web.assert_closed(reason);
            }
        }
        let alive = |world: &World| world.sockets.iter().filter(|it| it.alive()).count();
        let before = alive(&self.world);
        for _ in 0..4 {
            self.world.ping();
            self.world.run();
        }
        let stopped = |actor: &Actor| actor.shut || actor.hostile;
        if !self.actors.iter().any(stopped) {
            assert_eq!(alive(&self.world), before, "WSK-08: pings were answered");
        }
    }
}

//! A whole exchange by `tungstenite`, which shares no code with the relay's codec nor with the one of these tests, over IPv4 and
//! IPv6 (WSK-01 to WSK-14).

use std::net::{SocketAddr, TcpStream};

use msrpload::codec::Message;
use msrpload::digest::{Answer, Asker, Challenge, Spelling, fresh_cnonce};
use tungstenite::WebSocket;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use crate::support::client::{Client, SOON};
use crate::support::message::{Draft, response};
use crate::support::relay::{HOST, Relay, Setup, free_port};

crate::rows! {
    any: [],
    own: [
        wsk_an_independent_client_chats,
        wsk_an_independent_client_chats_by_ipv6,
    ],
}

const AUTH_URI: &str = "msrps://relay.example.com:443;ws";
const OWN_URI: &str = "msrps://df7jal23ls0d.invalid:2855/98cjs;ws";

struct Browser(WebSocket<TcpStream>);

impl Browser {
    fn open(address: SocketAddr) -> Self {
        let mut request = format!("ws://{HOST}:{}/chat?room=1", address.port())
            .into_client_request()
            .unwrap();
        let msrp = "msrp".parse().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", msrp);
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let (web, answer) = tungstenite::client(request, socket).expect("the handshake succeeds");
        assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "msrp");
        Self(web)
    }

    fn send(&mut self, draft: &Draft) {
        let text = String::from_utf8(draft.octets()).unwrap();
        self.0.send(tungstenite::Message::text(text)).unwrap();
    }

    /// The next message; whether it came as text.
    fn receive(&mut self) -> (Message, bool) {
        loop {
            let got = self.0.read().expect("a message");
            if got.is_text() || got.is_binary() {
                let text = got.is_text();
                let octets = got.into_data();
                if octets.starts_with(b"MSRP ") {
                    says_why(&octets);
                }
                return (Message::parse(&octets).expect("one message"), text);
            }
        }
    }

    fn expect_code(&mut self, code: u16) -> Message {
        let (got, text) = self.receive();
        assert_eq!(got.code(), Some(code), "{got:?}");
        assert!(text, "it is UTF-8");
        got
    }

    /// The token.
    fn authenticate(&mut self) -> String {
        self.send(&Draft::request("AUTH", AUTH_URI, OWN_URI));
        let got = self.expect_code(401);
        let challenge = Challenge::choose(got.headers_named("WWW-Authenticate")).unwrap();
        let asker = Asker {
            user: "alice",
            password: "wonderland",
            uri: AUTH_URI,
        };
        let answer = Answer::new(&challenge, asker, &fresh_cnonce(), 1, Spelling::default());
        let authorization = format!("Authorization: {}", answer.authorization);
        self.send(&Draft::request("AUTH", AUTH_URI, OWN_URI).lines(&[&authorization]));
        let got = self.expect_code(200);
        assert!(got.header("Expires").is_some());
        got.header("Use-Path").expect("a URI").to_owned()
    }
}

/// Response lines keep a reason phrase: some clients need one.
fn says_why(octets: &[u8]) {
    let line = octets.split(|octet| *octet == b'\r').next().unwrap();
    let line = std::str::from_utf8(line).unwrap();
    let words: Vec<&str> = line.splitn(4, ' ').collect();
    if words[2].len() == 3 && words[2].bytes().all(|octet| octet.is_ascii_digit()) {
        assert!(
            words.get(3).is_some_and(|phrase| !phrase.is_empty()),
            "{line}"
        );
    }
}

/// AUTH, texts and binary both ways, a message in fragments with a ping between, the end.
fn chats(relay: &Relay, address: SocketAddr) {
    let mut browser = Browser::open(address);
    let token = browser.authenticate();
    assert!(
        token.starts_with("msrps://") && token.ends_with(";tcp"),
        "{token}"
    );
    let mut bob = Client::authenticated(relay, "bob");
    let to_bob = [&*bob.token, &*bob.uri].join(" ");

    let draft = Draft::send(&to_bob, OWN_URI).text("héllo");
    browser.send(&draft);
    assert_eq!(browser.expect_code(200).tid, draft.tid);
    let got = bob.expect_method("SEND");
    assert_eq!(got.body(), "héllo".as_bytes());
    let from = format!("{} {OWN_URI}", bob.token);
    assert_eq!(got.header("From-Path").unwrap(), from);
    bob.send(response(&got, "200 OK"));

    for (body, is_text) in [(&b"hi"[..], true), (&[0xff, 0xfe][..], false)] {
        let draft = Draft::send(&format!("{token} {OWN_URI}"), &bob.uri).body(body);
        bob.send(draft.octets());
        let (got, text) = browser.receive();
        assert_eq!((got.body(), text), (body, is_text));
        browser
            .0
            .send(tungstenite::Message::binary(response(&got, "200 OK")))
            .unwrap();
        bob.expect_code(200);
    }

    let draft = Draft::send(&to_bob, OWN_URI).body(&[b'f'; 4000]);
    let octets = draft.octets();
    let (first, rest) = octets.split_at(2500);
    for (octets, opcode, last) in [(first, Data::Binary, false), (rest, Data::Continue, true)] {
        let header = FrameHeader {
            is_final: last,
            opcode: OpCode::Data(opcode),
            mask: None,
            ..FrameHeader::default()
        };
        let frame = Frame::from_payload(header, octets.to_vec().into());
        send_frame(&mut browser, frame);
        let ping = tungstenite::Message::Ping(b"?".to_vec().into());
        if !last {
            browser.0.send(ping).unwrap();
        }
    }
    assert_eq!(bob.expect_method("SEND").body(), [b'f'; 4000]);
    assert_eq!(browser.expect_code(200).tid, draft.tid);

    browser.0.close(None).unwrap();
    let closed = std::iter::repeat_with(|| browser.0.read()).find(Result::is_err);
    assert!(matches!(
        closed,
        Some(Err(tungstenite::Error::ConnectionClosed))
    ));
}

fn send_frame(browser: &mut Browser, frame: Frame) {
    browser.0.send(tungstenite::Message::Frame(frame)).unwrap();
}

fn wsk_an_independent_client_chats() {
    let relay = Setup::new().start();
    chats(&relay, relay.ws);
}

fn wsk_an_independent_client_chats_by_ipv6() {
    let port = free_port();
    let relay = Setup::new()
        .listener(&format!("address = \"[::1]:{port}\"\ntransport = \"ws\""))
        .start();
    chats(&relay, format!("[::1]:{port}").parse().unwrap());
}

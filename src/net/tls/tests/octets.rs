//! What is written on one side arrives on the other, however the octets between are cut.

use super::*;

#[test]
fn octets_arrive_however_they_are_cut() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let sent = body(40_000);
    for cut in (1..=30).chain([100, 517, 4096, 16_405, 16_406, 16_407, 65_536]) {
        let mut link = linked(&context, &context, cut);
        assert_eq!((link.server_done, link.client_done), (1, 1));
        link.client.write(&sent, &mut link.to_server).unwrap();
        link.server.write(&sent[..9], &mut link.to_client).unwrap();
        link.run(cut).unwrap();
        assert_eq!(link.at_server, sent, "cut {cut}");
        assert_eq!(link.at_client, &sent[..9], "cut {cut}");
        assert_eq!(link.server.held_octets() + link.client.held_octets(), 0);
    }
}

#[test]
fn records_split_at_every_octet() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut link = linked(&context, &context, usize::MAX);
    let sent = body(60);
    for first in 0..3 * (60 + 22) {
        for _ in 0..3 {
            link.client.write(&sent, &mut link.to_server).unwrap();
        }
        let mut octets = std::mem::take(&mut link.to_server);
        let (front, back) = octets.split_at_mut(first.min(246));
        let mut received = Vec::new();
        for piece in [front, back] {
            link.server
                .read(
                    piece,
                    &mut |octets| received.extend_from_slice(octets),
                    &mut link.to_client,
                )
                .unwrap();
        }
        assert_eq!(received, sent.repeat(3), "first {first}");
        assert_eq!(link.server.held_octets(), 0);
    }
}

#[test]
fn big_bodies_pass_in_full_records() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut link = linked(&context, &context, 65_536);
    let sent = body(3 << 20);
    let mut out = b"already there".to_vec();
    link.client.write(&sent, &mut out).unwrap();
    assert_eq!(&out[..13], b"already there");
    // 192 records of 16 KiB, 22 octets each on top (TLS 1.3).
    assert_eq!(out.len(), 13 + sent.len() + 192 * 22);
    link.to_server = out.split_off(13);
    link.run(65_536).unwrap();
    assert!(link.at_server == sent);
}

#[test]
fn key_updates_are_answered() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    for cut in [1, 1000] {
        let mut link = linked(&context, &context, cut);
        for round in 0..3 {
            link.client.request_key_update();
            link.client
                .write(b"from client", &mut link.to_server)
                .unwrap();
            link.run(cut).unwrap();
            let sent = body(20_000);
            link.server.write(&sent, &mut link.to_client).unwrap();
            link.run(cut).unwrap();
            assert!(link.at_client.ends_with(&sent), "round {round}");
            assert!(link.at_server.ends_with(b"from client"));
        }
    }
}

#[test]
fn handshake_message_over_many_records() {
    let authority = Authority::new();
    let context = authority.context(&["relay.example"]);
    let mut client = context.client("relay.example", ClientVerify::Full).unwrap();
    let mut hello = Vec::new();
    client.start(&mut hello).unwrap();
    // The ClientHello again, in records of 9 octets.
    let records: Vec<u8> = hello[5..]
        .chunks(9)
        .flat_map(|part| [&[22, 3, 1, 0, part.len() as u8], part].concat())
        .collect();
    for cut in [1, 4, 5, 13, 100, usize::MAX] {
        let mut server = context.server();
        let mut out = Vec::new();
        for piece in records.clone().chunks_mut(cut) {
            server.read(piece, &mut |_| {}, &mut out).unwrap();
        }
        assert_eq!(out.first(), Some(&22), "cut {cut}");
        assert_eq!(server.held_octets(), 0);
    }
}

//! What decoding and rewriting cost in memory: a chat line of 300 octets, a chunk of 64 KiB, the head as it leaves.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use msrpd::wire::{
    ByteRange, Decoder, DecoderLimits, EndLineGuard, Event, Flag, Head, Template, TransactId, Uri,
    encode_end,
};

/// A SEND through one relay, as in the first wire example that has one.
fn send(body: &[u8]) -> Bytes {
    let mut octets = b"MSRP lQ4AoR2b7HRZxPku SEND\r\n\
        To-Path: msrps://relay.example.com:2855/6feVCdwK8JxiFRH9IZDR8M;tcp \
        msrps://bob.example.org:8145/Q0sqxfgK;tcp\r\n\
        From-Path: msrps://alice-pc.example.com:7654/oNcM1GIb;tcp\r\n\
        Message-ID: 2WGlxLWo1C6R\r\n\
        Byte-Range: 1-22/22\r\n\
        Content-Type: text/plain\r\n\r\n"
        .to_vec();
    octets.extend_from_slice(body);
    encode_end(&mut octets, b"lQ4AoR2b7HRZxPku", Flag::Complete, true);
    octets.into()
}

fn drain(decoder: &mut Decoder) -> usize {
    let mut events = 0;
    while let Some(event) = decoder.next().expect("the octets are legal") {
        black_box(&event);
        events += 1;
    }
    events
}

fn head(octets: &Bytes) -> Head {
    let mut decoder = Decoder::new(DecoderLimits::default());
    decoder.push(octets.clone());
    match decoder.next() {
        Ok(Some(Event::Head(head))) => head,
        other => panic!("no head: {other:?}"),
    }
}

fn decode(c: &mut Criterion) {
    let line = send(b"Hi Bob, lunch at noon?");
    let random: Vec<u8> = (0..65_536_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut group = c.benchmark_group("decode");
    for (name, octets, piece) in [
        ("SEND of 300 octets", line.clone(), usize::MAX),
        ("SEND of 300 octets in two pieces", line.clone(), 160),
        ("chunk of 64 KiB", send(&random), usize::MAX),
        (
            "chunk of 64 KiB in records of 16 KiB",
            send(&random),
            16_384,
        ),
        ("64 KiB of hyphens", send(&[b'-'; 65_536]), usize::MAX),
        (
            "64 KiB of line ends",
            send(&b"\r\n".repeat(32_768)),
            usize::MAX,
        ),
    ] {
        let pieces: Vec<Bytes> = (0..octets.len())
            .step_by(piece.min(octets.len()))
            .map(|at| octets.slice(at..octets.len().min(at.saturating_add(piece))))
            .collect();
        group.throughput(Throughput::Bytes(octets.len() as u64));
        group.bench_function(name, |b| {
            let mut decoder = Decoder::new(DecoderLimits::default());
            b.iter(|| {
                for piece in &pieces {
                    decoder.push(piece.clone());
                    black_box(drain(&mut decoder));
                }
            });
        });
    }
    let batch = Bytes::from(line.repeat(100));
    group.throughput(Throughput::Elements(100));
    group.bench_function("100 SENDs in one push", |b| {
        let mut decoder = Decoder::new(DecoderLimits::default());
        b.iter(|| {
            decoder.push(batch.clone());
            black_box(drain(&mut decoder))
        });
    });
    group.finish();
}

fn rewrite(c: &mut Criterion) {
    let head = head(&send(b"Hi Bob, lunch at noon?"));
    let tid = TransactId::from_random(*b"thirteen bits");
    let template = Template::forwarded(&head, 1);
    let range = ByteRange::parse(b"1-22/22");
    let mut group = c.benchmark_group("rewrite");
    group.bench_function("template of a head", |b| {
        b.iter(|| Template::forwarded(black_box(&head), 1));
    });
    group.bench_function("template encoded", |b| {
        b.iter_batched_ref(
            || Vec::with_capacity(1024),
            |out| template.encode(out, &tid, range),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("template compared with its like", |b| {
        let other = Template::forwarded(&head, 1);
        b.iter(|| black_box(&template).same_message(&other));
    });
    group.bench_function("transact-id made and looked up", |b| {
        b.iter(|| TransactId::parse(TransactId::from_random(black_box([7; 13])).as_bytes()));
    });
    group.bench_function("guard over 64 KiB", |b| {
        let body = vec![b'x'; 65_536];
        b.iter(|| EndLineGuard::new().first_collision(&tid, black_box(&body)));
    });
    group.finish();
}

fn uris(c: &mut Criterion) {
    let one = b"msrps://relay.example.com:2855/6feVCdwK8JxiFRH9IZDR8M;tcp";
    let other = b"MSRPS://Relay.Example.com:2855/6feVCdwK8JxiFRH9IZDR8M;tcp;x=1";
    let mut group = c.benchmark_group("uri");
    group.bench_function("parse", |b| b.iter(|| Uri::parse(black_box(one))));
    let (one, other) = (Uri::parse(one).unwrap(), Uri::parse(other).unwrap());
    group.bench_function("compare", |b| b.iter(|| black_box(one).equivalent(&other)));
    group.bench_function("authority", |b| b.iter(|| black_box(one).authority()));
    group.finish();
}

criterion_group!(benches, decode, rewrite, uris);
criterion_main!(benches);

//! What the machine takes for a message: on one shard, and across two; and the
//! writing alone.

mod walk;

use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use msrpd::metrics::Histogram;

use walk::{Pair, Walk};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WINDOW: usize = 16;

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    for (name, pair, body) in [
        ("300 octets, foreign sender", Pair::ForeignSender, 300),
        ("300 octets, foreign receiver", Pair::ForeignReceiver, 300),
        ("300 octets, both here", Pair::BothHere, 300),
        ("2 KiB, foreign sender", Pair::ForeignSender, 2048),
    ] {
        let mut walk = Walk::new(pair, body, 1);
        group.throughput(Throughput::Elements(WINDOW as u64));
        group.bench_function(name, |b| b.iter(|| walk.pass(WINDOW)));
    }
    let mut walk = Walk::new(Pair::ForeignSender, 65_536, 1);
    group.throughput(Throughput::Bytes(65_536));
    group.bench_function("64 KiB, foreign sender", |b| b.iter(|| walk.pass(1)));
    group.finish();
}

fn handoff(c: &mut Criterion) {
    let mut group = c.benchmark_group("handoff");
    let mut walk = Walk::new(Pair::BothHere, 300, 2);
    group.throughput(Throughput::Elements(WINDOW as u64));
    group.bench_function("300 octets, both here, on two shards", |b| {
        b.iter(|| walk.pass(WINDOW));
    });
    group.finish();
}

fn egress(c: &mut Criterion) {
    let mut group = c.benchmark_group("egress");
    for (name, body, window) in [
        ("64 messages of 300 octets", 300, 64),
        ("a chunk of 64 KiB", 65_536, 1),
    ] {
        let mut walk = Walk::new(Pair::ForeignSender, body, 1);
        group.throughput(Throughput::Bytes((body * window) as u64));
        group.bench_function(name, |b| {
            b.iter_custom(|times| (0..times).map(|_| walk.egress(window)).sum());
        });
    }
    group.finish();
}

/// Two durations of a message: forwarding, and its transaction. The clock is read once for a batch.
fn record(c: &mut Criterion) {
    const BATCH: usize = 16;
    let mut group = c.benchmark_group("record");
    let (mut forward, mut transaction) = (Histogram::default(), Histogram::default());
    let began = Instant::now();
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("two durations of 16 messages and the clock", |b| {
        b.iter(|| {
            let now = Instant::now();
            for message in 0..BATCH as u32 {
                let took = now.saturating_duration_since(began) / (1 + message);
                forward.record(took);
                transaction.record(took * 2);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, forward, handoff, egress, record);
criterion_main!(benches);

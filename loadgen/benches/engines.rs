//! What epoll and io_uring cost a load generator: the same traffic by both, without TLS and MSRP.
//!
//!     cargo bench -p loadgen --bench engines [-- --seconds 3 --rounds 5]
//!
//! One thread (core 1) keeps messages under way on 50 connections to a thread (core 0) that sends
//! everything back, as a load generator does: it reads what came, counts whole messages, and writes
//! as many new ones per connection at once. Printed is the CPU of the first thread for a message.

#![allow(unsafe_code, reason = "io_uring is asked for by raw entries")]

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, squeue, types};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const CONNECTIONS: usize = 50;
const BUFFER_OCTETS: usize = 65_536;

#[derive(Clone, Copy)]
struct Work {
    octets: usize,
    window: usize,
    time: Duration,
}

/// Messages that came back, and the CPU that this thread spent on them.
struct Cost {
    messages: u64,
    cpu: Duration,
}

impl Cost {
    fn micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.messages as f64
    }
}

fn cpu_of_this_thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Sends everything back until it is told to stop.
fn send_back(mut peers: Vec<TcpStream>, stop: &AtomicBool) {
    let mut poll = Poll::new().expect("epoll");
    for (key, peer) in peers.iter_mut().enumerate() {
        let interest = Interest::READABLE;
        poll.registry()
            .register(peer, Token(key), interest)
            .expect("a socket");
    }
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; BUFFER_OCTETS];
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(50)))
            .expect("epoll");
        for event in &events {
            let peer = &mut peers[event.token().0];
            while let Ok(octets @ 1..) = peer.read(&mut buffer) {
                let mut rest = &buffer[..octets];
                while !rest.is_empty() && !stop.load(Ordering::Relaxed) {
                    if let Ok(written) = peer.write(rest) {
                        rest = &rest[written..];
                    }
                }
            }
        }
    }
}

/// Counts whole messages in what a connection has read.
struct Counter {
    octets: usize,
    came: usize,
}

impl Counter {
    fn add(&mut self, octets: usize) -> usize {
        self.came += octets;
        let whole = self.came / self.octets;
        self.came %= self.octets;
        whole
    }
}

fn by_epoll(mut streams: Vec<TcpStream>, work: Work) -> Cost {
    let mut poll = Poll::new().expect("epoll");
    for (key, stream) in streams.iter_mut().enumerate() {
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(stream, Token(key), interest)
            .expect("a socket");
    }
    let mut counters: Vec<Counter> = counters(work);
    let message = vec![b'm'; work.octets * work.window];
    let mut buffer = vec![0; BUFFER_OCTETS];
    let mut events = Events::with_capacity(1024);
    for stream in &mut streams {
        write_all(stream, &message);
    }
    let (began, cpu) = (Instant::now(), cpu_of_this_thread());
    let mut messages = 0;
    while began.elapsed() < work.time {
        poll.poll(&mut events, None).expect("epoll");
        for event in events.iter().filter(|event| event.is_readable()) {
            let key = event.token().0;
            let mut whole = 0;
            while let Ok(octets) = streams[key].read(&mut buffer) {
                whole += counters[key].add(octets);
                if octets < buffer.len() {
                    break;
                }
            }
            messages += whole as u64;
            write_all(&mut streams[key], &message[..whole * work.octets]);
        }
    }
    let cpu = cpu_of_this_thread() - cpu;
    Cost { messages, cpu }
}

/// What is under way fits the kernel's buffers.
fn write_all(stream: &mut TcpStream, mut octets: &[u8]) {
    while !octets.is_empty() {
        if let Ok(written) = stream.write(octets) {
            octets = &octets[written..];
        }
    }
}

fn counters(work: Work) -> Vec<Counter> {
    let counter = |_| Counter {
        octets: work.octets,
        came: 0,
    };
    (0..CONNECTIONS).map(counter).collect()
}

/// In the low bits of an entry's user data.
const SEND: u64 = 1;

fn by_io_uring(streams: Vec<TcpStream>, work: Work) -> Cost {
    let mut ring = IoUring::builder()
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_defer_taskrun()
        .build(1024)
        .expect("io_uring");
    let mut counters = counters(work);
    let message = vec![b'm'; work.octets * work.window];
    let mut buffers = vec![vec![0_u8; BUFFER_OCTETS]; CONNECTIONS];
    // What is to be sent, and whether a send is under way: one at a time keeps the order.
    let mut owed = vec![work.octets * work.window; CONNECTIONS];
    let mut sends = [false; CONNECTIONS];
    let mut reads = [false; CONNECTIONS];
    let (began, cpu) = (Instant::now(), cpu_of_this_thread());
    let mut messages = 0;
    let mut dirty: Vec<usize> = (0..CONNECTIONS).collect();
    while began.elapsed() < work.time {
        for key in dirty.drain(..) {
            let fd = types::Fd(streams[key].as_raw_fd());
            if !sends[key] && owed[key] > 0 {
                sends[key] = true;
                let octets = owed[key].min(message.len());
                let entry = opcode::Send::new(fd, message.as_ptr(), octets as u32)
                    .build()
                    .user_data((key as u64) << 1 | SEND);
                push(&mut ring, entry);
            }
            if !reads[key] {
                reads[key] = true;
                let buffer = &mut buffers[key];
                let entry = opcode::Recv::new(fd, buffer.as_mut_ptr(), buffer.len() as u32)
                    .build()
                    .user_data((key as u64) << 1);
                push(&mut ring, poll_first(entry));
            }
        }
        ring.submit_and_wait(1).expect("io_uring");
        for completion in ring.completion() {
            let key = (completion.user_data() >> 1) as usize;
            let octets = usize::try_from(completion.result()).expect("no error on loopback");
            if completion.user_data() & SEND == SEND {
                sends[key] = false;
                owed[key] -= octets;
            } else {
                reads[key] = false;
                let whole = counters[key].add(octets);
                messages += whole as u64;
                owed[key] += whole * work.octets;
            }
            dirty.push(key);
        }
    }
    let cpu = cpu_of_this_thread() - cpu;
    // The kernel still has the buffers of reads: closing the ring ends them.
    drop(ring);
    Cost { messages, cpu }
}

fn push(ring: &mut IoUring, entry: squeue::Entry) {
    // SAFETY: message, buffers and sockets outlive the ring, and one read has each buffer at a time.
    unsafe {
        ring.submission()
            .push(&entry)
            .expect("room for all connections");
    }
}

/// No attempt before the socket is readable: nothing can be there yet.
fn poll_first(mut entry: squeue::Entry) -> squeue::Entry {
    const RECVSEND_POLL_FIRST: u16 = 1;
    // SAFETY: the entry is the kernel's record of 64 octets, whose u16 at offset 2 is `ioprio`.
    unsafe {
        let flags = (&raw mut entry).cast::<u8>().add(2).cast::<u16>();
        flags.write_unaligned(flags.read_unaligned() | RECVSEND_POLL_FIRST);
    }
    entry
}

fn measure(engine: fn(Vec<TcpStream>, Work) -> Cost, work: Work) -> Cost {
    let listener = TcpListener::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = listener.local_addr().expect("its address");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        ours.push(TcpStream::connect(address).expect("a connection"));
        loop {
            if let Ok((peer, _)) = listener.accept() {
                theirs.push(peer);
                break;
            }
        }
    }
    for stream in ours.iter().chain(&theirs) {
        stream.set_nodelay(true).expect("a socket");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let peer = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            core_affinity::set_for_current(core_affinity::CoreId { id: 0 });
            send_back(theirs, &stop);
        }
    });
    let load = std::thread::spawn(move || {
        core_affinity::set_for_current(core_affinity::CoreId { id: 1 });
        engine(ours, work)
    });
    let cost = load.join().expect("the engine runs");
    stop.store(true, Ordering::Relaxed);
    peer.join().expect("the peer ends");
    cost
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, otherwise: u64| {
        let place = arguments.iter().position(|argument| argument == name);
        place
            .and_then(|place| arguments.get(place + 1)?.parse().ok())
            .unwrap_or(otherwise)
    };
    let (time, rounds) = (number("--seconds", 2), number("--rounds", 5));
    println!("| octets | window | epoll, us a message | io_uring | ratio io_uring / epoll |");
    println!("|---|---|---|---|---|");
    for (octets, window) in [(620, 1), (620, 16), (2400, 16), (16_000, 4)] {
        let work = Work {
            octets,
            window,
            time: Duration::from_secs(time),
        };
        let (mut epoll, mut uring, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            epoll.push(measure(by_epoll, work).micros());
            uring.push(measure(by_io_uring, work).micros());
            ratios.push(uring[uring.len() - 1] / epoll[epoll.len() - 1]);
        }
        let (epoll, uring, ratio) = (median(epoll), median(uring), median(ratios));
        println!("| {octets} | {window} | {epoll:.2} | {uring:.2} | {ratio:.2} |");
    }
}

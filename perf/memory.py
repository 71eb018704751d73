#!/usr/bin/env python3
"""What remote sides make msrpd remember: memory for each octet of theirs, how much there is at the bound, how long others wait when
it goes, and what stays when it has gone.

    cargo build --release && perf/memory.py [--relay FILE] [--only WORD] [--out FILE]

Each row has a relay of its own with one shard. *held* is what is resident more (RssAnon) when one attacker has sent all that he may
or that the row has; *per octet* is that by the octets of TCP's payload that he sent; *remembered* what the relay itself counts, where
it does. *turns* have an honest client ask for a challenge in the moment in which somebody with much goes: the CPU time that the shard
takes until it is answered is what everybody waits for, at least. *rounds* do the same three times, and let the relay be idle for
25 s after each. CPU and memory are the kernel's figures; nothing here depends on wall time. Needs openssl.
"""

import argparse
import os
import pathlib
import platform
import secrets
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import attacks  # noqa: E402
from attacks import Account, HOST, Row, Tls, batches, send_text, stranger, value  # noqa: E402

attacks.CAP = 60
IDLE = 25


def report_text(to, tid):
    return (f"MSRP {tid} REPORT\r\nTo-Path: {to}\r\nFrom-Path: msrps://m.invalid:1/x;tcp\r\nMessage-ID: {tid}\r\n"
            f"Byte-Range: 1-1/1\r\nStatus: 000 200 OK\r\n-------{tid}$\r\n")


def routes(relay, row, connections=1, each=20_000):
    """REPORTs, each by another path to the same client: a route for each."""
    alice, first = stranger(relay)
    relay.alice, relay.strangers = alice, []
    authority = alice.uri.rpartition("/")[0]
    for count in range(connections):
        peer = first if count == 0 else Tls(relay)
        relay.held.append(peer)
        relay.strangers.append(peer)
        batches(relay, row, peer, (report_text(f"{alice.token} {authority}/{count}r{number};tcp", f"{number:08d}")
                                   for number in range(each)), 200)


def transactions(relay, row):
    """SENDs that the receiver takes and does not answer, by eight paths."""
    alice, peer = stranger(relay)
    relay.held.append(peer)
    authority = alice.uri.rpartition("/")[0]
    batches(relay, row, peer, (send_text(f"{alice.token} {authority}/r{number % 8};tcp", "msrps://m.invalid:1/x;tcp", failure="yes")
                               for number in range(40_000)), 200)


def long_path():
    return " ".join(f"msrps://{'h' * 200}.invalid:1/{'s' * 700}{secrets.token_hex(4)};tcp" for _ in range(13))


def sessions(relay, row):
    """Use-Path URIs of one account on one connection, with From-Paths of 12 KB."""
    account = Account(relay)
    row.connections.append(account.tls)
    path = long_path()
    for _ in range(1500):
        row.requests += 1
        if not account.auth(from_path=path):
            break


def claims(relay, row):
    """SENDs that say another URI of the sender each, of 29 KB."""
    alice, peer = stranger(relay)
    relay.held.append(peer)
    authority = alice.uri.rpartition("/")[0]
    batches(relay, row, peer, (send_text(f"{alice.token} {authority}/r{number};tcp",
                                         f"msrps://m.invalid:1/{'s' * 29_000}{number};tcp", failure="no")
                               for number in range(1500)), 1)


def short_claims(relay, row):
    """The same with URIs of 500 octets."""
    alice, peer = stranger(relay)
    relay.held.append(peer)
    authority = alice.uri.rpartition("/")[0]
    batches(relay, row, peer, (send_text(f"{alice.token} {authority}/r{number};tcp",
                                         f"msrps://m.invalid:1/{'s' * 470}{number};tcp", failure="no")
                               for number in range(1500)), 20)


def back_offs(relay, row, octets):
    account = Account(relay)
    batches(relay, row, account.tls, (send_text(f"{account.token} msrps://{'h' * octets}{number}:2855/x;tcp", account.uri)
                                      for number in range(5000)), 4)


def look_ups(relay, row, octets, head=0):
    """AUTHs of users whom a silent database is asked about, and of whom nothing is known: before any AUTH has succeeded."""
    more = "".join(f"X-{number}: {'x' * 240}\r\n" for number in range(head // 250))
    for _ in range(300):
        account = Account.__new__(Account)
        account.relay, account.tls = relay, Tls(relay)
        account.user = "m" * octets + secrets.token_hex(4)
        attacks.USERS[account.user] = "x"
        account.uri, account.nonce, account.opaque = "msrps://m.invalid:1/x;tcp", None, None
        tid, text = account.auth_text()
        account.tls.send(text)
        answer = account.tls.answer(tid)
        account.nonce, account.opaque = value(answer, " nonce"), value(answer, "opaque")
        for _ in range(4):
            tid, text = account.auth_text()
            account.tls.send(text.replace(f"-------{tid}$", f"{more}-------{tid}$"))
            row.requests += 1
        row.connections.append(account.tls)
        relay.held.append(account.tls)
        del attacks.USERS[account.user]


def refreshes(relay, row):
    """AUTHs that give one URI more time, a day each."""
    account = Account(relay)
    row.connections.append(account.tls)
    target = account.token
    for number in range(20_000):
        tid, cnonce = secrets.token_hex(8), secrets.token_hex(8)
        secret = attacks.md5(account.user, "example.com", attacks.USERS[account.user])
        response = attacks.md5(secret, account.nonce, "00000001", cnonce, "auth", attacks.md5("AUTH", target))
        account.tls.send(
            f"MSRP {tid} AUTH\r\nTo-Path: {target}\r\nFrom-Path: {account.uri}\r\nExpires: {86_400 - number % 1000}\r\n"
            f'Authorization: Digest username="{account.user}", realm="example.com", nonce="{account.nonce}", '
            f'opaque="{account.opaque}", qop=auth, nc=00000001, cnonce="{cnonce}", response="{response}"\r\n-------{tid}$\r\n')
        answer = account.tls.answer(tid)
        account.nonce = value(answer, "nextnonce") or value(answer, " nonce")
        account.opaque = value(answer, "opaque") or account.opaque
        row.requests += 1
        if not account.nonce:
            raise SystemExit(f"a refresh was not answered: {answer}")


LONG_HOSTS = attacks.LOOPBACK
ROWS = {
    "routes, by REPORTs of 225 octets": (routes, ""),
    "SENDs of 238 octets that nobody answers": (transactions, ""),
    "sessions with From-Paths of 12 KB": (sessions, ""),
    "claims of 29 KB": (claims, ""),
    "claims of 500 octets": (short_claims, ""),
    "next hops not reached, hosts of 29 KB": (lambda relay, row: back_offs(relay, row, 29_000), LONG_HOSTS),
    "next hops not reached, hosts of 63 octets": (lambda relay, row: back_offs(relay, row, 58), LONG_HOSTS),
    "AUTHs that wait, user names of 25 KB": (lambda relay, row: look_ups(relay, row, 25_000), attacks.DATABASE),
    "AUTHs that wait, heads of 25 KB": (lambda relay, row: look_ups(relay, row, 200, 25_000), attacks.DATABASE),
    "refreshes with a long Expires": (refreshes, ""),
}


class World:
    """A relay with what its row needs beside it."""

    def __init__(self, program, folder, extra=""):
        import socket
        self.udp, self.tcp = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
        for one in (self.udp, self.tcp):
            one.bind(("127.0.0.1", 0))
        self.tcp.listen(4096)
        extra = extra.format(silent_udp=self.udp.getsockname()[1], silent_tcp=self.tcp.getsockname()[1])
        self.relay = attacks.Relay(program, folder, extra)
        warm = Account(self.relay, "alice")
        warm.tls.close()
        self.relay.held.clear()
        self.relay.settle()

    def __enter__(self):
        return self.relay

    def __exit__(self, *_):
        self.relay.end()
        self.udp.close()
        self.tcp.close()


def let_go(relay):
    for one in relay.held:
        one.close()
    relay.held.clear()


def idle(relay):
    until = time.monotonic() + IDLE
    while time.monotonic() < until:
        relay.pump()
        time.sleep(0.1)
    relay.settle()


def measure(program, folder, name):
    attack, extra = ROWS[name]
    with World(program, folder, extra) as relay:
        first = relay.resident()
        row = Row()
        attack(relay, row)
        relay.settle()
        held = max(relay.resident() - first, 0)
        let_go(relay)
        relay.settle()
        at_once = max(relay.resident() - first, 0)
        idle(relay)
        kept = max(relay.resident() - first, 0)
        if relay.process.poll() is not None:
            raise SystemExit(f"{name}: the relay ended\n" + (folder / "log").read_text())
    octets = row.count()
    return (f"| {name} | {row.requests:,} | {octets / max(row.requests, 1):,.0f} | {held / 2**20:,.1f} MiB | {held / max(octets, 1):.2f} "
            f"| {at_once / 2**20:,.1f} MiB | {kept / 2**20:,.1f} MiB |")


def shard_cpu(relay):
    """Seconds of the one shard's thread."""
    for task in pathlib.Path(f"/proc/{relay.process.pid}/task").iterdir():
        if (task / "comm").read_text().startswith("shard-"):
            return int((task / "schedstat").read_text().split()[0]) / 1e9
    raise SystemExit("no shard")


def turn(program, folder, who):
    """192,000 routes; then one who has them goes, and an honest client asks for a challenge."""
    with World(program, folder) as relay:
        row = Row()
        # As many on one connection as either version lets it have.
        routes(relay, row, 60, 3200)
        relay.settle()
        honest = Tls(relay)
        tid, text = secrets.token_hex(8), None
        text = f"MSRP {tid} AUTH\r\nTo-Path: msrps://{HOST};tcp\r\nFrom-Path: msrps://h.invalid:1/x;tcp\r\n-------{tid}$\r\n"
        goes = [relay.alice.tls] if who == "receiver" else relay.strangers
        relay.settle()
        before = shard_cpu(relay)
        for one in goes:
            one.close()
        time.sleep(0.0005)
        honest.send(text)
        if "401" not in honest.answer(tid):
            ended = relay.process.poll() is not None
            why = "the process aborts: a stack overflows" if "overflow" in (folder / "log").read_text() else "no answer"
            return f"| {row.requests:,} routes, the {who} goes | {why if ended else 'no answer'} | |"
        until_answered = shard_cpu(relay) - before
        relay.settle()
        in_all = shard_cpu(relay) - before
    return f"| {row.requests:,} routes, the {who} goes | {until_answered * 1e3:,.1f} ms | {in_all * 1e3:,.0f} ms |"


def churn(relay):
    """2,000 TLS connections, 500 at a time, half of which write to somebody, then go."""
    row, full = Row(), 0
    alice = Account(relay, "alice")
    for _ in range(4):
        mine = []
        for number in range(500):
            peer = Tls(relay)
            mine.append(peer)
            if number % 2 == 0:
                batches(relay, row, peer, [send_text(f"{alice.token} {alice.uri}", "msrps://m.invalid:1/x;tcp", failure="no",
                                                     body="x" * 900)], 1)
        relay.settle()
        full = max(full, relay.resident())
        for peer in mine:
            peer.close()
    let_go(relay)
    return full


def attack_all(relay):
    """Routes, transactions and claims."""
    row = Row()
    routes(relay, row)
    transactions(relay, row)
    short_claims(relay, row)
    relay.settle()
    full = relay.resident()
    let_go(relay)
    return full


def rounds(program, folder, name, attack):
    with World(program, folder) as relay:
        first = relay.resident()
        cells = []
        for _ in range(3):
            full = attack(relay) - first
            relay.settle()
            idle(relay)
            # Transactions of the last round end with their time.
            idle(relay)
            cells.append(f"{full / 2**20:,.1f} / {(relay.resident() - first) / 2**20:,.1f} MiB")
    return f"| {name} | {first / 2**20:,.1f} MiB | " + " | ".join(cells) + " |"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--relay", default=attacks.ROOT / "target/release/msrpd", type=pathlib.Path)
    arguments.add_argument("--only", default="", metavar="WORD", help="rows whose name has it")
    arguments.add_argument("--out", type=pathlib.Path, help="write the tables there")
    options = arguments.parse_args()
    if not options.relay.exists():
        raise SystemExit(f"no {options.relay}: cargo build --release")
    program, lines = options.relay.resolve(), []

    def put(line):
        print(line, flush=True)
        lines.append(line)

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        attacks.certificates(folder)
        chosen = [name for name in ROWS if options.only in name]
        if chosen:
            put("| What | Requests | Octets each | Held at the end | Held per octet | When all have gone | 25 s later |")
            put("|---|---|---|---|---|---|---|")
        for name in chosen:
            put(measure(program, folder, name))
        chosen = [who for who in ("receiver", "sender") if options.only in f"turns of {who}"]
        if chosen:
            put("\n| What goes | CPU of the shard until the next answer | in all |")
            put("|---|---|---|")
        for who in chosen:
            put(turn(program, folder, who))
        chosen = [pair for pair in (("2,000 connections", churn), ("routes, SENDs without answer, claims", attack_all))
                  if options.only in f"rounds of {pair[0]}"]
        if chosen:
            put("\n| Rounds of | Base | First: full / 50 s after | Second | Third |")
            put("|---|---|---|---|---|")
        for name, attack in chosen:
            put(rounds(program, folder, name, attack))
    if options.out:
        options.out.write_text(f"{platform.machine()}, Linux {platform.release()}, {os.cpu_count()} cores.\n\n" + "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

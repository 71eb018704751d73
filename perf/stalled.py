#!/usr/bin/env python3
"""What receivers that stop reading cost, and what they cost the others.

    cargo build --release && perf/stalled.py [--relay PATH]... [--work WORK]... [--receivers 200] [--rounds 3] [--chats 3000]

For each kind of work (chats of 300 octets, or one film in chunks of 2 KiB, 8 KiB or 64 KiB) and each relay (one binary or
several, in turn): clients connect in pairs, both authenticated. Then each sender sends as fast as it is taken, and its receiver
reads nothing. Once nothing moves any more it measures for each receiver

- what the relay's memory grew by: private pages of the process, idle connections not counted; once with what all share
  (read buffers), once what the second half of the receivers added,
- what lies in the send queue of the relay's socket,
- what its sender got a 200 for and the receiver does not get after a kill -9: octets that were in the process alone;

and the p99 of a chat of another pair on that relay as a multiple of what a pair has on a second relay without stalled receivers,
in turns of 100 chats each, so that whatever else the machine does weighs on both.
"""

import argparse
import asyncio
import hashlib
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PORTS = ["2855", "9855", "2880"]
# Octets of a chunk; chats are messages of their own.
WORKS = {"chats": 300, "2k": 2048, "8k": 8192, "64k": 65536}
# In no head.
OCTET = b"\xff"
FILM = 4 << 20


def md5(*parts):
    return hashlib.md5(":".join(parts).encode()).hexdigest()


class Client:
    def __init__(self):
        self.uri = f"msrps://{secrets.token_hex(6)}.invalid:2855/{secrets.token_urlsafe(12)};tcp"

    async def start(self, place, user):
        # A small buffer of its own: what is measured is the relay's.
        wire = socket.socket()
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wire.connect(("127.0.0.1", place.port))
        wire.setblocking(False)
        self.reader, self.writer = await asyncio.open_connection(sock=wire, ssl=place.tls, server_hostname=place.host, limit=1 << 20)
        self.local = self.writer.get_extra_info("sockname")[1]
        to = f"msrps://{place.host};tcp"
        self.send("AUTH", to, "")
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', await self.message()))
        name, password = user
        cnonce = secrets.token_hex(8)
        response = md5(md5(name, challenge["realm"], password), challenge["nonce"], "00000001", cnonce, "auth", md5("AUTH", to))
        self.send("AUTH", to, f'Authorization: Digest username="{name}", realm="{challenge["realm"]}", nonce="{challenge["nonce"]}", '
                  f'qop=auth, nc=00000001, cnonce="{cnonce}", response="{response}"\r\n')
        self.token = re.search(r"Use-Path: (\S+)", await self.message())[1]
        return self

    def send(self, method, to, headers, body=None, tid=None, flag="$"):
        tid = tid or secrets.token_hex(8)
        text = f"MSRP {tid} {method}\r\nTo-Path: {to}\r\nFrom-Path: {self.uri}\r\n{headers}"
        octets = text.encode() + (b"" if body is None else b"\r\n" + body + b"\r\n") + f"-------{tid}{flag}\r\n".encode()
        self.writer.write(octets)
        return tid

    async def message(self):
        """The next message as text; bodies here hold no end-line."""
        start = (await self.reader.readuntil(b"\r\n")).decode()
        tid = start.split(" ")[1]
        rest = await self.reader.readuntil(f"-------{tid}".encode())
        await self.reader.readexactly(3)
        return start + rest.decode(errors="replace")


class Place:
    """A relay of `msrpd dev`, with ports of its own."""

    def __init__(self, relay, folder, number):
        self.relay, self.folder = relay, folder
        made = subprocess.Popen([relay, "dev", "--dir", folder], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for _ in range(200):
            if (folder / "dev.toml").exists():
                break
            time.sleep(0.05)
        time.sleep(0.3)
        made.send_signal(signal.SIGTERM)
        made.wait()
        text = (folder / "msrpd.toml").read_text()
        for at, port in enumerate(PORTS):
            text = text.replace(f":{port}", f":{38100 + 10 * number + at}")
        text = re.sub(r"^workers = .*$", "", text, flags=re.M)
        text = text.replace("[relay]\n", "[relay]\nworkers = 1\n") + "\n[limits]\nstall_timeout = \"1h\"\n"
        (folder / "msrpd.toml").write_text(text)
        dev = tomllib.loads((folder / "dev.toml").read_text())
        config = tomllib.loads(text)
        self.host = config["relay"]["hosts"][0]
        self.port = int(config["listen"][0]["address"].rsplit(":", 1)[1])
        users = dev["users"]
        self.users = [(user["name"], user["password"]) for user in users] if isinstance(users, list) else list(users.items())
        self.tls = ssl.create_default_context(cafile=folder / "ca.pem")
        self.log = open(folder / "log", "ab")
        self.process = subprocess.Popen([relay, "run", "--config", folder / "msrpd.toml"], stdout=self.log, stderr=self.log)
        time.sleep(0.5)

    def memory(self):
        """Private pages in octets, once what is freed has gone back."""
        rollup = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return sum(int(kib) for kib in re.findall(r"^Private_\w+:\s+(\d+)", rollup, re.M)) * 1024

    def kernel(self, clients):
        """Send queues of the relay's sockets towards these."""
        said = subprocess.run(["ss", "-tn", "state", "established", f"( sport = :{self.port} )"], capture_output=True, text=True).stdout
        wanted, queues = {client.local for client in clients}, []
        for line in said.splitlines()[1:]:
            fields = line.split()
            if int(fields[3].rsplit(":", 1)[1]) in wanted:
                queues.append(int(fields[1]))
        return queues

    def stop(self):
        self.process.kill()
        self.process.wait()


async def chats(pair, count):
    """How long each took, answered by its receiver, one at a time, in us."""
    (a, b), took = pair, []
    to = f"{a.token} {b.token} {b.uri}"
    for number in range(count):
        began = time.perf_counter()
        a.send("SEND", to, f"Message-ID: {secrets.token_hex(6)}\r\nByte-Range: 1-300/300\r\nContent-Type: text/plain\r\n", b"x" * 300)
        got = await b.message()
        took.append((time.perf_counter() - began) * 1e6)
        tid = got.split(" ")[1]
        back = re.search(r"From-Path: (\S+)", got)[1]
        b.writer.write(f"MSRP {tid} 200 OK\r\nTo-Path: {back}\r\nFrom-Path: {b.uri}\r\n-------{tid}$\r\n".encode())
        await a.message()
    return took


def count_allocations(place, when):
    path = os.environ.get("COUNTING")
    if path:
        shutil.copy(f"{path}.{place.process.pid}", f"{path}.{when}")


def p99(took):
    return statistics.quantiles(took, n=100)[98]


async def pour(work, sender, receiver, progress):
    """As fast as it is taken; notes what was answered."""
    to, chunk = f"{sender.token} {receiver.token} {receiver.uri}", WORKS[work]
    ident, sizes, body = secrets.token_hex(6), {}, OCTET * chunk

    async def answers():
        try:
            while True:
                text = await sender.message()
                if text.split(" ")[2] == "200":
                    progress[0] += sizes.pop(text.split(" ")[1], 0)
        except (OSError, asyncio.IncompleteReadError):
            pass

    reading = asyncio.ensure_future(answers())
    for start in range(1, FILM, chunk):
        if work == "chats":
            headers = f"Message-ID: {secrets.token_hex(6)}\r\nByte-Range: 1-{chunk}/{chunk}\r\nContent-Type: text/plain\r\n"
        else:
            headers = f"Message-ID: {ident}\r\nByte-Range: {start}-{start + chunk - 1}/{FILM}\r\nContent-Type: application/x\r\n"
        tid = secrets.token_hex(8)
        sizes[tid] = chunk
        sender.send("SEND", to, headers, body, tid, "$" if work == "chats" or start + chunk > FILM else "+")
        try:
            await sender.writer.drain()
        except OSError:
            break
    return reading


async def stands_still(progress):
    last, still = -1, 0
    while still < 4:
        await asyncio.sleep(1)
        now = sum(moved[0] for moved in progress)
        still, last = (still + 1, last) if now == last else (0, now)


async def pair_of(place):
    return await Client().start(place, place.users[0]), await Client().start(place, place.users[-1])


async def received(receiver):
    """All that still comes of the body."""
    receiver.writer.transport._ssl_protocol._transport.resume_reading()
    octets = 0
    try:
        while more := await asyncio.wait_for(receiver.reader.read(1 << 16), 10):
            octets += more.count(OCTET)
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.TimeoutError):
        pass
    return octets


async def run(work, place, other, receivers, count):
    pairs = [await pair_of(place) for _ in range(receivers + 1)]
    untouched, pairs = pairs[0], pairs[1:]
    alone = await pair_of(other)
    for _, receiver in pairs:
        # The socket itself: asyncio's TLS would read on, and keep it.
        receiver.writer.transport._ssl_protocol._transport.pause_reading()
    for pair in untouched, alone:
        await chats(pair, 300)
    await asyncio.sleep(11)
    progress = [[0] for _ in pairs]
    films, memory = [], [place.memory()]
    # The first half touches what all share; what the second half adds is theirs.
    count_allocations(place, "idle")
    for half in (0, receivers // 2), (receivers // 2, receivers):
        films += [asyncio.ensure_future(pour(work, *pairs[at], progress[at])) for at in range(*half)]
        await stands_still(progress)
        # What was freed goes back every 10 s.
        await asyncio.sleep(11)
        memory.append(place.memory())
        count_allocations(place, f"{work}-{half[1]}")
    took = {"beside": [], "alone": []}
    for _ in range(max(1, count // 100)):
        took["beside"] += await chats(untouched, 100)
        took["alone"] += await chats(alone, 100)
    queues = place.kernel([receiver for _, receiver in pairs])
    place.stop()
    came = await asyncio.gather(*(received(receiver) for _, receiver in pairs))
    lost = [max(0, moved[0] - octets) for moved, octets in zip(progress, came)]
    for task in films:
        task.cancel()
    for a, b in pairs + [untouched, alone]:
        a.writer.transport.abort()
        b.writer.transport.abort()
    return {
        "all": (memory[2] - memory[0]) / receivers / 1024,
        "user": (memory[2] - memory[1]) / (receivers - receivers // 2) / 1024,
        "queue": statistics.mean(queues) / 1024,
        "queue max": max(queues) / 1024,
        "lost": statistics.median(lost) / 1024,
        "lost max": max(lost) / 1024,
        "p99": p99(took["alone"]),
        "ratio": p99(took["beside"]) / p99(took["alone"]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relay", action="append", type=pathlib.Path, help="a binary; several are measured in turn")
    parser.add_argument("--work", action="append", choices=list(WORKS), help="this one; may be repeated")
    parser.add_argument("--receivers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chats", type=int, default=3000)
    options = parser.parse_args()
    relays = options.relay or [ROOT / "target/release/msrpd"]
    works = options.work or list(WORKS)
    found = {(work, relay): [] for work in works for relay in relays}
    for _ in range(options.rounds):
        for work, relay in found:
            folder = pathlib.Path(tempfile.mkdtemp())
            places = [Place(relay, folder / f"dev{number}", number) for number in range(2)]
            try:
                one = asyncio.run(run(work, *places, options.receivers, options.chats))
                print(work, relay, one, file=sys.stderr, flush=True)
                found[work, relay].append(one)
            finally:
                for place in places:
                    place.stop()
                shutil.rmtree(folder)
    columns = {
        "all": "user memory, KiB",
        "user": "of the second half, KiB",
        "queue": "send queue, KiB",
        "queue max": "the longest, KiB",
        "lost": "lost by kill -9, KiB",
        "lost max": "the most of one, KiB",
        "p99": "p99 alone, us",
        "ratio": "beside / alone",
    }
    print("| work | relay | " + " | ".join(columns.values()) + " |")
    print("|" + "---|" * (len(columns) + 2))
    for (work, relay), rounds in found.items():
        cells = [f"{statistics.median(one[column] for one in rounds):.1f}" for column in columns]
        print(f"| {work} | {relay} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

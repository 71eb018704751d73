#!/usr/bin/env python3
"""What each kind of attack costs msrpd: CPU for each request and octet of the attacker, memory held for each, what stays.

    cargo build --release && perf/attacks.py [--only WORD] [--scale N] [--relay FILE] [--out FILE] [--into docs/security.md]

Each row has a relay of its own, with one shard and its defaults but for what the row needs, and attacks it from loopback twice, with a
fixed number of requests and at most 20 s each; the row is what the second time costs, when tables and buffers have grown. CPU is
that of all the relay's threads by the kernel's scheduler (/proc/PID/task/*/schedstat), memory the anonymous pages that are resident.
Octets are those of TCP's payload that the attacker sent, and 200 for each connection (its segments without payload). Rates and wall
time are not measured: they are the attacker's choice. Needs openssl.
"""

import argparse
import hashlib
import os
import pathlib
import platform
import select
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOST = "relay.example.com"
CONNECT_OCTETS = 200  # SYN, ACK, FIN and their acknowledgement, with IP and link headers
CAP = 20  # seconds for one row
USERS = {"alice": "wonderland", "mallory": "through-the-window"}


def certificates(folder):
    """An authority, the relay's certificate, another relay's, and chains that nobody would want to verify."""
    def openssl(*arguments, stdin=None):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, input=stdin, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-days", "30", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name, host in [("relay", HOST), ("other", "other.example.com")]:
        openssl("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / "extensions").write_text(f"subjectAltName=DNS:{host}\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                "-extfile", "extensions", "-out", f"{name}.pem")
    # Sub-authorities that all have and are signed by the same name: each can be the issuer of each.
    openssl("req", "-x509", *key, "-days", "30", "-subj", "/CN=X", "-keyout", "x.key", "-out", "x.pem")
    (folder / "extensions").write_text("basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n")
    chain = []
    for count in range(12):
        openssl("req", *key, "-subj", "/CN=X", "-keyout", f"x{count}.key", "-out", "x.csr")
        openssl("x509", "-req", "-in", "x.csr", "-CA", "x.pem", "-CAkey", "x.key", "-CAcreateserial", "-days", "30",
                "-extfile", "extensions", "-out", f"x{count}.pem")
        chain.append((folder / f"x{count}.pem").read_text())
    (folder / "extensions").write_text("subjectAltName=DNS:leaf.example.com\n")
    openssl("req", *key, "-subj", "/CN=leaf", "-keyout", "heavy.key", "-out", "leaf.csr")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "x0.pem", "-CAkey", "x0.key", "-CAcreateserial", "-days", "30",
            "-extfile", "extensions", "-out", "leaf.pem")
    leaf = (folder / "leaf.pem").read_text()
    (folder / "heavy.pem").write_text(leaf + "".join(chain[:5]))
    (folder / "heavier.pem").write_text(leaf + "".join(chain))
    (folder / "heaviest.pem").write_text(leaf + "".join(chain * 10))
    # What the authority has signed, and anybody may copy who has met it: with large keys, and as long as may be.
    for kind, curve, authorities in [("p384", "P-384", 0), ("long", "P-256", 5), ("long384", "P-384", 5)]:
        key = ["-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-nodes"]
        issuer, chain = "ca", []
        for count in range(authorities + 1):
            name = f"{kind}{count}" if count < authorities else kind
            ends = "subjectAltName=DNS:other.example.com" if count == authorities else "basicConstraints=critical,CA:true"
            (folder / "extensions").write_text(ends + "\n")
            openssl("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial",
                    "-days", "30", "-extfile", "extensions", "-out", f"{name}.pem")
            chain.insert(0, (folder / f"{name}.pem").read_text())
            issuer = name
        (folder / f"{kind}.pem").write_text("".join(chain))


class Relay:
    """msrpd with one shard, in a folder of its own."""

    def __init__(self, program, folder, extra=""):
        self.folder = folder
        ports = []
        for _ in range(3):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                ports.append(free.getsockname()[1])
        self.port, self.second, self.admin = ports
        extra = extra.replace("SECOND", str(self.second))
        users = "".join(
            f"{name}:example.com:{md5(name, 'example.com', word)}\n" for name, word in USERS.items())
        (folder / "users").write_text(users)
        os.chmod(folder / "users", 0o600)
        (folder / "msrpd.toml").write_text(f"""
[relay]
hosts = ["{HOST}"]
workers = 1
[[listen]]
address = "127.0.0.1:{self.port}"
[tls]
certificate = "relay.pem"
key = "relay.key"
peer_ca = "ca.pem"
[auth]
realm = "example.com"
htdigest = "users"
[admin]
address = "127.0.0.1:{self.admin}"
{extra}""")
        log = open(folder / "log", "w")
        self.process = subprocess.Popen(
            [program, "run", "--config", "msrpd.toml"], cwd=folder, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while "ready" not in (folder / "log").read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((folder / "log").read_text())
            time.sleep(0.02)
        self.held = []

    def cpu(self):
        """Seconds."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def resident(self):
        """Octets."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise SystemExit("no RssAnon")

    def settle(self, within=10):
        """Until it has nothing to do."""
        deadline = time.monotonic() + within
        before = self.cpu()
        while time.monotonic() < deadline:
            until = time.monotonic() + 0.1
            while time.monotonic() < until:
                if not self.pump():
                    time.sleep(0.01)
            now = self.cpu()
            if now - before < 0.001:
                return
            before = now

    def pump(self):
        """Reads what the connections that are held got, as their owners would; whether there was any."""
        held = {one.socket: one for one in self.held if isinstance(one, Tls) and one.open}
        readable = select.select(held, [], [], 0)[0] if len(held) < 500 else []
        for one in readable:
            held[one].pump(0)
            held[one].read = held[one].read[-1000:]
        return bool(readable)

    def end(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def md5(*parts):
    return hashlib.md5(":".join(parts).encode()).hexdigest()


class Tls:
    """A TLS connection that never blocks, and counts the octets that it sends."""

    def __init__(self, relay, certificate=None, address=None, handshake=True):
        context = ssl.create_default_context(cafile=relay.folder / "ca.pem")
        if certificate:
            key = "heavy" if certificate.startswith("heav") else certificate
            context.load_cert_chain(relay.folder / f"{certificate}.pem", relay.folder / f"{key}.key")
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=HOST)
        self.socket = socket.create_connection(address or ("127.0.0.1", relay.port))
        self.socket.setblocking(False)
        self.octets, self.pending, self.read, self.open = CONNECT_OCTETS, b"", b"", True
        if handshake:
            deadline = time.monotonic() + CAP
            while self.open and time.monotonic() < deadline:
                try:
                    self.tls.do_handshake()
                    self.flush()
                    break
                except ssl.SSLWantReadError:
                    self.flush()
                    self.pump(0.05, decrypt=False)
                except ssl.SSLError:
                    self.open = False

    def flush(self):
        self.pending += self.outgoing.read()
        try:
            while self.pending:
                sent = self.socket.send(self.pending)
                self.octets += sent
                self.pending = self.pending[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.open = False

    def pump(self, timeout, decrypt=True):
        """Sends what waits and reads what came."""
        if not self.open:
            return
        self.flush()
        readable, _, _ = select.select([self.socket], [self.socket] if self.pending else [], [], timeout)
        self.flush()
        if readable:
            try:
                octets = self.socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                octets = b""
            if not octets:
                self.open = False
            self.incoming.write(octets)
        while decrypt:
            try:
                octets = self.tls.read(1 << 16)
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                break
            except ssl.SSLError:
                self.open = False
                break
            if not octets:
                break
            self.read += octets

    def send(self, text, wait=True):
        """All of it, reading meanwhile as a polite attacker does; False when the relay has closed or does not read on."""
        octets = text.encode() if isinstance(text, str) else text
        for start in range(0, len(octets), 1 << 15):
            self.tls.write(octets[start:start + (1 << 15)])
            deadline = time.monotonic() + 2
            self.pump(0)
            while wait and self.open and self.pending:
                self.pump(0.05)
                if time.monotonic() > deadline:
                    return False
        return self.open

    def answer(self, tid):
        """The response to this transaction as text, or nothing if the relay closed first."""
        end, deadline = f"-------{tid}$\r\n".encode(), time.monotonic() + CAP
        while end not in self.read and self.open and time.monotonic() < deadline:
            self.pump(0.05)
        text, _, self.read = self.read.partition(end)
        return text.decode(errors="replace")

    def close(self):
        self.socket.close()
        self.open = False


def value(text, name):
    return text.partition(f'{name}="')[2].partition('"')[0]


class Account:
    """A client with an account: AUTHs, and keeps its URIs."""

    def __init__(self, relay, user="mallory", certificate=None, uri=None):
        self.relay, self.user, self.tls = relay, user, Tls(relay, certificate)
        self.uri = uri or f"msrps://{user}.invalid:2855/{secrets.token_hex(10)};tcp"
        self.nonce = self.opaque = None
        self.token = self.auth()
        relay.held.append(self.tls)

    def auth_text(self, wrong=False, from_path=None):
        tid, to, cnonce = secrets.token_hex(8), f"msrps://{HOST};tcp", secrets.token_hex(8)
        head = f"MSRP {tid} AUTH\r\nTo-Path: {to}\r\nFrom-Path: {from_path or self.uri}\r\n"
        if self.nonce:
            secret = md5(self.user, "example.com", "wrong" if wrong else USERS[self.user])
            response = md5(secret, self.nonce, "00000001", cnonce, "auth", md5("AUTH", to))
            head += (f'Authorization: Digest username="{self.user}", realm="example.com", nonce="{self.nonce}", '
                     f'opaque="{self.opaque}", qop=auth, nc=00000001, cnonce="{cnonce}", response="{response}"\r\n')
        return tid, head + f"-------{tid}$\r\n"

    def auth(self, wrong=False, from_path=None):
        """The URI that was granted, or nothing."""
        for _ in range(2):
            tid, text = self.auth_text(wrong, from_path)
            self.tls.send(text)
            answer = self.tls.answer(tid)
            self.nonce = value(answer, "nextnonce") or value(answer, " nonce") or None
            self.opaque = value(answer, "opaque") or self.opaque
            if "Use-Path: " in answer:
                return answer.partition("Use-Path: ")[2].partition("\r\n")[0]
        return None


def send_text(to, from_path, body="x", failure=None, method="SEND", more="", ident=None):
    tid = secrets.token_hex(8)
    head = f"MSRP {tid} {method}\r\nTo-Path: {to}\r\nFrom-Path: {from_path}\r\nMessage-ID: {ident or tid}\r\n"
    head += f"Byte-Range: 1-{len(body)}/{len(body)}\r\n{more}"
    head += f"Failure-Report: {failure}\r\n" if failure else ""
    return head + f"Content-Type: text/plain\r\n\r\n{body}\r\n-------{tid}$\r\n"


class Row:
    """What was sent: requests, and the connections whose octets count."""

    def __init__(self):
        self.requests, self.connections, self.octets = 0, [], 0

    def count(self):
        return self.octets + sum(connection.octets for connection in self.connections)


def batches(relay, row, tls, texts, size=50):
    """Sends these requests, until the relay closes or stops reading."""
    row.connections.append(tls)
    deadline, waiting, count = time.monotonic() + CAP, [], 0
    for text in texts:
        waiting.append(text)
        if len(waiting) == size:
            if not tls.send("".join(waiting)) or time.monotonic() > deadline:
                return
            row.requests += len(waiting)
            waiting = []
            tls.read = b""
            while relay.pump():
                pass
    if waiting and tls.send("".join(waiting)):
        row.requests += len(waiting)


# Each takes the relay and a scale, and says what it sent. What it puts into relay.held stays open while memory is measured.

def bare_connects(relay, row, scale):
    for _ in range(1000 * scale):
        socket.create_connection(("127.0.0.1", relay.port)).close()
        row.requests += 1
        row.octets += CONNECT_OCTETS


def silent_connects(relay, row, scale):
    for _ in range(1000 * scale):
        relay.held.append(socket.create_connection(("127.0.0.1", relay.port)))
        row.requests += 1
        row.octets += CONNECT_OCTETS


def half_handshakes(relay, row, scale):
    for _ in range(1000 * scale):
        tls = Tls(relay, handshake=False)
        try:
            tls.tls.do_handshake()
        except ssl.SSLWantReadError:
            tls.flush()
        relay.held.append(tls.socket)
        row.connections.append(tls)
        row.requests += 1


def handshakes(certificate):
    def attack(relay, row, scale):
        for _ in range(200 * scale if certificate not in ("heavier", "heaviest") else 40 * scale):
            tls = Tls(relay, certificate)
            row.connections.append(tls)
            row.requests += 1
            for _ in range(3):
                tls.pump(0.02)
            tls.close()
    return attack


def idle_tls(relay, row, scale):
    for _ in range(300 * scale):
        tls = Tls(relay)
        row.connections.append(tls)
        row.requests += 1
        relay.held.append(tls)


def auths_without_credentials(relay, row, scale):
    tls = Tls(relay)
    def texts():
        for _ in range(2000 * scale):
            tid = secrets.token_hex(8)
            yield (f"MSRP {tid} AUTH\r\nTo-Path: msrps://{HOST};tcp\r\n"
                   f"From-Path: msrps://m.invalid:1/x;tcp\r\n-------{tid}$\r\n")
    batches(relay, row, tls, texts())


def wrong_passwords(relay, row, scale):
    for _ in range(100 * scale):
        account = Account.__new__(Account)
        account.relay, account.user, account.tls = relay, "alice", Tls(relay)
        account.uri, account.nonce, account.opaque = "msrps://m.invalid:1/x;tcp", None, None
        row.connections.append(account.tls)
        for _ in range(3):
            account.auth(wrong=True)
            row.requests += 1
            if not account.tls.open:
                break
        account.tls.close()


def refused_sends(relay, row, scale):
    """No account: a token that nobody has. The connection is closed after a few."""
    for _ in range(100 * scale):
        tls = Tls(relay)
        batches(relay, row, tls, [send_text(f"msrps://{HOST}:{relay.port}/nobody;tcp msrps://x.invalid:1/x;tcp",
                                     "msrps://m.invalid:1/x;tcp") for _ in range(10)], 1)
        tls.close()


def unfinished_heads(relay, row, scale):
    """32 KB of a head that does not end, on connections that are held."""
    head = "MSRP abcdefgh SEND\r\nTo-Path: msrps://x.invalid:1/x;tcp\r\nFrom-Path: msrps://y.invalid:1/y;tcp\r\n"
    head += "".join(f"X-{count}: {'x' * 240}\r\n" for count in range(120))
    for _ in range(100 * scale):
        tls = Tls(relay)
        tls.send(head[:30_000])
        row.connections.append(tls)
        relay.held.append(tls)
        row.requests += 1


def stranger(relay, alice=None):
    """A connection without account that knows a live URI: a foreign peer."""
    alice = alice or Account(relay, "alice")
    return alice, Tls(relay)


def sends_to(relay, row, scale, count, **how):
    alice, peer = stranger(relay)
    relay.held.append(peer)
    batches(relay, row, peer, (send_text(f"{alice.token} {alice.uri}", "msrps://m.invalid:1/x;tcp", **how) for _ in range(count * scale)))


def honest_sends(relay, row, scale):
    """For comparison: a foreign peer's chats of 300 octets, delivered and not answered for (Failure-Report no)."""
    sends_to(relay, row, scale, 4000, failure="no", body="x" * 60)


def open_transactions(relay, row, scale):
    """SENDs that the receiver takes and never answers."""
    sends_to(relay, row, scale, 4000, failure="yes")


def routes(relay, row, scale):
    """Each SEND spells the receiver's URI in a new way: a route for each."""
    alice, peer = stranger(relay)
    relay.held.append(peer)
    authority = alice.uri.rpartition("/")[0]
    batches(relay, row, peer, (send_text(f"{alice.token} {authority}/r{count};tcp", "msrps://m.invalid:1/x;tcp", failure="no")
                        for count in range(8000 * scale)))


def claims(relay, row, scale):
    """Each SEND comes from another URI, and every one is a place to reach the peer at."""
    alice, peer = stranger(relay)
    relay.held.append(peer)
    batches(relay, row, peer, (send_text(f"{alice.token} {alice.uri}", f"msrps://m.invalid:1/{count};tcp", failure="no")
                        for count in range(8000 * scale)))


def reports(relay, row, scale):
    alice, peer = stranger(relay)
    relay.held.append(peer)
    def text(count):
        tid = secrets.token_hex(8)
        return (f"MSRP {tid} REPORT\r\nTo-Path: {alice.token} {alice.uri}\r\nFrom-Path: msrps://m.invalid:1/x;tcp\r\n"
                f"Message-ID: {tid}\r\nByte-Range: 1-1/1\r\nStatus: 000 200 OK\r\n-------{tid}$\r\n")
    batches(relay, row, peer, (text(count) for count in range(4000 * scale)))


def big_heads(relay, row, scale):
    """SENDs of one octet with 30 KB of headers, delivered."""
    more = "".join(f"X-{count}: {'x' * 240}\r\n" for count in range(115))
    alice, peer = stranger(relay)
    relay.held.append(peer)
    batches(relay, row, peer, (send_text(f"{alice.token} {alice.uri}", "msrps://m.invalid:1/x;tcp", failure="no", more=more)
                        for _ in range(300 * scale)), 2)


def slow_receiver(relay, row, scale):
    """What a receiver that does not read makes the relay hold."""
    alice, peer = stranger(relay)
    relay.held.remove(alice.tls)
    relay.held += [peer, alice.tls.socket]
    batches(relay, row, peer, (send_text(f"{alice.token} {alice.uri}", "msrps://m.invalid:1/x;tcp", failure="no", body="x" * 60_000)
                        for _ in range(400)), 1)


def sessions(relay, row, scale, from_path=None):
    account = Account(relay)
    row.connections.append(account.tls)
    deadline = time.monotonic() + CAP
    for _ in range(2000 * scale if not from_path else 300 * scale):
        if not account.tls.open or time.monotonic() > deadline:
            break
        account.auth(from_path=from_path)
        row.requests += 1


def sessions_with_long_paths(relay, row, scale):
    uris = " ".join(f"msrps://{'h' * 200}.invalid:1/{'s' * 600}{count};tcp" for count in range(14))
    sessions(relay, row, scale, uris)


def dials_that_hang(relay, row, scale):
    """Each SEND names a next hop that takes the connection and never says anything."""
    silent = socket.socket()
    silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    silent.bind(("0.0.0.0", 0))
    silent.listen(4096)
    relay.held.append(silent)
    port = silent.getsockname()[1]
    account = Account(relay)
    batches(relay, row, account.tls, (send_text(f"{account.token} msrps://127.1.{count // 250}.{count % 250 + 1}:{port}/x;tcp", account.uri)
                               for count in range(1000 * scale)), 10)


def dials_refused(relay, row, scale):
    account = Account(relay)
    batches(relay, row, account.tls, (send_text(f"{account.token} msrps://127.1.{count // 250}.{count % 250 + 1}:1/x;tcp", account.uri)
                               for count in range(1000 * scale)), 10)


def names_nobody_answers(relay, row, scale):
    """Each SEND names a host that a silent name server has to be asked for; RELAY's extra lines name it."""
    account = Account(relay)
    batches(relay, row, account.tls, (send_text(f"{account.token} msrps://{'h' * 50}{count}.example.net:2855/x;tcp", account.uri)
                               for count in range(1000 * scale)), 10)


def user_look_ups(relay, row, scale):
    """Wrong credentials of users whom only a database knows, and it says nothing."""
    for _ in range(50 * scale):
        account = Account.__new__(Account)
        account.relay, account.tls = relay, Tls(relay)
        account.user = "m" * 200 + secrets.token_hex(8)
        USERS[account.user] = "x"
        account.uri, account.nonce, account.opaque = "msrps://m.invalid:1/x;tcp", None, None
        tid, text = account.auth_text()
        account.tls.send(text)
        answer = account.tls.answer(tid)
        account.nonce, account.opaque = value(answer, " nonce"), value(answer, "opaque")
        account.tls.send("".join(account.auth_text()[1] for _ in range(10)))
        row.requests += 10
        row.connections.append(account.tls)
        relay.held.append(account.tls)


def long_user_names(relay, row, scale):
    for _ in range(50 * scale):
        account = Account.__new__(Account)
        account.relay, account.tls = relay, Tls(relay)
        account.user = "m" * 25_000
        USERS[account.user] = "x"
        account.uri, account.nonce, account.opaque = "msrps://m.invalid:1/x;tcp", None, None
        tid, text = account.auth_text()
        account.tls.send(text)
        answer = account.tls.answer(tid)
        account.nonce, account.opaque = value(answer, " nonce"), value(answer, "opaque")
        account.tls.send("".join(account.auth_text()[1] for _ in range(3)))
        row.requests += 3
        row.connections.append(account.tls)
        relay.held.append(account.tls)


def lying_relay(relay, row, scale):
    """A verified relay floods a user with SENDs that nobody answers."""
    alice = Account(relay, "alice")
    link = Tls(relay, "other")
    relay.held.append(link)
    batches(relay, row, link, (send_text(f"{alice.token} {alice.uri}", f"msrps://other.example.com:2855/t{count};tcp msrps://m.invalid:1/x;tcp")
                        for count in range(4000 * scale)))


def heavy_next_hops(relay, row, scale):
    """Each SEND names a next hop that shows a certificate of 121."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(relay.folder / "heaviest.pem", relay.folder / "heavy.key")
    server = socket.socket()
    server.bind(("0.0.0.0", 0))
    server.listen(256)
    relay.held.append(server)

    def serve():
        while True:
            try:
                one, _ = server.accept()
                one.settimeout(2)
                context.wrap_socket(one, server_side=True).close()
            except (ssl.SSLError, ConnectionError, TimeoutError):
                pass
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    account, port = Account(relay), server.getsockname()[1]
    batches(relay, row, account.tls, (send_text(f"{account.token} msrps://127.2.0.{count + 1}:{port}/x;tcp", account.uri)
                                      for count in range(50)), 1)


def many_addresses(relay, row, scale):
    """What the balancer says is another client each time."""
    for count in range(1000 * scale):
        one = socket.create_connection(("127.0.0.1", relay.second))
        header = f"PROXY TCP4 10.{count >> 16}.{count >> 8 & 255}.{count & 255} 192.0.2.1 1000 2855\r\n".encode()
        one.sendall(header)
        relay.held.append(one)
        row.requests += 1
        row.octets += CONNECT_OCTETS + len(header)


def admin_connects(relay, row, scale):
    for _ in range(500 * scale):
        relay.held.append(socket.create_connection(("127.0.0.1", relay.admin)))
        row.requests += 1
        row.octets += CONNECT_OCTETS


LOOPBACK = '[dial]\nallow = ["127.0.0.0/8"]\n'
NAMES = LOOPBACK + '[dns]\nnameservers = ["127.0.0.1:{silent_udp}"]\n'
BALANCER = '''[[listen]]
address = "127.0.0.1:SECOND"
proxy_protocol_from = ["127.0.0.1"]
[quotas.prefix]
connections = 10
'''
DATABASE = '[auth.postgres]\nurl = "postgresql://x:y@127.0.0.1:{silent_tcp}/z"\n'

# name: who, attack, further configuration
ROWS = {
    "connects, closed at once": ("anybody", bare_connects, ""),
    "connects that say nothing": ("anybody", silent_connects, ""),
    "half a handshake": ("anybody", half_handshakes, ""),
    "whole handshakes": ("anybody", handshakes(None), ""),
    "with a certificate of 6, all of one name": ("anybody", handshakes("heavy"), ""),
    "with one of 13": ("anybody", handshakes("heavier"), ""),
    "with one of 121": ("anybody", handshakes("heaviest"), ""),
    "with a relay's certificate": ("relay", handshakes("other"), ""),
    "with a relay's of P-384": ("relay", handshakes("p384"), ""),
    "with a relay's, 5 authorities between": ("relay", handshakes("long"), ""),
    "with a relay's, 5 authorities between, all P-384": ("relay", handshakes("long384"), ""),
    "TLS that says nothing": ("anybody", idle_tls, ""),
    "AUTH without credentials": ("anybody", auths_without_credentials, ""),
    "wrong passwords, until closed": ("anybody", wrong_passwords, ""),
    "SENDs to no session, until closed": ("anybody", refused_sends, ""),
    "heads of 30 KB that do not end": ("anybody", unfinished_heads, ""),
    "AUTHs that a silent database is asked about": ("anybody", user_look_ups, DATABASE),
    "the same with user names of 25 KB": ("anybody", long_user_names, DATABASE),
    "chats of 300 octets, for comparison": ("knows a URI", honest_sends, ""),
    "SENDs that nobody answers": ("knows a URI", open_transactions, ""),
    "a new spelling of the receiver each": ("knows a URI", routes, ""),
    "a new URI of the sender each": ("knows a URI", claims, ""),
    "REPORTs": ("knows a URI", reports, ""),
    "heads of 30 KB": ("knows a URI", big_heads, ""),
    "24 MB to a receiver that does not read": ("knows a URI", slow_receiver, ""),
    "AUTHs for more URIs": ("account", sessions, ""),
    "the same with From-Paths of 12 KB": ("account", sessions_with_long_paths, ""),
    "next hops that take the connection and are silent": ("account", dials_that_hang, LOOPBACK),
    "next hops that refuse": ("account", dials_refused, LOOPBACK),
    "next hops under a silent name server": ("account", names_nobody_answers, NAMES),
    "next hops with a certificate of 121": ("account", heavy_next_hops, LOOPBACK),
    "SENDs of a verified relay that nobody answers": ("relay", lying_relay, ""),
    "connections of 1,000 addresses": ("balancer", many_addresses, BALANCER),
    "connects to the admin port that say nothing": ("who reaches it", admin_connects, ""),
}


def measure(program, folder, name, scale):
    """One row, as figures."""
    who, attack, extra = ROWS[name]
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        for one in (udp, tcp):
            one.bind(("127.0.0.1", 0))
        tcp.listen(1024)
        extra = extra.format(silent_udp=udp.getsockname()[1], silent_tcp=tcp.getsockname()[1])
        relay = Relay(program, folder, extra)
        try:
            # What one AUTH and one handshake set up once is not the attack's.
            warm = Account(relay, "alice")
            warm.tls.close()
            relay.held.clear()
            relay.settle()
            first = relay.resident()
            attack(relay, Row(), scale)
            relay.settle()
            row, cpu, resident = Row(), relay.cpu(), relay.resident()
            attack(relay, row, scale)
            relay.settle()
            cpu, held = relay.cpu() - cpu, relay.resident() - resident
            for one in relay.held:
                one.close()
            relay.settle()
            time.sleep(3)
            relay.settle()
            kept = relay.resident() - first
            if relay.process.poll() is not None:
                raise SystemExit(f"{name}: the relay ended\n" + (folder / "log").read_text())
        finally:
            relay.end()
    octets = row.count()
    return {
        "name": name, "who": who, "requests": row.requests, "octets": octets, "cpu_us": cpu * 1e6 / max(row.requests, 1),
        "cpu_ns_octet": cpu * 1e9 / max(octets, 1), "held": max(held, 0) / max(row.requests, 1),
        "held_octet": max(held, 0) / max(octets, 1), "kept": max(kept, 0),
    }


def table(rows):
    lines = [
        "| Attack | By | Requests | Octets each | CPU each | CPU per octet | Memory each | Memory per octet | Kept 3 s after |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['name']} | {row['who']} | {row['requests']:,} | {row['octets'] / max(row['requests'], 1):,.0f} "
            f"| {row['cpu_us']:,.1f} us | {row['cpu_ns_octet']:,.1f} ns | {row['held']:,.0f} | {row['held_octet']:.2f} "
            f"| {row['kept'] / 1024:,.0f} KiB |")
    return "\n".join(lines) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", default="", metavar="WORD", help="rows whose name has it")
    arguments.add_argument("--scale", type=int, default=1, metavar="N", help="N times as many requests")
    arguments.add_argument("--relay", default=ROOT / "target/release/msrpd", type=pathlib.Path)
    arguments.add_argument("--out", type=pathlib.Path, help="write the table there, with machine and commit")
    arguments.add_argument("--into", type=pathlib.Path, help="put the table between the marks of this document")
    options = arguments.parse_args()
    if not options.relay.exists():
        raise SystemExit(f"no {options.relay}: cargo build --release")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        certificates(folder)
        for name in ROWS:
            if options.only in name:
                rows.append(measure(options.relay.resolve(), folder, name, options.scale))
                print(table(rows).splitlines()[-1], flush=True)
    text = table(rows)
    if options.out:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        options.out.write_text(f"# What attacks cost\n\n`perf/attacks.py --scale {options.scale}`, commit {commit}, "
                               f"{platform.machine()}, Linux {platform.release()}, {os.cpu_count()} cores, one shard.\n\n{text}")
    if options.into:
        begin, end = "<!-- perf/attacks.py -->\n", "<!-- end -->"
        before, _, rest = options.into.read_text().partition(begin)
        options.into.write_text(before + begin + text + end + rest.partition(end)[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())

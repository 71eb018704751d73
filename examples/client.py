#!/usr/bin/env python3
"""A small MSRP client for text (RFC 4975, RFC 4976), with Python's standard library only.

    msrpd dev                                           # a relay to try it with
    examples/client.py --dev msrpd-dev --user alice     # prints its path: what a=path of its SDP would say
    examples/client.py --dev msrpd-dev --user bob       # the same in another terminal
    examples/client.py --peer --ca msrpd-dev/ca.pem     # or somebody who has no relay

Input: `/to PATH` names the peer, as its SDP would; `/quit` ends; any other line is a message. With a relay of your own:
`--relay HOST[:PORT] --user NAME [--ca FILE]`, password in MSRP_PASSWORD. docs/integrating.md explains what happens here.
"""
import argparse, asyncio, email, email.message, hashlib, os, pathlib, re, secrets, ssl, sys, tomllib, urllib.parse

TIMEOUT = 30  # seconds for an answer, RFC 4975 section 7.1.1
LARGEST = 1 << 20  # octets of a message, for the SDP: a=max-size:1048576


def encode(tid, what, headers, body=None, flag="$"):
    head = "".join(f"{line}\r\n" for line in [f"MSRP {tid} {what}", *(f"{name}: {value}" for name, value in headers)])
    return head.encode() + (b"" if body is None else b"\r\n" + body + b"\r\n") + f"-------{tid}{flag}\r\n".encode()


async def read(reader):
    """The next message, its `what` a method or "CODE COMMENT". The end-line is the first one that follows a CRLF."""
    line = (await reader.readline()).decode()
    if not (match := re.fullmatch(r"MSRP (\S{4,64}) ([A-Z_]+|\d{3}( .*)?)\r\n", line)):
        raise ConnectionError(f"framing lost at {line!r}" if line else "the other side closed the connection")
    head, body, ends = [], None, {f"-------{match[1]}{flag}\r\n".encode(): flag for flag in "$+#"}
    while (line := await reader.readline()) not in ends or body and not body.endswith(b"\r\n"):
        if not line or len(head) > 100 or len(body or b"") > LARGEST:
            raise ConnectionError("the connection ended in a message, or the message does not end")
        if body is not None:
            body += line
        elif line == b"\r\n":
            body = b""
        else:
            head.append(line)
    message = email.message_from_bytes(b"".join(head))  # Header fields look as they do in mail.
    message.tid, message.what, message.body, message.flag = match[1], match[2], body and body[:-2], ends[line]
    return message


def parameters(value):
    """Those of a digest header, quoted or not."""
    found = re.findall(r'([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s,]+))', value)
    return {name.lower(): quoted or bare for name, quoted, bare in found}


class Client:
    def __init__(self, user=None, password=None):
        self.user, self.password = user, password
        # Nobody connects to us, so the host need not exist; the session-id has to be unguessable (RFC 4975 section 14.1).
        self.uri = f"msrps://{secrets.token_hex(6)}.invalid:2855/{secrets.token_urlsafe(12)};tcp"
        self.use_path, self.peer, self.challenge = [], [], None
        self.waiting, self.unreported, self.parts, self.received, self.failed = {}, set(), {}, 0, False

    async def connect(self, uri, ca):
        """To what an MSRP URI names; the certificate has to say so."""
        to, tls = urllib.parse.urlsplit(uri), ssl.create_default_context(cafile=ca)
        address = "127.0.0.1" if to.hostname.endswith("localhost") else to.hostname  # RFC 6761
        self.reader, self.writer = await asyncio.open_connection(
            address, to.port or 2855, ssl=tls, server_hostname=to.hostname, limit=LARGEST)

    def write(self, tid, what, to, headers=(), body=None, flag="$"):
        self.writer.write(encode(tid, what, [("To-Path", to), ("From-Path", self.uri), *headers], body, flag))

    async def request(self, method, to, headers, body=None, flag="$"):
        """Sends a request; the status that answers it, and the response."""
        tid = secrets.token_hex(10)
        self.waiting[tid] = asyncio.get_running_loop().create_future()
        self.write(tid, method, " ".join(to), headers, body, flag)
        try:
            answer = await asyncio.wait_for(self.waiting[tid], TIMEOUT)
            return answer.what, answer
        except asyncio.TimeoutError:
            return "408 no answer", email.message.Message()
        finally:
            del self.waiting[tid]

    async def auth(self, to):
        """AUTH to the relay's name for a path, to that path for more time (RFC 4976 section 5.1). Returns Expires."""
        for _ in range(3):
            credentials, proof = self.credentials(to[-1]) if self.challenge else (None, None)
            status, answer = await self.request("AUTH", to, [("Authorization", credentials)] if credentials else [])
            # One header for each algorithm, the strongest first.
            offers = [parameters(value) for value in answer.get_all("WWW-Authenticate", [])]
            offers = [offer for offer in offers if offer.get("algorithm", "MD5").upper() in ("MD5", "SHA-256")]
            if not (status.startswith("401") and offers and (not credentials or "stale" in offers[0])):
                break
            self.challenge = offers[0]
        info = parameters(answer.get("Authentication-Info", ""))
        if not status.startswith("200") or info.get("rspauth") != proof:
            raise ConnectionError(f"AUTH: {status}")
        # A nonce is used once. Without a next one the next AUTH asks for a challenge.
        self.challenge = self.challenge | {"nonce": info["nextnonce"]} if "nextnonce" in info else None
        self.use_path = answer["Use-Path"].split()
        return int(answer.get("Expires", "600"))

    def credentials(self, uri):
        """Authorization, and the rspauth by which the relay proves that it knows the password, too."""
        offer, cnonce, nc = self.challenge, secrets.token_hex(8), "00000001"
        name = offer.get("algorithm", "MD5")
        hashed = lambda *parts: hashlib.new(name.replace("-", ""), ":".join(parts).encode()).hexdigest()
        secret = hashed(self.user, offer["realm"], self.password)
        response, proof = (hashed(secret, offer["nonce"], nc, cnonce, "auth", hashed(method, uri)) for method in ("AUTH", ""))
        quoted = {"username": self.user, "cnonce": cnonce, "response": response}
        quoted |= {key: offer[key] for key in ("realm", "nonce", "opaque") if key in offer}
        text = ", ".join(f'{key}="{value}"' for key, value in quoted.items())
        return f"Digest {text}, qop=auth, nc={nc}, algorithm={name}", proof

    async def refresh(self, expires):
        """More time for the same URI, well before it ends; the peer need not know."""
        while True:
            await asyncio.sleep(expires / 2)
            expires = await self.auth(self.use_path)

    async def send(self, text):
        """One message, in chunks of 2,048 octets; without text the bodiless SEND that opens a session."""
        body, ident = text.encode(), secrets.token_hex(8)
        self.unreported |= {ident} if body else set()
        for start in range(0, len(body) or 1, 2048):
            end = min(start + 2048, len(body))
            headers = [("Message-ID", ident), ("Byte-Range", f"{start + 1}-{end}/{len(body)}")]
            headers += [("Success-Report", "yes"), ("Content-Type", "text/plain")] if body else []
            piece, flag = body[start:end] if body else None, "$" if end == len(body) else "+"
            status, _ = await self.request("SEND", self.use_path + self.peer, headers, piece, flag)
            if not status.startswith("200"):
                return self.fail(ident, status)

    def fail(self, ident, why):
        self.unreported.discard(ident)
        self.failed = True
        print("failed", ident, why, flush=True)

    async def serve(self):
        """Takes what comes until the connection ends."""
        while message := await read(self.reader):
            ident = message.get("Message-ID")
            if message.what[0].isdigit():
                if (waiting := self.waiting.get(message.tid)) and not waiting.done() and message.what[0] != "1":
                    waiting.set_result(message)
            elif message.what == "REPORT":  # Never answered.
                if (status := message["Status"].split(" ", 1)[-1]).startswith("2"):
                    self.unreported.discard(ident)
                    print("delivered", ident, flush=True)
                else:
                    self.fail(ident, status)
            else:
                status = self.take(message, ident) if message.what == "SEND" else "501 Method not supported"
                wanted = message.get("Failure-Report", "yes").lower()
                if wanted == "yes" or wanted == "partial" and status != "200 OK":
                    # A SEND is answered to the hop before us, anything else to all of its From-Path.
                    back = message["From-Path"].split(" ")[:1 if message.what == "SEND" else None]
                    self.write(message.tid, status, " ".join(back))

    def take(self, message, ident):
        """A chunk for us: the status that answers it."""
        if message["To-Path"] != self.uri:
            return "481 No such session"
        if message.body is None or message.flag == "#":
            self.parts.pop(ident, None)
            return "200 OK"
        if not message.get("Content-Type", "").startswith("text/plain"):
            return "415 Unsupported media type"
        start = int(message.get("Byte-Range", "1-*/*").split("-")[0]) - 1
        text = self.parts.setdefault(ident, bytearray())
        if start > len(text) or start + len(message.body) > LARGEST or len(self.parts) > 16:
            del self.parts[ident]
            return "413 Stop"
        text[start:start + len(message.body)] = message.body
        if message.flag == "$":
            del self.parts[ident]
            self.received += 1
            print("received", text.decode(errors="replace"), flush=True)
            if message.get("Success-Report", "no").lower() == "yes":
                report = [("Message-ID", ident), ("Byte-Range", f"1-{len(text)}/{len(text)}"), ("Status", "000 200 OK")]
                self.write(secrets.token_hex(10), "REPORT", message["From-Path"], report)
        return "200 OK"

    async def talk(self, expected):
        """Does what the input says, then waits until all is reported and so many messages have come."""
        while (line := await asyncio.to_thread(sys.stdin.readline)) and line != "/quit\n":
            if line.startswith("/to "):
                self.peer, line = line.split()[1:], ""
            await self.send(line.rstrip("\r\n"))
        while self.unreported or self.received < expected:
            await asyncio.sleep(0.05)


async def main(options):
    client = Client(options.user, os.environ.get("MSRP_PASSWORD"))
    if options.peer:  # Without a relay the path is our own URI, and we connect to the first URI of theirs.
        print("path", client.uri, flush=True)
        client.peer = (await asyncio.to_thread(sys.stdin.readline)).split()[1:]
        await client.connect(client.peer[0], options.ca)
        tasks = [asyncio.create_task(client.serve())]
        await client.send("")
    else:
        relay = f"//{options.relay}"
        if options.dev:
            dev = tomllib.loads((options.dev / "dev.toml").read_text())
            relay, options.ca = f"//{dev['host']}:{dev['address'].split(':')[1]}", options.dev / dev["ca"]
            client.password = next(user["password"] for user in dev["users"] if user["name"] == options.user)
        await client.connect(relay, options.ca)
        tasks = [asyncio.create_task(client.serve())]
        expires = await client.auth([f"msrps://{urllib.parse.urlsplit(relay).hostname};tcp"])
        tasks.append(asyncio.create_task(client.refresh(expires)))
        # Use-Path names the relay next to us first, a=path the one next to the peer.
        print("path", *reversed(client.use_path), client.uri, flush=True)
    tasks.append(asyncio.create_task(client.talk(options.expect)))
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for error in filter(None, (task.exception() for task in done)):
        print("error:", error, file=sys.stderr, flush=True)
        client.failed = True
    os._exit(client.failed)  # A thread may still wait for input.


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = arguments.add_mutually_exclusive_group(required=True)
    where.add_argument("--dev", type=pathlib.Path, metavar="DIR", help="the folder of `msrpd dev`")
    where.add_argument("--relay", metavar="HOST[:PORT]")
    where.add_argument("--peer", action="store_true", help="no relay of our own")
    arguments.add_argument("--user")
    arguments.add_argument("--ca", metavar="FILE", help="authorities; absent: the system's")
    arguments.add_argument("--expect", type=int, default=0, metavar="N", help="when the input ends, wait for N messages")
    try:
        asyncio.run(main(arguments.parse_args()))
    except OSError as error:
        sys.exit(f"error: {error}")

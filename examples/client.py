#!/usr/bin/env python3
"""A small MSRP client for text (RFC 4975, RFC 4976), with Python's standard library only. docs/integrating.md explains it.
    msrpd dev                                           # a relay to try it with
    examples/client.py --dev msrpd-dev --user alice     # prints its path: what a=path of its SDP would say; so does bob's
    examples/client.py --peer --ca msrpd-dev/ca.pem     # or somebody who has no relay
    examples/client.py --relay HOST[:PORT] --user NAME [--ca FILE]              # password in MSRP_PASSWORD

Input: `/to PATH` names the peer, as its SDP would; `/quit` ends; any other line is a message. `--expect N` waits for N.
"""
import argparse, asyncio, email, hashlib, os, pathlib, re, secrets, ssl, sys, tomllib, urllib.parse, urllib.request

async def read(reader):  # The next message, its `what` a method or "CODE COMMENT"; without blank line its body is None.
    line = (await reader.readline()).decode()
    if not (match := re.fullmatch(r"MSRP (\S{4,64}) ([A-Z_]+|\d{3}( .*)?)\r\n", line)):
        raise ConnectionError(f"framing lost at {line!r}" if line else "the other side closed the connection")
    end = f"\r\n-------{match[1]}".encode()  # No sender may have this in a body.
    head, blank, body = (await reader.readuntil(end)).removesuffix(end).partition(b"\r\n\r\n")
    message = email.message_from_bytes(head)  # Header fields look as they do in mail.
    message.tid, message.what, message.body = match[1], match[2], body if blank else None
    message.flag = (await reader.readexactly(3)).decode()[0]
    return message

class Client:
    def __init__(self, user, password):
        # Nobody connects to us, so the host need not exist; the session-id has to be unguessable (RFC 4975 section 14.1).
        self.uri = f"msrps://{secrets.token_hex(6)}.invalid:2855/{secrets.token_urlsafe(12)};tcp"
        self.user, self.password, self.use_path, self.peer, self.challenge = user, password, [], [], None
        self.waiting, self.unreported, self.parts, self.received, self.failed = {}, set(), {}, 0, False

    async def connect(self, uri, ca):  # To what an MSRP URI names; the certificate has to say so.
        to, tls = urllib.parse.urlsplit(uri), ssl.create_default_context(cafile=ca)
        address = "127.0.0.1" if to.hostname.endswith("localhost") else to.hostname  # RFC 6761
        self.reader, self.writer = await asyncio.open_connection(
            address, to.port or 2855, ssl=tls, server_hostname=to.hostname, limit=1 << 21)

    def write(self, tid, what, to, headers=(), body=None, flag="$"):
        lines = [f"MSRP {tid} {what}", f"To-Path: {to}", f"From-Path: {self.uri}", *(f"{k}: {v}" for k, v in headers)]
        body = b"" if body is None else b"\r\n" + body + b"\r\n"
        self.writer.write("\r\n".join([*lines, ""]).encode() + body + f"-------{tid}{flag}\r\n".encode())

    async def request(self, method, to, *content):  # Sends a request; its response, within 30 s (RFC 4975 section 7.1.1).
        self.waiting[tid := secrets.token_hex(10)] = asyncio.get_running_loop().create_future()
        self.write(tid, method, " ".join(to), *content)
        return await asyncio.wait_for(self.waiting[tid], 30)

    async def auth(self, to):  # To the relay's name for a path, to that path for more time (RFC 4976 section 5.1).
        parameters = lambda value: urllib.request.parse_keqv_list(urllib.request.parse_http_list(value))
        for _ in range(3):
            headers, proof = self.credentials(to[-1]) if self.challenge else ([], None)
            answer = await self.request("AUTH", to, headers)
            if not answer.what.startswith("401") or headers and "stale=true" not in answer["WWW-Authenticate"]:
                break
            self.challenge = parameters(answer["WWW-Authenticate"].removeprefix("Digest "))  # The strongest is the first.
        info = parameters(answer.get("Authentication-Info", ""))
        if not answer.what.startswith("200") or info.get("rspauth") != proof:
            raise ConnectionError(f"AUTH: {answer.what}")
        self.challenge = self.challenge | {"nonce": info["nextnonce"]} if "nextnonce" in info else None  # One use each.
        self.use_path = answer["Use-Path"].split()
        return int(answer["Expires"])

    async def refresh(self, expires):  # More time for the same URI, well before it ends; the peer need not know.
        while await asyncio.sleep(expires / 2, True):
            expires = await self.auth(self.use_path)

    def credentials(self, uri):  # Authorization, and the rspauth by which the relay proves that it knows the password, too.
        offer, nc, name = self.challenge, "00000001", self.challenge.get("algorithm", "MD5")
        hashed = lambda *parts: hashlib.new(name.replace("-", ""), ":".join(parts).encode()).hexdigest()
        secret, cnonce = hashed(self.user, offer["realm"], self.password), secrets.token_hex(8)
        response, proof = (hashed(secret, offer["nonce"], nc, cnonce, "auth", hashed(what, uri)) for what in ("AUTH", ""))
        quoted = {"username": self.user, "cnonce": cnonce, "response": response}
        quoted |= {key: offer[key] for key in ("realm", "nonce", "opaque") if key in offer}
        text = ", ".join(f'{key}="{value}"' for key, value in quoted.items())
        return [("Authorization", f"Digest {text}, qop=auth, nc={nc}, algorithm={name}")], proof

    async def send(self, text):  # In chunks of 2,048 octets; without text the bodiless SEND that opens a session.
        body, ident = text.encode(), secrets.token_hex(8)
        self.unreported |= {ident} if body else set()
        for start in range(0, len(body) or 1, 2048):
            end = min(start + 2048, len(body))
            headers = [("Message-ID", ident), ("Byte-Range", f"{start + 1}-{end}/{len(body)}")]
            headers += [("Success-Report", "yes"), ("Content-Type", "text/plain")] if body else []
            content = headers, body[start:end] if body else None, "$" if end == len(body) else "+"
            answer = await self.request("SEND", self.use_path + self.peer, *content)
            if not answer.what.startswith("200"):
                return self.reported(ident, answer.what)

    def reported(self, ident, status):  # A message has arrived, or not.
        self.unreported.discard(ident)
        self.failed |= not status.startswith("200")
        print(f"delivered {ident}" if status.startswith("200") else f"failed {ident} {status}", flush=True)

    async def serve(self):  # Takes what comes until the connection ends.
        while message := await read(self.reader):
            is_send, wanted = message.what == "SEND", message.get("Failure-Report", "yes").lower()
            if message.what == "REPORT":  # Never answered.
                self.reported(message["Message-ID"], message["Status"].split(" ", 1)[1])
            elif not message.what[0].isdigit():
                status = self.take(message, message["Message-ID"]) if is_send else "501 Method not supported"
                if wanted == "yes" or wanted == "partial" and status != "200 OK":
                    # A SEND is answered to the hop before us, anything else to all of its From-Path.
                    self.write(message.tid, status, message["From-Path"].split()[0] if is_send else message["From-Path"])
            elif message.what[0] != "1" and message.tid in self.waiting:
                self.waiting.pop(message.tid).set_result(message)

    def take(self, message, ident):  # A chunk for us: the status that answers it. Those of a message come in order.
        start, text = int(message.get("Byte-Range", "1-*/*").split("-")[0]) - 1, self.parts.pop(ident, b"")
        if message["To-Path"] != self.uri:
            return "481 No such session"
        if message.body and not message.get("Content-Type", "").startswith("text/plain"):
            return "415 Unsupported media type"
        if start > len(text) or start >= 1 << 20 or len(self.parts) > 16:  # The SDP says a=max-size:1048576.
            return "413 Stop"
        text = text[:start] + (message.body or b"")
        if message.flag == "+":
            self.parts[ident] = text
        elif message.flag == "$" and message.body is not None:
            self.received += 1
            print("received", text.decode(errors="replace"), flush=True)
            if message.get("Success-Report", "no").lower() == "yes":
                report = [("Message-ID", ident), ("Byte-Range", f"1-{len(text)}/{len(text)}"), ("Status", "000 200 OK")]
                self.write(secrets.token_hex(10), "REPORT", message["From-Path"], report)
        return "200 OK"

    async def talk(self, expected):  # Does what the input says, then waits for all reports and so many messages.
        while (line := await asyncio.to_thread(sys.stdin.readline)) and line != "/quit\n":
            if line.startswith("/to "):
                self.peer, line = line.split()[1:], ""
            await self.send(line.rstrip("\r\n"))
        while self.unreported or self.received < expected:
            await asyncio.sleep(0.05)
        os._exit(self.failed)

async def main(options):
    client, uri = Client(options.user, os.environ.get("MSRP_PASSWORD")), f"//{options.relay}"
    if options.dev:
        dev = tomllib.loads(pathlib.Path(options.dev, "dev.toml").read_text())
        uri, options.ca = f"//{dev['host']}:{dev['address'].split(':')[1]}", pathlib.Path(options.dev, dev["ca"])
        client.password = next(user["password"] for user in dev["users"] if user["name"] == options.user)
    if options.peer:  # Without a relay the path is our own URI, and we connect to the first URI of theirs.
        print("path", client.uri, flush=True)
        client.peer = (await asyncio.to_thread(sys.stdin.readline)).split()[1:]
    await client.connect(client.peer[0] if options.peer else uri, options.ca)
    tasks = [asyncio.create_task(client.serve())]
    if options.peer:
        await client.send("")
    else:
        tasks.append(client.refresh(await client.auth([f"msrps://{urllib.parse.urlsplit(uri).hostname};tcp"])))
        print("path", *reversed(client.use_path), client.uri, flush=True)  # Use-Path has the relay next to us first.
    await asyncio.gather(*tasks, client.talk(int(options.expect or 0)))

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--peer", action="store_true")
    for name in ("--dev", "--relay", "--user", "--ca", "--expect"):
        arguments.add_argument(name)
    try:
        asyncio.new_event_loop().run_until_complete(main(arguments.parse_args()))
    except Exception as error:
        print(f"error: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)  # A thread may still wait for input.

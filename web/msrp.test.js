import assert from "node:assert/strict";
import { test } from "node:test";

import { Relay, connected, pause, sum } from "./fake-relay.js";
import { MsrpError, authorization, decode, encode, md5 } from "./msrp.js";

test("MD5 gives the sums of RFC 1321 and those of another implementation", () => {
  // RFC 1321, appendix A.5.
  const letters = "abcdefghijklmnopqrstuvwxyz";
  for (const [text, digest] of [
    ["", "d41d8cd98f00b204e9800998ecf8427e"],
    ["a", "0cc175b9c0f1b6a831c399e269772661"],
    ["abc", "900150983cd24fb0d6963f7d28e17f72"],
    ["message digest", "f96b697d7cb7938d525a2f31aaf161d0"],
    [letters, "c3fcd3d76192e4007dfb496cca67e13b"],
    [letters.toUpperCase() + letters + "0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"],
    ["1234567890".repeat(8), "57edf4a22be3c955ac49da2e2107b67a"],
  ]) {
    assert.equal(md5(text), digest);
  }
  for (let length = 0; length < 200; length++) {
    const text = "é".repeat(length % 7) + "x".repeat(length);
    assert.equal(md5(text), sum("md5", text));
  }
});

test("an Authorization answers its challenge with both digests", async () => {
  for (const [algorithm, name] of /** @type {const} */ ([["MD5", "md5"], ["SHA-256", "sha256"]])) {
    const challenge = { realm: "example.com", nonce: "n0", opaque: "o", algorithm, stale: false, count: 1 };
    const value = await authorization(challenge, 'al"ice', "pw", "msrps://r:1;ws", "c0");
    const first = sum(name, 'al"ice:example.com:pw');
    const second = sum(name, "AUTH:msrps://r:1;ws");
    assert.match(value, /^Digest username="al\\"ice", realm="example.com", nonce="n0", uri="msrps:\/\/r:1;ws", /);
    assert.ok(value.includes(`response="${sum(name, `${first}:n0:00000001:c0:auth:${second}`)}"`));
    assert.ok(value.endsWith('cnonce="c0", qop=auth, nc=00000001'));
  }
});

test("a frame is read as it was written, with a body, an empty one and none", () => {
  const headers = [
    { name: "To-Path", value: "msrps://a;tcp" },
    { name: "From-Path", value: "msrps://b;ws" },
  ];
  const bodies = [undefined, new Uint8Array(0), new TextEncoder().encode("\r\n\r\n-------abcd$\r\nx")];
  for (const body of bodies) {
    for (const flag of /** @type {const} */ (["$", "+", "#"])) {
      /** @type {import("./msrp.js").Frame} */
      const frame = { id: "abcd123", method: "SEND", headers, body, flag };
      assert.deepEqual(decode(encode(frame)), frame);
    }
  }
  const response = decode(new TextEncoder().encode("MSRP abcd 200 OK\r\nTo-Path: a\r\nFrom-Path: b\r\n-------abcd$\r\n"));
  assert.equal(response?.code, 200);
  assert.equal(response?.comment, "OK");
  for (const broken of ["", "GET / HTTP/1.1\r\n\r\n", "MSRP abcd SEND\r\nTo-Path: a\r\n\r\nbody\r\n-------abce$\r\n"]) {
    assert.equal(decode(new TextEncoder().encode(broken)), undefined);
  }
});

test("two clients exchange texts, and each is told that its own was delivered", async () => {
  const relay = new Relay();
  const alice = await connected(relay);
  const bob = await connected(relay);
  assert.match(alice.path, /^msrps:\/\/relay:2855\/t1;tcp msrps:\/\/\w+\.invalid:2855\/\w+;ws$/);
  /** @type {Promise<any>} */
  const begun = new Promise((resolve) => bob.addEventListener("session", (event) => resolve(/** @type {any} */ (event).detail)));
  const session = alice.session({ remotePath: bob.path });
  assert.equal((await session.send("hello, Åse")).status, "delivered");
  const other = await begun;
  const { value } = await other[Symbol.asyncIterator]().next();
  assert.equal(value.text, "hello, Åse");
  assert.equal((await other.send("hello back")).status, "delivered", "the path back is that of the message");
  const answer = await session[Symbol.asyncIterator]().next();
  assert.equal(answer.value?.text, "hello back");
  alice.close();
  bob.close();
});

test("files of many chunks arrive whole and beside one another, in whatever order the chunks come", async () => {
  const relay = new Relay();
  const alice = await connected(relay, { chunkOctets: 1000 });
  const bob = await connected(relay);
  const session = alice.session({ remotePath: bob.path });
  const octets = crypto.getRandomValues(new Uint8Array(54_321));
  /** @type {number[]} */
  const progress = [];
  /** @type {Promise<any>} */
  const begun = new Promise((resolve) => bob.addEventListener("session", (event) => resolve(/** @type {any} */ (event).detail)));
  const files = [0, 1].map((number) =>
    session.sendFile(new File([octets], `file ${number}.bin`), { onprogress: (taken) => progress.push(taken) }),
  );
  const text = session.send("between");
  const other = await begun;
  const names = new Set();
  for await (const message of other) {
    names.add(message.name);
    if (message.name) assert.deepEqual(new Uint8Array(await message.blob.arrayBuffer()), octets);
    if (names.size === 3) break;
  }
  assert.deepEqual((await Promise.all([...files, text])).map((one) => one.status), ["delivered", "delivered", "delivered"]);
  assert.equal(progress.filter((taken) => taken === octets.length).length, 2);
  alice.close();
  bob.close();
});

test("a file that is abandoned ends with # and rejects with AbortError", async () => {
  const relay = new Relay();
  const alice = await connected(relay, { chunkOctets: 100 });
  /** @type {string[]} */
  const flags = [];
  relay.judge = (frame) => void flags.push(frame.flag);
  const stop = new AbortController();
  const session = alice.session({ remotePath: "msrps://relay:2855/t9;tcp msrps://gone.invalid/x;ws" });
  const done = session.sendFile(new Blob([new Uint8Array(100_000)]), {
    signal: stop.signal,
    onprogress: (octets) => octets >= 1000 && stop.abort(),
  });
  await assert.rejects(done, { name: "AbortError" });
  assert.equal(flags.at(-1), "#");
  assert.ok(!flags.includes("$"));
  alice.close();
});

test("a refusal and a failure report reject with their code", async () => {
  const relay = new Relay();
  const alice = await connected(relay);
  const session = alice.session({ remotePath: "msrps://relay:2855/t9;tcp msrps://gone.invalid/x;ws" });
  relay.judge = () => ({ code: 481 });
  await assert.rejects(session.send("x"), { name: "MsrpError", code: 481 });
  relay.judge = () => undefined;
  const sent = session.send("x", { onsent: () => queueMicrotask(report) });
  let id = "";
  relay.judge = (frame) => void (id = frame.headers.find((/** @type {any} */ one) => one.name === "Message-ID").value);
  function report() {
    const [socket] = relay.sockets;
    const headers = [
      { name: "To-Path", value: alice.uri },
      { name: "From-Path", value: "msrps://relay:2855/t1;tcp" },
      { name: "Message-ID", value: id },
      { name: "Byte-Range", value: "1-1/1" },
      { name: "Status", value: "000 408 Timeout" },
    ];
    socket.deliver({ id: "report1", method: "REPORT", headers, flag: "$" });
  }
  await assert.rejects(sent, { name: "MsrpError", code: 408 });
  alice.close();
});

test("a wrong password is told, and not tried for ever", async () => {
  const relay = new Relay();
  await assert.rejects(connected(relay, { password: "wrong" }), (error) => error instanceof MsrpError && error.code === 401);
  assert.equal(relay.auths, 2);
});

test("a lost connection is made again, and the new path is told", async () => {
  const relay = new Relay();
  const alice = await connected(relay);
  const before = alice.path;
  const again = new Promise((resolve) => alice.addEventListener("connected", resolve));
  const session = alice.session({ remotePath: "msrps://relay:2855/t9;tcp msrps://gone.invalid/x;ws" });
  const sent = session.send("x");
  await pause(5);
  [...relay.sockets][0].close();
  await assert.rejects(sent, { code: 408 });
  await again;
  assert.notEqual(alice.path, before);
  assert.ok(alice.connected);
  alice.close();
});

test("a message over the bound is refused with 413, a path that is none is told", async () => {
  const relay = new Relay();
  const alice = await connected(relay);
  const bob = await connected(relay, { messageOctetsMax: 10 });
  /** @type {number[]} */
  const codes = [];
  const [, socket] = relay.sockets;
  const send = socket.send.bind(socket);
  socket.send = (octets) => {
    const frame = decode(octets);
    if (frame?.code) codes.push(frame.code);
    send(octets);
  };
  await alice.session({ remotePath: bob.path }).send("more than ten octets", { report: false });
  await pause(5);
  assert.deepEqual(codes, [413]);
  assert.throws(() => alice.session({ remotePath: "not a path" }), TypeError);
  alice.close();
  bob.close();
});

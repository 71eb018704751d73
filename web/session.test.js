// What lasts longer than one message: sessions, the URI of the relay, connections.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Relay, connected, pause } from "./fake-relay.js";
import { MsrpError, encode } from "./msrp.js";

const NOWHERE = "msrps://relay:2855/t9;tcp msrps://gone.invalid/x;ws";

/** @param {import("./msrp.js").MsrpClient} client @returns {Promise<any>} */
function begun(client) {
  return new Promise((resolve) => client.addEventListener("session", (event) => resolve(/** @type {any} */ (event).detail)));
}

/** Until it is so; a test that waits in vain ends by its time-out. @param {() => boolean} condition */
async function until(condition) {
  while (!condition()) await pause(1);
}

/**
 * A chunk as it comes from a stranger by the relay.
 * @param {import("./msrp.js").MsrpClient} to
 * @param {string} range
 * @param {string} body
 * @param {"$" | "+" | "#"} flag
 * @param {import("./msrp.js").Header[]} [more]
 * @returns {import("./msrp.js").Frame}
 */
function chunk(to, range, body, flag, more = []) {
  const headers = [
    { name: "To-Path", value: to.uri },
    { name: "From-Path", value: "msrps://relay:2855/t1;tcp msrps://stranger:7654/s;tcp" },
    { name: "Message-ID", value: "m1" },
    { name: "Byte-Range", value: range },
    ...more,
    { name: "Content-Type", value: "text/plain" },
  ];
  const octets = flag === "#" ? undefined : new TextEncoder().encode(body);
  return { id: `t${range.replace(/\W/g, "")}`, method: "SEND", headers, body: octets, flag };
}

test("AUTH is repeated before the URI expires, to that URI, and its path stays", { timeout: 20_000 }, async () => {
  const relay = new Relay();
  relay.expires = 1;
  const alice = await connected(relay);
  const before = alice.path;
  let told = 0;
  alice.addEventListener("path", () => (told += 1));
  await until(() => relay.auths >= 4);
  assert.match(relay.asked[0], /^msrps:\/\/u@relay:2880;ws$/);
  assert.deepEqual(new Set(relay.asked.slice(2)), new Set([before.split(" ")[0]]));
  assert.equal(alice.path, before);
  assert.equal(told, 0, "nobody has to be told");
  alice.close();
});

test("an interval out of bounds is asked for again within them", async () => {
  const relay = new Relay();
  relay.expiresMin = 60;
  const alice = await connected(relay, { expires: 10 });
  assert.ok(alice.connected);
  alice.close();
});

test("after a new AUTH the other side is told the new path, and answers there", { timeout: 20_000 }, async () => {
  const relay = new Relay();
  const alice = await connected(relay);
  const bob = await connected(relay);
  const session = alice.session({ remotePath: bob.path });
  const waiting = begun(bob);
  assert.equal((await session.announce()).status, "delivered");
  const other = await waiting;
  const before = other.remotePath.join(" ");
  assert.equal(before, alice.path);
  const moved = new Promise((resolve) => alice.addEventListener("path", (event) => resolve(/** @type {any} */ (event).detail)));
  [...relay.sockets][0].close();
  assert.equal(await moved, alice.path);
  assert.notEqual(alice.path, before);
  await session.announce();
  assert.equal(other.remotePath.join(" "), alice.path);
  await other.send("to the new place");
  const { value } = await session[Symbol.asyncIterator]().next();
  assert.equal(value?.text, "to the new place");
  alice.close();
  bob.close();
});

test("pauses between connects double up to half a minute, and end with success", async () => {
  const relay = new Relay();
  const alice = await connected(relay);
  /** @type {number[]} */
  const pauses = [];
  const original = globalThis.setTimeout;
  try {
    // @ts-ignore: the tests need no more of it.
    globalThis.setTimeout = (/** @type {() => void} */ action, /** @type {number} */ ms) => {
      if (ms >= 250) pauses.push(ms);
      if (pauses.length === 9) relay.up = true;
      return original(action, 0);
    };
    relay.up = false;
    [...relay.sockets][0].close();
    await new Promise((resolve) => alice.addEventListener("connected", resolve));
  } finally {
    globalThis.setTimeout = original;
  }
  pauses.slice(0, 9).forEach((ms, index) => {
    const middle = Math.min(500 * 2 ** index, 30_000);
    assert.ok(middle * 0.5 <= ms && ms <= middle * 1.5, `pause ${index} is ${ms} ms`);
  });
  alice.close();
});

test("a client that is closed while it connects again stays closed", async () => {
  const relay = new Relay();
  const alice = await connected(relay);
  let again = 0;
  alice.addEventListener("connected", () => (again += 1));
  [...relay.sockets][0].close();
  await pause(5);
  alice.close();
  await pause(900);
  assert.equal(again, 0);
  assert.equal(relay.sockets.size, 0);
});

test("a file waits while the socket holds much, and goes on with it", { timeout: 20_000 }, async () => {
  const relay = new Relay();
  const alice = await connected(relay, { chunkOctets: 1000 });
  const [socket] = relay.sockets;
  let chunks = 0;
  relay.judge = () => void (chunks += 1);
  socket.bufferedAmount = 10_000_000;
  const sent = alice.session({ remotePath: NOWHERE }).sendFile(new Blob([new Uint8Array(5000)]), { report: false });
  await pause(60);
  assert.equal(chunks, 1, "the socket is full, nothing more goes into it");
  socket.bufferedAmount = 0;
  await sent;
  assert.equal(chunks, 5);
  alice.close();
});

test("a file can be abandoned while the relay does not answer", { timeout: 20_000 }, async () => {
  const relay = new Relay();
  const alice = await connected(relay, { chunkOctets: 100 });
  const [socket] = relay.sockets;
  /** @type {string[]} */
  const flags = [];
  relay.judge = (frame) => void flags.push(frame.flag);
  socket.deliver = () => {};
  const stop = new AbortController();
  const sent = alice.session({ remotePath: NOWHERE }).sendFile(new Blob([new Uint8Array(100_000)]), { signal: stop.signal });
  await until(() => flags.length === 16);
  await pause(20);
  assert.equal(flags.length, 16, "no more than the window");
  stop.abort();
  await assert.rejects(sent, { name: "AbortError" });
  assert.equal(flags.at(-1), "#");
  const late = alice.session({ remotePath: NOWHERE }).send("x", { signal: stop.signal });
  await assert.rejects(late, { name: "AbortError" });
  assert.equal(flags.length, 17, "of what was never begun nothing has to be ended");
  alice.close();
});

test("chunks in any order, twice and overlapping make the message once", async () => {
  const relay = new Relay();
  const alice = await connected(relay);
  const [socket] = relay.sockets;
  const waiting = begun(alice);
  const name = [{ name: "Content-Disposition", value: "attachment; filename*=UTF-8''%C3%A9.txt; size=10" }];
  for (const [range, body, flag] of /** @type {const} */ ([
    ["9-10/10", "ij", "$"],
    ["3-4/10", "cd", "+"],
    ["3-4/10", "cd", "+"],
    ["6-6/10", "f", "+"],
    ["2-7/10", "bcdefg", "+"],
    ["1-10/10", "abcdefghij", "+"],
  ])) {
    socket.onmessage({ data: encode(chunk(alice, range, body, flag, range === "3-4/10" ? name : [])).buffer });
  }
  const { value } = await (await waiting)[Symbol.asyncIterator]().next();
  assert.equal(value.text, "abcdefghij");
  assert.equal(value.name, "é.txt");
  alice.close();
});

test("what was abandoned by the other side is told and forgotten", async () => {
  const relay = new Relay();
  const alice = await connected(relay);
  const [socket] = relay.sockets;
  const waiting = begun(alice);
  socket.onmessage({ data: encode(chunk(alice, "1-3/10", "abc", "+")).buffer });
  const session = await waiting;
  /** @type {string[]} */
  const abandoned = [];
  session.onabandoned = (/** @type {string} */ id) => abandoned.push(id);
  socket.onmessage({ data: encode(chunk(alice, "4-*/10", "", "#")).buffer });
  assert.deepEqual(abandoned, ["m1"]);
  // The same Message-ID begins anew.
  socket.onmessage({ data: encode(chunk(alice, "1-2/2", "xy", "$")).buffer });
  const { value } = await session[Symbol.asyncIterator]().next();
  assert.equal(value.text, "xy");
  alice.close();
});

test("messages that nobody takes are held up to the bound", async () => {
  const relay = new Relay();
  const alice = await connected(relay);
  const bob = await connected(relay, { messageOctetsMax: 10 });
  const waiting = begun(bob);
  /** @type {number[]} */
  const codes = [];
  const [, socket] = relay.sockets;
  const send = socket.send.bind(socket);
  socket.send = (octets) => {
    codes.push(Number(/^MSRP \S+ (\d{3})/.exec(new TextDecoder().decode(octets))?.[1] ?? 0));
    send(octets);
  };
  const session = alice.session({ remotePath: bob.path });
  for (let count = 0; count < 3; count++) await session.send("12345", { report: false });
  await until(() => codes.length === 3);
  assert.deepEqual(codes, [200, 200, 413]);
  const other = (await waiting)[Symbol.asyncIterator]();
  await other.next();
  await session.send("12345", { report: false });
  await until(() => codes.length === 4);
  assert.equal(codes[3], 200, "there is room again");
  alice.close();
  bob.close();
});

test("a session ends its loop when it is closed, and sends nothing more", async () => {
  const relay = new Relay();
  const alice = await connected(relay);
  const session = alice.session({ remotePath: NOWHERE });
  const loop = (async () => {
    for await (const message of session) assert.fail(message.text);
    return "over";
  })();
  session.close();
  assert.equal(await loop, "over");
  await assert.rejects(session.send("x"), (error) => error instanceof MsrpError && error.code === 481);
  alice.close();
});

// A relay in memory for the tests: no network, and every frame can be looked at.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

import { MsrpClient, decode, encode } from "./msrp.js";

export const sum = (/** @type {string} */ name, /** @type {string} */ text) => createHash(name).update(text).digest("hex");
export const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A relay in memory: it checks the digest, forwards by the last URI, answers hop by hop. */
export class Relay {
  /** @type {Set<Socket>} */ sockets = new Set();
  /** @type {(frame: any) => { code: number } | undefined} */ judge = () => undefined;
  /** Whether it can be connected to. */
  up = true;
  /** Seconds that it grants, and the fewest that it grants. */
  expires = 3600;
  expiresMin = 0;
  /** The To-Path of every AUTH, and how many there were. @type {string[]} */
  asked = [];
  auths = 0;
  tokens = 0;

  get Socket() {
    const relay = this;
    return class extends Socket {
      constructor() {
        super(relay);
      }
    };
  }
}

export class Socket {
  readyState = 0;
  bufferedAmount = 0;
  uri = "";
  token = "";
  /** @type {any} */ onopen;
  /** @type {any} */ onclose;
  /** @type {any} */ onmessage;

  /** @param {Relay} relay */
  constructor(relay) {
    this.relay = relay;
    relay.sockets.add(this);
    queueMicrotask(() => {
      if (!relay.up) return this.close();
      this.readyState = 1;
      this.onopen({});
    });
  }

  close() {
    this.relay.sockets.delete(this);
    this.readyState = 3;
    queueMicrotask(() => this.onclose?.({ code: 1006, reason: "" }));
  }

  /** @param {import("./msrp.js").Frame} frame */
  deliver(frame) {
    queueMicrotask(() => this.onmessage?.({ data: encode(frame).buffer }));
  }

  /** @param {Uint8Array} octets */
  send(octets) {
    const frame = decode(octets);
    assert.ok(frame, "exactly one frame in a message");
    if (frame.code !== undefined) return;
    const value = (/** @type {string} */ name) => frame.headers.find((one) => one.name === name)?.value ?? "";
    const back = [
      { name: "To-Path", value: value("From-Path") },
      { name: "From-Path", value: value("To-Path").split(" ")[0] },
    ];
    if (frame.method === "AUTH") {
      this.relay.auths += 1;
      this.relay.asked.push(value("To-Path"));
      this.uri = value("From-Path");
      if (!value("Authorization")) {
        const challenge = 'Digest realm="r", nonce="n", opaque="o", qop="auth"';
        const more = [{ name: "WWW-Authenticate", value: challenge }];
        this.deliver({ id: frame.id, code: 401, comment: "Unauthorized", headers: [...back, ...more], flag: "$" });
        return;
      }
      const right = sum("md5", "u:r:secret");
      const nc = /nc=(\w+)/.exec(value("Authorization"))?.[1];
      const cnonce = /cnonce="(\w+)"/.exec(value("Authorization"))?.[1];
      const response = sum("md5", `${right}:n:${nc}:${cnonce}:auth:${sum("md5", `AUTH:${value("To-Path")}`)}`);
      const proved = value("Authorization").includes(response);
      const wanted = Number(value("Expires") || this.relay.expires);
      if (proved && wanted < this.relay.expiresMin) {
        const more = [{ name: "Min-Expires", value: String(this.relay.expiresMin) }];
        this.deliver({ id: frame.id, code: 423, headers: [...back, ...more], flag: "$" });
        return;
      }
      this.token ||= `msrps://relay:2855/t${++this.relay.tokens};tcp`;
      const more = proved ? [{ name: "Use-Path", value: this.token }, { name: "Expires", value: String(wanted) }] : [];
      this.deliver({ id: frame.id, code: proved ? 200 : 401, headers: [...back, ...more], flag: "$" });
      return;
    }
    const verdict = this.relay.judge(frame);
    if (frame.method === "SEND") {
      this.deliver({ id: frame.id, code: verdict?.code ?? 200, headers: back, flag: "$" });
    }
    if (verdict) return;
    const last = value("To-Path").split(" ").at(-1);
    const to = [...this.relay.sockets].find((socket) => socket.uri === last);
    const headers = frame.headers.map((one) => {
      if (one.name === "To-Path") return { ...one, value: last ?? "" };
      if (one.name !== "From-Path") return one;
      return { ...one, value: `${to?.token} ${this.token} ${this.uri}` };
    });
    to?.deliver({ ...frame, headers });
  }
}

/** @param {Relay} relay @param {object} [more] */
export async function connected(relay, more = {}) {
  /** @type {any} */
  const Socket = relay.Socket;
  const client = new MsrpClient({ url: "ws://relay:2880/", user: "u", password: "secret", WebSocket: Socket, ...more });
  await client.connect();
  return client;
}

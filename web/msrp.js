// MSRP over WebSocket for browsers: RFC 4975 (MSRP), RFC 4976 (relays), RFC 7977 (WebSocket).
//
// One ES module without dependencies:
//
//     const client = new MsrpClient({ url: "wss://relay.example.com:2880/", user: "alice", password: "…" });
//     await client.connect();
//     show(client.path);                             // what the other side needs, for a=path of SDP
//     const session = client.session({ remotePath: "msrps://… msrps://…" });
//     await session.send("hello");
//     for await (const message of session) show(message.text);

/**
 * @typedef {object} MsrpClientOptions
 * @property {string} url Where the relay's WebSocket listener is: `wss://host:port/`.
 * @property {string} user
 * @property {string} password
 * @property {string} [domain] Host of the AUTH To-Path: the relay's name or a domain that it serves. Default: the
 *   host of `url`.
 * @property {number} [expires] Seconds to ask for. Default: what the relay grants.
 * @property {boolean} [reconnect] Connect again after a loss, with increasing pauses. Default true.
 * @property {number} [messageOctetsMax] What one session holds of messages that are incomplete or were not taken yet; more
 *   is refused with 413. Default 100 MiB.
 * @property {number} [chunkOctets] Octets of a file in one chunk. Default 32768.
 * @property {number} [timeout] Milliseconds to wait for a response. Default 30000.
 * @property {new (url: string, protocols: string[]) => WebSocket} [WebSocket] For tests and for other runtimes.
 */

/**
 * @typedef {object} Header
 * @property {string} name
 * @property {string} value
 */

/**
 * @typedef {object} Frame One MSRP request or response.
 * @property {string} id The transact-id.
 * @property {string} [method] Of a request.
 * @property {number} [code] Of a response.
 * @property {string} [comment]
 * @property {Header[]} headers To-Path and From-Path first.
 * @property {Uint8Array} [body] `undefined`: none, which is not the same as an empty one.
 * @property {"$" | "+" | "#"} flag
 */

/**
 * @typedef {object} SendOptions
 * @property {string} [type] Content-Type. Default `text/plain; charset=utf-8`.
 * @property {boolean} [report] Ask the receiver for a success report. Default true.
 * @property {(octets: number, total: number) => void} [onprogress] Octets that the relay has taken over so far.
 * @property {() => void} [onsent] The relay has taken over all of it.
 * @property {AbortSignal} [signal] Abandons the message.
 * @property {string} [name] A file name, for Content-Disposition.
 */

/** @typedef {{ id: string, status: "delivered" | "sent" }} Receipt */

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const CRLF = [13, 10];

/** Sent chunks of one message that may be unanswered. */
const WINDOW = 16;
/** Octets that may wait in the socket before a file waits for it. */
const BUFFERED_MAX = 256 * 1024;
/** Milliseconds after the last chunk within which a success report is expected. */
const REPORT_WAIT = 30_000;
/** The same for a message that only says that we are here. */
const ANNOUNCE_WAIT = 5_000;
/** Incomplete messages of one session, and sessions: what others can begin here. */
const INCOMING_MAX = 100;
const SESSIONS_MAX = 1000;
/** The first pause before a reconnect and the longest, in milliseconds. */
const PAUSE = 500;
const PAUSE_MAX = 30_000;

/** A request was refused, lost or reported as failed. `code` is MSRP's: 408 for a time-out or a lost connection. */
export class MsrpError extends Error {
  /**
   * @param {number} code
   * @param {string} message
   */
  constructor(code, message) {
    super(`${code} ${message}`);
    this.name = "MsrpError";
    this.code = code;
  }
}

/** A message that has come whole. */
export class MsrpMessage {
  /**
   * @param {string} id
   * @param {string} type
   * @param {Uint8Array[]} parts
   * @param {string | undefined} name
   */
  constructor(id, type, parts, name) {
    /** Message-ID. */
    this.id = id;
    /** Content-Type. */
    this.type = type;
    /** Its file name, if it has one. */
    this.name = name;
    /** The octets. */
    this.blob = new Blob(/** @type {BlobPart[]} */ (parts), { type });
    this.#parts = parts;
  }

  /** @type {Uint8Array[]} */
  #parts;

  /** The octets as text. */
  get text() {
    const stream = new TextDecoder();
    return this.#parts.map((part) => stream.decode(part, { stream: true })).join("") + stream.decode();
  }
}

/**
 * A connection to a relay, and the URI that it gave us. Events: `connected`, `disconnected` (detail: reason),
 * `path` (detail: the path, which has changed: tell the other side, with `session.announce()` or otherwise), `session`
 * (detail: a session that the other side began), `error` (detail: why a reconnect was given up, such as a wrong password).
 */
export class MsrpClient extends EventTarget {
  /** @type {MsrpClientOptions} */ #options;
  /** @type {WebSocket | undefined} */ #socket;
  /** @type {Map<string, { resolve: (frame: Frame) => void, reject: (error: Error) => void, timer: any }>} */
  #waiting = new Map();
  /** @type {Map<string, MsrpSession>} */ #sessions = new Map();
  /** @type {string[]} */ #usePath = [];
  /** @type {Challenge | undefined} */ #challenge;
  /** @type {any} */ #refreshTimer;
  /** @type {any} */ #reconnectTimer;
  #closed = false;
  #attempts = 0;
  /** The path is another one, and nobody was told. */
  #moved = false;

  /** @param {MsrpClientOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#expires = options.expires;
    const url = new URL(options.url);
    this.#domain = options.domain ?? url.hostname;
    this.#port = url.port || (url.protocol === "wss:" ? "443" : "80");
    /** Our own URI, the last of `path`: `.invalid`, for nobody can connect to a browser (RFC 7977 §5.2.2). */
    this.uri = `msrps://${token(10).toLowerCase()}.invalid:2855/${token(16)};ws`;
  }

  /** @type {number | undefined} */ #expires;
  /** @type {string} */ #domain;
  /** @type {string} */ #port;

  /** Whether messages can be sent now. */
  get connected() {
    return this.#usePath.length > 0 && this.#socket?.readyState === 1;
  }

  /** The path by which others reach us: for `a=path` in SDP, or to be copied to the other side. Empty until connected. */
  get path() {
    return this.#usePath.length > 0 ? [...[...this.#usePath].reverse(), this.uri].join(" ") : "";
  }

  /** Octets that the browser holds for the socket. */
  get bufferedAmount() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** Connects and authenticates. Rejects with an `MsrpError` (401: user or password) or an `Error`. */
  async connect() {
    if (this.connected) return;
    this.#closed = false;
    clearTimeout(this.#reconnectTimer);
    this.#socket?.close(1000);
    await this.#open();
  }

  /** Ends the connection, and with it all sessions. */
  close() {
    this.#closed = true;
    clearTimeout(this.#reconnectTimer);
    this.#socket?.close(1000);
    this.#lost("closed");
    this.#socket = undefined;
    for (const session of this.#sessions.values()) session.close();
  }

  /**
   * A session with whoever has this path; the same object for the same path.
   * @param {{ remotePath: string | string[] }} options The other side's `path`.
   * @returns {MsrpSession}
   */
  session({ remotePath }) {
    const uris = typeof remotePath === "string" ? remotePath.trim().split(/\s+/) : remotePath;
    const last = uris.at(-1);
    if (!last || !uris.every((uri) => /^msrps?:\/\/[^\s;/]+(\/[^\s;]*)?;\w+/i.test(uri))) {
      throw new TypeError("a path is one or more MSRP URIs");
    }
    const known = this.#sessions.get(last);
    if (known) {
      known.remotePath = uris;
      return known;
    }
    const session = new MsrpSession(this, uris, () => this.#sessions.delete(last));
    this.#sessions.set(last, session);
    return session;
  }

  async #open() {
    const { url, WebSocket: Socket = globalThis.WebSocket } = this.#options;
    const socket = new Socket(url, ["msrp"]);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    await new Promise((resolve, reject) => {
      socket.onopen = () => resolve(undefined);
      socket.onerror = () => reject(new Error(`no connection to ${url}`));
      socket.onclose = (event) => reject(new Error(event.reason || `no connection to ${url}`));
    });
    socket.onerror = null;
    socket.onclose = (event) => {
      if (this.#socket === socket) this.#lost(event.reason || `connection closed (${event.code})`);
    };
    socket.onmessage = (event) => {
      if (this.#socket === socket) this.#received(event.data);
    };
    try {
      if (this.#closed) throw new Error("closed");
      await this.#authenticate();
    } catch (error) {
      socket.close(1000);
      throw error;
    }
    this.#attempts = 0;
    this.dispatchEvent(new CustomEvent("connected"));
    if (this.#moved) this.dispatchEvent(new CustomEvent("path", { detail: this.path }));
    this.#moved = false;
  }

  /** @param {string} why */
  #lost(why) {
    const had = this.#usePath.length > 0;
    this.#usePath = [];
    this.#challenge = undefined;
    clearTimeout(this.#refreshTimer);
    for (const waiting of this.#waiting.values()) {
      clearTimeout(waiting.timer);
      waiting.reject(new MsrpError(408, "connection lost"));
    }
    this.#waiting.clear();
    for (const session of this.#sessions.values()) session.connectionLost();
    if (had) {
      this.dispatchEvent(new CustomEvent("disconnected", { detail: why }));
      this.#reconnectLater();
    }
  }

  #reconnectLater() {
    if (this.#closed || this.#options.reconnect === false) return;
    const pause = Math.min(PAUSE * 2 ** this.#attempts++, PAUSE_MAX);
    this.#reconnectTimer = setTimeout(async () => {
      try {
        await this.#open();
      } catch (error) {
        if (error instanceof MsrpError && (error.code === 401 || error.code === 403)) {
          this.dispatchEvent(new CustomEvent("error", { detail: error }));
        } else {
          this.#reconnectLater();
        }
      }
    }, pause * (0.5 + Math.random()));
  }

  /**
   * AUTH to the relay, or to the URI that it gave us to prolong that (RFC 4976 §5.1).
   * @returns {Promise<void>}
   */
  async #authenticate() {
    const prolonged = this.#usePath.at(-1);
    const to = prolonged ?? `msrps://${this.#options.user}@${this.#domain}:${this.#port};ws`;
    let response = await this.#auth(to);
    for (let tries = 0; response.code === 401 && tries < 2; tries++) {
      const offered = challenges(response);
      const best = offered.find((one) => one.algorithm === "SHA-256") ?? offered.find((one) => one.algorithm === "MD5");
      if (!best) throw new MsrpError(401, "the relay offers no digest that this client knows");
      if (tries > 0 && !best.stale) break;
      this.#challenge = { ...best, count: 0 };
      response = await this.#auth(to);
    }
    const bound = Number(header(response, "Min-Expires") ?? header(response, "Max-Expires") ?? 0);
    if (response.code === 423 && bound > 0 && this.#expires !== bound) {
      this.#expires = bound;
      return this.#authenticate();
    }
    if (response.code !== 200) {
      throw new MsrpError(response.code ?? 400, response.comment || "AUTH failed");
    }
    const path = (header(response, "Use-Path") ?? "").split(/\s+/).filter(Boolean);
    if (path.length === 0) throw new MsrpError(400, "the answer to AUTH has no Use-Path");
    const next = parameters(header(response, "Authentication-Info") ?? "").nextnonce;
    if (next && this.#challenge) this.#challenge = { ...this.#challenge, nonce: next, count: 0 };
    this.#moved ||= path.join(" ") !== this.#usePath.join(" ");
    this.#usePath = path;
    const seconds = Number(header(response, "Expires") ?? 0);
    if (seconds > 0) {
      clearTimeout(this.#refreshTimer);
      // A timer of the browser holds no more than 2^31 ms.
      this.#refreshTimer = setTimeout(() => this.#refresh(), Math.min(seconds * 800, 2 ** 31 - 1));
    }
  }

  async #refresh() {
    try {
      await this.#authenticate();
      if (this.#moved) this.dispatchEvent(new CustomEvent("path", { detail: this.path }));
      this.#moved = false;
    } catch {
      // A new connection asks for a new URI.
      this.#socket?.close(3000, "refresh failed");
    }
  }

  /**
   * @param {string} to
   * @returns {Promise<Frame>}
   */
  async #auth(to) {
    const headers = [
      { name: "To-Path", value: to },
      { name: "From-Path", value: this.uri },
    ];
    if (this.#challenge) {
      const { user, password } = this.#options;
      this.#challenge.count += 1;
      headers.push({ name: "Authorization", value: await authorization(this.#challenge, user, password, to) });
    }
    if (this.#expires) headers.push({ name: "Expires", value: String(this.#expires) });
    return this.request({ id: token(12), method: "AUTH", headers, flag: "$" });
  }

  /**
   * Sends a request and waits for its response.
   * @param {Frame} frame
   * @returns {Promise<Frame>}
   */
  request(frame) {
    return new Promise((resolve, reject) => {
      if (this.#socket?.readyState !== 1) {
        reject(new MsrpError(408, "not connected"));
        return;
      }
      const timer = setTimeout(() => {
        this.#waiting.delete(frame.id);
        reject(new MsrpError(408, "no answer"));
      }, this.#options.timeout ?? 30_000);
      this.#waiting.set(frame.id, { resolve, reject, timer });
      this.write(frame);
    });
  }

  /**
   * Sends a frame for which no response is awaited.
   * @param {Frame} frame
   */
  write(frame) {
    if (this.#socket?.readyState === 1) this.#socket.send(/** @type {BufferSource} */ (encode(frame)));
  }

  /** @param {string | ArrayBuffer} data */
  #received(data) {
    const octets = typeof data === "string" ? encoder.encode(data) : new Uint8Array(data);
    const frame = decode(octets);
    if (!frame) return;
    if (frame.code !== undefined) {
      const waiting = this.#waiting.get(frame.id);
      if (waiting && frame.code >= 200) {
        this.#waiting.delete(frame.id);
        clearTimeout(waiting.timer);
        waiting.resolve(frame);
      }
      return;
    }
    const from = (header(frame, "From-Path") ?? "").split(/\s+/).filter(Boolean);
    const last = from.at(-1);
    if (frame.method !== "SEND" && frame.method !== "REPORT") {
      this.#respond(frame, 501, "Unknown method");
      return;
    }
    if (!last) return;
    // What our own relays have put in front is not theirs to be told.
    const back = from.length > this.#usePath.length ? from.slice(this.#usePath.length) : from;
    let session = this.#sessions.get(last);
    if (!session) {
      if (frame.method === "REPORT") {
        for (const one of this.#sessions.values()) one.reported(frame);
        return;
      }
      if (this.#sessions.size >= SESSIONS_MAX) {
        this.#answer(frame, 403, "Too many sessions");
        return;
      }
      session = this.session({ remotePath: back });
      this.dispatchEvent(new CustomEvent("session", { detail: session }));
    }
    if (frame.method === "REPORT") {
      session.reported(frame);
      return;
    }
    // After a new AUTH the other side has another path; its own URI is what it was.
    session.remotePath = back;
    const { code, comment } = session.receive(frame, this.#options.messageOctetsMax ?? 100 * 1024 * 1024);
    this.#answer(frame, code, comment);
  }

  /**
   * The response to a SEND, if one is wanted (RFC 4975 §7.1.2).
   * @param {Frame} request
   * @param {number} code
   * @param {string} comment
   */
  #answer(request, code, comment) {
    const asked = (header(request, "Failure-Report") ?? "yes").toLowerCase();
    if (asked === "yes" || (asked === "partial" && code !== 200)) this.#respond(request, code, comment);
  }

  /**
   * @param {Frame} request
   * @param {number} code
   * @param {string} comment
   */
  #respond(request, code, comment) {
    const from = header(request, "From-Path") ?? "";
    const to = header(request, "To-Path") ?? "";
    this.write({
      id: request.id,
      code,
      comment,
      headers: [
        // The response to SEND goes to the previous hop alone (RFC 4975 §7.2).
        { name: "To-Path", value: request.method === "SEND" ? from.split(" ")[0] : from },
        { name: "From-Path", value: to.split(" ")[0] },
      ],
      flag: "$",
    });
  }

  /** To-Path for a peer: by our own relays first, the nearest before the others. @param {string[]} remotePath */
  toPath(remotePath) {
    return [...this.#usePath, ...remotePath].join(" ");
  }

  /** @returns {number} */
  get chunkOctets() {
    return this.#options.chunkOctets ?? 32_768;
  }
}

/** Messages to and from one other side. Iterate over it to receive. */
export class MsrpSession {
  /** @type {MsrpClient} */ #client;
  /** @type {() => void} */ #forget;
  /** @type {Map<string, Incoming>} */ #incoming = new Map();
  /** @type {Map<string, Outgoing>} */ #outgoing = new Map();
  /** @type {MsrpMessage[]} */ #ready = [];
  /** @type {((result: IteratorResult<MsrpMessage, undefined>) => void)[]} */ #takers = [];
  #closed = false;
  /** Octets of messages that are incomplete or were not taken yet. */
  #held = 0;

  /**
   * @param {MsrpClient} client
   * @param {string[]} remotePath
   * @param {() => void} forget
   */
  constructor(client, remotePath, forget) {
    this.#client = client;
    this.#forget = forget;
    /** The other side's path. */
    this.remotePath = remotePath;
    /** Progress of what comes in: octets so far, of how many (`undefined`: not known), and the name of a file. */
    this.onincoming =
      /** @type {((id: string, octets: number, total: number | undefined, name: string | undefined) => void) | undefined} */ (
        undefined
      );
    /** A message of which octets had come will not be completed. */
    this.onabandoned = /** @type {((id: string) => void) | undefined} */ (undefined);
  }

  /**
   * Sends a text or octets as one message. Resolves when the receiver has confirmed it (`delivered`), or when the
   * relay has taken it over and no confirmation came within 30 s (`sent`). Rejects with an `MsrpError` when it was
   * refused or reported as failed.
   * @param {string | Uint8Array} content
   * @param {SendOptions} [options]
   * @returns {Promise<Receipt>}
   */
  send(content, options = {}) {
    const octets = typeof content === "string" ? encoder.encode(content) : content;
    const type = options.type ?? "text/plain; charset=utf-8";
    return this.#deliver(new Blob([/** @type {BlobPart} */ (octets)]), { ...options, type });
  }

  /**
   * Sends a file in chunks. Several may be under way at once, and texts pass between their chunks.
   * @param {Blob & { name?: string }} file
   * @param {SendOptions} [options]
   * @returns {Promise<Receipt>}
   */
  sendFile(file, options = {}) {
    return this.#deliver(file, {
      name: file.name,
      ...options,
      type: options.type ?? (file.type || "application/octet-stream"),
    });
  }

  /**
   * Sends a message without a body: this session is there, and this is our path (RFC 4975 §5.4). Resolves and rejects as
   * `send` does, and waits 5 s for a confirmation.
   * @returns {Promise<Receipt>}
   */
  async announce() {
    if (this.#closed) throw new MsrpError(481, "the session is closed");
    const id = token(16);
    const outgoing = new Outgoing();
    this.#outgoing.set(id, outgoing);
    try {
      const response = await this.#client.request(this.#chunk(id, { type: "" }, 1, undefined, 0, "$"));
      refused(response);
      const delivered = await outgoing.deliveredWithin(0, ANNOUNCE_WAIT);
      return { id, status: delivered ? "delivered" : "sent" };
    } finally {
      this.#outgoing.delete(id);
    }
  }

  /** Nothing more is sent or received. */
  close() {
    this.#closed = true;
    this.connectionLost();
    this.#forget();
    for (const take of this.#takers.splice(0)) take({ done: true, value: undefined });
  }

  /** @returns {AsyncIterator<MsrpMessage, undefined>} */
  [Symbol.asyncIterator]() {
    return {
      next: () =>
        new Promise((resolve) => {
          const message = this.#ready.shift();
          if (message) this.#give(message, resolve);
          else if (this.#closed) resolve({ done: true, value: undefined });
          else this.#takers.push(resolve);
        }),
      return: async () => ({ done: true, value: undefined }),
    };
  }

  /**
   * @param {Blob} blob
   * @param {SendOptions & { type: string }} options
   * @returns {Promise<Receipt>}
   */
  async #deliver(blob, options) {
    if (this.#closed) throw new MsrpError(481, "the session is closed");
    const id = token(16);
    const outgoing = new Outgoing();
    this.#outgoing.set(id, outgoing);
    try {
      await this.#sendChunks(id, blob, options, outgoing);
      options.onsent?.();
      if (options.report === false) {
        await outgoing.failedWithin(0);
        return { id, status: "sent" };
      }
      const delivered = await outgoing.deliveredWithin(blob.size, REPORT_WAIT);
      return { id, status: delivered ? "delivered" : "sent" };
    } finally {
      this.#outgoing.delete(id);
    }
  }

  /**
   * @param {string} id
   * @param {Blob} blob
   * @param {SendOptions & { type: string }} options
   * @param {Outgoing} outgoing
   */
  async #sendChunks(id, blob, options, outgoing) {
    const total = blob.size;
    const step = this.#client.chunkOctets;
    const { signal } = options;
    /** @type {Set<Promise<void>>} */
    const unanswered = new Set();
    /** @type {Promise<void>} Ends every wait. */
    const aborted = new Promise((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
    let taken = 0;
    let position = 0;
    do {
      outgoing.check();
      if (signal?.aborted) {
        // Whoever has a part of it is told that no more will come (RFC 4975 §7.1).
        if (position > 0) this.#client.write(this.#chunk(id, options, position + 1, undefined, total, "#"));
        throw signal.reason;
      }
      const end = Math.min(position + step, total);
      const body = new Uint8Array(await blob.slice(position, end).arrayBuffer());
      const frame = this.#chunk(id, options, position + 1, body, total, end === total ? "$" : "+");
      const answer = this.#client.request(frame).then(
        (response) => {
          refused(response);
          taken += body.length;
          options.onprogress?.(taken, total);
        },
      );
      const counted = answer.catch((error) => outgoing.fail(error)).finally(() => unanswered.delete(counted));
      unanswered.add(counted);
      position = end;
      while (unanswered.size >= WINDOW && !signal?.aborted) await Promise.race([aborted, ...unanswered]);
      while (this.#client.bufferedAmount > BUFFERED_MAX && !signal?.aborted) await Promise.race([aborted, pause(10)]);
    } while (position < total);
    await Promise.all(unanswered);
    outgoing.check();
  }

  /**
   * @param {string} id
   * @param {SendOptions & { type: string }} options
   * @param {number} start
   * @param {Uint8Array | undefined} body
   * @param {number} total
   * @param {"$" | "+" | "#"} flag
   * @returns {Frame}
   */
  #chunk(id, options, start, body, total, flag) {
    const end = start - 1 + (body?.length ?? 0);
    const headers = [
      { name: "To-Path", value: this.#client.toPath(this.remotePath) },
      { name: "From-Path", value: this.#client.uri },
      { name: "Message-ID", value: id },
      { name: "Byte-Range", value: `${start}-${body || flag === "$" ? end : "*"}/${total}` },
    ];
    if (options.report !== false) headers.push({ name: "Success-Report", value: "yes" });
    if (body) {
      if (options.name) {
        const name = options.name.replace(/["\\\u0000-\u001f\u007f]/g, "_");
        headers.push({ name: "Content-Disposition", value: `attachment; filename="${name}"` });
      }
      headers.push({ name: "Content-Type", value: options.type.replace(/[\r\n]/g, " ") });
    }
    return { id: token(12), method: "SEND", headers, body, flag };
  }

  /** A REPORT for one of our messages. @param {Frame} frame */
  reported(frame) {
    const outgoing = this.#outgoing.get(header(frame, "Message-ID") ?? "");
    const [, code, comment] = /^000 (\d{3})(?: (.*))?$/.exec(header(frame, "Status") ?? "") ?? [];
    if (!outgoing || !code) return;
    if (code !== "200") {
      outgoing.fail(new MsrpError(Number(code), comment || "reported as failed"));
      return;
    }
    const range = parseRange(header(frame, "Byte-Range"));
    if (range) outgoing.confirm(range.start, range.end ?? range.total ?? range.start - 1);
  }

  /**
   * A chunk of a message from the other side; what to answer.
   * @param {Frame} frame
   * @param {number} octetsMax
   */
  receive(frame, octetsMax) {
    const id = header(frame, "Message-ID");
    const range = parseRange(header(frame, "Byte-Range") ?? "1-*/*");
    if (!id || !range || range.start < 1) return { code: 400, comment: "Bad request" };
    const known = this.#incoming.get(id);
    if (frame.flag === "#") {
      this.#forgetIncoming(id);
      if (known) this.onabandoned?.(id);
      return { code: 200, comment: "OK" };
    }
    if (!frame.body) {
      // A message that only says that the other side is there (RFC 4975 §5.4).
      if (frame.flag === "$" && !known) this.#confirm(frame, id, 0);
      return { code: 200, comment: "OK" };
    }
    const incoming = known ?? new Incoming();
    const announced = Math.max(range.total ?? 0, range.start - 1 + frame.body.length) - incoming.octets;
    if (this.#held + announced > octetsMax || (!known && this.#incoming.size >= INCOMING_MAX)) {
      this.#forgetIncoming(id);
      return { code: 413, comment: "Too large" };
    }
    this.#incoming.set(id, incoming);
    this.#held += incoming.add(range.start, frame);
    if (incoming.octets > (incoming.total ?? Infinity)) {
      this.#forgetIncoming(id);
      return { code: 400, comment: "Octets behind the end" };
    }
    this.onincoming?.(id, incoming.octets, incoming.total ?? range.total, incoming.name);
    if (incoming.isComplete) {
      this.#incoming.delete(id);
      const message = new MsrpMessage(id, incoming.type, incoming.parts(), incoming.name);
      if (incoming.wantsReport) this.#confirm(frame, id, incoming.octets);
      const take = this.#takers.shift();
      if (take) this.#give(message, take);
      else this.#ready.push(message);
    }
    return { code: 200, comment: "OK" };
  }

  /**
   * The success report, if one is wanted (RFC 4975 §7.1.2).
   * @param {Frame} frame
   * @param {string} id
   * @param {number} octets
   */
  #confirm(frame, id, octets) {
    if (octets === 0 && !wantsReport(frame)) return;
    this.#client.write({
      id: token(12),
      method: "REPORT",
      headers: [
        { name: "To-Path", value: header(frame, "From-Path") ?? "" },
        { name: "From-Path", value: this.#client.uri },
        { name: "Message-ID", value: id },
        { name: "Byte-Range", value: `1-${octets}/${octets}` },
        { name: "Status", value: "000 200 OK" },
      ],
      flag: "$",
    });
  }

  /**
   * @param {MsrpMessage} message
   * @param {(result: IteratorResult<MsrpMessage, undefined>) => void} take
   */
  #give(message, take) {
    this.#held -= message.blob.size;
    take({ done: false, value: message });
  }

  /** @param {string} id */
  #forgetIncoming(id) {
    this.#held -= this.#incoming.get(id)?.octets ?? 0;
    this.#incoming.delete(id);
  }

  connectionLost() {
    for (const id of [...this.#incoming.keys()]) {
      this.#forgetIncoming(id);
      this.onabandoned?.(id);
    }
    for (const outgoing of this.#outgoing.values()) outgoing.fail(new MsrpError(408, "connection lost"));
  }
}

/** Throws what the response refuses with. @param {Frame} response */
function refused({ code = 400, comment }) {
  if (code >= 300) throw new MsrpError(code, comment || "refused");
}

/** A message that arrives: octets by their place (RFC 4975 §7.3.1), in whatever order. */
class Incoming {
  /** @type {{ start: number, octets: Uint8Array }[]} In order, and apart. */ #pieces = [];
  octets = 0;
  /** @type {number | undefined} Known once its last chunk has come. */
  total;
  type = "";
  /** @type {string | undefined} */
  name;
  wantsReport = false;

  /**
   * Takes a chunk; how many of its octets are new. What was there before stays.
   * @param {number} start Its place.
   * @param {Frame} frame
   */
  add(start, frame) {
    const body = frame.body ?? new Uint8Array();
    const end = start + body.length;
    if (frame.flag === "$") this.total = end - 1;
    this.type ||= header(frame, "Content-Type") ?? "";
    this.name ??= fileName(header(frame, "Content-Disposition") ?? "");
    this.wantsReport ||= wantsReport(frame);
    const before = this.octets;
    let from = start;
    let at = this.#firstAfter(start);
    while (from < end) {
      const next = this.#pieces[at];
      const to = Math.min(end, next?.start ?? end);
      if (from < to) {
        this.#pieces.splice(at, 0, { start: from, octets: body.subarray(from - start, to - start) });
        this.octets += to - from;
        at += 1;
      }
      if (!next) break;
      from = Math.max(from, next.start + next.octets.length);
      at += 1;
    }
    return this.octets - before;
  }

  /** The first piece that ends behind this place; mostly chunks come in order. @param {number} place */
  #firstAfter(place) {
    const endOf = (/** @type {number} */ index) => this.#pieces[index].start + this.#pieces[index].octets.length;
    let [low, high] = [0, this.#pieces.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (endOf(middle) <= place) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  get isComplete() {
    return this.total !== undefined && this.octets === this.total;
  }

  parts() {
    return this.#pieces.map((piece) => piece.octets);
  }
}

/** A message that leaves: its failure, and what of it was confirmed. */
class Outgoing {
  /** @type {Error | undefined} */ #error;
  /** @type {[number, number][]} */ #confirmed = [];
  /** @type {() => void} */ #changed = () => {};

  /** @param {Error} error */
  fail(error) {
    this.#error ??= error;
    this.#changed();
  }

  /**
   * @param {number} start
   * @param {number} end
   */
  confirm(start, end) {
    this.#confirmed.push([start, end]);
    this.#confirmed.sort((one, other) => one[0] - other[0]);
    this.#changed();
  }

  check() {
    if (this.#error) throw this.#error;
  }

  /** @param {number} milliseconds */
  async failedWithin(milliseconds) {
    await pause(milliseconds);
    this.check();
  }

  /**
   * Whether all of it is confirmed by then.
   * @param {number} total
   * @param {number} milliseconds
   */
  async deliveredWithin(total, milliseconds) {
    const deadline = Date.now() + milliseconds;
    for (;;) {
      this.check();
      if (this.#reached() >= total && this.#confirmed.length > 0) return true;
      const left = deadline - Date.now();
      if (left <= 0) return false;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#changed = () => {
          clearTimeout(timer);
          resolve(undefined);
        };
      });
    }
  }

  #reached() {
    let reached = 0;
    for (const [start, end] of this.#confirmed) {
      if (start <= reached + 1) reached = Math.max(reached, end);
    }
    return reached;
  }
}

/**
 * @param {string | undefined} text
 * @returns {{ start: number, end: number | undefined, total: number | undefined } | undefined}
 */
function parseRange(text) {
  const parts = /^\s*(\d+)-(\d+|\*)\/(\d+|\*)\s*$/.exec(text ?? "");
  if (!parts) return undefined;
  const number = (/** @type {string} */ part) => (part === "*" ? undefined : Number(part));
  return { start: Number(parts[1]), end: number(parts[2]), total: number(parts[3]) };
}

/** Whether a success report is wanted. @param {Frame} frame */
function wantsReport(frame) {
  return (header(frame, "Success-Report") ?? "no").toLowerCase() === "yes";
}

/** The file name in a Content-Disposition, in both its spellings (RFC 6266 §4.3). @param {string} disposition */
function fileName(disposition) {
  const encoded = /filename\*=utf-8'[^']*'([^;\s]+)/i.exec(disposition)?.[1];
  if (encoded) {
    try {
      return decodeURIComponent(encoded);
    } catch {
      // The other spelling, then.
    }
  }
  return parameters(disposition).filename;
}

/**
 * The first header of that name, in any letter case.
 * @param {Frame} frame
 * @param {string} name
 */
function header(frame, name) {
  const wanted = name.toLowerCase();
  return frame.headers.find((one) => one.name.toLowerCase() === wanted)?.value;
}

/**
 * Octets of a frame. Its transact-id does not occur in the body as an end-line.
 * @param {Frame} frame
 * @returns {Uint8Array}
 */
export function encode(frame) {
  const start = frame.code === undefined ? frame.method : [frame.code, frame.comment].filter(Boolean).join(" ");
  const lines = frame.headers.map(({ name, value }) => `${name}: ${value}\r\n`).join("");
  const head = encoder.encode(`MSRP ${frame.id} ${start}\r\n${lines}${frame.body ? "\r\n" : ""}`);
  const end = encoder.encode(`${frame.body ? "\r\n" : ""}-------${frame.id}${frame.flag}\r\n`);
  const octets = new Uint8Array(head.length + (frame.body?.length ?? 0) + end.length);
  octets.set(head);
  if (frame.body) octets.set(frame.body, head.length);
  octets.set(end, octets.length - end.length);
  return octets;
}

/**
 * The one frame that a WebSocket message holds (RFC 7977 §5.1); `undefined` if it is none.
 * @param {Uint8Array} octets
 * @returns {Frame | undefined}
 */
export function decode(octets) {
  /** @type {string[]} */
  const lines = [];
  let at = 0;
  for (;;) {
    const end = octets.indexOf(CRLF[1], at);
    if (end < 1 || octets[end - 1] !== CRLF[0]) return undefined;
    const line = decoder.decode(octets.subarray(at, end - 1));
    at = end + 1;
    if (line === "" || line.startsWith("-------")) {
      const [, id, rest] = /^MSRP ([A-Za-z0-9][\w.+%=-]{3,31}) ?(.*)$/.exec(lines[0] ?? "") ?? [];
      if (!id) return undefined;
      return finish(octets, at, id, rest, lines.slice(1), line);
    }
    lines.push(line);
  }
}

/**
 * @param {Uint8Array} octets
 * @param {number} at Behind the head.
 * @param {string} id
 * @param {string} rest Of the start line.
 * @param {string[]} lines
 * @param {string} last Empty where a body follows, else the end-line.
 * @returns {Frame | undefined}
 */
function finish(octets, at, id, rest, lines, last) {
  const mark = `-------${id}`;
  let body;
  let endLine = last;
  if (last === "") {
    const tail = octets.length - mark.length - 3;
    endLine = decoder.decode(octets.subarray(tail, octets.length - 2));
    // An empty body may stand without a line end of its own.
    body = octets.subarray(at, Math.max(at, tail - 2));
  }
  const flag = endLine.at(-1);
  if (endLine.slice(0, -1) !== mark || (flag !== "$" && flag !== "+" && flag !== "#")) return undefined;
  const headers = lines.map((line) => {
    const colon = line.indexOf(":");
    return { name: line.slice(0, colon), value: line.slice(colon + 1).trim() };
  });
  const [, code, comment] = /^(\d{3})(?: (.*))?$/.exec(rest) ?? [];
  return code
    ? { id, code: Number(code), comment, headers, body, flag }
    : { id, method: rest.trim(), headers, body, flag };
}

/**
 * @typedef {object} Challenge
 * @property {string} realm
 * @property {string} nonce
 * @property {string | undefined} opaque
 * @property {"MD5" | "SHA-256"} algorithm
 * @property {boolean} stale
 * @property {number} count How often the nonce was used.
 */

/**
 * The challenges of a 401 that this client can answer.
 * @param {Frame} response
 * @returns {Challenge[]}
 */
function challenges(response) {
  return response.headers
    .filter((one) => one.name.toLowerCase() === "www-authenticate" && /^digest\s/i.test(one.value))
    .map((one) => parameters(one.value.slice(7)))
    .filter((one) => one.nonce && one.realm !== undefined && /^(MD5|SHA-256)$/i.test(one.algorithm ?? "MD5"))
    .map((one) => ({
      realm: one.realm,
      nonce: one.nonce,
      opaque: one.opaque,
      algorithm: /** @type {"MD5" | "SHA-256"} */ ((one.algorithm ?? "MD5").toUpperCase()),
      stale: (one.stale ?? "").toLowerCase() === "true",
      count: 0,
    }));
}

/**
 * `name=value` and `name="value"`, separated by commas.
 * @param {string} text
 * @returns {Record<string, string>}
 */
function parameters(text) {
  /** @type {Record<string, string>} */
  const found = {};
  for (const [, name, quoted, bare] of text.matchAll(/([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]+))/g)) {
    found[name.toLowerCase()] = quoted === undefined ? bare : quoted.replace(/\\(.)/g, "$1");
  }
  return found;
}

/**
 * The value of Authorization (RFC 4976 §9.1, RFC 7616).
 * @param {Challenge} challenge
 * @param {string} user
 * @param {string} password
 * @param {string} uri
 * @param {string} [cnonce]
 */
export async function authorization(challenge, user, password, uri, cnonce = token(16)) {
  const hash = challenge.algorithm === "SHA-256" ? sha256 : async (/** @type {string} */ text) => md5(text);
  const nc = challenge.count.toString(16).padStart(8, "0");
  const first = await hash(`${user}:${challenge.realm}:${password}`);
  const second = await hash(`AUTH:${uri}`);
  const response = await hash(`${first}:${challenge.nonce}:${nc}:${cnonce}:auth:${second}`);
  const quoted = (/** @type {string} */ text) => `"${text.replace(/(["\\])/g, "\\$1")}"`;
  return [
    `Digest username=${quoted(user)}`,
    `realm=${quoted(challenge.realm)}`,
    `nonce=${quoted(challenge.nonce)}`,
    `uri=${quoted(uri)}`,
    `response="${response}"`,
    ...(challenge.opaque === undefined ? [] : [`opaque=${quoted(challenge.opaque)}`]),
    ...(challenge.algorithm === "MD5" ? [] : [`algorithm=${challenge.algorithm}`]),
    `cnonce="${cnonce}"`,
    "qop=auth",
    `nc=${nc}`,
  ].join(", ");
}

/** @param {string} text */
async function sha256(text) {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text))));
}

/** @param {Uint8Array} octets */
function hex(octets) {
  return [...octets].map((octet) => octet.toString(16).padStart(2, "0")).join("");
}

/**
 * MD5 (RFC 1321) of a text in UTF-8, in hexadecimal: digests of many relays need it, and WebCrypto does not have it.
 * @param {string} text
 */
export function md5(text) {
  const octets = encoder.encode(text);
  const padded = new Uint8Array((((octets.length + 8) >> 6) + 1) << 6);
  padded.set(octets);
  padded[octets.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, (octets.length << 3) >>> 0, true);
  view.setUint32(padded.length - 4, Math.floor(octets.length / 2 ** 29), true);
  const shifts = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21];
  const sum = new Uint32Array([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476]);
  for (let block = 0; block < padded.length; block += 64) {
    let [a, b, c, d] = sum;
    for (let step = 0; step < 64; step++) {
      const round = step >> 4;
      const mixed = [(b & c) | (~b & d), (d & b) | (~d & c), b ^ c ^ d, c ^ (b | ~d)][round];
      const word = [step, 5 * step + 1, 3 * step + 5, 7 * step][round] & 15;
      const constant = Math.floor(Math.abs(Math.sin(step + 1)) * 2 ** 32);
      const turn = (a + mixed + constant + view.getUint32(block + 4 * word, true)) | 0;
      const shift = shifts[4 * round + (step & 3)];
      [a, b, c, d] = [d, (b + ((turn << shift) | (turn >>> (32 - shift)))) | 0, b, c];
    }
    [a, b, c, d].forEach((word, index) => (sum[index] += word));
  }
  const digest = new DataView(new ArrayBuffer(16));
  sum.forEach((word, index) => digest.setUint32(4 * index, word, true));
  return hex(new Uint8Array(digest.buffer));
}

/** Random letters and digits, of at least 5 bits each. @param {number} length */
function token(length) {
  const letters = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
  return [...crypto.getRandomValues(new Uint8Array(length))].map((octet) => letters[octet & 31]).join("");
}

/** @param {number} milliseconds */
function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

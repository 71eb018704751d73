// The page: one chat with one other side, over msrp.js.
import { Conversation, make } from "./bubbles.js";
import { MsrpClient, MsrpError } from "./msrp.js";

/** @typedef {import("./msrp.js").MsrpSession} MsrpSession */
/** @typedef {{ user: string, path: string }} Tab */

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
function element(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/** @param {string} id @returns {HTMLInputElement} */
function field(id) {
  return element(id);
}

const conversation = new Conversation(element("messages"));
/** @type {HTMLTextAreaElement} */ const text = element("text");
const ownPath = field("own-path");
const peerPath = field("peer-path");
const file = field("file");

let user = "";
/** @type {MsrpClient | undefined} */ let client;
/** The chosen one. @type {MsrpSession | undefined} */ let session;
/** Those that are being read. @type {Set<MsrpSession>} */ const read = new Set();

/** @param {"on" | "busy" | "lost" | "off"} kind @param {string} words */
function show(kind, words) {
  const state = element("state");
  state.dataset.state = kind;
  state.textContent = words;
}

/** @param {HTMLElement} place @param {unknown} [error] */
function tell(place, error) {
  place.hidden = error === undefined;
  place.textContent = error === undefined ? "" : words(error);
}

/** @param {unknown} error */
function words(error) {
  if (error instanceof MsrpError) {
    const meaning = { 401: "user or password is wrong", 408: "no answer", 413: "too large for the other side", 481: "the other side is not there" };
    const known = /** @type {Record<number, string>} */ (meaning)[error.code];
    if (known) return known;
  }
  return error instanceof Error ? error.message : String(error);
}

/** What a relay for trying out offers; undefined where the page is served by anything else. */
async function offered() {
  if (!/^(localhost|127\.[\d.]+|\[::1\]|.+\.localhost)$/.test(location.hostname)) return undefined;
  try {
    const answer = await fetch("dev.json");
    return answer.ok ? await answer.json() : undefined;
  } catch {
    return undefined;
  }
}

async function prepare() {
  const asked = new URLSearchParams(location.search);
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const offer = await offered();
  field("url").value = asked.get("url") ?? offer?.url ?? `${scheme}://${location.host || "127.0.0.1"}/msrp`;
  field("domain").value = asked.get("domain") ?? offer?.domain ?? "";
  field("user").value = asked.get("user") ?? "";
  if (!offer?.users?.length) {
    field("user").focus();
    return;
  }
  /** @type {HTMLDetailsElement} */ (element("by-hand")).open = false;
  element("offered").hidden = false;
  for (const { name, password } of offer.users) {
    const button = make("button", "user");
    button.type = "button";
    button.dataset.user = name;
    button.append(avatar(name), make("span", "", name));
    button.addEventListener("click", () => {
      field("user").value = name;
      field("password").value = password;
      signIn();
    });
    element("users").append(button);
  }
}

/** @param {string} name */
function avatar(name) {
  const made = make("span", "avatar", name.slice(0, 1).toUpperCase());
  made.setAttribute("aria-hidden", "true");
  return made;
}

element("login").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn();
});

let signingIn = false;

async function signIn() {
  if (signingIn) return;
  signingIn = true;
  tell(element("login-error"));
  show("busy", "Connecting…");
  user = field("user").value.trim();
  try {
    const attempt = new MsrpClient({
      url: field("url").value.trim(),
      user,
      password: field("password").value,
      domain: field("domain").value.trim() || undefined,
    });
    await attempt.connect();
    begin(attempt);
  } catch (error) {
    show("off", "Not connected");
    tell(element("login-error"), `Cannot connect: ${words(error)}`);
  } finally {
    signingIn = false;
  }
}

/** @param {MsrpClient} made */
function begin(made) {
  client = made;
  document.title = `${user} – MSRP chat`;
  show("on", `Connected as ${user}`);
  ownPath.value = made.path;
  element("own-name").textContent = user;
  element("own-avatar").textContent = user.slice(0, 1).toUpperCase();
  made.addEventListener("disconnected", () => {
    show("lost", "Connection lost, trying again…");
    usable(false);
  });
  made.addEventListener("connected", () => {
    show("on", `Connected as ${user}`);
    usable(session !== undefined);
  });
  made.addEventListener("path", moved);
  made.addEventListener("error", (event) => show("off", words(/** @type {CustomEvent} */ (event).detail)));
  made.addEventListener("session", (event) => came(/** @type {CustomEvent} */ (event).detail));
  element("sign-in").hidden = true;
  element("chat").hidden = false;
  element("toggle").hidden = false;
  openSide(true);
  tabs?.postMessage({ kind: "who" });
  tellTabs();
  peerPath.focus();
}

/** The relay has given us another path: the other side and our other tabs have to know it. */
async function moved() {
  if (!client || !client.path) return;
  ownPath.value = client.path;
  tellTabs();
  if (!session) return;
  try {
    await session.announce();
    conversation.note("Connected again. The other side knows your new path.");
  } catch {
    conversation.note("Your path has changed, and the other side could not be told: give them the new one.");
  }
}

element("peer").addEventListener("submit", (event) => {
  event.preventDefault();
  choose(peerPath.value);
});

/** @param {string} path */
async function choose(path) {
  if (!client) return;
  tell(element("peer-error"));
  try {
    const chosen = client.session({ remotePath: path });
    peerPath.value = path.trim();
    // An answer to it says that somebody is there.
    await chosen.announce();
    use(chosen);
    text.focus();
  } catch (error) {
    tell(element("peer-error"), error instanceof TypeError ? error : `Cannot be reached: ${words(error)}.`);
  }
}

/** A session that the other side began. @param {MsrpSession} begun */
function came(begun) {
  if (!session) {
    use(begun);
    return;
  }
  const item = conversation.note(`${nameOf(begun)} would like to chat with you. `);
  const answer = make("button", "small", "Switch");
  answer.type = "button";
  answer.addEventListener("click", () => {
    answer.remove();
    use(begun);
  });
  item.append(answer);
}

/** @param {MsrpSession} chosen */
function use(chosen) {
  session = chosen;
  peerPath.value = chosen.remotePath.join(" ");
  const name = nameOf(chosen);
  element("peer-name").textContent = name;
  element("peer-avatar").textContent = name.slice(0, 1).toUpperCase();
  element("peer-state").textContent = `by ${new URL(chosen.remotePath[0].replace(/^msrps?:/i, "http:")).host}`;
  usable(client?.connected ?? false);
  openSide(false);
  if (read.has(chosen)) return;
  read.add(chosen);
  receive(chosen);
}

/** Whether something can be sent. @param {boolean} can */
function usable(can) {
  for (const id of ["text", "send", "attach"]) {
    /** @type {HTMLButtonElement} */ (element(id)).disabled = !can;
  }
}

/** @param {MsrpSession} of */
function nameOf(of) {
  return nearby.get(of.remotePath.at(-1) ?? "")?.user ?? "The other side";
}

/** Other tabs of this browser by the last URI of their path: between them nothing has to be copied. @type {Map<string, Tab>} */
const nearby = new Map();
const tabs = "BroadcastChannel" in globalThis ? new BroadcastChannel("msrp-chat") : undefined;

tabs?.addEventListener("message", ({ data }) => {
  if (data.kind === "who") tellTabs();
  if (data.kind === "gone") nearby.delete(data.uri);
  if (data.kind === "here") {
    nearby.set(data.uri, data);
    if (session && session.remotePath.at(-1) === data.uri) session.remotePath = data.path.split(" ");
  }
  if (session) element("peer-name").textContent = nameOf(session);
  showTabs();
});
addEventListener("pagehide", () => client && tabs?.postMessage({ kind: "gone", uri: client.uri }));

function tellTabs() {
  if (client?.path) tabs?.postMessage({ kind: "here", uri: client.uri, user, path: client.path });
}

function showTabs() {
  const buttons = [...nearby.values()].map((tab) => {
    const item = make("li");
    const button = make("button", "user");
    button.type = "button";
    button.append(avatar(tab.user), make("span", "", tab.user));
    button.setAttribute("aria-label", `Chat with ${tab.user}`);
    button.addEventListener("click", () => choose(tab.path));
    item.append(button);
    return item;
  });
  element("nearby-list").replaceChildren(...buttons);
  element("nearby").hidden = buttons.length === 0;
}

/** @param {MsrpSession} from */
async function receive(from) {
  /** @type {Map<string, import("./bubbles.js").FileBubble>} */
  const arriving = new Map();
  from.onincoming = (id, octets, total, name) => {
    if (total === undefined || total < 100_000) return;
    let bubble = arriving.get(id);
    if (!bubble) {
      bubble = conversation.file(name ?? "A file", total, nameOf(from));
      arriving.set(id, bubble);
    }
    bubble.progress(octets, total);
  };
  from.onabandoned = (id) => {
    arriving.get(id)?.over();
    arriving.get(id)?.foot.replaceChildren("cancelled by the other side");
    arriving.delete(id);
  };
  for await (const message of from) {
    if (message.type.startsWith("text/plain") && !message.name) {
      conversation.text(message.text, nameOf(from));
      continue;
    }
    const name = message.name ?? "file";
    const bubble = arriving.get(message.id) ?? conversation.file(name, undefined, nameOf(from));
    arriving.delete(message.id);
    conversation.keepingEnd(() => bubble.arrived(name, message.blob));
    const sum = await sha256(message.blob);
    if (sum) conversation.keepingEnd(() => bubble.digest(sum));
  }
}

/** @param {Blob} blob */
async function sha256(blob) {
  // Only where the page came by HTTPS or from this machine; and it takes all of it at once.
  if (!globalThis.crypto?.subtle || blob.size > 256 * 1024 * 1024) return undefined;
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  return [...sum].map((octet) => octet.toString(16).padStart(2, "0")).join("");
}

element("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (!words || !session) return;
  text.value = "";
  grow();
  sendText(words, session);
});

/** @param {string} words @param {MsrpSession} to */
function sendText(words, to) {
  const bubble = conversation.text(words, undefined);
  bubble.mark("sending");
  follow(bubble, to.send(words, { onsent: () => bubble.mark("sent") }), () => sendText(words, to));
}

text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    /** @type {HTMLFormElement} */ (element("compose")).requestSubmit();
  }
});
text.addEventListener("input", grow);
text.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files;
  if (!files?.length) return;
  event.preventDefault();
  sendFiles(files);
});

function grow() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
}

element("attach").addEventListener("click", () => file.click());
file.addEventListener("change", () => {
  sendFiles(file.files ?? []);
  file.value = "";
});

let dragged = 0;
/** @param {number} count */
function drag(count) {
  dragged = count;
  element("drop").hidden = dragged <= 0 || !session;
}
addEventListener("dragenter", () => drag(dragged + 1));
addEventListener("dragleave", () => drag(dragged - 1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  drag(0);
  sendFiles(event.dataTransfer?.files ?? []);
});

/** @param {Iterable<File>} files */
function sendFiles(files) {
  for (const one of files) {
    if (session) sendFile(one, session);
    else conversation.note("Choose the other side first.");
  }
}

/** @param {File} chosen @param {MsrpSession} to */
function sendFile(chosen, to) {
  const bubble = conversation.file(chosen.name, chosen.size, undefined);
  const stop = new AbortController();
  bubble.mark("sending");
  const cancel = bubble.button("Cancel", `Cancel ${chosen.name}`, () => stop.abort());
  const over = () => {
    bubble.over();
    cancel.remove();
  };
  const done = to.sendFile(chosen, {
    signal: stop.signal,
    onprogress: (octets, total) => bubble.progress(octets, total),
    onsent: () => {
      over();
      bubble.mark("sent");
    },
  });
  follow(bubble, done.finally(over), () => sendFile(chosen, to));
}

/**
 * @param {import("./bubbles.js").Bubble} bubble
 * @param {Promise<import("./msrp.js").Receipt>} done
 * @param {() => void} again
 */
async function follow(bubble, done, again) {
  try {
    bubble.mark((await done).status);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") {
      bubble.mark("cancelled");
      return;
    }
    bubble.mark("failed", words(error));
    const button = bubble.button("Try again", "Try again to send it", () => {
      button.remove();
      again();
    });
  }
}

element("copy").addEventListener("click", async () => {
  ownPath.select();
  try {
    await navigator.clipboard.writeText(ownPath.value);
    element("copied").textContent = "Copied.";
  } catch {
    // Without the permission the selected text can still be copied by hand.
    element("copied").textContent = "Selected: copy it with Ctrl+C.";
  }
  setTimeout(() => (element("copied").textContent = ""), 3000);
});

element("toggle").addEventListener("click", () => openSide(!document.body.classList.contains("side")));

/** On a narrow screen paths and conversation take turns. @param {boolean} open */
function openSide(open) {
  document.body.classList.toggle("side", open);
  element("toggle").setAttribute("aria-expanded", String(open));
}

prepare();

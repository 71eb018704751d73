// The page: one chat with one other side, over msrp.js.
import { MsrpClient, MsrpError } from "./msrp.js";

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
function element(id) {
  return /** @type {T} */ (document.getElementById(id));
}

const state = element("state");
const messages = element("messages");
/** @type {HTMLTextAreaElement} */ const text = element("text");
/** @type {HTMLButtonElement} */ const send = element("send");
/** @type {HTMLInputElement} */ const peerPath = element("peer-path");
/** @type {HTMLInputElement} */ const ownPath = element("own-path");
/** @type {HTMLInputElement} */ const file = element("file");

/** @type {MsrpClient | undefined} */ let client;
/** @type {import("./msrp.js").MsrpSession | undefined} */ let session;

const asked = new URLSearchParams(location.search);
const socketScheme = location.protocol === "https:" ? "wss" : "ws";
field("url").value = asked.get("url") ?? `${socketScheme}://${location.hostname || "127.0.0.1"}:2880/`;
field("domain").value = asked.get("domain") ?? "relay.localhost";
field("user").value = asked.get("user") ?? "";

/** @param {string} id @returns {HTMLInputElement} */
function field(id) {
  return element(id);
}

/** @param {"on" | "lost" | "off"} kind @param {string} words */
function show(kind, words) {
  state.dataset.state = kind;
  state.textContent = words;
}

/** @param {HTMLElement} place @param {unknown} error */
function tell(place, error) {
  place.hidden = error === undefined;
  place.textContent = error === undefined ? "" : words(error);
}

/** @param {unknown} error */
function words(error) {
  if (error instanceof MsrpError && error.code === 401) return "User or password is wrong.";
  return error instanceof Error ? error.message : String(error);
}

element("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  tell(element("login-error"), undefined);
  show("off", "Connecting…");
  const user = field("user").value.trim();
  const attempt = new MsrpClient({
    url: field("url").value,
    user,
    password: field("password").value,
    domain: field("domain").value.trim() || undefined,
  });
  try {
    await attempt.connect();
  } catch (error) {
    show("off", "Not connected");
    tell(element("login-error"), error);
    return;
  }
  client = attempt;
  document.title = `${user} – MSRP chat`;
  show("on", `Connected as ${user}`);
  ownPath.value = client.path;
  client.addEventListener("disconnected", () => show("lost", "Connection lost, trying again…"));
  client.addEventListener("connected", () => show("on", `Connected as ${user}`));
  client.addEventListener("path", () => {
    ownPath.value = client?.path ?? "";
    note("Your path has changed: give the new one to the other side.");
  });
  client.addEventListener("error", (event) => show("lost", words(/** @type {CustomEvent} */ (event).detail)));
  client.addEventListener("session", (event) => use(/** @type {CustomEvent} */ (event).detail));
  element("sign-in").hidden = true;
  element("chat").hidden = false;
  peerPath.focus();
});

element("peer").addEventListener("submit", (event) => {
  event.preventDefault();
  try {
    const chosen = client?.session({ remotePath: peerPath.value });
    tell(element("peer-error"), undefined);
    if (chosen) use(chosen);
    text.focus();
  } catch (error) {
    tell(element("peer-error"), error);
  }
});

/** @param {import("./msrp.js").MsrpSession} chosen */
function use(chosen) {
  peerPath.value = chosen.remotePath.join(" ");
  text.disabled = send.disabled = false;
  if (session === chosen) return;
  session = chosen;
  note("You can write now.");
  receive(chosen);
}

/** @param {import("./msrp.js").MsrpSession} from */
async function receive(from) {
  /** @type {Map<string, HTMLProgressElement>} */
  const arriving = new Map();
  from.onincoming = (id, octets, total) => {
    if (total === undefined || total < 100_000) return;
    let bar = arriving.get(id);
    if (!bar) {
      bar = document.createElement("progress");
      bar.setAttribute("aria-label", "A file arrives");
      add("message arriving").append(bar);
      arriving.set(id, bar);
    }
    bar.max = total;
    bar.value = octets;
  };
  for await (const message of from) {
    arriving.get(message.id)?.parentElement?.remove();
    arriving.delete(message.id);
    const bubble = add("message theirs");
    if (message.type.startsWith("text/plain") && !message.name) {
      bubble.append(span("text", message.text));
    } else {
      await showFile(bubble, message.name ?? "file", message.blob);
    }
    bubble.append(foot(now()));
    bubble.scrollIntoView({ block: "end" });
  }
}

/** @param {HTMLElement} bubble @param {string} name @param {Blob} blob */
async function showFile(bubble, name, blob) {
  const link = document.createElement("a");
  // Never shown in this page, whatever type it claims to have.
  link.href = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
  link.download = name;
  link.className = "name";
  link.textContent = name;
  bubble.append(link, span("size", ` ${size(blob.size)}`));
  if (globalThis.crypto?.subtle && blob.size <= 64 * 1024 * 1024) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
    const sum = document.createElement("code");
    sum.textContent = `SHA-256 ${[...digest].map((octet) => octet.toString(16).padStart(2, "0")).join("")}`;
    bubble.append(sum);
  }
}

element("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (!words || !session) return;
  text.value = "";
  grow();
  const bubble = add("message mine");
  bubble.append(span("text", words));
  const mark = foot("sending…");
  bubble.append(mark);
  follow(bubble, mark, session.send(words, { onsent: () => (mark.textContent = `✓ sent ${now()}`) }));
});

text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    /** @type {HTMLFormElement} */ (element("compose")).requestSubmit();
  }
});
text.addEventListener("input", grow);

function grow() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

element("attach").addEventListener("click", () => file.click());
file.addEventListener("change", () => {
  for (const chosen of file.files ?? []) sendFile(chosen);
  file.value = "";
});

let dragged = 0;
addEventListener("dragenter", () => (element("drop").hidden = !session || ++dragged === 0));
addEventListener("dragleave", () => (element("drop").hidden = --dragged <= 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragged = 0;
  element("drop").hidden = true;
  for (const dropped of event.dataTransfer?.files ?? []) sendFile(dropped);
});

/** @param {File} chosen */
function sendFile(chosen) {
  if (!session) return note("Enter the other side's path first.");
  const bubble = add("message mine");
  const bar = document.createElement("progress");
  bar.max = chosen.size || 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Sending ${chosen.name}`);
  const cancel = document.createElement("button");
  cancel.type = "button";
  cancel.textContent = "Cancel";
  cancel.setAttribute("aria-label", `Cancel ${chosen.name}`);
  const stop = new AbortController();
  cancel.addEventListener("click", () => stop.abort());
  const mark = foot("sending…");
  bubble.append(span("name", chosen.name), span("size", ` ${size(chosen.size)}`), bar, cancel, mark);
  const done = session.sendFile(chosen, {
    signal: stop.signal,
    onprogress: (octets) => (bar.value = octets),
    onsent: () => {
      cancel.remove();
      mark.textContent = `✓ sent ${now()}`;
    },
  });
  follow(bubble, mark, done).finally(() => {
    bar.remove();
    cancel.remove();
  });
}

/**
 * @param {HTMLElement} bubble
 * @param {HTMLElement} mark
 * @param {Promise<import("./msrp.js").Receipt>} done
 */
async function follow(bubble, mark, done) {
  bubble.scrollIntoView({ block: "end" });
  try {
    const { status } = await done;
    bubble.classList.add(status);
    mark.textContent = status === "delivered" ? `✓✓ delivered ${now()}` : `✓ sent ${now()}`;
  } catch (error) {
    const abandoned = error instanceof DOMException && error.name === "AbortError";
    bubble.classList.add(abandoned ? "cancelled" : "failed");
    mark.textContent = abandoned ? "cancelled" : `✗ failed: ${words(error)}`;
  }
}

element("copy").addEventListener("click", async () => {
  ownPath.select();
  try {
    await navigator.clipboard.writeText(ownPath.value);
  } catch {
    // Without the permission the selected text can still be copied by hand.
  }
  element("copy").textContent = "Copied";
  setTimeout(() => (element("copy").textContent = "Copy"), 1500);
});

/** @param {string} kind */
function add(kind) {
  const item = document.createElement("li");
  item.className = kind;
  messages.append(item);
  item.scrollIntoView({ block: "end" });
  return item;
}

/** @param {string} kind @param {string} words */
function span(kind, words) {
  const made = document.createElement("span");
  made.className = kind;
  made.textContent = words;
  return made;
}

/** @param {string} words */
function foot(words) {
  return span("foot", words);
}

/** @param {string} words */
function note(words) {
  add("note").textContent = words;
}

function now() {
  return new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/** @param {number} octets */
function size(octets) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (octets >= 1000 && unit < units.length - 1) {
    octets /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? octets : octets.toFixed(1)} ${units[unit]}`;
}

// What the conversation shows: texts, files, notes, and how far each of them is.

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [kind] Its classes.
 * @param {string} [words]
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, kind, words) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (words !== undefined) made.textContent = words;
  return made;
}

/** How a message of ours stands: the mark, and the word that is read out. */
const MARKS = /** @type {const} */ ({
  sending: ["○", "sending"],
  sent: ["✓", "sent"],
  delivered: ["✓✓", "delivered"],
  failed: ["!", "not delivered"],
  cancelled: ["✕", "cancelled"],
});

/** The list of messages. It stays at its end while it is there, and where the reader is otherwise. */
export class Conversation {
  /** @param {HTMLElement} list */
  constructor(list) {
    this.list = list;
  }

  /** @param {string} words */
  note(words) {
    const item = make("li", "note", words);
    this.#append(item);
    return item;
  }

  /**
   * @param {string} words
   * @param {string | undefined} from Undefined: from us.
   */
  text(words, from) {
    const bubble = new Bubble(from);
    bubble.body.append(make("p", "text", words));
    this.#append(bubble.item);
    return bubble;
  }

  /**
   * @param {string} name
   * @param {number | undefined} octets
   * @param {string | undefined} from
   */
  file(name, octets, from) {
    const bubble = new FileBubble(name, octets, from);
    this.#append(bubble.item);
    return bubble;
  }

  /** Shows the end, if a change has moved it out of sight. @param {() => void} change */
  keepingEnd(change) {
    const { list } = this;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
    change();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  /** @param {HTMLElement} item */
  #append(item) {
    if (item.classList.contains("mine")) {
      this.list.append(item);
      this.list.scrollTop = this.list.scrollHeight;
    } else {
      this.keepingEnd(() => this.list.append(item));
    }
  }
}

/** One message. */
export class Bubble {
  /** @param {string | undefined} from Undefined: from us. */
  constructor(from) {
    this.item = make("li", from === undefined ? "message mine" : "message theirs");
    this.item.append(make("span", "unseen", from === undefined ? "You: " : `${from}: `));
    this.body = make("div", "body");
    this.foot = make("p", "foot");
    this.item.append(this.body, this.foot);
    if (from !== undefined) this.foot.append(time());
  }

  /**
   * @param {keyof typeof MARKS} state
   * @param {string} [why]
   */
  mark(state, why) {
    const [sign, word] = MARKS[state];
    this.item.dataset.state = state;
    const shown = make("span", "mark", sign);
    shown.setAttribute("aria-hidden", "true");
    this.foot.replaceChildren(make("span", "word", why ? `${word}: ${why}` : word), " ", time(), " ", shown);
  }

  /** @param {HTMLElement} button */
  place(button) {
    this.item.append(button);
  }

  /**
   * A button that belongs to the message.
   * @param {string} words
   * @param {string} label What is read out.
   * @param {() => void} action
   */
  button(words, label, action) {
    const button = make("button", "small", words);
    button.type = "button";
    button.setAttribute("aria-label", label);
    button.addEventListener("click", action);
    this.place(button);
    return button;
  }
}

/** A file that leaves or arrives. */
export class FileBubble extends Bubble {
  /**
   * @param {string} name
   * @param {number | undefined} octets
   * @param {string | undefined} from
   */
  constructor(name, octets, from) {
    super(from);
    this.item.classList.add("file");
    this.name = make("span", "name", name);
    this.octets = make("span", "octets", octets === undefined ? "" : size(octets));
    this.bar = make("progress");
    this.bar.setAttribute("aria-label", from === undefined ? `Sending ${name}` : `Receiving ${name}`);
    const words = make("div", "words");
    words.append(this.name, this.octets);
    this.body.append(paper(), words, this.bar);
  }

  /**
   * @param {number} octets
   * @param {number | undefined} total
   */
  progress(octets, total) {
    if (total === undefined) {
      this.octets.textContent = size(octets);
      return;
    }
    this.bar.max = total || 1;
    this.bar.value = octets;
    this.octets.textContent = octets < total ? `${size(octets)} of ${size(total)}` : size(total);
  }

  /** Beside the name. @param {HTMLElement} button */
  place(button) {
    this.body.insertBefore(button, this.bar.parentNode ? this.bar : null);
  }

  /** Nothing more leaves or arrives. */
  over() {
    this.bar.remove();
  }

  /**
   * It is here: its name becomes a link to it.
   * @param {string} name
   * @param {Blob} blob
   */
  arrived(name, blob) {
    this.over();
    const link = make("a", "name", name);
    // Saved, never shown: whatever type it claims to have, nothing of it runs here.
    link.href = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
    link.download = name;
    this.name.replaceWith(link);
    this.octets.textContent = size(blob.size);
  }

  /** @param {string} sum */
  digest(sum) {
    const shown = make("code", "digest", sum);
    shown.title = "SHA-256";
    const line = make("p", "digest-line", "SHA-256 ");
    line.append(shown);
    this.body.after(line);
  }
}

function time() {
  const now = new Date();
  const shown = make("time", undefined, now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  shown.dateTime = now.toISOString();
  return shown;
}

function paper() {
  const space = "http://www.w3.org/2000/svg";
  const icon = document.createElementNS(space, "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  icon.setAttribute("class", "paper");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", "M14 3H7a1 1 0 0 0-1 1v16a1 1 0 0 0 1 1h10a1 1 0 0 0 1-1V7zm0 0v4h4");
  icon.append(path);
  return icon;
}

/** @param {number} octets */
export function size(octets) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (octets >= 1000 && unit < units.length - 1) {
    octets /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? octets : octets.toFixed(1)} ${units[unit]}`;
}

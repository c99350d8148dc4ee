// Runs the page's script in Node, with as much of a browser as it asks for: `node page.mjs chat.js < scenario.json`.
//
// The scenario: {objects: [...] of the answer's stream, perRead, perFrame?, scrollTo?, breaks?}. perRead objects come in
// one read; after every perFrame reads a frame is drawn, or none ever where it is absent (a hidden tab), and the clock
// goes on by `tick` milliseconds with each read. Written as JSON: what is shown in the end, and how often the page was
// laid out and its texts changed.
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";

const scenario = JSON.parse(readFileSync(0, "utf8"));
const LINE = 20; // pixels that each child of the log is high, and each 50 characters of text
const seen = { layouts: 0, changes: 0, frames: 0, longest_wait: 0 };
let dirty = true;

function changed() {
  dirty = true;
  seen.changes += 1;
}

class Node {
  constructor(tag) {
    Object.assign(this, { tag, childNodes: [], attributes: {}, className: "", hidden: false, value: "", disabled: false });
    this.classList = { toggle() {} };
    this.options = this.selectedOptions = [];
  }
  append(...nodes) {
    changed();
    for (const node of nodes) this.childNodes.push(node instanceof Node ? node : new Text(node));
  }
  replaceChildren(...nodes) {
    this.childNodes = [];
    this.append(...nodes);
    if (nodes.length && this.tag === "select") this.value = nodes[0].value;
    this.selectedOptions = nodes;
  }
  get firstChild() { return this.childNodes[0]; }
  get lastChild() { return this.childNodes.at(-1); }
  get textContent() { return this.childNodes.map((node) => node.textContent).join(""); }
  set textContent(text) { changed(); this.childNodes = text ? [new Text(text)] : []; }
  get text() { return this.textContent; }
  setAttribute(name, value) { this.attributes[name] = value; }
  focus() {}
  // What makes a browser lay out the page, where something has changed since.
  get scrollHeight() {
    if (dirty) seen.layouts += 1;
    dirty = false;
    return LINE * this.childNodes.length + LINE * Math.ceil(this.textContent.length / 50);
  }
  get clientHeight() { return 100; }
  get scrollTop() { return this.top ?? 0; }
  set scrollTop(top) { this.top = Math.max(0, Math.min(top, this.scrollHeight - this.clientHeight)); }
}

class Text extends Node {
  constructor(text) {
    super("#text");
    this.data = text;
  }
  appendData(text) { changed(); this.data += text; }
  get textContent() { return this.data; }
}

const byId = new Map();
for (const id of "log status access client-id engine model fresh ask stop prompt images attached send".split(" ")) {
  byId.set(id, new Node(["engine", "model"].includes(id) ? "select" : "div"));
}
const log = byId.get("log");

// --- time: frames and timers, both drawn by hand ---

let now = 0;
let last = 0; // identifier
const frames = new Map();
const timers = new Map();

function run(callbacks, due) {
  for (const [id, { callback, at }] of [...callbacks]) {
    if (!callbacks.has(id) || at > due) continue;
    callbacks.delete(id);
    callback(due);
  }
}

function drawFrame() {
  seen.frames += 1;
  run(frames, Infinity);
  log.scrollHeight; // as a browser lays out what it draws
}

// --- the server ---

const encoder = new TextEncoder();
const lines = scenario.objects.map((object) => JSON.stringify(object) + "\n");

async function settle() {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

function answerStream() {
  let at = 0, reads = 0;
  return new ReadableStream({
    async pull(controller) {
      if (at > 0) {
        await settle();
        now += scenario.tick ?? 1;
        run(timers, now);
        if (scenario.perFrame && ++reads % scenario.perFrame === 0) drawFrame();
        if (scenario.scrollTo !== undefined && reads === scenario.perFrame) log.scrollTop = scenario.scrollTo;
        seen.longest_wait = Math.max(seen.longest_wait, at - shownDeltas());
      }
      if (at >= lines.length) {
        if (scenario.breaks) controller.error(new TypeError("network error"));
        else controller.close();
        return;
      }
      controller.enqueue(encoder.encode(lines.slice(at, (at += scenario.perRead)).join("")));
    },
  }, { highWaterMark: 0 });
}

const DELTA = 5; // characters of each delta that a scenario counts
const shownDeltas = () => Math.floor((log.childNodes.at(-1)?.childNodes.slice(1) ?? []).map((n) => n.textContent).join("").length / DELTA);

const json = (value) => ({ ok: true, status: 200, json: async () => value });
Object.assign(globalThis, {
  document: {
    hidden: !scenario.perFrame,
    getElementById: (id) => byId.get(id),
    createElement: (tag) => new Node(tag),
    createTextNode: (text) => new Text(text),
  },
  window: {},
  location: { hash: "#id=me", pathname: "/", search: "" },
  history: { replaceState() {} },
  sessionStorage: { getItem: () => null, setItem() {} },
  Option: class extends Node {
    constructor(text, value) {
      super("option");
      this.append(text);
      this.value = value;
    }
  },
  requestAnimationFrame: (callback) => (frames.set(++last, { callback, at: 0 }), last),
  cancelAnimationFrame: (id) => frames.delete(id),
  setTimeout: (callback, wait) => (timers.set(++last, { callback, at: now + wait }), last),
  clearTimeout: (id) => timers.delete(id),
  fetch: async (path) => {
    if (path === "llm/engines") return json({ engines: [{ id: "box", name: "Box" }] });
    if (path.startsWith("llm/models/")) return json({ models: { chat: [{ id: "m" }] } });
    return { ...json(null), body: answerStream() };
  },
});

runInThisContext(readFileSync(process.argv[2], "utf8"));
await settle();
byId.get("prompt").value = "Hello";
await settle();
Object.assign(seen, { layouts: 0, changes: 0 });
byId.get("ask").onsubmit({ preventDefault() {} });
while (!byId.get("stop").hidden) await settle();

function shown(node) {
  if (node instanceof Text) return node.data;
  return { tag: node.tag, ...(node.className ? { name: node.className } : {}), ...(node.src ? { src: node.src } : {}), ...node.attributes, in: node.childNodes.map(shown) };
}
const left = { frames: frames.size, timers: timers.size };
const end = log.scrollHeight - log.clientHeight;
console.log(JSON.stringify({ ...seen, left, atEnd: log.scrollTop >= end - 40, scrollTop: log.scrollTop, answer: shown(log.lastChild) }));

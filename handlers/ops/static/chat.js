// A simple chat that uses the native API of the server this page comes from (README.md, "The native API").
const $ = (id) => document.getElementById(id);
const GENERATED_IMAGE = /images\/[0-9a-f]{40}\.(?:png|jpg|webp|gif)/g;

let clientId = "";
let messages = []; // {role, content, attachments?}: messages so far, sent with the next request
let attachments = []; // {mimeType, contents, title} of the message that is being written
let running = null; // {id, controller} of the running answer

// --- client id: taken from the fragment of the printed link, which browsers do not send to a server ---

function readClientId() {
  const id = new URLSearchParams(location.hash.slice(1)).get("id");
  if (id) {
    sessionStorage.setItem("clientId", id);
    history.replaceState(null, "", location.pathname + location.search);
  }
  clientId = sessionStorage.getItem("clientId") || "";
}

function headers(more) {
  return { ...(clientId ? { "X-ClientId": clientId } : {}), ...more };
}

async function readError(answer) {
  const body = await answer.json().catch(() => ({}));
  return new Error(body.error || `The server answered with status ${answer.status}.`);
}

async function get(path) {
  const answer = await fetch(path, { headers: headers() });
  $("access").hidden = answer.status !== 401;
  if (answer.status === 401) $("client-id").focus();
  if (!answer.ok) throw await readError(answer);
  return answer.json();
}

// --- engines and models ---

function fill(select, entries) {
  select.replaceChildren(...entries.map(({ id, name }) => new Option(name || id, id)));
  select.disabled = entries.length === 0;
  const last = sessionStorage.getItem(select.id);
  if (entries.some(({ id }) => id === last)) select.value = last;
}

async function loadEngines() {
  try {
    fill($("engine"), (await get("llm/engines")).engines);
    await loadModels();
  } catch (error) {
    setStatus(error.message, true);
  }
}

async function loadModels() {
  const engine = $("engine").value;
  fill($("model"), []);
  if (!engine) return setStatus("No engine is configured.", true);
  setStatus("Loading the models …");
  try {
    const { models } = await get(`llm/models/${encodeURIComponent(engine)}`);
    if (engine !== $("engine").value) return; // another engine was selected meanwhile
    fill($("model"), models.chat);
    setStatus(models.chat.length ? "" : "This engine lists no chat models.");
  } catch (error) {
    setStatus(error.message, true);
  }
}

// --- display ---

function setStatus(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", bad);
}

function add(parent, tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  parent.append(element);
  return element;
}

function showMessage(role, name) {
  const article = add($("log"), "article", role);
  add(article, "h2", "", name);
  return article;
}

function showImage(parent, source, title) {
  const image = add(parent, "img");
  image.alt = title || "Image";
  image.src = source;
}

// Changes the log and scrolls to its end, unless the user has scrolled away from the end.
function updateLog(change) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  change();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

// --- an answer: shows the objects of the stream ---

const IMAGE_TYPE = /^image\/(png|jpeg|webp|gif)$/;
const HIDDEN_WAIT = 1000; // milliseconds between two updates while the browser draws no frames (hidden tab)

class Answer {
  constructor(article) {
    this.article = article;
    this.text = "";
    this.done = false;
    this.error = null;
    this.open = null; // the text node that deltas are appended to, until something else comes
    this.openType = "";
    this.tools = new Map();
    this.queued = []; // objects received since the last update; neighbouring deltas are joined
    this.frame = 0; // id of the scheduled animation frame; 0: none
    this.timer = 0;
    this.update = () => this.show();
  }

  // Queues an object for the next frame: one layout per delta would block the page on long answers.
  queue(object) {
    const last = this.queued.at(-1);
    if (last && last.type === object.type && (object.type === "content" || object.type === "reasoning")) {
      last.text += object.text;
      if (object.done) Object.assign(last, object, { text: last.text });
    } else {
      this.queued.push(object);
    }
    if (this.frame) return;
    this.frame = requestAnimationFrame(this.update);
    this.timer = setTimeout(this.update, HIDDEN_WAIT);
  }

  // Shows all queued objects in one update.
  show() {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.frame = 0;
    const objects = this.queued;
    this.queued = [];
    if (objects.length) updateLog(() => objects.forEach((object) => this.apply(object)));
  }

  apply(object) {
    switch (object.type) {
      case "content":
        this.text += object.text;
        if (object.text) this.append("content", object.text);
        if (object.done) this.finish(object);
        break;
      case "attachment":
        this.showAttachment(object.attachment);
        break;
      case "reasoning":
        if (object.text) this.append("reasoning", object.text);
        break;
      case "tool":
        this.tool(object);
        break;
      case "citation":
        this.cite(object);
        break;
      case "usage":
        add(this.article, "p", "note", `${object.usage.prompt_tokens} tokens in, ${object.usage.completion_tokens} out`);
        break;
      case "error":
        this.error = object;
        break;
    }
  }

  // Ends the text. An answer that was cut or blocked looks like a whole one without a note.
  finish({ finishReason, finishDetails: details = {} }) {
    this.done = true;
    if (["stop", "tool_calls", undefined].includes(finishReason)) return;
    const why = [details.reason, details.category, details.explanation].filter(Boolean).join(": ");
    add(this.article, "p", "note", `The answer ended early: ${finishReason}${why ? ` (${why})` : ""}`);
    this.openType = "";
  }

  showAttachment({ mimeType, contents, url }) {
    this.openType = "";
    if (contents && IMAGE_TYPE.test(mimeType)) showImage(this.article, `data:${mimeType};base64,${contents}`, "Generated image");
    else if (url) this.cite({ url });
    else add(this.article, "p", "note", `A file of type ${mimeType} is a part of the answer; this page cannot show it.`);
  }

  append(type, text) {
    if (this.openType !== type) {
      this.openType = type;
      this.open = document.createTextNode("");
      if (type === "content") {
        add(this.article, "div", "text").append(this.open);
      } else {
        const details = add(this.article, "details");
        add(details, "summary", "", "Reasoning");
        add(details, "pre").append(this.open);
      }
    }
    this.open.appendData(text);
  }

  tool({ id, name, state, status, call }) {
    let line = this.tools.get(id);
    if (!line) {
      line = add(this.article, "details");
      add(line, "summary");
      add(line, "pre");
      this.tools.set(id, line);
      this.openType = "";
    }
    line.firstChild.textContent = `${name}: ${status || state}`;
    if (call) line.lastChild.textContent = JSON.stringify(call, null, 2);
  }

  cite({ url, title }) {
    const line = add(this.article, "p", "note", "Source: ");
    const safe = /^https?:/i.test(url || "");
    const source = add(line, safe ? "a" : "span", "", title || url || "unnamed");
    if (safe) Object.assign(source, { href: url, rel: "noopener noreferrer", target: "_blank" });
    this.openType = "";
  }

  // Shows what is queued and ends the answer. `error`: why the stream ended, if it contained no error object.
  end(error) {
    this.show();
    this.error ||= error;
    updateLog(() => this.close());
  }

  close() {
    for (const source of new Set(this.text.match(GENERATED_IMAGE) || [])) showImage(this.article, source, "Generated image");
    if (!this.error && !this.done) this.error = { error: "The answer is incomplete: the connection was closed.", code: "truncated" };
    if (this.error) add(this.article, "p", "error", this.error.error).setAttribute("role", "alert");
  }
}

async function* readObjects(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value || "")).split("\n");
    rest = done ? "" : lines.pop();
    for (const line of lines) if (line.trim()) yield JSON.parse(line);
    if (done) return;
  }
}

function newRequestId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function send() {
  const prompt = $("prompt").value.trim();
  if (!prompt || running || !$("model").value) return;
  const sent = attachments;
  const chat = messages; // a new chat may have started before the answer ends
  const body = { engine: $("engine").value, model: $("model").value, prompt, messages, attachments: sent };
  updateLog(() => {
    const mine = showMessage("user", "You");
    add(mine, "div", "text", prompt);
    for (const one of sent) showImage(mine, `data:${one.mimeType};base64,${one.contents}`, one.title);
  });
  let problem = null;
  const answer = new Answer(showMessage("assistant", $("model").selectedOptions[0].text));
  running = { id: newRequestId(), controller: new AbortController() };
  $("prompt").value = "";
  attach([]);
  setBusy(true);
  try {
    const reply = await fetch("llm/chat", {
      method: "POST",
      headers: headers({ "Content-Type": "application/json", Accept: "application/x-ndjson", "X-Request-Id": running.id }),
      body: JSON.stringify(body),
      signal: running.controller.signal,
    });
    if (!reply.ok) throw await readError(reply);
    for await (const object of readObjects(reply.body)) answer.queue(object);
  } catch (error) {
    problem = { error: error.name === "AbortError" ? "Stopped." : error.message, code: error.name };
  }
  answer.end(problem);
  const stopped = answer.error && ["cancelled", "AbortError"].includes(answer.error.code);
  if (answer.text && (!answer.error || stopped)) {
    chat.push({ role: "user", content: prompt, attachments: sent }, { role: "assistant", content: answer.text });
  } else if (answer.error && !$("prompt").value) {
    $("prompt").value = prompt; // so that the user can send it again
    attach(sent);
  }
  running = null;
  setBusy(false);
}

async function stop() {
  if (!running) return;
  const { id, controller } = running;
  // The server ends the stream with an error object; if it does not know the answer (any more), abort the request.
  const response = await fetch(`llm/chat/${id}`, { method: "DELETE", headers: headers() }).catch(() => null);
  if (!response || !response.ok) controller.abort();
}

function setBusy(on) {
  $("send").disabled = on;
  $("stop").hidden = !on;
  $("log").setAttribute("aria-busy", String(on));
  if (on) setStatus("Answering …");
  else if ($("status").textContent === "Answering …") setStatus("");
  $("prompt").focus();
}

// --- attached images ---

function attach(list) {
  attachments = list;
  $("attached").replaceChildren();
  for (const one of list) {
    const remove = add(add($("attached"), "li"), "button", "", `${one.title} ✕`);
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove ${one.title}`);
    remove.onclick = () => attach(attachments.filter((other) => other !== one));
  }
}

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve({ mimeType: file.type, contents: reader.result.split(",")[1], title: file.name });
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

$("access").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("clientId", $("client-id").value.trim());
  $("client-id").value = "";
  readClientId();
  loadEngines();
};
$("engine").onchange = () => { sessionStorage.setItem("engine", $("engine").value); loadModels(); };
$("model").onchange = () => sessionStorage.setItem("model", $("model").value);
$("fresh").onclick = () => { stop(); messages = []; $("log").replaceChildren(); $("prompt").focus(); };
$("ask").onsubmit = (event) => { event.preventDefault(); send(); };
$("stop").onclick = stop;
$("prompt").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
};
$("images").onchange = async (event) => {
  try {
    attach([...attachments, ...(await Promise.all([...event.target.files].map(read)))]);
  } catch (error) {
    setStatus(error.message, true);
  }
  event.target.value = ""; // allows to select the same file again
};
window.onhashchange = () => { readClientId(); loadEngines(); };

readClientId();
loadEngines();

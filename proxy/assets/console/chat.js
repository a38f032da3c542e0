// The chat playground: streams, times and stops an answer, and shows the same call as code.

import { ApiError, call, events } from "./api.js";
import { byId, element, tell } from "./elements.js";
import { chatExamples, showExamples } from "./examples.js";
import { isWaking } from "./figures.js";

// Their containers do not chat.
const NO_CHAT = new Set(["tei", "raw"]);
const FIRST_MESSAGE = "Tell me a joke about clouds.";

let messages = []; // what has been said so far
let running = null; // the AbortController of the answer on its way

export const canChat = (model) => !NO_CHAT.has(model.dialect);

export function startChat() {
  clear();
  byId("chat-model").replaceChildren();
  byId("chat-model").disabled = byId("send").disabled = true; // until the models are loaded
  byId("message").value = "";
  for (const id of ["system", "temperature", "max-tokens"]) byId(id).value = "";
}

export function offerChatModels(models) {
  const select = byId("chat-model");
  const names = models.filter(canChat).map(({ id }) => id);
  const isSame = names.join() === Array.from(select.options, ({ value }) => value).join();
  if (isSame && names.length) return;
  const before = select.value;
  select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  if (names.includes(before)) select.value = before;
  select.disabled = byId("send").disabled = !names.length;
  status(names.length ? "" : "No model of this key chats. Try the raw panel.");
  showCode();
}

export function chooseChatModel(name) {
  byId("chat-model").value = name;
  showCode();
}

export const chatModel = () => byId("chat-model").value;

export function stopChat() {
  running?.abort();
}

function clear() {
  stopChat();
  messages = [];
  byId("conversation").replaceChildren(
    element("p", { class: "empty faint" }, "An empty chat. Ask something, and the answer streams in here."),
  );
  status("");
  showCode();
}

function body(conversation) {
  const result = { model: chatModel(), messages: [...conversation], stream: true };
  const system = byId("system").value.trim();
  if (system) result.messages.unshift({ role: "system", content: system });
  for (const [id, name] of [["temperature", "temperature"], ["max-tokens", "max_tokens"]]) {
    const field = byId(id);
    if (field.value !== "" && field.checkValidity()) result[name] = field.valueAsNumber;
  }
  result.stream_options = { include_usage: true };
  return result;
}

function showCode() {
  const draft = byId("message").value.trim();
  const asked = draft ? [...messages, { role: "user", content: draft }] : messages;
  const fallback = [{ role: "user", content: FIRST_MESSAGE }];
  showExamples(byId("chat-examples"), chatExamples(body(asked.length ? asked : fallback)));
}

function status(...words) {
  tell(byId("chat-status"), ...words);
}

function bubble(role, text) {
  const content = element("div", { class: "content" }, text);
  const root = element("article", { class: `message ${role}` }, element("h3", {}, role === "user" ? "You" : chatModel()), content);
  const place = byId("conversation");
  place.querySelector(".empty")?.remove();
  place.append(root);
  place.scrollTop = place.scrollHeight;
  return { root, content };
}

async function send() {
  const text = byId("message").value.trim();
  if (!text || running || !chatModel()) return;
  byId("message").value = "";
  messages.push({ role: "user", content: text });
  bubble("user", text);
  await answer();
}

async function answer() {
  const own = (running = new AbortController());
  const conversation = messages;
  const { root, content } = bubble("assistant", "");
  const meter = new Meter(chatModel());
  setRunning(true);
  root.classList.add("pending");
  content.setAttribute("aria-busy", "true");
  const ticking = setInterval(() => status(...meter.words()), 100);
  let text = "";
  let ending = "";
  let frame = null;
  const draw = () => {
    frame = null;
    if (!text) return;
    root.classList.remove("pending");
    follow(() => (content.textContent = text));
  };
  try {
    for await (const piece of pieces(body(conversation), own.signal, meter)) {
      if (piece.text) {
        text += piece.text;
        frame ??= requestAnimationFrame(draw); // to lay out a long text for each token takes too long
      }
      if (piece.finish === "length") ending = "It has reached its most tokens.";
      if (piece.finish === "tool_calls") ending = "It asks for a tool, which this page has not.";
    }
    if (!text) ending ||= "The answer is empty.";
    draw();
  } catch (error) {
    draw();
    if (error.name !== "AbortError") {
      root.classList.add("failed");
      follow(() => root.append(failure(error, root)));
    } else {
      ending = "Stopped.";
    }
  } finally {
    clearInterval(ticking);
    cancelAnimationFrame(frame);
    if (running === own) {
      running = null;
      setRunning(false);
    }
    root.classList.remove("pending");
    content.removeAttribute("aria-busy");
    if (conversation === messages) {
      if (text) messages.push({ role: "assistant", content: text });
      if (!root.classList.contains("failed")) {
        const facts = element("p", { class: "facts faint" }, [ending, meter.summary()].filter(Boolean).join(" "));
        follow(() => root.append(facts));
      }
      status("");
      showCode();
    }
  }
}

function failure(error, root) {
  const request = error.requestId ? ` Request ${error.requestId}.` : "";
  const again = element("button", { type: "button" }, "Try again");
  again.addEventListener("click", () => {
    if (running) return;
    root.remove();
    if (messages.at(-1)?.role === "assistant") messages.pop();
    answer();
  });
  return element("div", { class: "notice error", role: "alert" }, element("p", {}, error.message + request), again);
}

// What the model says, piece by piece: { text, finish }.
async function* pieces(request, signal, meter) {
  const response = await call("v1/chat/completions", {
    method: "POST",
    body: JSON.stringify(request),
    headers: { "Content-Type": "application/json" },
    signal,
  });
  if (!(response.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) {
    const whole = await response.json();
    meter.piece();
    meter.usage = whole.usage;
    yield { text: whole.choices?.[0]?.message?.content ?? "", finish: whole.choices?.[0]?.finish_reason };
    return;
  }
  for await (const { data, comment } of events(response)) {
    if (comment !== undefined) meter.waking ||= comment.includes("waking");
    if (data === undefined || data === "[DONE]") continue;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(response.status, chunk.error.message ?? "The answer broke off");
    meter.usage = chunk.usage ?? meter.usage;
    const choice = chunk.choices?.[0];
    const text = choice?.delta?.content ?? "";
    if (text) meter.piece();
    if (text || choice?.finish_reason) yield { text, finish: choice.finish_reason };
  }
}

// Times an answer.
class Meter {
  #model;
  #began = performance.now();
  #first = null;
  #last = null;
  #pieces = 0;
  usage = null;
  waking = false;

  constructor(model) {
    this.#model = model;
  }

  piece() {
    this.#last = performance.now();
    this.#first ??= this.#last;
    this.#pieces += 1;
  }

  // While it goes on.
  words() {
    const seconds = ((performance.now() - this.#began) / 1000).toFixed(1);
    if (this.#first !== null) return [this.#firstToken(), `${this.#speed(this.#pieces)} · ${seconds} s`];
    if (this.waking || isWaking(this.#model)) {
      return [`${this.#model} is asleep and is being woken, which can take minutes`, `${seconds} s`];
    }
    return ["Waiting for the first token", `${seconds} s`];
  }

  // Afterwards.
  summary() {
    if (this.#first === null) return "";
    const tokens = this.usage?.completion_tokens;
    const words = [this.#firstToken(), this.#speed(tokens ?? this.#pieces)];
    if (tokens !== undefined) words.push(`${this.usage.prompt_tokens} tokens in, ${tokens} out`);
    words.push(`${((this.#last - this.#began) / 1000).toFixed(1)} s`);
    return words.join(" · ");
  }

  #firstToken() {
    return `First token ${((this.#first - this.#began) / 1000).toFixed(2)} s`;
  }

  #speed(tokens) {
    const seconds = (this.#last - this.#first) / 1000;
    return seconds > 0 && tokens > 1 ? `${((tokens - 1) / seconds).toFixed(1)} tokens/s` : "– tokens/s";
  }
}

// Change the conversation, and keep its end in sight if it was.
function follow(change) {
  const place = byId("conversation");
  const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
  change();
  if (atEnd) place.scrollTop = place.scrollHeight;
}

function setRunning(isRunning) {
  const hadFocus = [byId("send"), byId("stop")].includes(document.activeElement);
  byId("send").hidden = isRunning;
  byId("stop").hidden = !isRunning;
  if (hadFocus) byId(isRunning ? "stop" : "send").focus();
}

byId("chat-form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
byId("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
});
byId("chat").addEventListener("keydown", (event) => {
  if (event.key === "Escape") stopChat();
});
byId("stop").addEventListener("click", stopChat);
byId("clear").addEventListener("click", () => {
  clear();
  byId("message").focus();
});
for (const id of ["chat-model", "message", "system", "temperature", "max-tokens"]) {
  byId(id).addEventListener("input", showCode);
}

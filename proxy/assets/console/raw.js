// The raw panel: any bytes to any endpoint, and whatever comes back.

import { send, storedKey, tellRefused } from "./api.js";
import { byId, element, notice, tell } from "./elements.js";
import { rawExamples, routeExamples, showExamples } from "./examples.js";

const SHOWN_CHARACTERS = 100_000;
const MOST_INDENTED = 1_000_000; // characters; it takes time
const REFUSED = "UnrecognizedClientException"; // what SageMaker calls a key that it does not know
const SHOWN_HEADERS = /^(content-type|content-length|retry-after|x-request-id|x-ratelimit-.*|x-amzn.*)$/;

let running = null;
let shownImage = null; // an object URL
let dialects = new Map(); // of the models, by their names

export function startRaw() {
  stopRaw();
  byId("raw-endpoint").replaceChildren();
  byId("raw-endpoint").disabled = byId("raw-send").disabled = true; // until the models are loaded
  byId("raw-body").value = "";
  byId("raw-file").value = "";
  byId("raw-type").value = "text/csv";
  byId("raw-accept").value = "";
  clearAnswer();
  status("");
  showCode();
}

export function offerEndpoints(models) {
  const select = byId("raw-endpoint");
  const dialect = dialects.get(rawEndpoint());
  dialects = new Map(models.map((model) => [model.id, model.dialect]));
  const names = models.filter(({ kind }) => kind !== "alias").map(({ id }) => id);
  const isSame = names.join() === Array.from(select.options, ({ value }) => value).join();
  if (isSame && names.length) {
    if (dialects.get(rawEndpoint()) !== dialect) showCode();
    return;
  }
  const before = select.value;
  select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  if (names.includes(before)) select.value = before;
  select.disabled = byId("raw-send").disabled = !names.length;
  status(names.length ? "" : "This key may call no endpoint by its own name.");
  showCode();
}

export function chooseEndpoint(name) {
  byId("raw-endpoint").value = name;
  showCode();
}

export const rawEndpoint = () => byId("raw-endpoint").value;

export function stopRaw() {
  running?.abort();
}

function request() {
  const [endpoint, component] = rawEndpoint().split("/");
  const headers = { "Content-Type": byId("raw-type").value.trim() || "application/octet-stream" };
  const accept = byId("raw-accept").value.trim();
  if (accept) headers.Accept = accept;
  if (component) headers["X-Amzn-SageMaker-Inference-Component"] = component;
  return { path: `endpoints/${encodeURIComponent(endpoint)}/invocations`, headers };
}

function showCode() {
  const { path, headers } = request();
  const file = byId("raw-file").files[0]?.name;
  const body = byId("raw-body").value || byId("raw-body").placeholder;
  const type = headers["Content-Type"];
  showExamples(byId("raw-examples"), {
    ...rawExamples(path, headers, body, file),
    ...routeExamples(rawEndpoint(), dialects.get(rawEndpoint()), type, body, file),
  });
}

function status(...words) {
  tell(byId("raw-status"), ...words);
}

async function sendRaw() {
  if (running || !rawEndpoint()) return;
  const own = (running = new AbortController());
  const { path, headers } = request();
  const body = byId("raw-file").files[0] ?? byId("raw-body").value;
  const key = storedKey();
  const began = performance.now();
  const seconds = () => `${((performance.now() - began) / 1000).toFixed(1)} s`;
  clearAnswer();
  setRunning(true);
  const ticking = setInterval(() => status("Waiting for the answer", seconds()), 100);
  try {
    const response = await send(path, { method: "POST", body, headers, signal: own.signal });
    const content = await response.blob();
    if (response.headers.get("X-Amzn-ErrorType") === REFUSED) tellRefused(key);
    const answer = await shown(content, response.headers.get("Content-Type") ?? "");
    if (key !== storedKey()) return; // signed out meanwhile
    show(response, content, answer, performance.now() - began);
    status("");
  } catch (error) {
    if (key !== storedKey()) return;
    const stopped = error.name === "AbortError";
    status(stopped ? `Stopped after ${seconds()}.` : "");
    if (!stopped) byId("raw-answer").replaceChildren(notice(error.message, { kind: "error" }));
  } finally {
    clearInterval(ticking);
    if (running === own) {
      running = null;
      setRunning(false);
    }
  }
}

function show(response, content, answer, milliseconds) {
  const facts = [
    `${response.status} ${response.ok ? "OK" : (response.headers.get("x-amzn-errortype") ?? "")}`.trim(),
    `${Math.round(milliseconds)} ms`,
    `${content.size.toLocaleString("en")} bytes`,
  ];
  const headers = Array.from(response.headers).filter(([name]) => SHOWN_HEADERS.test(name));
  byId("raw-answer").replaceChildren(
    element("p", { class: `verdict ${response.ok ? "good" : "bad"}`, role: "status" }, facts.join(" · ")),
    answer,
    element(
      "details",
      {},
      element("summary", {}, "Headers"),
      element(
        "dl",
        { class: "headers" },
        ...headers.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
      ),
    ),
  );
}

async function shown(content, type) {
  if (!content.size) return element("p", { class: "faint" }, "The answer has no body.");
  if (type.startsWith("image/")) {
    shownImage = URL.createObjectURL(content);
    return element("img", { src: shownImage, alt: "The model's answer", class: "answer-image" });
  }
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await content.arrayBuffer());
  } catch {
    shownImage = URL.createObjectURL(content);
    const link = element("a", { href: shownImage, download: "answer" }, "Save it");
    return element("p", {}, `Bytes that are no text (${type || "no type"}). `, link);
  }
  if (type.includes("json") && text.length <= MOST_INDENTED) text = indented(text);
  const cut = text.length > SHOWN_CHARACTERS;
  return element(
    "div",
    {},
    element("pre", { tabindex: "0", "aria-label": "Answer" }, text.slice(0, SHOWN_CHARACTERS)),
    cut ? element("p", { class: "faint" }, `The first ${SHOWN_CHARACTERS.toLocaleString("en")} characters.`) : null,
  );
}

// With its numbers as they are: most would lose digits on the way through JavaScript's.
function indented(text) {
  const exact = (key, value, { source }) => (typeof value === "number" ? JSON.rawJSON(source) : value);
  try {
    return JSON.stringify(JSON.parse(text, exact), null, 2);
  } catch {
    return text;
  }
}

function clearAnswer() {
  if (shownImage) URL.revokeObjectURL(shownImage);
  shownImage = null;
  byId("raw-answer").replaceChildren();
}

function setRunning(isRunning) {
  byId("raw-send").hidden = isRunning;
  byId("raw-stop").hidden = !isRunning;
}

byId("raw-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sendRaw();
});
byId("raw").addEventListener("keydown", (event) => {
  if (event.key === "Escape") stopRaw();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) sendRaw();
});
byId("raw-stop").addEventListener("click", stopRaw);
for (const id of ["raw-endpoint", "raw-type", "raw-accept", "raw-body", "raw-file"]) {
  byId(id).addEventListener("input", showCode);
}

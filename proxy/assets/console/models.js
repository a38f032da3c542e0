// The models that the key may call, and their state.

import { callJson } from "./api.js";
import { byId, element, notice, skeleton } from "./elements.js";
import { colourOf, isWaking } from "./figures.js";

const REFRESH_SECONDS = 15;

// What SageMaker calls it, in a word for people, and how it is shown.
const STATES = {
  InService: ["In service", "good"],
  Updating: ["Updating", "busy"],
  SystemUpdating: ["Updating", "busy"],
  RollingBack: ["Rolling back", "busy"],
  Creating: ["Starting", "busy"],
  Deleting: ["Deleting", "off"],
  OutOfService: ["Out of service", "off"],
  Failed: ["Failed", "bad"],
  UpdateRollbackFailed: ["Update failed", "bad"],
};
const NO_MODEL =
  "This key may call no model yet: there is no endpoint in this account and region, or none that " +
  "the key is for.";
const SYMBOLS = { good: "●", busy: "◐", off: "○", bad: "✕" };

let models = null; // until they are loaded
let failure = null; // why the last listing failed
let timer = null;
let choose = () => {};
let chosen = null;
let shown = null; // all that the list shows

export function startModels(onChoose) {
  models = failure = chosen = shown = null;
  choose = onChoose;
  byId("models").replaceChildren(skeleton(4));
  byId("models-count").textContent = "";
  document.addEventListener("figures", show);
  load();
}

export function stopModels() {
  clearTimeout(timer);
  timer = null;
  document.removeEventListener("figures", show);
}

document.addEventListener("visibilitychange", () => {
  if (timer !== null && !document.hidden) load();
});

export function markChosen(name) {
  chosen = name;
  show();
}

async function load() {
  clearTimeout(timer);
  const own = (timer = setTimeout(load, REFRESH_SECONDS * 1000));
  if (document.hidden && models !== null) return;
  try {
    const found = (await callJson("v1/models")).data;
    if (timer !== own) return; // asked again meanwhile, or signed out
    models = found;
    failure = null;
    document.dispatchEvent(new CustomEvent("models", { detail: models }));
  } catch (error) {
    if (timer !== own || error.status === 401) return;
    failure = error;
  }
  show();
}

function show() {
  if (models === null && failure === null) return;
  // Nobody's click, or place in the list, is to be lost for what looks the same.
  const looks = JSON.stringify([failure?.message, models?.map((model) => [model, look(model)]), chosen]);
  if (looks === shown) return;
  shown = looks;
  const focused = document.activeElement?.dataset?.model;
  const inService = models?.filter(({ status }) => status === "InService").length;
  byId("models-count").textContent = models?.length ? `${inService} of ${models.length} in service` : "";
  byId("models").replaceChildren(
    ...(failure
      ? [notice(failure.message, { kind: "error", button: "Try again", onclick: load })]
      : []),
    ...(models?.length ? [element("ul", { class: "model-list" }, ...models.map(item))] : []),
    ...(models?.length === 0 ? [notice(NO_MODEL)] : []),
  );
  if (focused) byId("models").querySelector(`[data-model="${CSS.escape(focused)}"]`)?.focus();
}

// Its state in a word and how that is shown, and the colour of its line.
function look(model) {
  const state = isWaking(model.id)
    ? ["Waking", "busy pulse"]
    : (STATES[model.status] ?? [model.status ?? "Unknown", "off"]);
  return [...state, colourOf(model.id)];
}

function item(model) {
  const [word, kind, colour] = look(model);
  const about = [
    model.kind === "inference_component" ? "component" : model.kind,
    model.instance_type,
    model.dialect,
  ];
  return element(
    "li",
    {},
    element(
      "button",
      {
        type: "button",
        class: "model",
        "data-model": model.id,
        "aria-pressed": String(model.id === chosen),
        title: "Use it in the playground",
        onclick: () => choose(model),
      },
      element(
        "span",
        { class: "name" },
        colour === null ? null : element("span", { class: `swatch colour-${colour}` }),
        model.id,
      ),
      element(
        "span",
        { class: `state ${kind}` },
        element("span", { "aria-hidden": "true" }, `${SYMBOLS[kind.split(" ")[0]]} `),
        word,
      ),
      element("span", { class: "about faint" }, about.filter(Boolean).join(" · ")),
    ),
  );
}

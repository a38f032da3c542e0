// The console: signs in and out, and joins the models, the live figures and the playground.

import { ApiError, callJson, forgetKey, keepKey, storedKey } from "./api.js";
import { canChat, chatModel, chooseChatModel, offerChatModels, startChat } from "./chat.js";
import { byId } from "./elements.js";
import { startFigures, stopFigures } from "./figures.js";
import { markChosen, startModels, stopModels } from "./models.js";
import { chooseEndpoint, offerEndpoints, rawEndpoint, startRaw } from "./raw.js";

const PRINTABLE = /^[\x21-\x7e]+$/; // what a header can hold

function showWelcome(message = "") {
  byId("console").hidden = true;
  byId("signed-in").hidden = true;
  byId("welcome").hidden = false;
  byId("sign-in-error").textContent = message;
  byId("key").value = "";
  byId("key").focus();
}

function showConsole() {
  byId("welcome").hidden = true;
  byId("console").hidden = false;
  byId("signed-in").hidden = false;
  byId("key-name").textContent = "";
  byId("key-limits").textContent = "";
  startChat();
  startRaw();
  startFigures();
  startModels(choose);
  selectTab("chat");
}

function signOut(message = "") {
  forgetKey();
  stopFigures();
  stopModels();
  startChat(); // nothing of what was said stays behind
  startRaw();
  showWelcome(message);
}

async function signIn() {
  const key = byId("key").value.trim();
  const button = byId("sign-in").querySelector("button");
  if (!PRINTABLE.test(key)) {
    byId("sign-in-error").textContent = key ? "This is no API key." : "Type in your API key.";
    return;
  }
  keepKey(key);
  button.disabled = true;
  byId("sign-in-error").textContent = "";
  try {
    await callJson("console/figures");
    showConsole();
  } catch (error) {
    forgetKey();
    byId("sign-in-error").textContent =
      error instanceof ApiError && error.status === 401 ? "This key is not accepted." : error.message;
    byId("key").select();
  } finally {
    button.disabled = false;
  }
}

// --- the playground ------------------------------------------------------------------------------

const PANELS = ["chat", "raw"];

function selectTab(name) {
  for (const panel of PANELS) {
    const tab = byId(`${panel}-tab`);
    tab.setAttribute("aria-selected", String(panel === name));
    tab.tabIndex = panel === name ? 0 : -1;
    byId(panel).hidden = panel !== name;
  }
  markChosen(name === "chat" ? chatModel() : rawEndpoint());
}

const selectedTab = () => PANELS.find((panel) => !byId(panel).hidden);

function choose(model) {
  if (model.kind !== "alias") chooseEndpoint(model.id);
  if (canChat(model)) chooseChatModel(model.id);
  selectTab(canChat(model) && (selectedTab() === "chat" || model.kind === "alias") ? "chat" : "raw");
  byId(selectedTab() === "chat" ? "message" : "raw-body").focus();
}

for (const panel of PANELS) {
  byId(`${panel}-tab`).addEventListener("click", () => selectTab(panel));
  byId(`${panel}-tab`).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = PANELS.at((PANELS.indexOf(panel) + step) % PANELS.length);
    selectTab(next);
    byId(`${next}-tab`).focus();
  });
}
for (const id of ["chat-model", "raw-endpoint"]) {
  byId(id).addEventListener("input", (event) => markChosen(event.target.value));
}

// --- what the parts tell -------------------------------------------------------------------------

document.addEventListener("models", ({ detail: models }) => {
  offerChatModels(models);
  offerEndpoints(models);
  markChosen(selectedTab() === "chat" ? chatModel() : rawEndpoint());
});

document.addEventListener("figures", ({ detail: { key, limits } }) => {
  byId("key-name").textContent = key;
  const words = [
    limits.requests_per_minute && `${limits.requests_per_minute.toLocaleString("en")} requests/min`,
    limits.tokens_per_minute && `${limits.tokens_per_minute.toLocaleString("en")} tokens/min`,
    limits.max_concurrent && `${limits.max_concurrent.toLocaleString("en")} at once`,
  ];
  byId("key-limits").textContent = words.filter(Boolean).map((word) => ` · ${word}`).join("");
});

document.addEventListener("key-refused", () => {
  if (!byId("console").hidden) signOut("The key is not accepted any more.");
});

byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn();
});
byId("sign-out").addEventListener("click", () => signOut());

if (storedKey()) showConsole();
else showWelcome();

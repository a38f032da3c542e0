// The live figures of the key: asked for every two seconds while the page is seen.

import { callJson } from "./api.js";
import { Chart } from "./chart.js";
import { byId, element, notice, skeleton } from "./elements.js";
import { History, MEASURES, OTHERS, SAMPLE_SECONDS, number } from "./rates.js";

const charts = MEASURES.map(({ title, format }) => new Chart(title, format));

let history = new History();
let timer = null;
let waking = new Map(); // models, and how many requests wait for each to wake

export const isWaking = (model) => (waking.get(model) ?? 0) > 0;

export function startFigures() {
  history = new History();
  waking = new Map();
  byId("charts").replaceChildren(...charts.map((chart) => chart.root));
  byId("by-model").replaceChildren(skeleton(2));
  byId("live-note").textContent = "";
  ask();
}

export function stopFigures() {
  clearTimeout(timer);
  timer = null;
}

document.addEventListener("visibilitychange", () => {
  if (timer !== null && !document.hidden) {
    clearTimeout(timer);
    ask();
  }
});

// The colour of a model's line; null if it has none.
export function colourOf(model) {
  const at = history.names.indexOf(model);
  return at < 0 ? null : at;
}

async function ask() {
  const began = history;
  timer = setTimeout(ask, SAMPLE_SECONDS * 1000); // unless something goes wrong below, for good
  if (document.hidden) return;
  try {
    const figures = await callJson("console/figures");
    if (began !== history) return; // signed out meanwhile
    show(figures);
    byId("live-note").textContent = "this key, all workers; over the last 10 seconds";
    byId("live-note").classList.remove("failing");
  } catch (error) {
    if (began !== history || error.status === 401) return;
    byId("live-note").textContent = `Not up to date: ${error.message}`;
    byId("live-note").classList.add("failing");
  }
}

function show(figures) {
  history.add(figures);
  waking = new Map(figures.models.map((row) => [row.model, row.waking]));
  document.dispatchEvent(new CustomEvent("figures", { detail: figures }));
  MEASURES.forEach(({ toValue }, at) => {
    const series = history.names.map((name, colour) => ({
      name,
      colour: name === OTHERS ? "others" : colour,
      values: history.series(name, toValue),
    }));
    charts[at].draw(series, present(series, at));
  });
  byId("by-model").replaceChildren(
    history.isEmpty
      ? notice("No request with this key yet. Send one from the playground, and it shows here.")
      : table(),
  );
}

// Rates add up over the models; times to the first token do not: the slowest is told.
function present(series, at) {
  const values = series.map(({ values }) => values.at(-1)).filter((v) => v !== null && v !== undefined);
  if (!values.length) return null;
  return MEASURES[at].title === "First token"
    ? Math.max(...values)
    : values.reduce((sum, value) => sum + value, 0);
}

function table() {
  const headings = ["Model", ...MEASURES.map(({ title }) => title), "Requests", "Errors", "Tokens"];
  return element(
    "div",
    { class: "scrolls", tabindex: "0", role: "region", "aria-label": "Figures by model" },
    element(
      "table",
      {},
      element("thead", {}, row("th", headings, { scope: "col" })),
      element("tbody", {}, ...history.names.map(rowOf)),
    ),
  );
}

function rowOf(name, colour) {
  const totals = history.totals(name);
  const rates = MEASURES.map(({ toValue, format }) => {
    const value = history.series(name, toValue).at(-1);
    return value === null || value === undefined ? "–" : format(value);
  });
  const errors = totals ? totals.client_errors + totals.server_errors : 0;
  const tokens = totals ? totals.prompt_tokens + totals.completion_tokens : 0;
  const head = element(
    "th",
    { scope: "row" },
    element("span", { class: `swatch colour-${name === OTHERS ? "others" : colour}` }),
    name,
  );
  const cells = row("td", [...rates, number(totals?.requests ?? 0), number(errors), number(tokens)]);
  cells.prepend(head);
  return cells;
}

function row(cell, texts, attributes = {}) {
  return element("tr", {}, ...texts.map((text) => element(cell, attributes, text)));
}

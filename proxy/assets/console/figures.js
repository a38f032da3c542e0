// The live figures of the key: asked for every two seconds while the page is seen.

import { callJson } from "./api.js";
import { Chart } from "./chart.js";
import { byId, element, notice, skeleton } from "./elements.js";
import { History, MEASURES, OTHERS, SAMPLE_SECONDS, number } from "./rates.js";

const PATIENCE_SECONDS = 10;

const charts = MEASURES.map(({ title, format }) => new Chart(title, format));

let history = new History();
let timer = null; // while nothing is asked
let waking = new Map(); // models, and how many requests wait for each to wake

export const isWaking = (model) => (waking.get(model) ?? 0) > 0;

export function startFigures() {
  history = new History();
  waking = new Map();
  byId("charts").replaceChildren(...charts.map((chart) => chart.root));
  for (const chart of charts) chart.draw([], null);
  byId("by-model").replaceChildren(skeleton(2));
  byId("live-note").textContent = "";
  ask();
}

export function stopFigures() {
  history = new History(); // what is asked is for the one before
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

// One question at a time, for an answer that does not come would take up the browser's connections.
async function ask() {
  const own = history;
  const began = performance.now();
  timer = null;
  if (!document.hidden) await refresh(own);
  if (own !== history) return; // signed out meanwhile
  const passed = performance.now() - began;
  timer = setTimeout(ask, Math.max(SAMPLE_SECONDS * 1000 - passed, 0));
}

async function refresh(own) {
  try {
    const figures = await callJson("console/figures", { signal: AbortSignal.timeout(PATIENCE_SECONDS * 1000) });
    if (own !== history) return;
    show(figures);
    byId("live-note").textContent = "this key, all workers; over the last 10 seconds";
    byId("live-note").classList.remove("failing");
  } catch (error) {
    if (own !== history || error.status === 401) return;
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
  showTable();
}

// Rates add up over the models; times to the first token do not: the slowest is told.
function present(series, at) {
  const values = series.map(({ values }) => values.at(-1)).filter((v) => v !== null && v !== undefined);
  if (!values.length) return null;
  return MEASURES[at].title === "First token"
    ? Math.max(...values)
    : values.reduce((sum, value) => sum + value, 0);
}

// What is there stays, and with it where it is scrolled to.
function showTable() {
  const place = byId("by-model");
  if (history.isEmpty) {
    place.replaceChildren(notice("No request with this key yet. Send one from the playground, and it shows here."));
    return;
  }
  if (!place.querySelector("table")) place.replaceChildren(table());
  place.querySelector("tbody").replaceChildren(...history.names.map(rowOf));
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
      element("tbody"),
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

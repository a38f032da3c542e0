// Turns the key's counts, asked for again and again, into rates by model over the last five minutes.

export const SAMPLE_SECONDS = 2;
export const SAMPLES = 150; // five minutes
const WINDOW = 5; // samples that a rate is taken over: ten seconds
const GAP_SECONDS = WINDOW * SAMPLE_SECONDS; // without a sample, in which nothing is known
const MOST_SERIES = 6; // with a colour of their own

export const OTHERS = "others";

const COUNTS = [
  "requests",
  "client_errors",
  "server_errors",
  "streams",
  "first_token_seconds",
  "prompt_tokens",
  "completion_tokens",
];

export class History {
  #samples = []; // { time, models: Map of a name to its counts }; null in a gap
  names = []; // of the series, in the order of their colours

  add(figures) {
    const models = new Map();
    const busiest = figures.models.toSorted((one, other) => other.requests - one.requests);
    for (const row of busiest) {
      const name = this.#nameOf(row.model);
      models.set(name, models.has(name) ? sum(models.get(name), row) : row);
    }
    this.#leaveGap(figures.time);
    this.#samples.push({ time: figures.time, models });
    this.#samples.splice(0, this.#samples.length - SAMPLES - WINDOW);
  }

  // The page may not have been seen for hours, or the clock have been set.
  #leaveGap(time) {
    const passed = time - (this.#samples.at(-1)?.time ?? time);
    if (passed < 0) this.#samples = [];
    if (passed <= GAP_SECONDS) return;
    const missing = Math.min(Math.round(passed / SAMPLE_SECONDS) - 1, SAMPLES + WINDOW);
    this.#samples.push(...Array(missing).fill(null));
  }

  get isEmpty() {
    return this.names.length === 0;
  }

  get length() {
    return this.#samples.length;
  }

  totals(name) {
    return this.#samples.at(-1)?.models.get(name) ?? null;
  }

  // One value a sample, the newest last; null where there is nothing to tell.
  series(name, toValue) {
    return this.#samples.slice(1).map((sample, at) => {
      const before = this.#samples.slice(Math.max(at + 1 - WINDOW, 0), at + 1).find(Boolean);
      return sample && before ? toValue(difference(before, sample, name)) : null;
    });
  }

  #nameOf(model) {
    if (this.names.includes(model)) return model;
    if (this.names.length < MOST_SERIES) this.names.push(model);
    else if (!this.names.includes(OTHERS)) this.names.push(OTHERS);
    return this.names.includes(model) ? model : OTHERS;
  }
}

// What each chart and column shows: of the counts between two samples.
export const MEASURES = [
  {
    title: "Requests/s",
    toValue: (counts) => counts.requests / counts.seconds,
    format: (value) => number(value),
  },
  {
    title: "First token",
    toValue: (counts) => (counts.streams ? counts.first_token_seconds / counts.streams : null),
    format: (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${number(value)} s`),
  },
  {
    title: "Tokens/s",
    toValue: (counts) => counts.completion_tokens / counts.seconds,
    format: (value) => number(value),
  },
  {
    title: "Errors/s",
    toValue: (counts) => (counts.client_errors + counts.server_errors) / counts.seconds,
    format: (value) => number(value),
  },
];

export function number(value) {
  if (value === 0) return "0";
  if (value < 0.1) return "< 0.1";
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
}

function difference(before, after, name) {
  const then = before.models.get(name);
  const now = after.models.get(name);
  const result = { seconds: Math.max(after.time - before.time, 0.001) };
  for (const count of COUNTS) {
    // A count that has fallen has begun anew.
    result[count] = Math.max((now?.[count] ?? 0) - (then?.[count] ?? 0), 0);
  }
  return result;
}

function sum(one, other) {
  return Object.fromEntries([...COUNTS, "waking"].map((count) => [count, one[count] + other[count]]));
}

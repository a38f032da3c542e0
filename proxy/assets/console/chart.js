// A small line chart, one line a model, with what it shows in words for those who don't see it.

import { element, svgElement } from "./elements.js";
import { SAMPLES, SAMPLE_SECONDS } from "./rates.js";

const WIDTH = 300;
const HEIGHT = 80;

export class Chart {
  #title;
  #format;
  #lines = svgElement("g");
  #cursor = svgElement("line", { y1: 0, y2: HEIGHT, class: "cursor", visibility: "hidden" });
  #svg;
  #now = element("strong");
  #top = element("span", { class: "top" });
  #readout = element("figcaption", { class: "readout" });
  #series = [];

  constructor(title, format) {
    this.#title = title;
    this.#format = format;
    this.#svg = svgElement(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      this.#lines,
      this.#cursor,
    );
    this.#svg.addEventListener("pointermove", (event) => this.#point(event));
    this.#svg.addEventListener("pointerleave", () => this.#leave());
    this.root = element(
      "figure",
      { class: "chart" },
      element("div", { class: "head" }, element("span", {}, title), this.#now),
      element("div", { class: "plot" }, this.#top, this.#svg),
      this.#readout,
    );
    this.#leave();
  }

  // `series`: { name, colour, values }, the newest value last; `now` is what to say is the present.
  draw(series, now) {
    this.#series = series;
    const largest = Math.max(0, ...series.flatMap(({ values }) => values.filter((v) => v !== null)));
    const most = niceCeiling(largest);
    this.#now.textContent = now === null ? "–" : this.#format(now);
    this.#top.textContent = largest ? this.#format(most) : "";
    this.#lines.replaceChildren(
      ...series.map(({ values, colour }) =>
        svgElement("path", { d: path(values, most), class: `line colour-${colour}` }),
      ),
    );
    const words = series.map(({ name, values }) => `${name} ${this.#say(values.at(-1))}`);
    this.#svg.setAttribute("aria-label", `${this.#title}, now: ${words.join(", ") || "nothing"}`);
  }

  #say(value) {
    return value === null || value === undefined ? "–" : this.#format(value);
  }

  #point(event) {
    const box = this.#svg.getBoundingClientRect();
    const ago = Math.round(((box.right - event.clientX) / box.width) * (SAMPLES - 1));
    const values = this.#series
      .map(({ name, values }) => [name, values.at(-1 - ago)])
      .filter(([, value]) => value !== undefined && value !== null && value > 0);
    const x = WIDTH - (ago / (SAMPLES - 1)) * WIDTH;
    this.#cursor.setAttribute("x1", x);
    this.#cursor.setAttribute("x2", x);
    this.#cursor.setAttribute("visibility", "visible");
    const words = values.map(([name, value]) => `${name} ${this.#format(value)}`);
    this.#readout.textContent = `${when(ago * SAMPLE_SECONDS)}: ${words.join(", ") || "–"}`;
  }

  #leave() {
    this.#cursor.setAttribute("visibility", "hidden");
    this.#readout.textContent = "last 5 minutes";
  }
}

function path(values, most) {
  let result = "";
  let draws = false;
  values.slice(-SAMPLES).forEach((value, at, shown) => {
    if (value === null) {
      draws = false;
      return;
    }
    const x = WIDTH - ((shown.length - 1 - at) / (SAMPLES - 1)) * WIDTH;
    const y = HEIGHT - 2 - (value / most) * (HEIGHT - 6);
    // A line of no length, with round ends, is a point.
    result += draws ? `L${x.toFixed(1)} ${y.toFixed(1)}` : `M${x.toFixed(1)} ${y.toFixed(1)}h0`;
    draws = true;
  });
  return result;
}

function when(seconds) {
  if (seconds === 0) return "now";
  return seconds < 60 ? `${seconds} s ago` : `${Math.floor(seconds / 60)} min ${seconds % 60} s ago`;
}

// The next of 1, 2 and 5 times a power of ten.
function niceCeiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((nice) => nice >= value * 0.999);
}

// Makes elements. Text is always text, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// Attributes are set as they are, but for listeners ("onclick") and what is false or null.
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svgElement(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// A message where something else would be: empty, loading or failed.
export function notice(text, { kind = "", button = "", onclick = null } = {}) {
  return element(
    "div",
    { class: `notice ${kind}`, role: kind === "error" ? "alert" : null },
    element("p", {}, text),
    button ? element("button", { type: "button", onclick }, button) : null,
  );
}

// What goes on, in words that are read out when they change; `figures` change too often for that.
export function tell(place, words, figures = "") {
  const [said, shown] = place.children;
  if (said.textContent !== words) said.textContent = words;
  shown.textContent = figures && ` · ${figures}`;
}

// Grey lines where content will be.
export function skeleton(lines) {
  const bars = Array.from({ length: lines }, () => element("div", { class: "skeleton" }));
  return element("div", { role: "status" }, element("span", { class: "hidden" }, "Loading"), ...bars);
}

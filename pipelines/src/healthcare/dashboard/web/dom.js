// Elements without markup: text is always text.

import { when } from "./format.js";

/** An element: `el("a", { class: "x", href: "#" }, "text", child)`. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets text, if it is another. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A time in words, which `pass` keeps true. */
export function moment(ms) {
  return el("time", { datetime: new Date(ms).toISOString() }, when(ms));
}

/** To be called now and then: minutes pass, and what was today is yesterday. */
export function pass() {
  for (const element of document.querySelectorAll("time")) say(element, when(Date.parse(element.dateTime)));
}

/** A card with a heading. */
export function card(title, note, ...children) {
  const heading = el("h2", {}, title);
  const aside = note ? el("p", { class: "note" }, note) : null;
  return el("section", { class: "card" }, el("div", { class: "card-head" }, heading, aside), ...children);
}

/** What is said where nothing is to be shown. */
export function hint(...text) {
  return el("p", { class: "hint" }, ...text);
}

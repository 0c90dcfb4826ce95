// Comparisons: tables whose cells show their size.

import { el, svg } from "./dom.js";
import { number } from "./format.js";

/** Columns are `{ title, value(row), digits, bar, range(row) }`; the first one names the row. Provisional rows say so. */
export function comparison(caption, first, columns, naming) {
  const body = el("tbody");
  const root = el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    el("table", { class: "bars" }, el("caption", { class: "hidden" }, caption),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, first),
        ...columns.map((column) => el("th", { scope: "col", class: column.bar || column.range ? "wide" : null }, column.title)))),
      body));
  let before = "";
  function update(rows) {
    const now = JSON.stringify(rows);
    if (now === before) return;
    before = now;
    const greatest = columns.map((column) => Math.max(...rows.map((row) => column.value(row) ?? 0), 0));
    const bounds = columns.map((column) => column.range && extent(rows.map(column.range)));
    body.replaceChildren(...rows.map((row) => el("tr", { "data-key": row.k, "data-minute": row.t, class: row.live ? "provisional" : null },
      el("th", { scope: "row" }, row.live ? `${naming(row.k)} (running)` : naming(row.k)),
      ...columns.map((column, at) => cell(column, row, greatest[at], bounds[at])))));
  }
  return { root, update };
}

function cell(column, row, greatest, bounds) {
  const value = column.value(row);
  const figure = el("span", { class: "figure", "data-value": value ?? "" }, number(value, column.digits));
  if (column.bar) {
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", greatest > 0 ? (value ?? 0) / greatest : 0);
    return el("td", { class: "wide" }, el("span", { class: "measure" }, bar, figure));
  }
  if (column.range && bounds) {
    return el("td", { class: "wide" }, el("span", { class: "measure" }, spread(column.range(row), bounds), figure));
  }
  return el("td", {}, figure);
}

/** Least to greatest as a line, the mean as a dot, all rows on one scale. */
function spread([mean, least, greatest], [low, high]) {
  const picture = svg("svg", { class: "spread", viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" });
  if (mean === null || mean === undefined) return picture;
  const x = (value) => (high > low ? 2 + (96 * (value - low)) / (high - low) : 50);
  picture.append(
    svg("line", { class: "track", x1: 0, x2: 100, y1: 6, y2: 6 }),
    svg("line", { class: "reach", x1: x(least), x2: x(greatest), y1: 6, y2: 6 }),
    svg("line", { class: "mean", x1: x(mean), x2: x(mean), y1: 1, y2: 11 }));
  return picture;
}

function extent(ranges) {
  const known = ranges.filter((range) => range && range[0] !== null);
  if (known.length === 0) return null;
  return [Math.min(...known.map((range) => range[1])), Math.max(...known.map((range) => range[2]))];
}

/** A small line without axes. */
export function spark(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const picture = svg("svg", { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" });
  if (known.length < 2) return picture;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const y = (value) => (high > low ? 27 - (24 * (value - low)) / (high - low) : 15);
  const points = known.map((value, at) => `${(100 * at) / (known.length - 1)},${y(value).toFixed(2)}`);
  picture.append(svg("polyline", { points: points.join(" ") }));
  return picture;
}

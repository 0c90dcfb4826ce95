// Comparisons: tables whose cells show their size.

import { gapped } from "./charts.js";
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

/** A small line without axes of what `value` says of rows by time. As a trend it has a gap wherever minutes are missing. */
export function spark(rows, value) {
  const known = rows.map((row) => ({ t: row.t, w: row.w, value: value(row) ?? null })).filter((point) => point.value !== null);
  const picture = svg("svg", { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" });
  if (known.length < 2) return picture;
  const values = known.map((point) => point.value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [first, last] = [known[0].t, known.at(-1).t];
  const x = (t) => ((100 * (t - first)) / (last - first)).toFixed(2);
  const y = (value) => (high > low ? 27 - (24 * (value - low)) / (high - low) : 15).toFixed(2);
  const parts = [[]];
  for (const point of gapped(known)) {
    if (point.value === undefined) parts.push([]);
    else parts.at(-1).push(`${x(point.t)},${y(point.value)}`);
  }
  // A line of one minute has no length: from there to there it is the point that its round ends make.
  const ends = (part) => (part.length > 1 ? part : [...part, ...part]);
  picture.append(...parts.map((part) => svg("polyline", { points: ends(part).join(" ") })));
  return picture;
}

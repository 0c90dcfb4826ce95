// Trends on canvas, by uPlot, each with its figures in words and in a table.

import { el, say } from "./dom.js";
import { number, time, timeSeconds } from "./format.js";

/** A colour of the style sheet as the canvas understands it: the one of the theme that is shown. */
function style(name) {
  const probe = document.body.appendChild(el("span"));
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
export const color = (index) => style(`--c${index}`);
const faint = (rgb) => rgb.replace("rgb(", "rgba(").replace(")", ", 0.16)");

const HEIGHT = 220;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

/** Rows by time, with an empty one wherever minutes are missing: a line drawn over them would be made up. */
export function gapped(rows) {
  return rows.flatMap((row, at) => (rows[at + 1]?.t > row.t + row.w ? [row, { t: row.t + row.w }] : [row]));
}

/** A line of one minute has no length: that minute is a point. */
function alone(stroke) {
  const filter = (plot, series) => {
    const isKnown = (at) => typeof plot.data[series][at] === "number";
    const found = [...plot.data[series].keys()].filter((at) => isKnown(at) && !isKnown(at - 1) && !isKnown(at + 1));
    return found.length ? found : null;
  };
  return { show: false, size: 6, fill: stroke, filter };
}

function axes(digits) {
  const common = { stroke: style("--ink-2"), grid: { stroke: style("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const short = (u, splits) => splits.map((ms) => time(ms));
  return [
    { ...common, grid: { show: false }, values: short, space: 70, size: 30 },
    { ...common, size: 52, incrs: STEPS.filter((step) => digits > 0 || step >= 1), values: (u, splits) => splits.map((v) => number(v, digits === 0 ? 0 : 1)) },
  ];
}

/** Room above and below, so that noise does not look like news. */
function range(least) {
  return (u, low, high) => {
    if (low === null) return [0, 1];
    const pad = Math.max((high - low) * 0.12, least / 2);
    return [low - pad, high + pad];
  };
}

function canvas(box, series, bands, digits, least) {
  const options = {
    ms: 1, width: Math.max(200, box.clientWidth || 600), height: HEIGHT, series, bands,
    legend: { show: false }, axes: axes(digits), padding: [8, 8, 0, 0],
    scales: { x: { time: true }, y: { range: range(least) } },
    cursor: { drag: { x: false, y: false }, points: { size: 7 } },
  };
  const plot = new uPlot(options, series.map(() => []), box);
  const watcher = new ResizeObserver(() => {
    const width = box.clientWidth;
    if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT });
  });
  watcher.observe(box);
  return { plot, close: () => { watcher.disconnect(); plot.destroy(); } };
}

/** Mean with the range between least and greatest; what is not committed yet is dashed. */
export function trend({ name, unit, digits, key, color: index }) {
  const value = el("span", { class: "figure" }, "–");
  const live = el("p", { class: "note live" });
  const box = el("div", { class: "canvas", role: "img", "aria-label": name });
  const table = figures(unit);
  const root = el("section", { class: "card trend", "data-vital": key },
    el("div", { class: "card-head" }, el("h2", {}, name), el("p", { class: "now" }, value, ` ${unit}`)),
    box, el("div", { class: "card-foot" }, live, table.root));
  let drawn = null;
  function update(rows) {
    const stroke = color(index);
    drawn ??= canvas(box, [
      {},
      { stroke, width: 2, points: alone(stroke) },
      { stroke, width: 2, dash: [5, 4], points: { show: true, size: 6, fill: style("--card"), stroke } },
      { stroke: "transparent", width: 0, points: { show: false } },
      { stroke: "transparent", width: 0, points: { show: false } },
    ], [{ series: [4, 3], fill: faint(stroke) }], digits, digits === 0 ? 10 : 2);
    const kept = rows.filter((row) => row[key]?.[0] !== null && row[key] !== undefined);
    const steady = kept.findLastIndex((row) => !row.live);
    const last = kept[steady];
    const isJoined = steady < kept.length - 1;
    const points = gapped(kept);
    const committed = (part) => points.map((row) => (row.live ? null : row[key]?.[part] ?? null));
    drawn.plot.setData([
      points.map((row) => row.t),
      committed(0),
      points.map((row) => (row.live || (isJoined && row === last) ? row[key][0] : null)),
      committed(1),
      committed(2),
    ]);
    const running = kept.at(-1)?.live ? kept.at(-1) : null;
    say(value, number((last ?? running)?.[key][0], digits));
    value.dataset.value = last?.[key][0] ?? "";
    value.dataset.minute = last?.t ?? "";
    say(live, running ? `Running minute, so far: ${number(running[key][0], digits)} ${unit} from ${number(running.n)} events` : "");
    live.dataset.minute = running?.t ?? "";
    live.dataset.events = running?.n ?? "";
    box.setAttribute("aria-label", last
      ? `${name}: mean ${number(last[key][0], digits)} ${unit} in the minute from ${time(last.t)}, between ${number(last[key][1], digits)} and ${number(last[key][2], digits)}; ${kept.length} minutes shown`
      : `${name}: nothing committed yet`);
    table.update(kept, (row) => [number(row[key][0], digits), number(row[key][1], digits), number(row[key][2], digits)]);
  }
  return { root, update, close: () => drawn?.close() };
}

/** The same figures as a table, for who does not see the picture. */
function figures(unit) {
  const body = el("tbody");
  const root = el("details", { class: "figures" }, el("summary", {}, "Figures"),
    el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Figures" },
      el("table", {}, el("thead", {}, el("tr", {},
        ...["Minute", `Mean ${unit}`, "Least", "Greatest"].map((text) => el("th", { scope: "col" }, text)))), body)));
  let seen = [];
  const of = () => seen.rows.slice(-15).reverse().map((row) => el("tr", { class: row.live ? "provisional" : null },
    el("th", { scope: "row" }, `${timeSeconds(row.t)}${row.live ? " (running)" : ""}`),
    ...seen.cells(row).map((text) => el("td", {}, text))));
  const draw = () => { if (root.open && seen.rows) body.replaceChildren(...of()); };
  root.addEventListener("toggle", draw);
  return { root, update: (rows, cells) => { seen = { rows, cells }; draw(); } };
}

/**
 * Several lines in one picture, told apart by colour and by dashes: of each what is committed, and behind that, thinner and
 * with hollow points, what is not yet.
 */
export function lines(box, count, digits, least) {
  const series = [{}];
  for (let at = 0; at < count; at += 1) {
    const stroke = color(at % 4);
    const dash = DASHES[at % 4];
    series.push(
      { stroke, width: 2, dash, points: alone(stroke) },
      { stroke, width: 1, dash, points: { show: true, size: 6, fill: style("--card"), stroke } },
    );
  }
  return canvas(box, series, [], digits, least);
}

// Up to four patients side by side.

import { color, gapped, lines } from "../charts.js";
import { courses } from "../courses.js";
import { card, el, hint, svg } from "../dom.js";
import { number, patientId, VITALS } from "../format.js";
import { finder } from "./patient.js";

const MOST = 4;
const DASHES = ["", "8 4", "2 3", "10 3 2 3"];

export function compare({ store, body, argument, minutes }) {
  if (!store.me?.patients) {
    body.append(hint("Your role does not include single patients."));
    return { update() {} };
  }
  const ids = [...new Set(argument.split(",").map(patientId).filter((id) => id !== null))].slice(0, MOST);
  const go = (next) => { location.hash = `#/compare/${next.join(",")}`; };
  const chips = el("ul", { class: "chips" }, ids.map((id, at) => el("li", {},
    swatch(at), el("a", { href: `#/patient/${id}` }, id),
    el("button", { type: "button", "aria-label": `Remove patient ${id}`, onclick: () => go(ids.filter((other) => other !== id)) }, "×"))));
  const add = ids.length < MOST
    ? finder((id) => go([...new Set([...ids, id])]), ids.length ? "Add a patient" : "Choose patients to compare, up to four")
    : null;
  const charts = VITALS.map((one) => {
    const box = el("div", { class: "canvas", role: "img", "aria-label": `${one.name} of ${ids.length} patients` });
    return { one, box, root: el("section", { class: "card trend", "data-vital": one.key }, el("div", { class: "card-head" }, el("h2", {}, one.name), el("p", { class: "now" }, one.unit)), box) };
  });
  const table = el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Newest figures" });
  body.append(...[ids.length ? chips : null, add ? card("Patients", "seen in the last hour", add) : null].filter(Boolean));
  if (ids.length) body.append(card("Newest figures", "", table), el("div", { class: "grid two" }, charts.map((chart) => chart.root)));

  let data = null;
  let span = null;
  function draw() {
    if (!data) return;
    span = minutes();
    const steady = data.map((rows) => rows.filter((row) => !row.live));
    const newest = Math.max(...steady.flat().map((row) => row.t), 0);
    // Running minutes may be ahead; what is shown is measured from what is committed.
    const kept = data.map((rows) => rows.filter((row) => row.t > newest - span * 60_000));
    const seen = [...new Map(kept.flat().map((row) => [row.t, row])).values()].sort((a, b) => a.t - b.t);
    const times = gapped(seen).map((row) => row.t);
    for (const chart of charts) {
      chart.drawn ??= lines(chart.box, ids.length, chart.one.digits, chart.one.digits === 0 ? 10 : 2);
      chart.drawn.plot.setData([times, ...kept.flatMap((rows) => split(rows, chart.one.key, times))]);
    }
    const head = el("tr", {}, el("th", { scope: "col" }, "Patient"), VITALS.map((one) => el("th", { scope: "col" }, `${one.short}, ${one.unit}`)));
    const lastOf = (rows, key) => rows.findLast((row) => row[key]?.[0] !== null && row[key] !== undefined)?.[key][0];
    const line = (rows, at, name, kind) => el("tr", { class: kind }, el("th", { scope: "row" }, swatch(at), ` ${name}`),
      VITALS.map((one) => el("td", {}, number(lastOf(rows, one.key), one.digits))));
    const body = ids.flatMap((id, at) => {
      const running = data[at].filter((row) => row.live).slice(-1);
      return [line(steady[at], at, id), ...(running.length ? [line(running, at, `${id} (running)`, "provisional")] : [])];
    });
    table.replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, body)));
  }

  const following = courses(store, ids, (known) => {
    data = known.map((course) => course?.rows ?? []);
    draw();
  });
  return {
    update() {
      if (ids.length === 0) return;
      // Another span needs no other rows.
      if (span !== minutes()) draw();
      following.update();
    },
    close() {
      following.close();
      for (const chart of charts) chart.drawn?.close();
    },
  };
}

/** Means at `times`: of the committed minutes, and of the running ones behind the last of those. */
function split(rows, key, times) {
  const known = rows.filter((row) => typeof row[key]?.[0] === "number");
  const last = known.findLast((row) => !row.live);
  const running = known.filter((row) => row.live);
  const at = (some) => {
    const by = new Map(some.map((row) => [row.t, row[key][0]]));
    return times.map((t) => by.get(t) ?? null);
  };
  return [at(known.filter((row) => !row.live)), at(running.length && last ? [last, ...running] : running)];
}

function swatch(at) {
  return svg("svg", { class: "swatch", viewBox: "0 0 24 6", "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 24, y1: 3, y2: 3, stroke: color(at), "stroke-width": 3, "stroke-dasharray": DASHES[at] }));
}

// One patient: the vitals of the last hour, minute by minute, and of the minute that is running.

import { trend } from "../charts.js";
import { card, el, hint, say } from "../dom.js";
import { number, time, VITALS } from "../format.js";
import { alertList, inOrder } from "./alerts.js";

/** No page asks more often, ms. */
export const AGAIN = 1000;

/** A field that finds patients by the beginning of their number and hands one to `choose`. */
export function finder(choose, text = "Find a patient by number") {
  const list = el("ul", { class: "found" });
  const input = el("input", { id: "find", type: "search", inputmode: "numeric", autocomplete: "off", placeholder: "e.g. 1004" });
  let asked = 0;
  async function look() {
    const mine = (asked += 1);
    const response = await fetch(`/api/patients?begins=${encodeURIComponent(input.value.trim())}`).catch(() => null);
    if (mine !== asked) return;
    const patients = response?.ok ? (await response.json()).patients : [];
    list.replaceChildren(...patients.slice(0, 24).map((one) => el("li", {},
      el("button", { type: "button", onclick: () => choose(one.id) },
        el("strong", {}, one.id),
        el("span", { class: "note" }, ` ${number(one.newest.hr?.[0])} bpm · ${number(one.newest.temp?.[0], 1)} °F`)))));
    if (patients.length === 0) list.replaceChildren(el("li", {}, hint("No such patient in the last hour.")));
  }
  input.addEventListener("input", look);
  look();
  return el("div", { class: "finder" }, el("label", { for: "find" }, text), input, list);
}

/** The minutes of a patient; null when the server does not answer, or breaks off. */
export async function rowsOf(id) {
  try {
    const response = await fetch(`/api/patient/${id}`);
    return response.ok ? (await response.json()).rows : null;
  } catch {
    return null;
  }
}

export function patient({ store, body, argument, minutes }) {
  if (!store.me?.patients) {
    body.append(hint("Your role does not include single patients."));
    return { update() {} };
  }
  if (!/^-?\d+$/.test(argument)) {
    const find = finder((id) => { location.hash = `#/patient/${id}`; });
    body.append(card("Choose a patient", "seen in the last hour", find));
    return { update() {} };
  }
  const id = argument;
  const lead = el("p", { class: "lead" }, "Reading…");
  const charts = VITALS.map((one) => trend(one));
  const about = el("div");
  body.append(
    el("p", { class: "who-is" }, el("strong", {}, `Patient ${id}`), " ",
      el("a", { href: "#/patient" }, "Another patient"), " ", el("a", { href: `#/compare/${id}` }, "Compare")),
    lead, about, el("div", { class: "grid two" }, charts.map((chart) => chart.root)));
  let rows = null;
  let asked = 0;
  let seen = null;
  let timer = null;
  let closed = false;
  function draw() {
    if (!rows || closed) return;
    // Running minutes may be ahead; what is shown is measured from what is committed.
    const from = ((rows.findLast((row) => !row.live) ?? rows.at(-1))?.t ?? 0) - minutes() * 60_000;
    for (const chart of charts) chart.update(rows.filter((row) => row.t > from));
    const last = rows.at(-1);
    say(lead, last ? `Last seen in the minute from ${time(last.t)}; ${rows.length} minutes with events in the last hour.` : "Nothing of this patient in the last hour.");
    const own = inOrder(store.rows("alerts").filter((alert) => alert.patient === id && alert.state !== "resolved"));
    about.replaceChildren(...(own.length ? [card("Alerts", "", alertList(own))] : []));
  }
  async function read() {
    asked = Date.now();
    seen = store.committed;
    rows = (await rowsOf(id)) ?? rows ?? [];
    draw();
  }
  const page = {
    update() {
      draw();
      // A minute was committed or is running: ask again, but neither at each step of a fast run nor twice at once.
      if (seen === store.committed && rows && store.running === null) return;
      const wait = Math.max(0, asked + AGAIN - Date.now());
      timer ??= setTimeout(async () => {
        try { await read(); } finally { timer = null; }
        // One that was committed meanwhile has found a timer.
        if (!closed && seen !== store.committed) page.update();
      }, wait);
    },
    close() {
      closed = true;
      clearTimeout(timer);
      for (const chart of charts) chart.close();
    },
  };
  return page;
}

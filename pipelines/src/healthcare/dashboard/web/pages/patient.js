// One patient: the vitals of the last hour, minute by minute, and of the minute that is running.

import { trend } from "../charts.js";
import { courses } from "../courses.js";
import { card, el, hint, say } from "../dom.js";
import { number, patientId, time, VITALS } from "../format.js";

/** Of which time a server tells that holds everything behind `from`, or all of the hour. */
const lately = (from) => (from ? `since ${time(from)}, from when on the server holds all` : "in the last hour");
import { alertList, inOrder } from "./alerts.js";

/** The patients whose number begins so, and from when on all are held; null when the server does not answer, or breaks off. */
async function search(begins) {
  try {
    const response = await fetch(`/api/patients?begins=${encodeURIComponent(begins)}`);
    if (response.status === 401) location.reload();
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** A field that finds patients by the beginning of their number and hands one to `choose`. */
export function finder(choose, text = "Find a patient by number") {
  const list = el("ul", { class: "found" });
  const input = el("input", { id: "find", type: "search", inputmode: "numeric", autocomplete: "off", placeholder: "e.g. 1004" });
  let asked = 0;
  async function look() {
    const mine = (asked += 1);
    const found = await search(input.value.trim());
    if (mine !== asked) return;
    const patients = found?.patients ?? [];
    list.replaceChildren(...patients.slice(0, 24).map((one) => el("li", {},
      el("button", { type: "button", onclick: () => choose(one.id) },
        el("strong", {}, one.id),
        el("span", { class: "note" }, ` ${number(one.newest.hr?.[0])} bpm · ${number(one.newest.temp?.[0], 1)} °F`)))));
    const nobody = found ? `No such patient ${lately(found.from)}.` : "The server cannot answer just now.";
    if (patients.length === 0) list.replaceChildren(el("li", {}, hint(nobody)));
  }
  input.addEventListener("input", look);
  look();
  return el("div", { class: "finder" }, el("label", { for: "find" }, text), input, list);
}

export function patient({ store, body, argument, minutes }) {
  if (!store.me?.patients) {
    body.append(hint("Your role does not include single patients."));
    return { update() {} };
  }
  const id = patientId(argument);
  if (id === null) {
    const find = finder((id) => { location.hash = `#/patient/${id}`; });
    body.append(card("Choose a patient", "seen in the last hour", find));
    return { update() {} };
  }
  const lead = el("p", { class: "lead" }, "Reading…");
  const charts = VITALS.map((one) => trend(one));
  const about = el("div");
  body.append(
    el("p", { class: "who-is" }, el("strong", {}, `Patient ${id}`), " ",
      el("a", { href: "#/patient" }, "Another patient"), " ", el("a", { href: `#/compare/${id}` }, "Compare")),
    lead, about, el("div", { class: "grid two" }, charts.map((chart) => chart.root)));
  let rows = null;
  let from = null;
  let before = "";
  function draw() {
    if (!rows) return;
    // Running minutes may be ahead; what is shown is measured from what is committed.
    const first = ((rows.findLast((row) => !row.live) ?? rows.at(-1))?.t ?? 0) - minutes() * 60_000;
    for (const chart of charts) chart.update(rows.filter((row) => row.t > first));
    const last = rows.at(-1);
    const seen = rows.filter((row) => !from || row.t >= from).length;
    say(lead, last ? `Last seen in the minute from ${time(last.t)}; ${seen} minutes with events ${lately(from)}.` : `Nothing of this patient ${lately(from)}.`);
    const own = inOrder(store.rows("alerts").filter((alert) => alert.patient === id && alert.state !== "resolved"));
    // Made anew its link would lose the focus.
    const now = JSON.stringify(own);
    if (now === before) return;
    before = now;
    about.replaceChildren(...(own.length ? [card("Alerts", "", alertList(own))] : []));
  }
  const following = courses(store, [id], ([course]) => {
    [rows, from] = [course.rows, course.from];
    draw();
  });
  return {
    update() {
      draw();
      following.update();
    },
    close() {
      following.close();
      for (const chart of charts) chart.close();
    },
  };
}

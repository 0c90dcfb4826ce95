// One patient: the vitals of the last hour, minute by minute, and of the minute that is running.

import { trend } from "../charts.js";
import { courses } from "../courses.js";
import { card, el, hint, say } from "../dom.js";
import { number, patientId, time, VITALS } from "../format.js";
import { alertList, inOrder } from "./alerts.js";

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
  let before = "";
  function draw() {
    if (!rows) return;
    // Running minutes may be ahead; what is shown is measured from what is committed.
    const from = ((rows.findLast((row) => !row.live) ?? rows.at(-1))?.t ?? 0) - minutes() * 60_000;
    for (const chart of charts) chart.update(rows.filter((row) => row.t > from));
    const last = rows.at(-1);
    say(lead, last ? `Last seen in the minute from ${time(last.t)}; ${rows.length} minutes with events in the last hour.` : "Nothing of this patient in the last hour.");
    const own = inOrder(store.rows("alerts").filter((alert) => alert.patient === id && alert.state !== "resolved"));
    // Made anew its link would lose the focus.
    const now = JSON.stringify(own);
    if (now === before) return;
    before = now;
    about.replaceChildren(...(own.length ? [card("Alerts", "", alertList(own))] : []));
  }
  const following = courses(store, [id], ([course]) => {
    rows = course.rows;
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

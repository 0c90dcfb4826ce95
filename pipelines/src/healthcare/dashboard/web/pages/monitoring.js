// Real-time monitoring: two trends, and what the last committed minute held.

import { comparison } from "../bars.js";
import { trend } from "../charts.js";
import { card, el, say } from "../dom.js";
import { categoryOrder, label, time, vital } from "../format.js";

export function monitoring({ store, body, minutes }) {
  const temperature = trend(vital("temp"));
  const heart = trend(vital("hr"));
  const of = (key, digits) => ({ title: `${vital(key).short}, ${vital(key).unit}`, value: (row) => row[key]?.[0], digits });
  const categories = comparison("Vitals by category of blood pressure", "Category", [
    { title: "Readings", value: (row) => row.n, digits: 0, bar: true },
    of("hr", 0), of("temp", 1), of("spo2", 1),
  ], label);
  const medications = comparison("Events by medication", "Medication", [
    { title: "Events", value: (row) => row.n, digits: 0, bar: true },
    { title: "Patients", value: (row) => row.p, digits: 0 },
  ], label);
  const types = comparison("Events by type", "Type", [
    { title: "Events", value: (row) => row.n, digits: 0, bar: true },
    { title: "Patients", value: (row) => row.p, digits: 0 },
  ], label);
  const minute = el("p", { class: "lead" });
  body.append(minute,
    el("div", { class: "grid two" }, temperature.root, heart.root),
    el("div", { class: "grid" }, card("Vitals by blood-pressure category", "", categories.root)),
    el("div", { class: "grid two" }, card("Medications", "", medications.root), card("Event types", "", types.root)));
  return {
    update() {
      const rows = store.recent("kpis", minutes());
      temperature.update(rows);
      heart.update(rows);
      categories.update(store.latest("categories").sort((a, b) => categoryOrder(a.k) - categoryOrder(b.k)));
      const byEvents = (a, b) => b.n - a.n || a.k.localeCompare(b.k);
      medications.update(store.latest("medications").sort(byEvents));
      types.update(store.latest("types").sort(byEvents));
      say(minute, lead(store));
    },
    close() {
      temperature.close();
      heart.close();
    },
  };
}

/** Which minute the tables tell of. */
export function lead(store) {
  const [row] = store.latest("kpis");
  if (!row) return "No event has been seen yet.";
  const until = time(row.t + row.w);
  return row.live
    ? `The first minute, from ${time(row.t)}, is still running.`
    : `The tables show the last committed minute, ${time(row.t)} to ${until}. Dashed: the running minute, provisional.`;
}

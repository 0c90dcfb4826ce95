// Real-time monitoring: two trends, and what the last committed minute held, beside what the running one holds so far.

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
      categories.update(store.compared("categories", byCategory));
      medications.update(store.compared("medications", byEvents));
      types.update(store.compared("types", byEvents));
      say(minute, lead(store));
    },
    close() {
      temperature.close();
      heart.close();
    },
  };
}

export const byCategory = (a, b) => categoryOrder(a.k) - categoryOrder(b.k);
export const byEvents = (a, b) => b.n - a.n || a.k.localeCompare(b.k);

/** Which minutes the tables tell of. */
export function lead(store) {
  const row = store.rows("kpis").find((one) => one.t === store.committed);
  const { running } = store;
  if (!row) return running === null ? "No event has been seen yet." : `The first minute, from ${time(running)}, is still running.`;
  const last = `The tables show the last committed minute, ${time(row.t)} to ${time(row.t + row.w)}`;
  return running === null ? `${last}.` : `${last}, and the running one from ${time(running)}, provisional: dashed in pictures.`;
}

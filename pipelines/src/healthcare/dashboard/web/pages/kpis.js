// Key figures of the last committed minute, beside those of the running one.

import { comparison, spark } from "../bars.js";
import { card, el, say } from "../dom.js";
import { label, number, vital } from "../format.js";
import { byCategory, byEvents, lead } from "./monitoring.js";

const TILES = [
  { name: "Patients monitored", unit: "", digits: 0, value: (row) => row.p, id: "patients" },
  { name: "Average heart rate", unit: "bpm", digits: 1, value: (row) => row.hr?.[0], id: "hr" },
  { name: "Average temperature", unit: "°F", digits: 2, value: (row) => row.temp?.[0], id: "temp" },
  { name: "Oxygen saturation", unit: "%", digits: 1, value: (row) => row.spo2?.[0], id: "spo2" },
  { name: "Respiratory rate", unit: "/min", digits: 1, value: (row) => row.rr?.[0], id: "rr" },
  { name: "Events in the minute", unit: "", digits: 0, value: (row) => row.n, id: "events" },
];

function tile({ name, unit, digits, value, id }) {
  const figure = el("span", { class: "figure" }, "–");
  const line = el("div", { class: "line" });
  const live = el("p", { class: "note" });
  const root = el("section", { class: "card tile", "data-kpi": id },
    el("h2", {}, name), el("p", { class: "big" }, figure, unit ? el("span", { class: "unit" }, ` ${unit}`) : null), live, line);
  let drawn = "";
  return {
    root,
    update(rows) {
      const committed = rows.filter((row) => !row.live);
      const last = committed.at(-1);
      const running = rows.at(-1)?.live ? rows.at(-1) : null;
      say(figure, last ? number(value(last), digits) : "–");
      figure.dataset.value = last ? value(last) ?? "" : "";
      figure.dataset.minute = last?.t ?? "";
      say(live, running ? `running minute: ${number(value(running), digits)}` : "");
      const now = committed.map((row) => `${row.t} ${value(row)}`).join();
      if (drawn !== now) {
        drawn = now;
        line.replaceChildren(spark(committed, value));
      }
    },
  };
}

export function kpis({ store, body, minutes }) {
  const tiles = TILES.map(tile);
  const temperature = comparison("Temperature by category of blood pressure", "Category", [
    { title: "Least, mean and greatest, °F", value: (row) => row.temp?.[0], digits: 2, range: (row) => row.temp },
    { title: "Readings", value: (row) => row.n, digits: 0 },
  ], label);
  const of = (key, digits) => ({ title: `${vital(key).short}, ${vital(key).unit}`, value: (row) => row[key]?.[0], digits });
  const types = comparison("Vitals by event type", "Type", [
    { title: "Events", value: (row) => row.n, digits: 0, bar: true },
    of("hr", 1), of("temp", 1), of("spo2", 1), of("rr", 1),
  ], label);
  const minute = el("p", { class: "lead" });
  body.append(minute, el("div", { class: "grid tiles" }, tiles.map((one) => one.root)),
    el("div", { class: "grid" }, card("Temperature by blood-pressure category", "", temperature.root)),
    el("div", { class: "grid" }, card("Vitals by event type", "", types.root)));
  return {
    update() {
      const rows = store.recent("kpis", minutes());
      for (const one of tiles) one.update(rows);
      temperature.update(store.compared("categories", byCategory));
      types.update(store.compared("types", byEvents));
      say(minute, lead(store));
    },
  };
}

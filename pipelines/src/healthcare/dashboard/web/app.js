// The frame around the pages: which one is shown, whether we are connected, how it looks.

import { el, hint, pass, say } from "./dom.js";
import { ago } from "./format.js";
import { Store } from "./store.js";
import { monitoring } from "./pages/monitoring.js";
import { kpis } from "./pages/kpis.js";
import { alerts, isOpen } from "./pages/alerts.js";
import { patient } from "./pages/patient.js";
import { compare } from "./pages/compare.js";
import { pipeline } from "./pages/pipeline.js";

/** A page makes its elements once and returns what brings them up to date. */
const PAGES = { monitoring, kpis, alerts, patient, compare, pipeline };
const TITLES = {
  monitoring: "Real-time monitoring", kpis: "Key figures", alerts: "Alerts",
  patient: "Patient", compare: "Compare patients", pipeline: "Pipeline",
};

const store = new Store();
const main = document.getElementById("main");
const span = document.getElementById("span");
const stale = el("p", { class: "stale", hidden: true }, "The tables cannot be read just now: they may hold more than what is shown.");
main.prepend(stale);
let page = null;

function route() {
  const [name, ...rest] = location.hash.replace(/^#\//, "").split("/");
  return { name: Object.hasOwn(PAGES, name) ? name : "monitoring", argument: rest.join("/") };
}

function show(moveFocus) {
  // What is not known is not there: no page says that there is nothing before the tables were read.
  if (!store.known) return;
  const { name, argument } = route();
  page?.close?.();
  const heading = el("h1", {}, TITLES[name]);
  const body = el("div", { class: `page ${name}` });
  main.replaceChildren(stale, heading, body);
  document.title = `${TITLES[name]} · Thalweg`;
  for (const link of document.querySelectorAll("nav.pages a")) {
    const current = link.getAttribute("href") === `#/${name}`;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  page = PAGES[name]({ store, body, argument, minutes: () => Number(span.value) });
  page.update();
  if (moveFocus) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

let waiting = false;
function update() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    page?.update();
    const open = store.rows("alerts").filter(isOpen).length;
    const count = document.getElementById("alert-count");
    count.hidden = open === 0;
    say(count, ` ${open}`);
  });
}

function status() {
  const element = document.getElementById("status");
  element.dataset.status = store.status;
  const texts = {
    connecting: "Connecting…", reading: "Reading…", live: "Live", stale: "Not up to date", lost: "Reconnecting…", paused: "Paused",
  };
  say(document.getElementById("status-text"), texts[store.status]);
  stale.hidden = store.status !== "stale";
}

function age() {
  const newest = store.rows("checkpoints").at(-1);
  say(document.getElementById("age"), newest ? `Committed ${ago(newest.at, store.now)}` : "");
}

const themes = ["auto", "light", "dark"];
const theme = document.getElementById("theme");
const chosen = () => document.documentElement.dataset.theme ?? "auto";
function nameTheme() {
  say(theme, `Theme: ${chosen()}`);
}
theme.addEventListener("click", () => {
  const next = themes[(themes.indexOf(chosen()) + 1) % themes.length];
  if (next === "auto") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("thalweg-theme");
  } else {
    document.documentElement.dataset.theme = next;
    localStorage.setItem("thalweg-theme", next);
  }
  nameTheme();
  show(false);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(false));

document.getElementById("leave").addEventListener("click", async () => {
  await fetch("/session", { method: "DELETE", redirect: "manual" });
  location.assign("/");
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
// The digits lead to the pages from the menu alone: elsewhere a single key may be somebody's dictation.
document.querySelector("nav.pages").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const name = Object.keys(PAGES)[Number(event.key) - 1];
  if (name) location.hash = `#/${name}`;
});

/** How long a tab may be out of sight and go on, ms. */
const UNSEEN = 10_000;
let leaving = null;
// A browser has six connections to a server that speaks HTTP/1.1, for all its tabs: one that nobody sees keeps none.
function seen() {
  clearTimeout(leaving);
  if (document.hidden) leaving = setTimeout(() => store.pause(), UNSEEN);
  else store.resume();
}

span.addEventListener("change", update);
addEventListener("hashchange", () => show(true));
store.addEventListener("change", () => {
  if (!page) show(false);
  update();
});
store.addEventListener("status", status);
setInterval(() => {
  age();
  pass();
  store.tick();
}, 1000);
nameTheme();

try {
  await store.start();
  age();
  document.addEventListener("visibilitychange", seen);
  seen();
} catch {
  main.replaceChildren(hint("The server does not answer. Is the program still running? Reload to try again."));
}

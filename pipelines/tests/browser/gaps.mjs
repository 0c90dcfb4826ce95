// usage: gaps.mjs LINK EXPECTED.json
// For the pages of one patient and of two: the first request for each patient breaks off, the second one is answered by 503,
// the third one with what was committed a minute before. Nothing is committed meanwhile, and no minute runs: all the same
// every point has to come. Then minutes are missing, and no line may be drawn over them, nor a small one of the key figures.
// In between, in played time, a page to which nothing is told asks on, and what `store.mjs` tries. Before all of it somebody
// follows the link from another site, at last tables cannot be read, and a search is not answered.
// Prints `ok`, or what is wrong.
import { readFileSync } from "node:fs";
import { PATIENCE, accessible, check, judge, open, visit } from "./browser.mjs";
import { connections } from "./store.mjs";

const [link, file] = process.argv.slice(2);
const { minute, courses } = JSON.parse(readFileSync(file, "utf8"));
const ids = Object.keys(courses);
const { origin } = new URL(link);
const browser = await open();

/** How often each patient was asked for, and how far the server said that its answer reaches. */
let asked, told;

async function trouble(route) {
  const id = new URL(route.request().url()).pathname.split("/").at(-1);
  asked[id] = (asked[id] ?? 0) + 1;
  if (asked[id] === 1) return route.abort("connectionreset");
  if (asked[id] === 2) return route.fulfill({ status: 503, body: "not now" });
  if (asked[id] > 3) return route.continue();
  const course = await (await route.fetch()).json();
  told = course.committed;
  const rows = course.rows.filter((row) => row.t < minute);
  return route.fulfill({ json: { ...course, rows, committed: minute - 60_000 } });
}

/** Opens a page and waits for the figures of the newest minute; `shown` reads them, as text, where there are some. */
async function turn(page, name, shown, wanted) {
  [asked, told] = [{}, null];
  await page.goto(`${origin}/#/${name}`);
  let found = null;
  try {
    await page.waitForFunction(shown, wanted);
  } catch {
    found = await page.locator("main").textContent();
  }
  check(found === null, `${name} was asked for ${JSON.stringify(asked)} and shows ${found}; the table says ${JSON.stringify(wanted)}`);
  check(Object.values(asked).every((times) => times === 4), `${name}: asked for ${JSON.stringify(asked)}`);
  check(told === minute, `the answer of a patient reaches ${told}, the table ${minute}`);
}

/** Of ten minutes those of which a patient has events: a line, nothing, a point, nothing, a line. */
const SEEN = [0, 1, 2, 5, 8, 9];
/** Where something is to be painted, and where nothing is. */
const PAINTED = [0.5, 1.5, 5, 8.5];
const BARE = [2.5, 3, 4, 4.5, 5.5, 6, 7, 7.5];

async function sparse(route) {
  const course = await (await route.fetch()).json();
  const first = minute - 9 * 60_000;
  const rows = SEEN.map((at) => ({ ...course.rows[0], hr: [80, 60, 100], t: first + at * 60_000 }));
  return route.fulfill({ json: { ...course, rows, committed: minute } });
}

/** At which of these minutes anything is painted in the colour of the first line. */
function painted(chart, minutes) {
  const [canvas, over] = [chart.querySelector("canvas"), chart.querySelector(".u-over")];
  const probe = document.body.appendChild(document.createElement("span"));
  probe.style.color = "var(--c0)";
  const wanted = getComputedStyle(probe).color.match(/\d+/g).map(Number);
  probe.remove();
  const scale = canvas.width / canvas.clientWidth;
  const at = (minute) => Math.round((over.offsetLeft + (over.clientWidth * minute) / 9) * scale);
  const context = canvas.getContext("2d");
  const isPainted = (x) => {
    const { data } = context.getImageData(x, 0, 1, canvas.height);
    // What is thin is mixed with nothing: its colour stays.
    const is = (pixel) => data[pixel + 3] > 20 && wanted.every((value, part) => Math.abs(data[pixel + part] - value) < 12);
    return Array.from({ length: canvas.height }, (_, y) => y * 4).some(is);
  };
  return minutes.filter((minute) => isPainted(at(minute)));
}

/** A page of patients who have events in few of their minutes: there alone it has a line, or a point. */
async function missing(page, name) {
  await page.goto(`${origin}/#/${name}`);
  const chart = page.locator(".trend", { hasText: "Heart rate" });
  await chart.locator("canvas").waitFor();
  let found = [];
  for (let tries = 0; tries < PATIENCE / 100 && found.join() !== PAINTED.join(); tries += 1) {
    await page.waitForTimeout(100);
    found = await chart.evaluate(painted, [...PAINTED, ...BARE]);
  }
  check(found.join() === PAINTED.join(), `${name} is painted at ${found}, and has events at ${SEEN}`);
}

/** What the server knows, were these the only minutes that it has seen. */
async function few(route) {
  const state = await (await route.fetch()).json();
  const first = minute - 9 * 60_000;
  const [row] = state.sections.kpis.filter((one) => one.t === minute && !one.live);
  state.sections.kpis = SEEN.map((at) => ({ ...row, hr: [80 + at, 60, 100], t: first + at * 60_000 }));
  return route.fulfill({ json: state });
}

/** The small lines of the key figures: each at its minutes, and a point where a minute is alone. */
async function small(page) {
  await page.route("**/api/live*", (route) => route.abort());
  await page.route("**/api/state", few);
  await page.goto(`${origin}/#/kpis`);
  await page.reload();
  await page.locator("[data-kpi=hr] .spark polyline").first().waitFor({ state: "attached" });
  const found = await page.locator("[data-kpi=hr] .spark").evaluate((picture) =>
    [...picture.querySelectorAll("polyline")].map((line) => line.getAttribute("points").split(" ").map((point) => Math.round((9 * parseFloat(point)) / 100))));
  check(JSON.stringify(found) === "[[0,1,2],[5,5],[8,9]]", `the small line is drawn at ${JSON.stringify(found)}, and there are events at ${SEEN}`);
}

/** Of `seconds` in which nothing is told to a page, those in which it asks for its patients; time is played. */
async function asking(seconds, { status = "live", job = {}, answer = 200, rows = [{}], ids = ["7"] }) {
  const file = new URL("../../src/healthcare/dashboard/web/courses.js", import.meta.url);
  const { courses } = await import(`data:text/javascript,${encodeURIComponent(readFileSync(file, "utf8"))}`);
  const names = ["fetch", "setTimeout", "clearTimeout", "setInterval", "clearInterval"];
  const real = names.map((name) => globalThis[name]);
  const [due, times] = [new Map(), []];
  let [now, number] = [0, 0];
  const plan = (call, after, every) => {
    due.set((number += 1), { call, at: now + after, every });
    return number;
  };
  const forget = (number) => due.delete(number);
  // A property of its own: the inherited one may be read-only.
  Object.defineProperty(performance, "now", { configurable: true, value: () => now });
  globalThis.fetch = async (path) => {
    times.push(now / 1000);
    const found = path.endsWith("/0") ? [] : rows;
    return { ok: answer === 200, status: answer, json: async () => ({ rows: found, committed: 60_000 }) };
  };
  globalThis.setTimeout = (call, after) => plan(call, after, null);
  globalThis.setInterval = (call, every) => plan(call, every, every);
  [globalThis.clearTimeout, globalThis.clearInterval] = [forget, forget];
  try {
    const store = { status, committed: 60_000, running: null, one: () => job };
    const following = courses(store, ids, () => {});
    following.update();
    for (; now <= seconds * 1000; now += 500) {
      for (const [number, one] of [...due]) {
        if (one.at > now) continue;
        if (one.every === null) due.delete(number);
        else one.at = now + one.every;
        await one.call();
      }
    }
    following.close();
    check(due.size === 0, "a page that is closed asks on");
  } finally {
    delete performance.now;
    names.forEach((name, at) => { globalThis[name] = real[at]; });
  }
  return times;
}

/** Who is not asked for for ten seconds is not counted: beside a job a page that is in sight asks, whatever is told to it. */
async function renewed() {
  const times = await asking(60, {});
  const gaps = times.map((time, at) => (times[at + 1] ?? 60) - time);
  check(times.length > 6 && Math.max(...gaps) < 10, `asked for at ${times}`);
  // Of patient 0 nothing is known: after the first time the other one alone is asked for.
  const [, ...both] = await asking(60, { ids: ["0", "7"] });
  check(both.join() === times.join(), `one of whom nothing is known and another were asked for at ${both}`);
  for (const one of [{ status: "paused" }, { job: null }, { answer: 403 }, { rows: [] }]) {
    const times = await asking(60, one);
    check(times.length === 1, `${JSON.stringify(one)} was asked for at ${times}`);
  }
}

/** Another span is shown at once, though nothing new is heard of the patients. */
async function spans(page) {
  const chart = page.locator(".page.compare [data-vital=hr] .canvas");
  const starts = () => chart.evaluate(({ plot }) => plot.data[0].length);
  const before = await starts();
  await page.route("**/api/patient/*", (route) => route.abort());
  await page.evaluate(() => {
    const span = document.getElementById("span");
    span.add(new Option("3 min", "3"));
    span.value = "3";
    span.dispatchEvent(new Event("change"));
  });
  await page.waitForFunction((before) => document.querySelector(".page.compare [data-vital=hr] .canvas").plot.data[0].length < before, before);
  await page.evaluate(() => {
    const span = document.getElementById("span");
    span.lastChild.remove();
    span.value = "60";
  });
}

/** Follows the link in a mail that is read on another site. */
async function mailed(page) {
  const mail = "http://mail.example/";
  await page.route(mail, (route) => route.fulfill({ contentType: "text/html", body: `<a href="${link}">the dashboards</a>` }));
  await page.goto(mail);
  await page.click("a");
  await page.locator("#status[data-status=live]").waitFor();
  check(page.url() === `${origin}/`, `who follows a link in a mail is at ${page.url()}`);
}

/** Who looks for a patient hears whether there is none, or the server does not answer, and of which time it speaks. */
async function searched(page) {
  const from = Date.UTC(2025, 10, 24, 21, 40);
  const answers = [
    [{ status: 503 }, "The server cannot answer just now."],
    [{ json: { patients: [], from: null } }, "No such patient in the last hour."],
    [{ status: 200, body: "{" }, "The server cannot answer just now."],
    [{ json: { patients: [], from } }, "No such patient since 21:40"],
  ];
  await page.goto(`${origin}/#/patient`);
  for (const [answer, text] of answers) {
    await page.route("**/api/patients*", (route) => route.fulfill(answer));
    await page.fill("#find", "");
    await page.fill("#find", "7");
    await page.locator(".found .hint", { hasText: text }).waitFor();
    await page.unroute("**/api/patients*");
  }
}

/** What pages say before the tables were read, while they cannot be, and once they are; the stream is played. */
async function unread(page) {
  await page.addInitScript(() => {
    window.EventSource = class extends EventTarget {
      constructor() {
        super();
        window.stream = this;
      }

      close() {}
    };
  });
  await page.route("**/api/state", (route) => route.fulfill({ status: 503 }));
  await page.goto(`${origin}/#/alerts`);
  await page.reload();
  await page.waitForFunction(() => window.stream?.onopen);
  const says = async (status, main, stale, when) => {
    await page.locator(`#status[data-status=${status}]`).waitFor();
    const shown = page.locator("main", { hasText: main });
    await shown.waitFor();
    check((await shown.locator(".stale:visible").count()) === (stale ? 1 : 0), `${when} the page says ${await shown.innerText()}`);
    check(main === "No alert is open." || !(await shown.innerText()).includes("No alert"), `${when} the page says that there is no alert`);
  };
  const tell = (stale) => page.evaluate((stale) => window.stream.onmessage({ data: JSON.stringify({ id: "a-1", reset: true, stale, sections: {} }) }), stale);
  await page.evaluate(() => window.stream.onopen());
  await says("reading", "Reading the tables…", false, "before the first message");
  await tell(true);
  await says("stale", "Reading the tables…", true, "while the tables cannot be read");
  await tell(false);
  await says("live", "No alert is open.", false, "once the tables are read");
  await tell(true);
  await says("stale", "No alert is open.", true, "when the tables cannot be read any more");
  await page.setViewportSize({ width: 390, height: 844 });
  await accessible(page, "a page whose tables cannot be read");
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: "UTC" });
const number = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 });

await judge(browser, async () => {
  const { page, wrong } = await visit(browser, origin, {});
  await mailed(page);
  // The mail is elsewhere.
  wrong.length = 0;
  await page.route("**/api/patient/*", trouble);
  const [id] = ids;
  check(courses[id].length > 2, `${courses[id].length} minutes of the patient`);
  const points = courses[id].map(([t, ...figures]) => [clock.format(t), ...figures.map(number)].join(" ")).reverse();
  await turn(page, `patient/${id}`, (points) => {
    const figures = document.querySelector("[data-vital=hr] .figures");
    if (figures) figures.open = true;
    const rows = [...(figures?.querySelectorAll("tbody tr") ?? [])];
    const found = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" "));
    return JSON.stringify(found) === JSON.stringify(points);
  }, points);
  const newest = ids.map((id) => [id, number(courses[id].at(-1)[1])]);
  await turn(page, `compare/${ids.join(",")}`, (newest) => {
    const rows = [...document.querySelectorAll("[aria-label='Newest figures'] tbody tr")];
    const found = rows.map(({ cells }) => [cells[0].textContent.trim(), cells[2].textContent]);
    return JSON.stringify(found) === JSON.stringify(newest);
  }, newest);
  await renewed();
  await connections();
  await page.unroute("**/api/patient/*");
  await page.route("**/api/patient/*", sparse);
  await missing(page, `patient/${id}`);
  await missing(page, `compare/${id}`);
  await spans(page);
  await searched(page);
  await small(page);
  await unread(page);
  // Requests failed because this script had them fail.
  const others = wrong.filter((text) => !text.startsWith("console: Failed to load resource"));
  check(others.length === 0, others.join("; "));
});

// usage: gaps.mjs LINK EXPECTED.json
// For the pages of one patient and of two: the first request for each patient breaks off, the second one is answered by 503,
// the third one with what was committed a minute before. Nothing is committed meanwhile, and no minute runs: all the same
// every point has to come. Then minutes are missing, and no line may be drawn over them, nor a small one of the key figures.
// In between, in played time, a page to which nothing is told asks on, and a stream on which nothing is heard is made anew.
// Prints `ok`, or what is wrong.
import { readFileSync } from "node:fs";
import { PATIENCE, check, judge, open, visit } from "./browser.mjs";

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

/**
 * A connection that tells nothing, not even the time, is called lost and made anew: by one answer, which may take as long as it
 * takes while there are pieces of it, and a stream from there; time is played.
 */
async function silent() {
  const file = new URL("../../src/healthcare/dashboard/web/store.js", import.meta.url);
  const { Store } = await import(`data:text/javascript,${encodeURIComponent(readFileSync(file, "utf8"))}`);
  const [real, streams] = [{ fetch: globalThis.fetch, EventSource: globalThis.EventSource }, []];
  let seconds = 0;
  Object.defineProperty(performance, "now", { configurable: true, value: () => seconds * 1000 });
  const state = (id) => JSON.stringify({ id, reset: true, sections: {} });
  let answer = () => new Response(state("a-1"));
  const requests = [];
  globalThis.fetch = async (path, { signal }) => {
    if (path === "/api/me") return new Response(JSON.stringify({ sections: [] }));
    requests.push(signal);
    return answer();
  };
  globalThis.EventSource = class extends EventTarget {
    constructor(path) {
      super();
      streams.push(Object.assign(this, { path, close: () => { this.closed = true; } }));
    }
  };
  try {
    const store = new Store();
    await store.start();
    streams[0].onopen();
    // What is promised is kept before the next second.
    const kept = () => new Promise((resolve) => setImmediate(resolve));
    const wait = async (more) => {
      for (const until = seconds + more; seconds < until; seconds += 1) {
        store.tick();
        for (let turn = 0; turn < 10; turn += 1) await kept();
      }
    };
    const time = (ahead) => streams.at(-1).dispatchEvent(Object.assign(new Event("time"), { data: `${Date.now() + ahead}` }));
    for (let n = 0; n < 5; n += 1) {
      await wait(15);
      time(3_600_000);
    }
    check(streams.length === 1 && store.status === "live", `a connection that tells the time is ${store.status}, and was opened ${streams.length} times`);
    check(Math.abs(store.now - Date.now() - 3_600_000) < 60_000, "the server's clock is not that of the server");
    answer = () => new Response(state("a-2"));
    await wait(45);
    check(store.status === "lost" && streams[0].closed, `a connection that is silent is ${store.status}`);
    check(streams.length === 2 && streams[1].path === "/api/live?since=a-2", `after silence ${streams.at(-1).path} is asked for`);
    streams[1].onopen();
    check(store.status === "live", `a connection that is made anew is ${store.status}`);
    // The link is slow: the answer comes in pieces, over longer than a silence may be.
    let slow;
    answer = () => new Response(new ReadableStream({ start: (stream) => { slow = stream; } }));
    await wait(45);
    const [bytes, times] = [new TextEncoder().encode(state("a-3")), requests.length];
    for (const byte of bytes.slice(0, 4)) {
      slow.enqueue(Uint8Array.of(byte));
      await wait(30);
    }
    check(requests.length === times && streams.length === 2, `an answer that is slow was asked for ${requests.length - times} times more`);
    // Then it is silent, and is given up.
    await wait(45);
    check(requests.length === times + 1 && requests[times - 1].aborted, "an answer that is silent is waited for");
    slow.enqueue(bytes);
    slow.close();
    await wait(1);
    check(streams.length === 3 && streams[2].path === "/api/live?since=a-3", `after a slow answer ${streams.at(-1).path} is asked for`);
    store.pause();
    await wait(100);
    check(streams.length === 3 && streams[2].closed, "who is paused listens");
  } finally {
    delete performance.now;
    Object.assign(globalThis, real);
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

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: "UTC" });
const number = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 });

await judge(browser, async () => {
  const { page, wrong } = await visit(browser, origin, {});
  await page.goto(link);
  await page.locator("#status[data-status=live]").waitFor();
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
  await silent();
  await page.unroute("**/api/patient/*");
  await page.route("**/api/patient/*", sparse);
  await missing(page, `patient/${id}`);
  await missing(page, `compare/${id}`);
  await spans(page);
  await small(page);
  // Requests failed because this script had them fail.
  const others = wrong.filter((text) => !text.startsWith("console: Failed to load resource"));
  check(others.length === 0, others.join("; "));
});

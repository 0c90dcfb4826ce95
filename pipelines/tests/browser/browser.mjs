// What the scripts beside this one share: a browser that goes nowhere else.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.MODULES}/`);
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** How large the pages are looked at. */
export const DEVICES = { desk: { width: 1280, height: 860 }, phone: { width: 390, height: 844 } };

/** What takes longer on the busiest machine does not happen any more, ms; and how long a whole script may take. */
export const PATIENCE = 180_000;
const LONGEST = 480_000;

/** Ends the script, which ends its browser, if it has not ended `millis` from now; `why` says what it was at. */
export const within = (millis, why) => setTimeout(() => {
  console.error(why());
  process.exit(1);
}, millis).unref();

export async function open() {
  // Not all that is waited for has a limit of its own.
  within(LONGEST, () => `the script has not ended after ${LONGEST / 1000} s`);
  return chromium.launch({
    timeout: PATIENCE,
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
  });
}

/** Fails with what is wrong. */
export function check(condition, text) {
  if (!condition) throw new Error(text);
}

/** Does `work` in `browser` and prints `ok`, or what was wrong. */
export async function judge(browser, work) {
  try {
    await work();
    console.log("ok");
  } catch (error) {
    console.log(error.message);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}

/** A page that counts what must not happen: requests to elsewhere, errors, refusals by the policy. */
export async function visit(browser, origin, options) {
  const context = await browser.newContext({ timezoneId: "UTC", ...options });
  context.setDefaultTimeout(PATIENCE);
  await context.addInitScript(keepPlots);
  const page = await context.newPage();
  const wrong = [];
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin && !request.url().startsWith("data:")) wrong.push(`asked ${request.url()}`);
  });
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("console", (message) => { if (message.type() === "error") wrong.push(`console: ${message.text()}`); });
  return { context, page, wrong };
}

/** Before a page's own scripts: each picture is kept with the box that it is drawn in, so that its points can be read. */
function keepPlots() {
  let kept;
  const keep = (plot) => new Proxy(plot, {
    construct(target, [options, data, box]) {
      box.plot = new target(options, data, box);
      return box.plot;
    },
  });
  Object.defineProperty(window, "uPlot", { configurable: true, get: () => kept, set: (plot) => { kept = keep(plot); } });
}

/** Axe finds nothing wrong on the page as it is, and it fits; `least`: rules that have to have looked at something. */
export async function accessible(page, name, least = 15) {
  // The debugger's way in: the policy lets no foreign script into the page itself.
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: AXE });
  const { result } = await session.send("Runtime.evaluate", {
    awaitPromise: true,
    expression: "axe.run().then((r) => JSON.stringify({ passes: r.passes.length, violations: r.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`) }))",
  });
  await session.detach();
  const { passes, violations } = JSON.parse(result.value);
  check(passes > least, `axe looked at nothing on ${name}`);
  check(violations.length === 0, `${name}: ${violations.join("; ")}`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(over <= 0, `${name} is ${over} pixels too wide`);
}

/** Dark and light, on a desk and on a phone. Each has another theme than the one before it, the first is dark, the last light. */
const LOOKS = [["desk", "dark"], ["desk", "light"], ["phone", "dark"], ["phone", "light"]];
/** Both themes and both sizes in half the time. */
export const TWO_LOOKS = [["phone", "dark"], ["desk", "light"]];

/**
 * The same for a page that is open, in `looks`. It begins light and ends so. With another theme the page begins anew: `ready`
 * brings it to where it is to be looked at.
 */
export async function everyLook(page, name, ready, looks = LOOKS) {
  for (const [device, colorScheme] of looks) {
    await page.setViewportSize(DEVICES[device]);
    const before = await page.locator("h1").elementHandle();
    await page.emulateMedia({ colorScheme });
    await page.waitForFunction((before) => !before.isConnected && document.querySelector("h1"), before);
    await ready();
    await accessible(page, `${name}, ${colorScheme}, on a ${device}`);
  }
}

/** Puts another tab before this one, or this one before all others, as far as the page can tell. */
export const hide = (page, hidden) => page.evaluate((hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}, hidden);

/** Compares the figures of the newest committed minute, on every page that has some, with those that are `expected`. */
export async function figures(page, origin, expected) {
  await page.goto(`${origin}/#/kpis`);
  await page.waitForFunction((minute) => document.querySelector("[data-kpi=patients] .figure")?.dataset.minute === String(minute), expected.minute);
  for (const [id, value] of Object.entries(expected.kpis)) {
    const figure = page.locator(`[data-kpi=${id}] .figure`);
    const found = Number(await figure.getAttribute("data-value"));
    check(Math.abs(found - value) < 1e-9, `${id} is ${found}, the table says ${value}`);
    const shown = Number((await figure.textContent()).replaceAll(",", ""));
    check(Math.abs(shown - value) <= 0.0501, `${id} is shown as ${shown}, the table says ${value}`);
  }
  await rows(page, expected.minute, "Vitals by event type", expected.types);
  await rows(page, expected.minute, "Temperature by category of blood pressure", expected.categoryTemperatures);
  await page.goto(`${origin}/#/monitoring`);
  await rows(page, expected.minute, "Vitals by category of blood pressure", expected.categories);
  await rows(page, expected.minute, "Events by medication", expected.medications);
  await rows(page, expected.minute, "Events by type", expected.typeCounts);
  for (const vital of ["temp", "hr"]) {
    const value = Number(await page.locator(`[data-vital=${vital}] .now .figure`).getAttribute("data-value"));
    check(Math.abs(value - expected.kpis[vital]) < 1e-9, `the trend of ${vital} ends at ${value}`);
    // It is painted behind the figures, when the browser comes to it.
    const painted = page.waitForFunction((vital) => {
      const canvas = document.querySelector(`[data-vital=${vital}] canvas`);
      if (!canvas?.width || !canvas.height) return false;
      return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value !== 0);
    }, vital);
    await painted.catch((error) => check(false, `nothing is painted for ${vital}: ${error.message}`));
    const running = await page.locator(`[data-vital=${vital}] .live`).getAttribute("data-minute");
    check(running !== String(expected.minute), `the trend of ${vital} calls a committed minute running`);
    await course(page, vital, expected.trends[vital]);
  }
  await page.goto(`${origin}/#/patient/${expected.patient.id}`);
  await page.waitForFunction((minute) => document.querySelector("[data-vital=hr] .now .figure")?.dataset.minute === String(minute), expected.patient.minute);
  const rate = Number(await page.locator("[data-vital=hr] .now .figure").getAttribute("data-value"));
  check(Math.abs(rate - expected.patient.hr) < 1e-9, `the patient's heart rate is ${rate}, the table says ${expected.patient.hr}`);
}

/** Compares every committed minute that a trend has with `wanted`: start, mean, least, greatest. */
async function course(page, vital, wanted) {
  const found = await page.locator(`[data-vital=${vital}] .canvas`).evaluate(({ plot }) => {
    const [starts, means, , least, greatest] = plot.data;
    return [...starts.keys()].filter((at) => typeof means[at] === "number").map((at) => [starts[at], means[at], least[at], greatest[at]]);
  });
  const minutes = (points) => points.map(([minute]) => minute).join();
  check(minutes(found) === minutes(wanted), `the trend of ${vital} has the minutes ${minutes(found)}, the table ${minutes(wanted)}`);
  const differing = wanted.filter((point, at) => point.some((value, part) => Math.abs(found[at][part] - value) >= 1e-9));
  check(differing.length === 0, `the trend of ${vital} differs from the table at ${minutes(differing)}`);
}

async function rows(page, minute, name, wanted) {
  const table = page.locator(`.page [role=group][aria-label="${name}"]`);
  await table.locator("tbody tr").first().waitFor();
  const of = `tbody tr[data-minute="${minute}"]`;
  check((await table.locator(`${of}.provisional`).count()) === 0, `${name}: rows of a committed minute are provisional`);
  const found = await table.locator(of).evaluateAll((all) => Object.fromEntries(all.map((row) =>
    [row.dataset.key, [...row.querySelectorAll(".figure")].map((figure) => Number(figure.dataset.value))])));
  check(JSON.stringify(Object.keys(found).sort()) === JSON.stringify(Object.keys(wanted).sort()), `${name}: rows are ${Object.keys(found)}`);
  for (const [key, values] of Object.entries(wanted)) {
    values.forEach((value, at) => check(Math.abs(found[key][at] - value) < 1e-9, `${name}, ${key}: ${found[key]}, the table says ${values}`));
  }
}

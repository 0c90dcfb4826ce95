// What the scripts beside this one share: a browser that goes nowhere else.
import { createRequire } from "node:module";

const require = createRequire(`${process.env.MODULES}/`);
const { chromium } = require("playwright-core");
export const AXE = require.resolve("axe-core/axe.min.js");

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
  const page = await context.newPage();
  const wrong = [];
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin && !request.url().startsWith("data:")) wrong.push(`asked ${request.url()}`);
  });
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("console", (message) => { if (message.type() === "error") wrong.push(`console: ${message.text()}`); });
  return { context, page, wrong };
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
  }
  await page.goto(`${origin}/#/patient/${expected.patient.id}`);
  await page.waitForFunction((minute) => document.querySelector("[data-vital=hr] .now .figure")?.dataset.minute === String(minute), expected.patient.minute);
  const rate = Number(await page.locator("[data-vital=hr] .now .figure").getAttribute("data-value"));
  check(Math.abs(rate - expected.patient.hr) < 1e-9, `the patient's heart rate is ${rate}, the table says ${expected.patient.hr}`);
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

// usage: live.mjs LINK
// Prints `ready`, and then what changes on the screen: `EVENTS MILLISECONDS TYPED` when the running minute does, TYPED being
// its events in the table of types, and `committed MINUTE`. For each line of standard input, the path of a file of
// figures, it compares them with those on the pages and prints `ok`, and then `patient EVENTS` once the patient's page has a
// running minute, and axe has looked at every page that has provisional rows; or `wrong: ` and what is.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { DEVICES, PATIENCE, TWO_LOOKS, check, everyLook, figures, open, visit, within } from "./browser.mjs";

const [link] = process.argv.slice(2);
const { origin } = new URL(link);
const browser = await open();
const { page, wrong } = await visit(browser, origin, { viewport: DEVICES.desk, colorScheme: "light" });
let quiet;
/** Something was shown or asked: what comes next has as long again. A test that waits for more hears of it. */
const heard = () => {
  clearTimeout(quiet);
  quiet = within(PATIENCE, () => "nothing was shown");
};
await page.exposeFunction("tell", (line) => {
  heard();
  console.log(line);
});
await page.goto(link);
await page.locator("#status[data-status=live]").waitFor();
await page.locator("[data-vital=hr] .live").waitFor({ state: "attached" });
await page.evaluate(() => {
  const watch = (selector, attribute, line) => {
    const element = document.querySelector(selector);
    let before = element.getAttribute(attribute);
    const now = () => {
      const value = element.getAttribute(attribute);
      if (value === before) return;
      before = value;
      const text = line(value);
      // Behind the next frame it is painted.
      requestAnimationFrame(() => setTimeout(() => window.tell(text())));
    };
    new MutationObserver(now).observe(element, { attributes: true, attributeFilter: [attribute] });
  };
  watch("[data-vital=hr] .live", "data-events", (events) => {
    const typed = document.querySelector("[aria-label='Events by type'] tr.provisional .figure")?.dataset.value;
    return () => `${events} ${Date.now()} ${typed}`;
  });
  watch("[data-vital=hr] .now .figure", "data-minute", (minute) => () => `committed ${minute}`);
});
/** The test cuts the connection, which the browser calls an error. */
function clean() {
  const found = wrong.filter((text) => !text.startsWith("console: Failed to load resource: net::"));
  check(found.length === 0, found.join("; "));
}

/** Looks at a page once its rows of the running minute are on it. */
async function provisional(name, looks) {
  await page.goto(`${origin}/#/${name}`);
  await page.locator(`.page.${name.split("/")[0]}`).waitFor();
  await everyLook(page, `${name} with a running minute`, async () => {
    // What is folded is not looked at. The figures of a picture are in the table only while that is unfolded.
    await page.locator("main .card").first().waitFor();
    await page.evaluate(() => { for (const one of document.querySelectorAll("main details")) one.open = true; });
    await page.locator("main tr.provisional").first().waitFor();
    heard();
  }, looks);
}

/** A comparison of one patient draws the running minute behind the newest committed one, and knows which is which. */
async function compared(id, minute) {
  await page.goto(`${origin}/#/compare/${id}`);
  const drawn = await page.waitForFunction((minute) => {
    const data = document.querySelector(".page.compare [data-vital=hr] .canvas")?.plot?.data;
    const [starts, steady, running] = data ?? [[]];
    const known = (values) => starts.filter((_, at) => typeof values[at] === "number");
    if (starts.length === 0 || known(running).at(-1) <= minute) return null;
    return known(running).length > 0 && { steady: known(steady), running: known(running) };
  }, minute);
  const { steady, running } = await drawn.jsonValue();
  check(steady.at(-1) === minute && running[0] === minute && running.length === 2, `the comparison draws ${steady} as committed, ${running} as running`);
}

heard();
console.log("ready");
// The test ends it.
for await (const file of createInterface({ input: process.stdin })) {
  heard();
  try {
    const expected = JSON.parse(readFileSync(file, "utf8"));
    await figures(page, origin, expected);
    clean();
    heard();
    console.log("ok");
    const live = page.locator(".page.patient [data-vital=hr] .live:not([data-events=''])");
    await live.waitFor();
    const events = await live.getAttribute("data-events");
    const { id, minute } = expected.patient;
    await compared(id, minute);
    heard();
    // Without such a row every page is looked at elsewhere.
    for (const name of ["monitoring", "kpis"]) await provisional(name, TWO_LOOKS);
    for (const name of [`patient/${id}`, `compare/${id}`]) await provisional(name);
    clean();
    console.log(`patient ${events}`);
  } catch (error) {
    console.log(`wrong: ${error.message}`);
  }
}
await browser.close();

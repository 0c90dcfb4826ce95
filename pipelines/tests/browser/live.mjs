// usage: live.mjs LINK
// Prints `ready`, and then what changes on the screen: `EVENTS MILLISECONDS TYPED` when the running minute does, TYPED being
// its events in the table of types, and `committed MINUTE`. For each line of standard input, the path of a file of
// figures, it compares them with those on the pages and prints `ok`, and then `patient EVENTS` once the patient's page has a
// running minute; or `wrong: ` and what is.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { PATIENCE, check, figures, open, visit, within } from "./browser.mjs";

const [link] = process.argv.slice(2);
const { origin } = new URL(link);
const browser = await open();
const { page, wrong } = await visit(browser, origin, {});
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

heard();
console.log("ready");
// The test ends it.
for await (const file of createInterface({ input: process.stdin })) {
  heard();
  try {
    await figures(page, origin, JSON.parse(readFileSync(file, "utf8")));
    clean();
    heard();
    console.log("ok");
    const live = page.locator(".page.patient [data-vital=hr] .live:not([data-events=''])");
    await live.waitFor();
    clean();
    console.log(`patient ${await live.getAttribute("data-events")}`);
  } catch (error) {
    console.log(`wrong: ${error.message}`);
  }
}
await browser.close();

// usage: live.mjs LINK
// Prints `ready`, and then each change of the running minute as it is on the screen: `EVENTS MILLISECONDS`.
import { open, visit } from "./browser.mjs";

const [link] = process.argv.slice(2);
const browser = await open();
const { page } = await visit(browser, new URL(link).origin, {});
await page.exposeFunction("tell", (events, at) => console.log(`${events} ${at}`));
await page.goto(link);
await page.locator("#status[data-status=live]").waitFor();
await page.locator("[data-vital=hr] .live").waitFor({ state: "attached" });
await page.evaluate(() => {
  const live = document.querySelector("[data-vital=hr] .live");
  const now = () => {
    // Behind the next frame it is painted.
    const events = live.dataset.events;
    requestAnimationFrame(() => setTimeout(() => window.tell(events, Date.now())));
  };
  new MutationObserver(now).observe(live, { attributes: true, attributeFilter: ["data-events"] });
});
console.log("ready");
// The test ends it.
process.stdin.resume();
process.stdin.on("end", () => browser.close());

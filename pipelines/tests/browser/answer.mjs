// usage: answer.mjs LINK TOKEN
// Signs in with the token of a clinician, acknowledges the alert of patient 7 by keyboard and snoozes that of patient 9, and
// waits until the job has written it down; the one of patient 8 waits, and has no buttons. A tab that is out of sight
// meanwhile is told of it later. The first time the broker does not acknowledge it. Then looks at the patient. Axe looks at the alerts with their menu open, at what became of
// them, and at the patient.
//
// With THALWEG_SHOTS=FOLDER it takes README's picture of the alerts, dashboard-alerts.png.
import { DEVICES, accessible, check, everyLook, hide, judge, open, visit } from "./browser.mjs";

const [link, token] = process.argv.slice(2);
const origin = new URL(link).origin;
const shot = process.env.THALWEG_SHOTS;
const browser = await open();

/** A noon, as it is told five minutes later, a day later, and a year later. */
async function told(page) {
  const said = await page.evaluate(async () => {
    const { when } = await import("/format.js");
    const noon = Date.UTC(2025, 10, 24, 12);
    return [5, 24 * 60, 365 * 24 * 60].map((minutes) => when(noon, noon + minutes * 60_000)).join("; ");
  });
  check(said === "12:00:00, 5 min ago; 24 Nov, 12:00:00; 24 Nov 2025, 12:00:00", `a time is told as ${said}`);
}

/** One that is answered, one that fires, one that waits, on a desk. */
async function picture(page) {
  await page.setViewportSize(DEVICES.desk);
  await page.screenshot({ path: `${shot}/dashboard-alerts.png` });
  await page.setViewportSize(DEVICES.phone);
}

await judge(browser, async () => {
  const { page, context, wrong } = await visit(browser, origin, { viewport: DEVICES.phone, colorScheme: "light" });
  await page.goto(origin);
  await page.fill("input[name=token]", token);
  await page.keyboard.press("Enter");
  await page.locator("#status[data-status=live]").waitFor();
  // The browser calls the way in an error: it answered 401.
  wrong.length = 0;
  await page.goto(`${origin}/#/alerts`);
  const alert = page.locator("[data-alert^='7/heart-rate-high/']");
  await alert.locator("button", { hasText: "Acknowledge" }).waitFor();
  const waiting = page.locator("[data-alert^='8/heart-rate-high/'][data-state=pending]");
  await waiting.waitFor();
  check((await waiting.locator("button").count()) === 0, "an alert that waits has buttons, and the job takes no answer to it");
  await told(page);
  const since = alert.locator(".who time");
  const fired = await since.textContent();
  check(/^24 Nov( 2025)?, 21:00:10$/.test(fired), `an alert of long ago fires since ${fired}`);
  // A tab that nobody looks at gets nothing, and what it missed when somebody does again.
  const unseen = await context.newPage();
  await unseen.goto(`${origin}/#/alerts`);
  const missed = unseen.locator("[data-alert^='7/heart-rate-high/']");
  await missed.waitFor();
  await hide(unseen, true);
  await everyLook(page, "the alerts", async () => {
    await alert.locator("summary").focus();
    await page.keyboard.press("Enter");
    const times = await alert.locator(".times button").allTextContents();
    check(times.join() === "15 min,1 h", `the menu offers ${times}`);
  });
  await page.keyboard.press("Escape");
  check(await page.evaluate(() => document.activeElement.matches(".snooze:not([open]) summary")), "the menu does not close, or takes the focus with it");
  await unseen.locator("#status[data-status=paused]", { hasText: "Paused" }).waitFor();
  await page.keyboard.press("Shift+Tab");
  await page.route("**/api/alerts/commands", (route) => route.fulfill({ status: 504 }), { times: 1 });
  await page.keyboard.press("Enter");
  await page.locator(".said[role=status][data-state=unknown]", { hasText: "may still take effect" }).waitFor();
  await page.keyboard.press("Enter");
  await page.locator(".said[role=status][data-state=sent]", { hasText: "sent; shows when the job took it" }).waitFor();
  await page.locator("[data-alert^='7/heart-rate-high/'][data-state=acknowledged]", { hasText: "by nurse" }).waitFor();
  check((await alert.locator("button").count()) === 0, "an alert that is acknowledged can be acknowledged again");
  if (shot) await picture(page);
  const tired = page.locator("[data-alert^='9/heart-rate-high/']");
  await tired.locator("summary").focus();
  for (const key of ["Enter", "Tab", "Enter"]) await page.keyboard.press(key);
  await page.locator(".said[role=status][data-state=sent]", { hasText: "Snooze for 15 min: Heart-rate-high, patient 9: sent" }).waitFor();
  await page.locator("[data-alert^='9/heart-rate-high/'][data-state=snoozed]", { hasText: "by nurse" }).waitFor();
  check((await tired.locator("button").count()) === 0, "an alert that is snoozed can be answered");
  // With what was said of the answers, which another theme would forget.
  await accessible(page, "the alerts that are answered");
  check((await since.textContent()) === fired, `an alert that is acknowledged fires since ${await since.textContent()}`);
  check((await missed.getAttribute("data-state")) === "firing", "a tab that nobody looks at hears of an answer");
  await hide(unseen, false);
  await unseen.locator("[data-alert^='7/heart-rate-high/'][data-state=acknowledged]", { hasText: "by nurse" }).waitFor();
  await page.goto(`${origin}/#/patient/7`);
  const isRead = () => page.waitForFunction(() => document.querySelector(".patient .lead") && !document.querySelector("main").textContent.includes("Reading…"));
  await isRead();
  await everyLook(page, "a patient with an alert", async () => {
    await isRead();
    await page.locator(".alert a").waitFor();
  });
  // The page is drawn anew at each message, and whenever another span is chosen.
  await page.locator(".alert a").focus();
  await page.evaluate(() => document.getElementById("span").dispatchEvent(new Event("change")));
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  check(await page.evaluate(() => document.activeElement.matches(".alert a")), "the link of an alert loses the focus");
  // However somebody writes the number.
  await page.goto(`${origin}/#/patient/007`);
  await isRead();
  await page.locator(".who-is", { hasText: /^Patient 7 / }).waitFor();
  await page.locator(".alert a").waitFor();
  // The browser calls an answer that this script made up an error.
  const others = wrong.filter((text) => !/ status of 504 /.test(text));
  check(others.length === 0, others.join("; "));
});

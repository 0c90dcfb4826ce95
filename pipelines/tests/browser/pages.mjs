// usage: pages.mjs LINK [EXPECTED.json]
// Signs in by the link; compares the figures on the pages with those of the tables; looks at every page, that for signing in
// included, in light and dark, on a desk and on a phone, with axe; goes through them by keyboard; opens more
// tabs than a browser has connections.
//
// With THALWEG_SHOTS=FOLDER it takes pictures, too: README's are dashboard-{monitoring,kpis}.png, and dashboard-alerts.png,
// which answer.mjs takes, whose tables have alerts. Without EXPECTED.json it takes all three of whatever runs behind the link,
// and does nothing else.
import { readFileSync } from "node:fs";
import { DEVICES, accessible, check, figures, hide, judge, open, visit } from "./browser.mjs";

const [link, file] = process.argv.slice(2);
const expected = file && JSON.parse(readFileSync(file, "utf8"));
const origin = new URL(link).origin;
const shot = process.env.THALWEG_SHOTS;
const browser = await open();

const README = ["monitoring", "kpis", "alerts"];

async function turn(page, name) {
  await page.goto(`${origin}/#/${name}`);
  await page.locator("main h1").waitFor();
  await page.waitForFunction(() => !document.querySelector("main").textContent.includes("Reading…"));
  if (name.includes("/") || name === "monitoring") await page.locator("main canvas").first().waitFor();
}

async function pictures(page) {
  for (const name of expected ? README.filter((name) => name !== "alerts") : README) {
    await turn(page, name);
    await page.screenshot({ path: `${shot}/dashboard-${name}.png` });
  }
}

async function looks(page, scheme, device) {
  const { id, other } = expected.patient;
  for (const name of [...README, "patient", `patient/${id}`, `compare/${id},${other}`, "pipeline"]) {
    await turn(page, name);
    await accessible(page, `${name}, ${scheme}, on a ${device}`);
    if (shot) await page.screenshot({ path: `${shot}/${name.split("/")[0]}${name.includes("/") ? "-one" : ""}-${scheme}-${device}.png` });
  }
}

/** The page of who is not let in; `address`: where they try. */
async function outside(page, address, name) {
  const answer = await page.goto(address);
  check(answer.status() === 401 && (await page.locator("input[name=token]").count()) === 1, "a stranger gets no form to sign in");
  // It is small.
  await accessible(page, name, 8);
}

async function keyboard(page) {
  await page.goto(`${origin}/#/monitoring`);
  await page.reload();
  await page.locator("main h1").waitFor();
  await page.keyboard.press("Tab");
  check(await page.evaluate(() => document.activeElement.id === "skip"), "the first stop is not the way past the menu");
  await page.keyboard.press("Enter");
  check(await page.evaluate(() => document.activeElement.id === "main"), "the way past the menu leads elsewhere");
  // A digit that is said or struck by chance, outside of the menu, leads nowhere.
  await page.keyboard.press("3");
  check(await page.evaluate(() => location.hash === "#/monitoring"), "a digit leads away, though the focus is not in the menu");
  await page.locator("nav.pages a").first().focus();
  await page.keyboard.press("3");
  await page.waitForFunction(() => document.querySelector("h1")?.textContent === "Alerts");
  await page.locator("nav.pages a", { hasText: "KPIs" }).focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("h1")?.textContent === "Key figures");
  await page.locator("#theme").focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  check(await page.evaluate(() => document.documentElement.dataset.theme === "dark"), "the theme does not change");
}

/** A browser has six connections to this server: with as many tabs open a seventh works, if one alone is seen. */
async function tabs({ context }) {
  const is = (page, status) => page.locator(`#status[data-status=${status}]`).waitFor();
  const another = async () => {
    const page = await context.newPage();
    await page.goto(`${origin}/#/kpis`);
    await is(page, "live");
    return page;
  };
  const others = [];
  for (let n = 0; n < 5; n += 1) others.push(await another());
  for (const page of others) await hide(page, true);
  for (const page of others) await is(page, "paused");
  await another();
  await hide(others[0], false);
  await is(others[0], "live");
}

async function everything(desk) {
  check(!desk.page.url().includes("token"), "the token stays in the address bar");
  await figures(desk.page, origin, expected);
  await desk.page.goto(`${origin}/#/alerts`);
  await desk.page.locator(".hint code", { hasText: "commands_topic" }).waitFor();
  await keyboard(desk.page);
  const cookies = await desk.context.cookies();
  check(cookies.every((cookie) => cookie.httpOnly && cookie.sameSite === "Strict"), "a script or another site can use the cookie");
  for (const [scheme, device] of [["light", "desk"], ["dark", "desk"], ["light", "phone"], ["dark", "phone"]]) {
    const isPhone = device === "phone";
    const one = await visit(browser, origin, { viewport: DEVICES[device], colorScheme: scheme, isMobile: isPhone, hasTouch: isPhone });
    await outside(one.page, `${origin}/`, `the sign-in page, ${scheme}, on a ${device}`);
    // The browser calls the way in an error: it answered 401.
    one.wrong.length = 0;
    await one.context.addCookies(cookies);
    await one.page.reload();
    await looks(one.page, scheme, device);
    check(one.wrong.length === 0, one.wrong.join("; "));
    await one.context.close();
  }
  check(desk.wrong.length === 0, desk.wrong.join("; "));
  await tabs(desk);
  const stranger = await visit(browser, origin, {});
  // The link has been used, and the page says so.
  await outside(stranger.page, link, "the refusal of a link");
}

await judge(browser, async () => {
  const desk = await visit(browser, origin, { viewport: DEVICES.desk, colorScheme: "light" });
  await desk.page.goto(link);
  await desk.page.locator("#status[data-status=live]").waitFor();
  if (shot) await pictures(desk.page);
  if (expected) await everything(desk);
});

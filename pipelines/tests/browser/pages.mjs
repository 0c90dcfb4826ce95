// usage: pages.mjs LINK [EXPECTED.json]
// Signs in by the link; compares the figures on the pages with those of the tables; looks at every page in light and
// dark, on a desk and on a phone, with axe; goes through them by keyboard; opens more
// tabs than a browser has connections.
//
// With THALWEG_SHOTS=FOLDER it takes pictures, too: README's are dashboard-{monitoring,kpis,alerts}.png. Without
// EXPECTED.json it takes those three of whatever runs behind the link, and does nothing else.
import { readFileSync } from "node:fs";
import { AXE, check, figures, hide, judge, open, visit } from "./browser.mjs";

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
  for (const name of README) {
    await turn(page, name);
    await page.screenshot({ path: `${shot}/dashboard-${name}.png` });
  }
}

async function looks(page, context, scheme, device) {
  const { id, other } = expected.patient;
  for (const name of [...README, "patient", `patient/${id}`, `compare/${id},${other}`, "pipeline"]) {
    await turn(page, name);
    // The debugger's way in: the policy lets no foreign script into the page itself.
    const session = await context.newCDPSession(page);
    await session.send("Runtime.evaluate", { expression: readFileSync(AXE, "utf8") });
    const { result } = await session.send("Runtime.evaluate", {
      awaitPromise: true,
      expression: "axe.run().then((r) => JSON.stringify({ passes: r.passes.length, violations: r.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`) }))",
    });
    const { passes, violations } = JSON.parse(result.value);
    check(passes > 15, `axe looked at nothing on ${name}`);
    check(violations.length === 0, `${name} ${scheme} ${device}: ${violations.join("; ")}`);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    check(over <= 0, `${name} on a ${device} is ${over} pixels too wide`);
    if (shot) await page.screenshot({ path: `${shot}/${name.split("/")[0]}${name.includes("/") ? "-one" : ""}-${scheme}-${device}.png` });
  }
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
  const devices = { desk: { width: 1280, height: 860 }, phone: { width: 390, height: 844 } };
  for (const [scheme, device] of [["light", "desk"], ["dark", "desk"], ["light", "phone"], ["dark", "phone"]]) {
    const isPhone = device === "phone";
    const one = await visit(browser, origin, { viewport: devices[device], colorScheme: scheme, isMobile: isPhone, hasTouch: isPhone });
    await one.context.addCookies(cookies);
    await looks(one.page, one.context, scheme, device);
    check(one.wrong.length === 0, one.wrong.join("; "));
    await one.context.close();
  }
  check(desk.wrong.length === 0, desk.wrong.join("; "));
  await tabs(desk);
  const stranger = await visit(browser, origin, {});
  const answer = await stranger.page.goto(`${origin}/`);
  check(answer.status() === 401 && (await stranger.page.locator("input[name=token]").count()) === 1, "a stranger gets no form to sign in");
}

await judge(browser, async () => {
  const desk = await visit(browser, origin, { viewport: { width: 1280, height: 860 }, colorScheme: "light" });
  await desk.page.goto(link);
  await desk.page.locator("#status[data-status=live]").waitFor();
  if (shot) await pictures(desk.page);
  if (expected) await everything(desk);
});

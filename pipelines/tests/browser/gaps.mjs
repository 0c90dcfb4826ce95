// usage: gaps.mjs LINK EXPECTED.json
// For the pages of one patient and of two: the first request for each patient breaks off, the second one is answered by 503,
// the third one with what was committed a minute before. Nothing is committed meanwhile, and no minute runs: all the same
// every point has to come. Prints `ok`, or what is wrong.
import { readFileSync } from "node:fs";
import { check, judge, open, visit } from "./browser.mjs";

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

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: "UTC" });
const number = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 });

await judge(browser, async () => {
  const { page } = await visit(browser, origin, {});
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
});

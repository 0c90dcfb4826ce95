// usage: pipeline.mjs LINK
// Prints `agree` once the rates on the Pipeline page are those of the counters at /metrics, taken here, while rows flow, and
// axe has looked at it. A line of standard input says that nothing flows any more: prints `ok` once every rate is zero and every count is that of
// /metrics.
import { once } from "node:events";
import { DEVICES, PATIENCE, everyLook, open, visit, within } from "./browser.mjs";

const [link] = process.argv.slice(2);
const { origin } = new URL(link);
const browser = await open();
let seen = "nothing";
// A test that waits for what never comes, or comes by chance at last, hears of it.
const agreeing = within(PATIENCE, () => seen);
const { page, wrong } = await visit(browser, origin, { viewport: DEVICES.desk, colorScheme: "light" });
await page.goto(link);
await page.locator("#status[data-status=live]").waitFor();
await page.goto(`${origin}/#/pipeline`);
await page.locator("[aria-label=Nodes] tbody tr").first().waitFor();

/** What the page shows at one instant: each node's rows in, rows out and rate, its rate in the graph, and the first tile's. */
const shown = () => page.evaluate(() => {
  const number = (text) => Number(text.replace(" /s", "").replaceAll(",", ""));
  const boxes = [...document.querySelectorAll(".graph .node .rate")];
  const nodes = [...document.querySelectorAll("[aria-label=Nodes] tbody tr")].map(({ cells }, at) => ({
    node: cells[0].textContent,
    in: number(cells[1].textContent),
    out: number(cells[2].textContent),
    rate: number(cells[3].textContent),
    drawn: number(boxes[at].textContent),
  }));
  const source = document.querySelector(".graph .node.source title").textContent.split(":")[0];
  return { nodes, source, events: number(document.querySelector(".page .tile .figure").textContent) };
});

const counters = async () => {
  const text = await page.evaluate(() => fetch("/metrics").then((response) => response.text()));
  const of = (name) => Object.fromEntries([...text.matchAll(new RegExp(`^${name}\\{node="(.+)"\\} (\\d+)$`, "gm"))]
    .map(([, node, rows]) => [node, Number(rows)]));
  return { at: Date.now(), in: of("thalweg_node_rows_in_total"), out: of("thalweg_node_rows_out_total") };
};

/** Looks again and again until `fits`, with the counters of the last seconds. */
async function until(fits) {
  for (const taken = []; ; await page.waitForTimeout(200)) {
    taken.push(await counters());
    while (taken.length > 2 && taken.at(-1).at - taken[1].at > 5000) taken.shift();
    const found = await shown();
    seen = JSON.stringify({ found, counters: [taken[0], taken.at(-1)] });
    const one = found.nodes.find(({ node }) => node === found.source);
    const same = found.nodes.every(({ rate, drawn }) => rate === drawn) && one?.rate === found.events;
    if (same && found.nodes.length > 5 && fits(found, taken[0], taken.at(-1))) return;
  }
}

await until(({ nodes, source }, first, last) => {
  const seconds = (last.at - first.at) / 1000;
  const rate = (node) => (last.in[node] - (first.in[node] ?? 0)) / seconds;
  // Not taken at the same instants; figures are shown without a fraction.
  const near = (one, other) => Math.abs(one - other) <= Math.max(2, other / 5);
  return seconds > 3 && rate(source) > 10 && nodes.every((one) => near(one.rate, rate(one.node)));
});
clearTimeout(agreeing);
// Rows still flow: the page is at its fullest.
const looking = within(PATIENCE, () => "the page of a job at work cannot be looked at");
await everyLook(page, "the Pipeline page of a job at work", () => page.locator("[aria-label=Nodes] tbody tr").first().waitFor());
clearTimeout(looking);
console.log("agree");
await once(process.stdin, "data");
within(PATIENCE, () => seen);
// A sink's rows out are not shown.
await until(({ nodes }, _, last) => nodes.every((one) =>
  one.rate === 0 && one.in === last.in[one.node] && (Number.isNaN(one.out) || one.out === last.out[one.node])));
console.log(wrong.length === 0 ? "ok" : wrong.join("; "));
await browser.close();
process.exit(0);

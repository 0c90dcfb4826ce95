// The pipeline: its graph, what flows through it, how far it is behind, what it has committed.

import { card, el, hint, say, svg } from "../dom.js";
import { ago, dated, number } from "../format.js";

const WIDTH = 142, HEIGHT = 44, ACROSS = 167, DOWN = 56, LETTERS = 19;

export function pipeline({ store, body }) {
  if (!store.may("checkpoints")) {
    body.append(hint("Your role does not include the pipeline."));
    return { update() {} };
  }
  const facts = ["Events per second", "Behind the source", "Newest checkpoint", "Checkpoint took", "Restarts"].map((name) => {
    const figure = el("span", { class: "figure" }, "–");
    return { name, figure, root: el("section", { class: "card tile small" }, el("h2", {}, name), el("p", { class: "big" }, figure)) };
  });
  const picture = el("div", { class: "scroll graph", tabindex: "0", role: "group", "aria-label": "Graph of the pipeline" });
  const nodes = el("tbody");
  const checkpoints = el("tbody");
  const head = (...titles) => el("thead", {}, el("tr", {}, titles.map((title) => el("th", { scope: "col" }, title))));
  const scroll = (name, table) => el("div", { class: "scroll tall", tabindex: "0", role: "group", "aria-label": name }, table);
  const running = el("p", { class: "lead" });
  body.append(running, el("div", { class: "grid tiles many" }, facts.map((fact) => fact.root)),
    card("Graph", "rows per second on their way in", picture),
    el("div", { class: "grid two" },
      card("Nodes", "", scroll("Nodes", el("table", {}, head("Node", "Rows in", "Rows out", "In per second"), nodes))),
      card("Checkpoints", "the newest first", scroll("Checkpoints", el("table", {}, head("Number", "Committed at", "Tables"), checkpoints)))));
  let drawn = null;
  return {
    update() {
      const graph = store.one("graph");
      const job = store.one("job");
      if (graph && !drawn) {
        drawn = draw(graph);
        picture.replaceChildren(drawn.root);
      }
      say(running, job ? "The job runs in this process." : "The job runs elsewhere or has ended: its tables are shown, its counters are not.");
      const cuts = store.rows("checkpoints").reverse();
      const source = graph?.nodes.find((node) => node.kind === "source")?.id;
      const rate = job && source ? store.rate(source) : null;
      const texts = [
        job ? (rate === null ? "…" : number(rate)) : "–",
        job ? (job.lag < 0 ? "unknown" : `${number(job.lag)} events`) : "–",
        cuts[0] ? `${cuts[0].n}, ${ago(cuts[0].at, store.now)}` : "none yet",
        job?.at ? `${number(job.took)} ms` : "–",
        job ? number(Math.max(0, job.attempts - 1)) : "–",
      ];
      facts.forEach((fact, at) => say(fact.figure, texts[at]));
      for (const node of graph?.nodes ?? []) drawn?.tell(node.id, job ? store.rate(node.id) : null);
      table(nodes, (graph?.nodes ?? []).filter(() => job).map((node) => [
        node.id, number(job.nodes[node.id]?.[0] ?? 0), node.kind === "sink" ? "–" : number(job.nodes[node.id]?.[1] ?? 0),
        store.rate(node.id) === null ? "…" : number(store.rate(node.id)),
      ]));
      table(checkpoints, cuts.slice(0, 30).map((cut) => [String(cut.n), dated(cut.at), number(Object.keys(cut.tables).length)]));
    },
  };
}

const short = (text) => (text.length > LETTERS ? `${text.slice(0, LETTERS - 1)}…` : text);

/** Brings a table's text up to date without making it anew. */
function table(body, rows) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((texts, at) => {
    const row = body.rows[at] ?? body.appendChild(el("tr", {}, el("th", { scope: "row" }), texts.slice(1).map(() => el("td"))));
    texts.forEach((text, column) => say(row.cells[column], text));
  });
}

/** Layers from left to right: a node stands one to the right of the last that feeds it. */
function draw(graph) {
  const depth = graph.nodes.map(() => 0);
  for (const edge of graph.edges) depth[edge.to] = Math.max(depth[edge.to], depth[edge.from] + 1);
  const row = [];
  const taken = [];
  graph.nodes.forEach((_, at) => {
    const from = graph.edges.filter((edge) => edge.to === at).map((edge) => row[edge.from]);
    const wanted = from.length ? Math.min(...from) : 0;
    row[at] = Math.max(wanted, taken[depth[at]] ?? 0);
    taken[depth[at]] = row[at] + 1;
  });
  const [width, height] = [Math.max(...depth) * ACROSS + WIDTH + 4, (Math.max(...row) + 1) * DOWN];
  const rates = new Map();
  const place = (at) => [depth[at] * ACROSS + 2, row[at] * DOWN + 6];
  const edges = graph.edges.map((edge) => {
    const [[ax, ay], [bx, by]] = [place(edge.from), place(edge.to)];
    const [x1, y1, x2, y2] = [ax + WIDTH, ay + HEIGHT / 2, bx, by + HEIGHT / 2];
    const bend = Math.min(24, (x2 - x1) / 2);
    return svg("path", { class: edge.by ? "edge exchanged" : "edge", d: `M${x1} ${y1} C${x1 + bend} ${y1} ${x1 + bend} ${y2} ${x1 + 2 * bend} ${y2} L${x2} ${y2}` });
  });
  const boxes = graph.nodes.map((node, at) => {
    const [x, y] = place(at);
    const rate = svg("text", { class: "rate", x: x + 10, y: y + 35 });
    rates.set(node.id, rate);
    return svg("g", { class: `node ${node.kind}` },
      svg("title", {}, `${node.id}: ${node.text}`),
      svg("rect", { x, y, width: WIDTH, height: HEIGHT, rx: node.kind === "operator" ? 8 : 22 }),
      svg("text", { x: x + 10 + (node.kind === "operator" ? 0 : 6), y: y + 19 }, short(node.id)), rate);
  });
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Graph of ${graph.name}: ${graph.nodes.length} nodes; the table below has their figures` }, edges, boxes);
  return {
    root,
    tell(id, rate) {
      const text = rates.get(id);
      if (text) say(text, rate === null ? "" : `${number(rate)} /s`);
    },
  };
}

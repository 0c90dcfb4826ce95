// What the server has told so far. First paint by one request, then a stream that goes on where it broke, while it is
// listened to.

const GOLD = ["kpis", "types", "categories", "medications"];
/** As long as the server's own. */
const SPAN = 60 * 60_000;
/** Over how long rates are taken, and how long the counters of a job at work are not silent, ms. */
const RATE_SPAN = 5000, SILENCE = 1000;
/** The server tells the time every 15 seconds: from whom nothing is heard for so long the connection is broken, ms. */
const BROKEN = 40_000;
/** After how long is asked again who is signed in, or a refused stream, ms. */
const RETRY = 2000;
const CHECKPOINTS = 100;
const ALERTS = 1000;

const KEYS = {
  alerts: (row) => row.id,
  checkpoints: (row) => `${row.chain}|${row.n}`,
  graph: () => "graph",
  job: () => "job",
};

export class Store extends EventTarget {
  #rows = {};
  #rates = [];
  #stream = null;
  me = null;
  /**
   * What is shown: `connecting`, `reading` (nothing was told yet by a connection that is open), `live`, `stale` (the tables cannot
   * be read), `lost`, `paused`.
   */
  status = "connecting";
  /** Whether the tables were ever read: before that nothing is known of what they hold. */
  known = false;
  /** Start of the newest committed minute, ms. */
  committed = null;
  /** When anything was heard of the server, by a clock that nobody sets. */
  #told = 0;
  /** How far the server's clock is ahead of this one, ms. */
  #ahead = 0;

  constructor() {
    super();
    this.#clear();
  }

  async start() {
    const [me, state] = await Promise.all([this.#who(), this.#ask("/api/state")]);
    this.me = me;
    if (state) this.#apply(state);
    this.#listen(state?.id);
  }

  /** Gives the connection back; what is known stays. */
  pause() {
    this.#stream?.close();
    // Rates are of seconds, and a pause may last for hours.
    this.#rates = [];
    this.#become("paused");
  }

  /** After a pause, however long it was, everything is told anew. */
  resume() {
    if (this.status !== "paused") return;
    this.#become("connecting");
    // While nothing was listened to nothing was to be heard.
    this.#told = performance.now();
    this.#again();
  }

  /** Rows of a section: checkpoints in the order in which they came, the others oldest first where they have a time. */
  rows(section) {
    return [...this.#rows[section].values()];
  }

  /**
   * Rows of a gold section, oldest first: of the last `minutes` that are committed, and what is provisional. How far the
   * latter lies ahead is for clocks to say, so nothing is measured from there.
   */
  recent(section, minutes) {
    const from = this.committed === null ? -Infinity : this.committed - minutes * 60_000;
    return this.rows(section).filter((row) => row.t > from).sort((a, b) => a.t - b.t);
  }

  /** Rows of the newest committed minute in `order`, each followed by the same of the running minute, if there is one. */
  compared(section, order) {
    const at = (minute) => this.rows(section).filter((row) => row.t === minute).sort(order);
    const [last, running] = [at(this.committed), at(this.running)];
    const known = new Set(last.map((row) => row.k));
    return [
      ...last.flatMap((row) => [row, ...running.filter((one) => one.k === row.k)]),
      ...running.filter((one) => !known.has(one.k)),
    ];
  }

  /** Start of the newest minute that is not committed, ms. */
  get running() {
    let newest = null;
    for (const row of this.#rows.kpis.values()) if (row.live && (newest === null || row.t > newest)) newest = row.t;
    return newest;
  }

  one(section) {
    return this.#rows[section].values().next().value;
  }

  may(section) {
    return this.me?.sections.includes(section) ?? false;
  }

  /** Rows per second through a node, over the last seconds. */
  rate(node, out = false) {
    const [first, last] = [this.#rates[0], this.#rates.at(-1)];
    if (!first || first === last) return null;
    const value = (of) => of.nodes[node]?.[out ? 1 : 0] ?? 0;
    return Math.max(0, (value(last) - value(first)) / ((last.at - first.at) / 1000));
  }

  /** What time it is for the server, ms: its times are compared with this. */
  get now() {
    return Date.now() + this.#ahead;
  }

  /**
   * To be called now and then: a connection that is silent is made anew, as the browser would wait for ever; counters that are
   * not told again stand still, and so their rates fall to zero.
   */
  tick() {
    if (this.#stream && this.status !== "paused" && performance.now() - this.#told > BROKEN) {
      this.#become("lost");
      this.#anew();
    }
    const last = this.#rates.at(-1);
    if (!last || !["live", "stale"].includes(this.status) || Date.now() - last.at < SILENCE) return;
    const stood = this.#rates.length > 1 && this.#rates[0].nodes === last.nodes;
    this.#count(Date.now(), last.nodes);
    if (!stood) this.dispatchEvent(new Event("change"));
  }

  #count(at, nodes) {
    this.#rates.push({ at, nodes });
    while (this.#rates.length > 2 && at - this.#rates[1].at > RATE_SPAN) this.#rates.shift();
  }

  async #ask(path, signal) {
    const response = await fetch(path, { headers: { accept: "application/json" }, signal });
    if (response.status === 401) location.reload();
    if (!response.ok) return null;
    const hear = (piece, out) => {
      this.#told = performance.now();
      out.enqueue(piece);
    };
    return new Response(response.body.pipeThrough(new TransformStream({ transform: hear }))).json();
  }

  /** Who is signed in: without that no page knows what it may show. */
  async #who() {
    for (;;) {
      const me = await this.#ask("/api/me");
      if (me) return me;
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }

  /**
   * By one request, and then a stream. That one's first message may be all there is, too, and on a slow link it is heard at
   * its end alone; of an answer each piece is.
   */
  async #anew() {
    this.#stream?.close();
    const asking = new AbortController();
    this.#stream = { close: () => asking.abort() };
    this.#told = performance.now();
    const state = await this.#ask("/api/state", asking.signal).catch(() => null);
    if (asking.signal.aborted) return;
    if (state) this.#apply(state);
    this.#listen(this.id);
  }

  #listen(since) {
    this.#stream?.close();
    const stream = new EventSource(since ? `/api/live?since=${since}` : "/api/live");
    this.#stream = stream;
    this.#told = performance.now();
    // Nothing is live that is from before this connection: the first message comes once the tables were looked at.
    stream.onopen = () => {
      this.#told = performance.now();
      this.#become("reading");
    };
    stream.onmessage = (event) => {
      this.#told = performance.now();
      const message = JSON.parse(event.data);
      this.#apply(message);
      this.#become(message.stale ? "stale" : "live");
    };
    stream.addEventListener("time", (event) => {
      this.#told = performance.now();
      this.#ahead = Number(event.data) - Date.now();
    });
    stream.onerror = () => {
      this.#become("lost");
      // A broken connection is mended by the browser, which says where it was. A refusal is not.
      if (stream.readyState === EventSource.CLOSED) setTimeout(() => this.#again(this.id), RETRY);
    };
  }

  async #again(since) {
    // Signed out meanwhile, or the server is starting: `#ask` leads to the sign-in page.
    const me = await this.#ask("/api/me").catch(() => null);
    if (me) this.me = me;
    if (this.status !== "paused") this.#listen(since);
  }

  #become(status) {
    if (this.status === status) return;
    this.status = status;
    this.dispatchEvent(new Event("status"));
  }

  #clear() {
    for (const section of [...GOLD, ...Object.keys(KEYS)]) this.#rows[section] = new Map();
    this.committed = null;
  }

  #apply(message) {
    if (message.reset) this.#clear();
    this.id = message.id;
    if (!message.stale) this.known = true;
    for (const [section, rows] of Object.entries(message.sections)) {
      const known = this.#rows[section];
      if (!known) continue;
      const key = KEYS[section] ?? ((row) => `${row.t}|${row.k ?? ""}`);
      for (const row of rows) known.set(key(row), row);
    }
    for (const row of message.sections.kpis ?? []) {
      if (!row.live && (this.committed === null || row.t > this.committed)) this.committed = row.t;
    }
    this.#forget();
    const [job] = message.sections.job ?? [];
    if (job) this.#count(Date.now(), job.nodes);
    this.dispatchEvent(new Event("change"));
  }

  /** Of these rows the last `most` stay. */
  #trim(section, rows, most) {
    for (const row of rows.slice(0, Math.max(0, rows.length - most))) this.#rows[section].delete(KEYS[section](row));
  }

  /** What is committed stands; what was provisional in those minutes goes, and so does what is old. */
  #forget() {
    this.#trim("checkpoints", this.rows("checkpoints"), CHECKPOINTS);
    const over = this.rows("alerts").filter((alert) => alert.state === "resolved").sort((a, b) => a.at - b.at);
    this.#trim("alerts", over, Math.max(0, ALERTS - this.#rows.alerts.size + over.length));
    if (this.committed === null) return;
    for (const alert of over) if (alert.at < this.committed - SPAN) this.#rows.alerts.delete(alert.id);
    for (const section of GOLD) {
      for (const [key, row] of this.#rows[section]) {
        if ((row.live && row.t <= this.committed) || row.t < this.committed - SPAN) this.#rows[section].delete(key);
      }
    }
  }
}

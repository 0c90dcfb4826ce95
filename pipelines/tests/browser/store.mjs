// What the store says of its connection, without a browser: with requests and streams that are played, and time, too.
import { readFileSync } from "node:fs";
import { check } from "./browser.mjs";

const file = new URL("../../src/healthcare/dashboard/web/store.js", import.meta.url);
const { Store } = await import(`data:text/javascript,${encodeURIComponent(readFileSync(file, "utf8"))}`);

const message = (id, more = {}) => JSON.stringify({ id, reset: true, stale: false, sections: {}, ...more });

/** Does `work` in a world where each path is answered by `answers[path]`, which gets the request. */
async function played(answers, work) {
  const [real, streams] = [{ fetch: globalThis.fetch, EventSource: globalThis.EventSource, setTimeout: globalThis.setTimeout }, []];
  let seconds = 0;
  Object.defineProperty(performance, "now", { configurable: true, value: () => seconds * 1000 });
  globalThis.fetch = async (path, request) => answers[path](request);
  globalThis.setTimeout = (call) => setImmediate(call);
  globalThis.EventSource = class extends EventTarget {
    constructor(path) {
      super();
      streams.push(Object.assign(this, { path, close: () => { this.closed = true; } }));
    }
  };
  // What is promised is kept before the next second.
  const kept = () => new Promise((resolve) => setImmediate(resolve));
  const store = new Store();
  const wait = async (more) => {
    for (const until = seconds + more; seconds < until; seconds += 1) {
      store.tick();
      for (let turn = 0; turn < 10; turn += 1) await kept();
    }
  };
  try {
    await work({ store, streams, wait, tell: (data) => streams.at(-1).onmessage({ data }) });
  } finally {
    delete performance.now;
    Object.assign(globalThis, real);
  }
}

const me = () => new Response(JSON.stringify({ sections: ["alerts"] }));
const busy = () => new Response("not now", { status: 503 });

/**
 * A connection that tells nothing, not even the time, is called lost and made anew: by one answer, which may take as long as it
 * takes while there are pieces of it, and a stream from there.
 */
async function silent() {
  const requests = [];
  let answer = () => new Response(message("a-1"));
  const state = ({ signal }) => {
    requests.push(signal);
    return answer();
  };
  await played({ "/api/me": me, "/api/state": state }, async ({ store, streams, wait, tell }) => {
    await store.start();
    streams[0].onopen();
    tell(message("a-1"));
    const time = (ahead) => streams.at(-1).dispatchEvent(Object.assign(new Event("time"), { data: `${Date.now() + ahead}` }));
    for (let n = 0; n < 5; n += 1) {
      await wait(15);
      time(3_600_000);
    }
    check(streams.length === 1 && store.status === "live", `a connection that tells the time is ${store.status}, and was opened ${streams.length} times`);
    check(Math.abs(store.now - Date.now() - 3_600_000) < 60_000, "the server's clock is not that of the server");
    answer = () => new Response(message("a-2"));
    await wait(45);
    check(store.status === "lost" && streams[0].closed, `a connection that is silent is ${store.status}`);
    check(streams.length === 2 && streams[1].path === "/api/live?since=a-2", `after silence ${streams.at(-1).path} is asked for`);
    streams[1].onopen();
    check(store.status === "reading", `a connection that is made anew and has told nothing is ${store.status}`);
    tell(message("a-2", { reset: false }));
    check(store.status === "live", `a connection that is made anew is ${store.status}`);
    // The link is slow: the answer comes in pieces, over longer than a silence may be.
    let slow;
    answer = () => new Response(new ReadableStream({ start: (stream) => { slow = stream; } }));
    await wait(45);
    const [bytes, times] = [new TextEncoder().encode(message("a-3")), requests.length];
    for (const byte of bytes.slice(0, 4)) {
      slow.enqueue(Uint8Array.of(byte));
      await wait(30);
    }
    check(requests.length === times && streams.length === 2, `an answer that is slow was asked for ${requests.length - times} times more`);
    // Then it is silent, and is given up.
    await wait(45);
    check(requests.length === times + 1 && requests[times - 1].aborted, "an answer that is silent is waited for");
    slow.enqueue(bytes);
    slow.close();
    await wait(1);
    check(streams.length === 3 && streams[2].path === "/api/live?since=a-3", `after a slow answer ${streams.at(-1).path} is asked for`);
    store.pause();
    await wait(100);
    check(streams.length === 3 && streams[2].closed, "who is paused listens");
  });
}

/** Nothing is known before a message of tables that were read, and nothing is live before a message of this connection. */
async function unread() {
  await played({ "/api/me": me, "/api/state": busy }, async ({ store, streams, wait, tell }) => {
    const is = (status, known, when) => check(store.status === status && store.known === known, `${when} the store is ${store.status}, known: ${store.known}`);
    await store.start();
    streams[0].onopen();
    streams[0].dispatchEvent(Object.assign(new Event("time"), { data: `${Date.now()}` }));
    is("reading", false, "before a message");
    tell(message("a-1", { stale: true }));
    is("stale", false, "while the tables cannot be read");
    tell(message("a-2"));
    is("live", true, "once they were read");
    tell(message("a-3", { reset: false, stale: true }));
    is("stale", true, "when they cannot be read any more");
    store.pause();
    is("paused", true, "out of sight");
    store.resume();
    await wait(1);
    streams.at(-1).onopen();
    is("reading", true, "looked at again, before a message");
    tell(message("a-4"));
    is("live", true, "looked at again");
  });
}

/** Who is signed in is asked again when the server has no time. */
async function refused() {
  const answers = [busy, busy, me];
  await played({ "/api/me": () => answers.shift()(), "/api/state": () => new Response(message("a-1")) }, async ({ store }) => {
    await store.start();
    check(store.may("alerts"), "who is refused once may see nothing");
  });
}

/** Checkpoints stay in the order in which they came: a clock may have been set back. */
async function ordered() {
  const cut = (n, at) => ({ n, chain: "a", at, tables: {} });
  const cuts = Array.from({ length: 100 }, (_, n) => cut(n, 1_000_000 + n));
  const state = () => new Response(message("a-1", { sections: { checkpoints: cuts } }));
  await played({ "/api/me": me, "/api/state": state }, async ({ store, tell }) => {
    await store.start();
    tell(message("a-2", { reset: false, sections: { checkpoints: [cut(100, 5)] } }));
    const numbers = store.rows("checkpoints").map((row) => row.n);
    check(numbers.length === 100 && numbers[0] === 1 && numbers.at(-1) === 100, `the checkpoints are ${numbers}`);
  });
}

/** All of it. */
export async function connections() {
  for (const one of [silent, unread, refused, ordered]) await one();
}

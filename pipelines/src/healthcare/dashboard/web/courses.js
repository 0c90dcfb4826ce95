// What is known of single patients, asked for until it reaches what is committed.

/** No page asks more often, ms. */
const AGAIN = 1000;

/**
 * Those who have rows are asked for at least every other time, ms: the job counts the running minutes of a patient for ten
 * seconds after somebody has asked, and of few at once (`followed.rs`).
 */
const RENEW = 3000;

/** The newest minute may have rows of others alone: answers that change nothing are asked for no more than so often. */
const ANSWERS = 5;

/** Of a number that no patient can have, or that is not for this user: there is nothing to ask for again. */
const NOBODY = { rows: [], committed: Infinity };

/** The course of a patient; null when the server does not answer, or breaks off. */
async function courseOf(id) {
  try {
    const response = await fetch(`/api/patient/${id}`);
    if (response.ok) return await response.json();
    if (response.status === 401) location.reload();
    return [400, 403].includes(response.status) ? NOBODY : null;
  } catch {
    return null;
  }
}

/**
 * Keeps the courses of patients up to date. `show` gets them in the order of `ids`, null for one that is not known yet,
 * once any is known.
 *
 * How far a course reaches is what the server said with it, not when it was asked for: after a request that failed, or whose
 * answer was older than what is committed by now, it is asked for again.
 */
export function courses(store, ids, show) {
  let known = ids.map(() => null);
  // By a clock that nobody sets.
  let asked = -Infinity;
  let timer = null;
  let closed = false;
  // Answers since the store's newest minute.
  let minute = null;
  let answers = 0;
  const isBehind = () => known.some((course) => !course || course.committed < store.committed);

  async function read(isWanted) {
    asked = performance.now();
    if (minute !== store.committed) [minute, answers] = [store.committed, 0];
    const found = await Promise.all(ids.map((id, at) => isWanted(known[at]) ? courseOf(id) : known[at]));
    if (found.every(Boolean)) answers += 1;
    known = found.map((course, at) => course ?? known[at]);
    if (!closed && known.some(Boolean)) show(known);
  }

  /** Asks if a minute was committed or is running. */
  function update() {
    if (isBehind() || store.running !== null) ask();
  }

  /** Asks, but neither at each step of a fast run nor twice at once; for those alone whose course `isWanted`. */
  function ask(isWanted = () => true) {
    if (closed || timer !== null) return;
    timer = setTimeout(async () => {
      try { await read(isWanted); } finally { timer = null; }
      if (isBehind() && answers < ANSWERS) update();
    }, Math.max(0, asked + AGAIN - performance.now()));
  }

  // While nothing is told, nobody calls `update`; the next event of these patients is to be counted as theirs all the same.
  // One of whom nothing is known takes no place of theirs.
  const hasRows = (course) => course !== null && course.rows.length > 0;
  const renewal = setInterval(() => {
    const isCounted = store.one("job") && known.some(hasRows);
    if (isCounted && store.status !== "paused" && performance.now() - asked >= RENEW) ask(hasRows);
  }, RENEW);

  function close() {
    closed = true;
    clearTimeout(timer);
    clearInterval(renewal);
  }
  return { update, close };
}

// Alerts, as the job has written them down.

import { card, el, hint, moment } from "../dom.js";
import { label, number } from "../format.js";
import { Answers } from "./answers.js";

const SEVERITY = { critical: 0, warning: 1, info: 2 };
const SIGNS = { critical: "▲", warning: "◆", info: "●" };

/** Whether somebody has to look. */
export const isOpen = (alert) => alert.state === "firing" || alert.state === "pending";
/** Whether the job takes an answer. */
const isFiring = (alert) => alert.state === "firing";

const GROUPS = [
  { title: "Open", note: "nobody has answered yet", has: isOpen, empty: "No alert is open." },
  { title: "Acknowledged", note: "somebody is on it, or looks later", has: (a) => a.state === "acknowledged" || a.state === "snoozed", empty: "None." },
  { title: "Resolved", note: "in the last hour", has: (a) => a.state === "resolved", empty: "None." },
];

/** Why there are no buttons, and what to do about it; `offer`: what the server says of answers, if there are any. */
function missing(offer) {
  const code = (text) => el("code", {}, text);
  return offer
    ? hint("To answer alerts sign in as a clinician: the link has nobody's name. ", code("healthcare users add NAME --role clinician"), " makes one.")
    : hint("Alerts cannot be answered here: the job, and who serves this page, need a configuration file that names brokers and ", code("commands_topic"), " under ", code("[alerts]"), ".");
}

const MOST = 100;

/** A list of alerts; `answer` makes what each can be answered by, if it can. */
export function alertList(alerts, answer = () => null) {
  return el("ul", { class: "alerts" }, alerts.slice(0, MOST).map((alert) => entry(alert, answer(alert))));
}

/** Since when it fires, or waits; of one that is over when it fired, or ended without having done so. */
function since(alert) {
  const over = alert.fired === null ? "ended " : "fired ";
  return el("p", { class: "note" }, alert.state === "resolved" ? over : "since ", moment(alert.fired ?? alert.at));
}

function entry(alert, answers) {
  const value = alert.vital ? `${label(alert.vital)} ${number(alert.value, 1)}` : null;
  const score = alert.score === null ? null : `score ${alert.score}`;
  const by = alert.by ? `by ${alert.by}` : null;
  const about = [value, score, label(alert.state), by].filter(Boolean).join(" · ");
  // When it became what it is, unless that is said anyway.
  const changed = alert.at === (alert.fired ?? alert.at) ? null : [" · ", moment(alert.at)];
  return el("li", { class: `alert ${alert.severity}`, "data-alert": alert.id, "data-state": alert.state },
    el("span", { class: "sign", "aria-hidden": "true" }, SIGNS[alert.severity] ?? "●"),
    el("div", {},
      el("p", { class: "what" }, el("strong", {}, label(alert.severity)), ` · ${label(alert.rule)}`),
      el("p", { class: "note" }, about, changed),
      answers),
    el("div", { class: "who" },
      el("a", { href: `#/patient/${alert.patient}` }, `Patient ${alert.patient}`),
      since(alert)));
}

/** The worst first, then the newest. */
export function inOrder(alerts) {
  const rank = (alert) => SEVERITY[alert.severity] ?? 3;
  return alerts.sort((a, b) => rank(a) - rank(b) || b.at - a.at);
}

export function alerts({ store, body }) {
  if (!store.may("alerts")) {
    body.append(hint("Your role does not include alerts."));
    return { update() {} };
  }
  const lists = GROUPS.map(() => el("div"));
  const offer = store.me.answers;
  const said = el("p", { class: "said", role: "status" });
  const answers = offer?.allowed ? new Answers(offer.snooze, said) : null;
  body.append(answers ? said : missing(offer));
  const answer = (alert) => (answers && isFiring(alert) ? answers.of(alert) : null);
  body.append(...GROUPS.map((group, at) => card(group.title, group.note, lists[at])));
  let before = "";
  return {
    update() {
      const all = store.rows("alerts");
      const now = JSON.stringify(all);
      if (now === before) return;
      before = now;
      answers?.keep(all.filter(isFiring));
      const focused = document.activeElement;
      GROUPS.forEach((group, at) => {
        const found = inOrder(all.filter(group.has));
        const more = found.length > MOST ? hint(`and ${found.length - MOST} more`) : null;
        const shown = found.length ? alertList(found, answer) : hint(group.empty);
        lists[at].replaceChildren(...[shown, more].filter(Boolean));
      });
      // What was moved loses the focus, though it is still there.
      if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
    },
  };
}

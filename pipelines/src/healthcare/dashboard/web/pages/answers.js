// Buttons by which somebody answers an alert. They send a command; what becomes of it the job decides.

import { el, say } from "../dom.js";
import { label } from "../format.js";

const lasting = (minutes) => (minutes % 60 === 0 ? `${minutes / 60} h` : `${minutes} min`);

/** How it went with a command: whether it was sent, and what to say. */
async function send(command) {
  const response = await fetch("/api/alerts/commands", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(command),
  }).catch(() => null);
  if (response?.ok) return { state: "sent", text: "sent; shows when the job took it." };
  if (response?.status === 401) location.reload();
  // Whoever does not answer, or fails on the way, may have sent it all the same.
  if (!response || (response.status >= 500 && response.status !== 503)) {
    return { state: "unknown", text: "not acknowledged; it may still take effect, and shows then." };
  }
  const why = (await response.text().catch(() => "")).trim();
  return { state: "failed", text: `not sent: ${why || "try again"}` };
}

/**
 * Makes the buttons of alerts. Each alert keeps its own, so that a redrawn list neither closes a menu nor forgets what
 * is under way. `snooze`: minutes of the menu; `said`: where it is said how it went.
 */
export class Answers {
  #known = new Map();
  #snooze;
  #said;

  constructor(snooze, said) {
    this.#snooze = snooze;
    this.#said = said;
  }

  of(alert) {
    const known = this.#known.get(alert.id) ?? this.#make(alert);
    this.#known.set(alert.id, known);
    return known;
  }

  /** Forgets the buttons of all but these alerts. */
  keep(alerts) {
    const ids = new Set(alerts.map((alert) => alert.id));
    for (const id of this.#known.keys()) if (!ids.has(id)) this.#known.delete(id);
  }

  #make(alert) {
    const about = `${label(alert.rule)}, patient ${alert.patient}`;
    const button = (text, name, command) => el("button", {
      type: "button", "aria-label": `${name}: ${about}`, onclick: (event) => this.#send(root, event.currentTarget, `${name}: ${about}`, command),
    }, text);
    const acknowledge = button("Acknowledge", "Acknowledge", { alert_id: alert.id, action: "acknowledge" });
    const times = this.#snooze.map((minutes) =>
      button(lasting(minutes), `Snooze for ${lasting(minutes)}`, { alert_id: alert.id, action: "snooze", minutes }));
    const menu = times.length
      ? el("details", { class: "snooze", onkeydown: (event) => this.#escape(event) }, el("summary", { "aria-label": `Snooze: ${about}` }, "Snooze"), el("div", { class: "times" }, times))
      : null;
    const root = el("div", { class: "answers" }, acknowledge, menu);
    return root;
  }

  #escape(event) {
    if (event.key !== "Escape" || !event.currentTarget.open) return;
    event.currentTarget.open = false;
    event.currentTarget.querySelector("summary").focus();
  }

  async #send(root, pressed, name, command) {
    const buttons = [...root.querySelectorAll("button")];
    for (const button of buttons) button.disabled = true;
    this.#tell("sending", `${name}: sending…`);
    const { state, text } = await send(command);
    for (const button of buttons) button.disabled = false;
    const menu = root.querySelector("details");
    // A button that is disabled loses the focus: it, or what the menu leaves of it, gets it back.
    const lost = document.activeElement === document.body && root.isConnected;
    if (state === "sent" && menu?.contains(pressed)) {
      menu.open = false;
      if (lost) menu.querySelector("summary").focus();
    } else if (lost) {
      pressed.focus();
    }
    this.#tell(state, `${name}: ${text}`);
  }

  #tell(state, text) {
    this.#said.dataset.state = state;
    say(this.#said, text);
  }
}

// Numbers, times and names as people read them.

export const VITALS = [
  { key: "temp", short: "Temp", name: "Temperature", unit: "°F", digits: 1, color: 1 },
  { key: "hr", short: "Heart rate", name: "Heart rate", unit: "bpm", digits: 0, color: 0 },
  { key: "sys", short: "Systolic", name: "Systolic pressure", unit: "mmHg", digits: 0, color: 3 },
  { key: "dia", short: "Diastolic", name: "Diastolic pressure", unit: "mmHg", digits: 0, color: 3 },
  { key: "spo2", short: "SpO₂", name: "Oxygen saturation", unit: "%", digits: 1, color: 2 },
  { key: "rr", short: "Resp. rate", name: "Respiratory rate", unit: "/min", digits: 1, color: 0 },
];

export const vital = (key) => VITALS.find((v) => v.key === key);

/** A patient's number as the server writes it; null: the text is none. */
export const patientId = (text) => (/^-?\d+$/.test(text) ? String(BigInt(text)) : null);

/** A figure with so many digits; a dash when there is none. */
export function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const clockSeconds = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dayOfYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

export const time = (ms) => clock.format(ms);
export const timeSeconds = (ms) => clockSeconds.format(ms);
export const date = (ms) => day.format(ms);

/** How long ago, roughly. */
export function ago(ms, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - ms) / 1000));
  if (seconds < 2) return "just now";
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${date(ms)}, ${time(ms)}`;
}

/** A time, with its date when that is not today's: a time of day alone looks like today's. */
export function dated(ms, now = Date.now()) {
  const [at, today] = [new Date(ms), new Date(now)];
  if (at.toDateString() === today.toDateString()) return timeSeconds(ms);
  const its = at.getFullYear() === today.getFullYear() ? day : dayOfYear;
  return `${its.format(ms)}, ${timeSeconds(ms)}`;
}

/** The same, and how long ago it was when that was today. */
export function when(ms, now = Date.now()) {
  const isToday = new Date(ms).toDateString() === new Date(now).toDateString();
  return isToday && ms <= now ? `${dated(ms, now)}, ${ago(ms, now)}` : dated(ms, now);
}

const NAMES = {
  normal: "Normal", elevated: "Elevated", stage1: "Stage 1", stage2: "Stage 2", severe: "Severe",
  stage_1: "Stage 1", stage_2: "Stage 2",
};

/** `lab_result` → `Lab result`. */
export function label(name) {
  if (!name) return "–";
  const known = NAMES[name.toLowerCase()];
  if (known) return known;
  const words = name.replaceAll("_", " ").replace(/\bspo2\b/i, "SpO₂").replace(/\bnews2\b/i, "NEWS2");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

const ORDER = ["normal", "elevated", "stage1", "stage2", "severe"];

/** Where a category of blood pressure stands among the others. */
export function categoryOrder(name) {
  const at = ORDER.indexOf(name.toLowerCase().replaceAll(/[^a-z0-9]/g, ""));
  return at < 0 ? ORDER.length : at;
}

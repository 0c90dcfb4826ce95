"""Which alerts there must be. Stands in front of oracle.py, in one program.

Written from docs/guide/alerts.md and the settings that `healthcare config` prints, with no code of the pipeline's. A patient's
events come by one partition, whose own watermark stands beside each of them: so all that is told of a patient follows from
the order of that partition, whatever was killed and however many readers there were, but for what time alone brings behind
the patient's last event, which follows from how far all partitions got.
"""
import bisect
import math

SECOND, MINUTE = 1_000_000, 60_000_000
SEVERITIES = ["info", "warning", "critical"]
INFO, WARNING, CRITICAL = range(len(SEVERITIES))
# Rule: vital, bound, what clears it, side, how long it must last, how bad it is.
LIMITS = {
    "heart-rate-high": ("heart_rate", 131, 125, 1, 10, CRITICAL),
    "heart-rate-low": ("heart_rate", 40, 45, -1, 10, CRITICAL),
    "systolic-high": ("systolic", 220, 210, 1, 30, CRITICAL),
    "systolic-low": ("systolic", 90, 95, -1, 30, CRITICAL),
    "diastolic-high": ("diastolic", 121, 115, 1, 30, WARNING),
    "temperature-high": ("temperature", 102.4, 101.5, 1, 60, WARNING),
    "temperature-low": ("temperature", 95, 96, -1, 60, WARNING),
    "spo2-low": ("spo2", 91, 93, -1, 15, CRITICAL),
    "respiratory-rate-high": ("respiratory_rate", 25, 22, 1, 30, CRITICAL),
    "respiratory-rate-low": ("respiratory_rate", 8, 10, -1, 30, CRITICAL),
}
# The chart of NEWS2 (Royal College of Physicians, 2017), scale 1: the last value of each cell but the last, and the points.
CHART = {
    "respiratory_rate": ([8, 11, 20, 24], [3, 1, 0, 2, 3]), "spo2": ([91, 93, 95], [3, 2, 1, 0]),
    "systolic": ([90, 100, 110, 219], [3, 2, 1, 0, 3]), "heart_rate": ([40, 50, 90, 110, 130], [3, 1, 0, 1, 2, 3]),
    "temperature": ([350, 360, 380, 390], [3, 1, 0, 1, 2]),
}
PARAMETERS = len(CHART) + 2
# Parameters without a limit of their own: the points that warn whatever the others score.
ALONE = {"consciousness": 3}
SCORE_WARNS, SCORE_CRITICAL, SCORE_CLEARS, SCORE_AGE = 5, 7, 3, 60 * MINUTE
SILENCE, MONITORED = 10 * MINUTE, 5
# The least deviation of each vital that is assumed; the newest value's weight, how many values a mean needs, how many
# deviations are unusual, and how many are usual again.
DEVIATIONS = {
    "heart_rate": 5.0, "systolic": 6.0, "diastolic": 5.0, "temperature": 0.5, "spo2": 1.0, "respiratory_rate": 1.5,
}
WEIGHT, WARM_UP, UNUSUAL, USUAL = 0.05, 30, 5.0, 3.0
ESCALATES, FORGOTTEN, AHEAD = 15 * MINUTE, 24 * 60 * MINUTE, 10 * MINUTE
# What each rule watches, how long that must last, and whether it becomes worse when nobody comes.
RULES = {name: (vital, lasts * SECOND, True) for name, (vital, _, _, _, lasts, _) in LIMITS.items()}
RULES |= {f"anomaly-{vital}": (vital, 30 * SECOND, False) for vital in DEVIATIONS}
RULES |= {"news2": (None, 30 * SECOND, True), "signal-lost": (None, 0, False)}
CROSSED, BETWEEN, CLEARED = range(3)
NEVER = float("inf")


def charted(vital, value):
    """As the chart of NEWS2 has it: whole numbers, and tenths of a degree Celsius."""
    return math.floor(((value - 32) * 50 / 9 if vital == "temperature" else value) + 0.5)


def asked_of(vital):
    """Limits of a vital, by numbers that are beyond a limit where they are high."""
    found = [(name, *limit) for name, limit in LIMITS.items() if limit[0] == vital]
    return [
        (name, side * charted(vital, bound), side * charted(vital, clear), side, severity)
        for name, _, bound, clear, side, _, severity in found
    ]


ASKED = {vital: asked_of(vital) for vital in DEVIATIONS}


class Open:
    """An alert that is open."""

    __slots__ = ("opened", "fired", "changed", "changes", "read", "told")

    def __init__(self, at, severity):
        self.opened = self.changed = at
        self.fired, self.changes = None, 0
        # How bad the worst reading was, and what people are told, which time makes worse.
        self.read = self.told = severity


class Patient:
    """What is told of a patient, event by event. Only what people see is told: nobody is of an alert that never fired."""

    def __init__(self, number, partition):
        self.number, self.partition, self.rows = number, partition, []
        self.forget()

    def forget(self):
        self.seen, self.in_a_row, self.score = None, 0, (0, PARAMETERS)
        # By vital its newest value; by parameter of the score its points, and whether the patient was alert.
        self.known, self.points = {}, {}
        # By vital its mean, variance, and how many values they are of.
        self.means = {}
        # By rule its newest reading, where that is not the newest of its vital, and its open alert.
        self.newest, self.open = {}, {}

    def hear(self, at, row, watermark):
        if watermark is not None:
            if at <= watermark - FORGOTTEN:
                return
            self.passes(watermark)
        if self.seen is None or at >= self.seen:
            gap = 0 if self.seen is None else at - self.seen
            self.in_a_row = self.in_a_row + 1 if gap < SILENCE else 1
            self.seen = at
            self.reading("signal-lost", at, CLEARED)
        news = False
        for vital in DEVIATIONS:
            value = row[vital]
            if value is not None and at >= self.known.get(vital, (at,))[0]:
                self.known[vital] = (at, value)
                self.measured(vital, at, value)
                news = True
        level, oxygen = row["consciousness"], row["oxygen"]
        for parameter, value in (
            ("consciousness", None if level is None else 0 if level == "A" else 3),
            ("oxygen", None if oxygen is None else 2 if oxygen else 0),
        ):
            if value is not None and at >= self.points.get(parameter, (at,))[0]:
                self.points[parameter] = (at, value)
                news = True
        if news:
            self.assess(at)

    def measured(self, vital, at, value):
        number = charted(vital, value)
        if vital in CHART:
            ends, points = CHART[vital]
            self.points[vital] = (at, points[bisect.bisect_left(ends, number)])
        for rule, bound, clear, side, severity in ASKED[vital]:
            says = CROSSED if side * number >= bound else CLEARED if side * number <= clear else BETWEEN
            # A rule is quiet by far the most often, and no reading of its vital comes here that is late.
            if says == CROSSED or rule in self.open:
                self.reading(rule, at, says, severity)
        z = self.deviations(vital, value)
        rule = f"anomaly-{vital}"
        if z is not None and (z >= UNUSUAL or rule in self.open):
            self.reading(rule, at, CROSSED if z >= UNUSUAL else CLEARED if z <= USUAL else BETWEEN, INFO)

    def deviations(self, vital, value):
        """How many deviations a value is from what came before it. What is unusual is learnt as if it were one away."""
        mean, variance, values = self.means.get(vital, (value, 0.0, 0))
        if values == 0:
            self.means[vital] = (value, 0.0, 1)
            return None
        deviation = max(math.sqrt(variance), DEVIATIONS[vital])
        z, warm = (value - mean) / deviation, values >= WARM_UP
        step = math.copysign(deviation, z) if warm and abs(z) >= UNUSUAL else value - mean
        # In the order of the formula: sums of other last bits would be other alerts once in a blue moon.
        self.means[vital] = (mean + WEIGHT * step, (1.0 - WEIGHT) * (variance + WEIGHT * step * step), values + 1)
        return abs(z) if warm else None

    def assess(self, at):
        fresh = {of: points for of, (known_at, points) in self.points.items() if known_at >= at - SCORE_AGE}
        total, stale = sum(fresh.values()), len(fresh) < len(self.points)
        self.score = (total, PARAMETERS - len(fresh))
        if total >= SCORE_WARNS or any(fresh.get(of) == points for of, points in ALONE.items()):
            self.reading("news2", at, CROSSED, CRITICAL if total >= SCORE_CRITICAL else WARNING)
        else:
            # Of what was known and is too old nobody knows whether it is well.
            self.reading("news2", at, CLEARED if total <= SCORE_CLEARS and not stale else BETWEEN)

    def reading(self, rule, at, says, severity=INFO):
        """What a rule makes of a reading, unless it has had a later one."""
        if at < self.newest.get(rule, at):
            return
        self.newest[rule] = at
        alert, lasts = self.open.get(rule), RULES[rule][1]
        if alert is None:
            if says == CROSSED:
                alert = self.open[rule] = Open(at, severity)
                if lasts == 0:
                    self.fires(rule, alert, at)
                else:
                    # That it waits is a change, of which nobody is told.
                    alert.changes = 1
            return
        if says == CLEARED:
            self.ends(rule, alert, at)
            return
        worse = says == CROSSED and severity > alert.read
        if worse:
            alert.read, alert.told = severity, max(severity, alert.told)
        if alert.fired is None:
            if at - alert.opened >= lasts:
                self.fires(rule, alert, at)
        elif worse:
            self.tell(rule, alert, "firing", at)

    def due(self, rule, alert):
        """When time alone changes an alert."""
        _, lasts, worsens = RULES[rule]
        if alert.fired is None:
            return alert.opened + lasts
        return alert.changed + ESCALATES if worsens and alert.told < CRITICAL else NEVER

    def next_due(self):
        if self.seen is None:
            return NEVER
        lost = self.seen + SILENCE if self.in_a_row >= MONITORED else NEVER
        alerts = (self.due(rule, alert) for rule, alert in self.open.items())
        return min(lost, self.seen + FORGOTTEN, *alerts)

    def passes(self, until):
        """Event time gets as far as that."""
        while (now := self.next_due()) <= until:
            if now >= self.seen + FORGOTTEN:
                for rule, alert in list(self.open.items()):
                    self.ends(rule, alert, now)
                self.forget()
                return
            lost = self.in_a_row >= MONITORED and self.seen + SILENCE <= now
            for rule, alert in self.open.items():
                if self.due(rule, alert) > now:
                    continue
                if alert.fired is None:
                    self.fires(rule, alert, now)
                else:
                    alert.told += 1
                    self.tell(rule, alert, "firing", now)
            if lost:
                self.in_a_row = 0
                self.reading("signal-lost", now, CROSSED, WARNING)

    def fires(self, rule, alert, at):
        alert.fired = at
        self.tell(rule, alert, "firing", at)

    def ends(self, rule, alert, at):
        del self.open[rule]
        # A reading of the same instant would open an alert of the same name.
        self.newest[rule] = max(self.newest.get(rule, at), alert.opened + 1)
        if alert.fired is not None:
            self.tell(rule, alert, "resolved", at)

    def tell(self, rule, alert, state, at):
        # An alert's times never go back.
        alert.changed, alert.changes = max(alert.changed, at), alert.changes + 1
        vital = RULES[rule][0]
        value = self.known[vital][1] if vital in self.known else None
        total, missing = self.score if rule == "news2" else (None, None)
        name = f"{self.number}/{rule}/{alert.opened}"
        self.rows.append((
            name, alert.changes, self.number, rule, state, SEVERITIES[alert.told], vital, value, total, missing,
            alert.changed, alert.fired, None,
        ))


class Recomputed:
    """The rows that there must be in the end, as tuples."""

    def __init__(self):
        self.patients, self.scattered = {}, set()

    def hear(self, partition, row, watermark, arrival):
        """An event as rules see it; how far its partition had got before it, and when it arrived."""
        number, at = row["patient_id"], row["event_time"]
        if arrival is not None and at > arrival + AHEAD:
            return
        patient = self.patients.get(number)
        if patient is None:
            patient = self.patients[number] = Patient(number, partition)
        elif patient.partition != partition:
            # Their events have no order.
            self.scattered.add(number)
        patient.hear(at, row, watermark)

    def finish(self, watermark):
        """All rows, when the slowest partition has got as far as `watermark`."""
        rows = set()
        for patient in self.patients.values():
            if patient.number in self.scattered:
                continue
            # What is due by then although the last event that made it so came later is told at the end of the input.
            if watermark is not None:
                patient.passes(watermark)
            rows.update(patient.rows)
        return rows

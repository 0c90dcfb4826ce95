//! The sections about alerts.

use super::{Section, entry, example};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "alerts",
        comment: "Whom alerts go to, and limits of single vitals. Rules may change between runs; enabled only for a new chain.",
        entries: &[
            entry("enabled", "Whether there are alerts at all."),
            example(
                "topic",
                "\"healthcare_alerts\"",
                "A topic for whoever is paged, on the mirror's brokers, at once and at least once. Default: the table only.",
            ),
            example(
                "commands_topic",
                "\"healthcare_alert_commands\"",
                "A topic of `healthcare alerts` commands, on the events' brokers; for a new chain. Default: no commands.",
            ),
            entry(
                "pending",
                "Whether alerts that wait, or ended before they fired, have rows, too.",
            ),
            entry(
                "escalate_after",
                "An alert that nobody acknowledges for this long becomes one step worse; 0s: never.",
            ),
            entry(
                "forget_after",
                "A patient without events for this long is forgotten; longer than any rule waits.",
            ),
            entry(
                "ahead",
                "An event that claims to have happened longer than this after its arrival raises no alert.",
            ),
            entry("max_snooze", "The longest that an alert can be snoozed."),
            entry(
                "limits",
                "at_least or at_most, rounded as in NEWS2; cleared by clears_at; told of after persist_for. A name is optional.",
            ),
        ],
    },
    Section {
        name: "news2",
        comment: "The National Early Warning Score 2, from the last known values.",
        entries: &[
            entry("enabled", "Whether it is scored."),
            entry("warning", "A total of this and more is a warning."),
            entry("critical", "A total of this and more is critical."),
            entry(
                "clears_at",
                "A total of this and less clears it, if no known parameter is too old.",
            ),
            entry(
                "single_parameter",
                "Whether 3 points of any parameter are a warning, not only those that no limit tells of (see the guide).",
            ),
            entry("max_age", "How old a parameter's last value may be."),
            entry("persist_for", "How long it must last."),
            entry(
                "scale_2_patients",
                "Patients whose oxygen saturation is scored by scale 2: a clinician's decision.",
            ),
            entry(
                "scale_2_at_most",
                "Limits of low oxygen saturation in [alerts] are no higher than this for them.",
            ),
            entry("scale_2_clears_at", "What such a limit clears at."),
        ],
    },
    Section {
        name: "signal_lost",
        comment: "When nothing is heard of a monitored patient.",
        entries: &[
            entry("enabled", "Whether it is watched."),
            entry("after", "After how long without an event."),
            entry(
                "monitored_after",
                "After how many events in a row, none that long behind the one before, a patient is monitored.",
            ),
            entry("severity", "info, warning or critical."),
        ],
    },
    Section {
        name: "anomalies",
        comment: "Values that are unusual for their patient: far from an exponentially weighted mean.",
        entries: &[
            entry("enabled", "Whether they are looked for."),
            entry("alpha", "The weight of the newest value, above 0 and at most 1."),
            entry("warm_up", "How many values a patient's baseline needs."),
            entry("z_limit", "How many deviations from the mean are unusual."),
            entry("z_clears_at", "How many are usual again."),
            entry(
                "min_deviation",
                "The least deviation that is assumed, by vital: a file names those that differ, the others stay.",
            ),
            entry(
                "except",
                "Vitals that are not watched: [\"diastolic\"], say. All of them are otherwise.",
            ),
            entry("persist_for", "How long it must last."),
            entry("severity", "info, warning or critical."),
        ],
    },
];

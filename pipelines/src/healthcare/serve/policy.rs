//! Who may see what: four roles over the tables.
//!
//! No role sees names, numbers or addresses of patients: no table has them. Bronze and quarantine keep whole messages,
//! encrypted; whoever has the key opens them with `healthcare decrypt`, not here.

use thalweg_connectors::delta::CUTS;
use thalweg_serving::access::{Columns, Policy, Roles};

use crate::healthcare::graph;

/// Names of the tables for queries, and their paths.
pub const TABLES: [(&str, &str); 11] = [
    ("alerts_events", graph::ALERTS),
    ("bronze_events", graph::BRONZE),
    ("gold_kpis", graph::KPIS),
    ("gold_medications", graph::MEDICATIONS),
    ("gold_patient_vitals", graph::PATIENT_VITALS),
    ("gold_vitals_by_bp_category", graph::VITALS_BY_BP_CATEGORY),
    ("gold_vitals_by_minute", graph::VITALS_BY_MINUTE),
    ("late_events", graph::LATE_EVENTS),
    ("meta_checkpoints", CUTS),
    ("quarantine_events", graph::QUARANTINE),
    ("silver_events", graph::SILVER),
];

/// The roles, from the one that sees least.
pub const ROLES: [&str; 4] = ["viewer", "clinician", "steward", "admin"];

/// The roles that acknowledge and snooze alerts. It takes a person with a name: whoever follows the printed link is none.
pub const ANSWERING: [&str; 2] = ["clinician", "admin"];

/// Quarantine without the message itself.
const QUARANTINE: [&str; 6] =
    ["reason_codes", "topic", "partition", "offset", "ingested_at", "key_id"];

/// What each role may see.
///
/// * `viewer`: what happened per minute, and which checkpoints there are;
/// * `clinician`: single events and alerts too;
/// * `steward`: what a viewer sees, and why messages were no events;
/// * `admin`: everything, encrypted messages included.
///
/// SQL hides single columns. The dashboards know of none: a table of which a role sees only some they do not show to it.
pub fn roles() -> Roles {
    let every = |policy: Policy, names: &[&str]| {
        names.iter().fold(policy, |policy, name| policy.table(*name, Columns::All))
    };
    let gold = TABLES.iter().map(|(name, _)| *name).filter(|name| name.starts_with("gold_"));
    let viewer = every(Policy::default(), &gold.chain(["meta_checkpoints"]).collect::<Vec<_>>());
    let clinician = every(viewer.clone(), &["silver_events", "late_events", "alerts_events"]);
    let steward = viewer.clone().table("quarantine_events", Columns::only(QUARANTINE));
    let admin = every(Policy::default(), &TABLES.map(|(name, _)| name));
    Roles::default()
        .role("viewer", viewer)
        .role("clinician", clinician)
        .role("steward", steward)
        .role("admin", admin)
}

#[cfg(test)]
mod tests {
    use thalweg_core::Record;

    use super::*;
    use crate::healthcare::record::Quarantine;

    #[test]
    fn every_role_and_table_is_as_written_down() {
        let roles = roles();
        let seen = |role: &str| {
            let tables = roles.policy(role).unwrap().tables().map(|(name, _)| name);
            tables.collect::<Vec<_>>().join(" ")
        };
        let gold = "gold_kpis gold_medications gold_patient_vitals gold_vitals_by_bp_category \
                    gold_vitals_by_minute";
        assert_eq!(seen("viewer"), format!("{gold} meta_checkpoints"));
        assert_eq!(
            seen("clinician"),
            format!("alerts_events {gold} late_events meta_checkpoints silver_events")
        );
        assert_eq!(seen("steward"), format!("{gold} meta_checkpoints quarantine_events"));
        assert_eq!(seen("admin"), TABLES.map(|(name, _)| name).join(" "));
        assert_eq!(roles.names().count(), ROLES.len());
    }

    #[test]
    fn a_steward_sees_all_of_quarantine_but_the_message() {
        let roles = roles();
        let policy = roles.policy("steward").unwrap();
        for field in Quarantine::schema().fields() {
            let seen = policy.allows("quarantine_events", field.name());
            assert_eq!(seen, field.name() != "payload", "{}", field.name());
        }
    }
}

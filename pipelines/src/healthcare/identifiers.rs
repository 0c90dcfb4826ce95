//! Identifiers where none belongs: in the texts of an event that are shown as they were sent.
//!
//! The decoder leaves such a text out, so that it reaches no table, and the daily scan looks for what is in the tables all the
//! same: rows of an earlier release, or of another writer. Both judge alike, or the scan would tell of what nobody can mend.

use thalweg_operators::mask::text::{Leak, find_leak, find_leak_except};

/// What a text that people write seems to hold.
pub(super) fn in_text(text: &str) -> Option<Leak> {
    find_leak(text)
}

/// What a name that a machine gives seems to hold: they date what they count.
pub(super) fn in_name(text: &str) -> Option<Leak> {
    find_leak_except(text, Leak::Date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_and_where_is_no_identifier() {
        for text in [
            "",
            "Heparin",
            "Heparin 5000 U",
            "Hydrocodone/APAP 5-325 mg",
            "Insulin 70/30",
            "Sulfamethoxazole-Trimethoprim 800-160 mg",
            "Sodium chloride 0.9 % 1000 ml, 125 ml/h",
            "Potassium 20 mEq in 1000 ml @ 75 ml/h",
            "NS@83.33ml/h",
            "D5W@125.5ml/hr",
            "Heparin 25000U@12.50ml/h",
            "1.000.000 IU",
            "1,200,000 U",
            "100-200-300 mg",
            // National drug codes, in each of their forms.
            "0002-1433-80",
            "50242-040-62",
            "12345-6789-0",
            "00071-0155-23",
            "00071015523",
            // LOINC, ATC, RxNorm, SNOMED CT, CAS.
            "8867-4",
            "85354-9",
            "LOINC 59408-5",
            "B01AB01",
            "RxNorm 1361226",
            "372877000",
            "9005-49-6",
            "\u{C1}cido f\u{F3}lico 5 mg",
            "ICU",
            "ICU-4B",
            "Ward 12, bed 3",
            "4 West 401-2",
            "CCU 2025",
        ] {
            assert_eq!(in_text(text), None, "{text}");
            assert_eq!(in_name(text), None, "{text}");
        }
    }

    #[test]
    fn names_that_machines_give_are_no_identifiers() {
        for text in [
            "42",
            "18446744073709551616",
            "evt-1234567890123",
            "2025-11-24-1439",
            "2025-11-24T21:00:00.114316Z/17",
            "2025-11-24T21:00:00+01:00",
            "20251124210000-0017",
            "123e4567-e89b-12d3-a456-426614174000",
            "00000000-0000-4000-8000-000000000000",
            "12345678-1234-1234-1234-123456789012",
            "{12345678-1234-4234-8234-123456789012}",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "urn:oid:2.16.840.1.113883.4.6",
            "1.2.840.113619.2.55.3.604.119.123.456.7890",
            "2.16.840.1.113883.3.239.123.4567",
            "pump@10.0.0.12",
            "MON123-45-6789",
            "MSG00001^20251124",
            "ICU-017",
            "ICU-199-0001",
            "12-34-56-78-90-12",
            "00:1B:44:11:3A:B7",
            "192.168.100.200:8080",
            "SN 4711.0815",
        ] {
            assert_eq!(in_name(text), None, "{text}");
        }
    }

    #[test]
    fn identifiers_are_found_in_both() {
        for text in [
            "ask 555-123-7890",
            "Heparin (call (555) 867-5309)",
            "Heparin, (555)-867-5309",
            "555 867-5309",
            "+44 20 7946 0958",
            "ssn 123-45-6789",
            "pt-123-45-6789",
            "jane.doe@example.org",
        ] {
            assert!(in_text(text).is_some() && in_name(text).is_some(), "{text}");
        }
        let date = "born 1961-07-13";
        assert_eq!((in_text(date), in_name(date)), (Some(Leak::Date), None));
    }
}

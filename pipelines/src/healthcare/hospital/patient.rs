//! A patient: who it is, how well, and what the monitors show.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde::Serialize;

const FIRST_NAMES: [&str; 16] = [
    "John",
    "Mary",
    "José",
    "Anne-Marie",
    "Wei",
    "Fatima",
    "Olga",
    "Liam",
    "Zoë",
    "Raj",
    "Amara",
    "Noah",
    "Søren",
    "Chloë",
    "Ivan",
    "Yuki",
];
const LAST_NAMES: [&str; 16] = [
    "Doe", "Smith", "O'Neil", "García", "Müller", "Chen", "Nguyen", "van-Dijk", "Okafor",
    "Kowalski", "Silva", "Johnson", "Brown", "Lee", "Patel", "Tanaka",
];
const STREETS: [&str; 8] = ["Main", "Oak", "Cedar", "Elm", "Lake", "Hill", "Park", "River"];
const CITIES: [(&str, &str, &str); 6] = [
    ("Boston", "MA", "02118"),
    ("Austin", "TX", "73301"),
    ("Fresno", "CA", "93650"),
    ("Tampa", "FL", "33601"),
    ("Omaha", "NE", "68007"),
    ("Provo", "UT", "84601"),
];
const UNITS: [&str; 5] = ["ICU", "ER", "Cardiology", "Surgery", "Medicine"];
const MEDICATIONS: [&str; 7] =
    ["Metoprolol", "Lisinopril", "Insulin", "Heparin", "Ibuprofen", "Amoxicillin", "Warfarin"];

/// Somebody who does not exist.
#[derive(Debug)]
pub(super) struct Patient {
    id: i64,
    name: String,
    ssn: String,
    phone: String,
    dob: String,
    address: String,
    unit: &'static str,
    device: String,
    heart_rate: f64,
    systolic: f64,
    diastolic: f64,
    temperature: f64,
    /// From 0, well, to 1, in danger; wanders from event to event.
    strain: f64,
}

/// An event as it is sent.
#[derive(Debug, Serialize)]
pub(super) struct Reading<'a> {
    event_id: u64,
    patient_id: i64,
    name: &'a str,
    ssn: &'a str,
    phone: &'a str,
    dob: &'a str,
    address: &'a str,
    event_type: &'static str,
    heart_rate: i32,
    blood_pressure: String,
    temperature: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    spo2: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    respiratory_rate: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consciousness: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oxygen: Option<bool>,
    medication: Option<&'static str>,
    unit: &'static str,
    device_id: &'a str,
    timestamp: &'a str,
}

impl Patient {
    pub(super) fn admit(number: u32, random: &mut StdRng) -> Self {
        let (city, state, zip) = CITIES.choose(random).copied().unwrap_or_default();
        let unit = pick(&UNITS, random);
        Self {
            id: 1_000 + i64::from(number),
            name: format!("{} {}", pick(&FIRST_NAMES, random), pick(&LAST_NAMES, random)),
            // No number has ever been given out in area 900 to 999.
            ssn: format!(
                "{}-{:02}-{:04}",
                random.random_range(900..1000),
                random.random_range(1..100),
                random.random_range(1..10_000)
            ),
            // Exchange 555 with 0100 to 0199 is kept free for fiction.
            phone: format!(
                "({}) 555-01{:02}",
                random.random_range(201..990),
                random.random_range(0..100)
            ),
            dob: format!(
                "{}-{:02}-{:02}",
                random.random_range(1925..2021),
                random.random_range(1..13),
                random.random_range(1..29)
            ),
            address: format!(
                "{} {} St, {city}, {state} {zip}",
                random.random_range(1..1000),
                pick(&STREETS, random)
            ),
            unit,
            device: format!("{unit}-{:03}", random.random_range(1..200)),
            heart_rate: random.random_range(55.0..95.0),
            systolic: random.random_range(100.0..150.0),
            diastolic: random.random_range(55.0..90.0),
            temperature: random.random_range(97.4..99.0),
            strain: random.random_range(0.0..0.2),
        }
    }

    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// What is measured next. Every number is one that a living patient can have.
    pub(super) fn read<'a>(
        &'a mut self,
        event_id: u64,
        timestamp: &'a str,
        random: &mut StdRng,
    ) -> Reading<'a> {
        self.strain = (self.strain + noise(random) * 0.03 - 0.001).clamp(0.0, 1.0);
        let strain = self.strain;
        let mut measured = |mean: f64, spread: f64, least: f64, most: f64| {
            (mean + noise(random) * spread).clamp(least, most)
        };
        let heart_rate = measured(self.heart_rate + 45.0 * strain, 5.0, 30.0, 220.0);
        let systolic = measured(self.systolic - 30.0 * strain, 6.0, 70.0, 240.0).round();
        let diastolic = measured(self.diastolic - 15.0 * strain, 4.0, 40.0, 130.0);
        let temperature = measured(self.temperature + 3.0 * strain, 0.3, 94.0, 106.0);
        let spo2 = measured(97.5 - 9.0 * strain, 1.0, 70.0, 100.0);
        let respiratory_rate = measured(15.0 + 12.0 * strain, 1.5, 6.0, 50.0);
        let event_type = match random.random_range(0..20) {
            0..14 => "vitals",
            14..17 => "lab_result",
            _ => "medication",
        };
        let vitals = event_type == "vitals";
        Reading {
            event_id,
            patient_id: self.id,
            name: &self.name,
            ssn: &self.ssn,
            phone: &self.phone,
            dob: &self.dob,
            address: &self.address,
            event_type,
            heart_rate: heart_rate.round() as i32,
            blood_pressure: format!("{systolic}/{}", diastolic.min(systolic - 10.0).round()),
            temperature: (temperature * 10.0).round() / 10.0,
            spo2: vitals.then_some(spo2.round() as i32),
            respiratory_rate: vitals.then_some(respiratory_rate.round() as i32),
            consciousness: vitals.then_some(if strain > 0.8 { "V" } else { "A" }),
            oxygen: vitals.then_some(strain > 0.5),
            medication: (event_type == "medication").then(|| pick(&MEDICATIONS, random)),
            unit: self.unit,
            device_id: &self.device,
            timestamp,
        }
    }
}

fn pick(from: &[&'static str], random: &mut StdRng) -> &'static str {
    from.choose(random).copied().unwrap_or_default()
}

/// Mean 0, spread 1, and close enough to normal.
fn noise(random: &mut StdRng) -> f64 {
    let sum: f64 = (0..4).map(|_| random.random::<f64>()).sum();
    (sum - 2.0) * 3.0_f64.sqrt()
}

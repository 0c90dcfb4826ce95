//! The columns of the gold tables: what happened per minute.
//!
//! An event need not have every vital: a mean is over that vital's readings, and means are averaged by their number, never
//! by that of events.

use thalweg_core::Record;
use thalweg_core::record::Micros;

macro_rules! gold {
    ($(#[$doc:meta])* $name:ident $({ $(#[$key_doc:meta])* $key:ident: $key_type:ty })?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Record)]
        pub struct $name {
            /// First microsecond of the minute.
            pub window_start: Micros,
            /// First microsecond behind it.
            pub window_end: Micros,
            $($(#[$key_doc])* pub $key: $key_type,)?
            /// How many events there were.
            pub events: i64,
            /// How many patients they were about.
            pub patients: i64,
            /// Beats per minute, mean.
            pub heart_rate_mean: Option<f64>,
            /// Beats per minute, least.
            pub heart_rate_min: Option<f64>,
            /// Beats per minute, greatest.
            pub heart_rate_max: Option<f64>,
            /// mmHg, mean.
            pub systolic_mean: Option<f64>,
            /// mmHg, least.
            pub systolic_min: Option<i32>,
            /// mmHg, greatest.
            pub systolic_max: Option<i32>,
            /// mmHg, mean.
            pub diastolic_mean: Option<f64>,
            /// mmHg, least.
            pub diastolic_min: Option<i32>,
            /// mmHg, greatest.
            pub diastolic_max: Option<i32>,
            /// Degrees Fahrenheit, mean.
            pub temperature_mean: Option<f64>,
            /// Degrees Fahrenheit, least.
            pub temperature_min: Option<f64>,
            /// Degrees Fahrenheit, greatest.
            pub temperature_max: Option<f64>,
            /// Oxygen saturation in percent, mean.
            pub spo2_mean: Option<f64>,
            /// Oxygen saturation in percent, least.
            pub spo2_min: Option<f64>,
            /// Oxygen saturation in percent, greatest.
            pub spo2_max: Option<f64>,
            /// Breaths per minute, mean.
            pub respiratory_rate_mean: Option<f64>,
            /// Breaths per minute, least.
            pub respiratory_rate_min: Option<f64>,
            /// Breaths per minute, greatest.
            pub respiratory_rate_max: Option<f64>,
            // Behind all else: in tables from before they were there they stand behind all else, too.
            /// How many events have a heart rate.
            pub heart_rate_readings: i64,
            /// How many have a blood pressure.
            pub systolic_readings: i64,
            /// How many have a blood pressure.
            pub diastolic_readings: i64,
            /// How many have a temperature.
            pub temperature_readings: i64,
            /// How many have an oxygen saturation.
            pub spo2_readings: i64,
            /// How many have a respiratory rate.
            pub respiratory_rate_readings: i64,
        }
    };
}

gold! {
    /// Table `gold/vitals_by_minute`: per kind of event.
    VitalsByMinute {
        /// What kind of events.
        event_type: String
    }
}
gold! {
    /// Table `gold/vitals_by_bp_category`: per category of blood pressure.
    VitalsByBpCategory {
        /// See [`super::blood_pressure::Category`].
        bp_category: String
    }
}
gold! {
    /// Table `gold/patient_vitals`: per patient.
    PatientVitals {
        /// Who the events are about.
        patient_id: i64
    }
}
gold! {
    /// Table `gold/medications`: per medication.
    Medications {
        /// What was given.
        medication: String
    }
}
gold! {
    /// Table `gold/kpis`: all events together.
    Kpis
}

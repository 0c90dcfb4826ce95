use thalweg_core::{ErrorKind, error};

use super::*;
use crate::healthcare::alerts::vital::Vital;
use crate::healthcare::quarantine::Stage;

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(HealthcareConfig::parse("").unwrap(), HealthcareConfig::default());
    assert_eq!(HealthcareConfig::load(None).unwrap(), HealthcareConfig::default());
    let config = HealthcareConfig::default();
    assert_eq!(config.kafka.topic, "healthcare_events");
    assert_eq!(config.decoding.max_message_bytes, 1_048_576);
    assert_eq!(config.decoding.future_cap, Duration::from_hours(24));
    assert_eq!(config.time.out_of_orderness, Duration::from_secs(30));
    assert_eq!(config.time.ahead, Duration::from_mins(10));
    assert_eq!(config.alerts.ahead, Duration::from_mins(10));
}

#[test]
fn a_file_changes_what_it_names_and_nothing_else() {
    let config = HealthcareConfig::parse(
        "[ranges]\nheart_rate = { min = 1, max = 250.5 }\n[time]\nwindow = \"5m\"\n[kafka.properties]\n\
         \"security.protocol\" = \"ssl\"\nfetch.wait.max.ms = 20\ncheck.crcs = false\n",
    )
    .unwrap();
    assert_eq!(config.ranges.heart_rate, Range { min: 1.0, max: 250.5 });
    assert_eq!(config.ranges.spo2, Ranges::default().spo2);
    assert_eq!(config.time.window, Duration::from_mins(5));
    let properties: Vec<(&str, &str)> =
        config.kafka.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let expected =
        [("check.crcs", "false"), ("fetch.wait.max.ms", "20"), ("security.protocol", "ssl")];
    assert_eq!(properties, expected);
}

#[test]
fn a_stage_may_have_a_policy_of_its_own() {
    let of = |text: &str| {
        let section = HealthcareConfig::parse(text).unwrap().quarantine;
        [Stage::Decode, Stage::Validate].map(|stage| section.of(stage))
    };
    assert_eq!(of(""), [Rejected::Table; 2]);
    assert_eq!(of("[quarantine]\non_rejected = \"drop\""), [Rejected::Drop; 2]);
    let fails = "[quarantine]\non_rejected = \"drop\"\non_undecodable = \"fail\"";
    assert_eq!(of(fails), [Rejected::Fail, Rejected::Drop]);
    assert_eq!(of("[quarantine]\non_invalid = \"drop\""), [Rejected::Table, Rejected::Drop]);
}

#[test]
fn a_mistake_is_told_in_one_line_with_its_place() {
    for (text, says) in [
        ("\n[ranges]\nheartrate = { min = 1, max = 2 }", "line 3: unknown field `heartrate`"),
        ("[time]\nwindow = 60", "line 2: "),
        ("[time]\nwindow = \"0s\"", "time.window must be"),
        ("[ranges]\nspo2 = { min = 2, max = 1 }", "ranges.spo2: min must not be above max"),
        ("[ranges]\nspo2 = { min = nan, max = 1 }", "ranges.spo2"),
        ("[kafka", "line 1: "),
        ("[kafka]\nstart = \"sometime\"", "line 2: "),
        ("[kafka.properties]\nsasl.password = [\"hunter2\"]", "`sasl.password` must be a text"),
        ("[decoding]\nmax_message_bytes = 0", "decoding.max_message_bytes must be 1 to"),
        ("[decoding]\nmax_message_bytes = 1073741825", "decoding.max_message_bytes must be 1 to"),
        ("[kafka]\ndiscovery_interval = \"0s\"", "kafka.discovery_interval"),
        (
            "[runtime]\ncheckpoint_interval = \"0s\"",
            "runtime.checkpoint_interval must be at least 1ms",
        ),
        ("[runtime]\nparallelism = 129", "runtime.parallelism must be 1 to 128"),
        ("[runtime]\nchannel_rows = 0", "runtime.channel_rows must be at least 1"),
        ("[runtime]\nkeep_checkpoints = 1", "runtime.keep_checkpoints must be at least 2"),
        ("[runtime]\nio_threads = 1", "runtime.io_threads must be 2 to 256"),
        (
            "[[alerts.limits]]\nvital = \"spo2\"\nseverity = \"critical\"",
            "rule `spo2-low` needs either at_least or at_most",
        ),
        (
            "[alerts]\nlimits = [{ vital = \"spo2\", at_most = 91, clears_at = 90, severity = \"info\" }]",
            "rule `spo2-low` must clear on the good side",
        ),
        (
            "[[alerts.limits]]\nname = \"news2\"\nvital = \"spo2\"\nat_most = 91\nseverity = \"info\"",
            "`news2` is the name of another rule",
        ),
        ("[[alerts.limits]]\nvital = \"mood\"", "line 2: "),
        ("[alerts]\nforget_after = \"1s\"", "alerts.forget_after"),
        ("[alerts]\nahead = 10", "line 2: "),
        ("[runtime]\nmemory_limit = \"4 gigs\"", "line 2: "),
        ("[runtime]\nmemory_limit = \"512\"", "a number and a unit"),
        ("[runtime]\ndisk_reserve = \"10\"", "disk_reserve is a number and a unit"),
        ("[quarantine]\non_rejected = \"throw\"", "line 2: "),
        ("[quarantine]\non_rejected = \"topic\"", "name quarantine.topic"),
        ("[quarantine]\non_undecodable = \"topic\"", "name quarantine.topic"),
        ("[quarantine]\non_invalid = \"throw\"", "line 2: "),
        (
            "[alerts]\nforget_after = \"10m\"",
            "rule `signal-lost` waits until its patient is forgotten",
        ),
        ("[signal_lost]\nafter = \"2days\"", "rule `signal-lost` waits"),
        ("[news2]\npersist_for = \"1day\"", "rule `news2` waits"),
        ("[anomalies]\npersist_for = \"1day\"", "rule `anomaly-heart_rate` waits"),
        (
            "[[alerts.limits]]\nvital = \"spo2\"\nat_most = 91\npersist_for = \"1day\"\nseverity = \"info\"",
            "rule `spo2-low` waits",
        ),
        ("[news2]\nmax_age = \"25h\"", "news2.max_age"),
        ("[news2]\nclears_at = 5", "news2: clears_at"),
        ("[news2]\nscale_2_at_most = 87", "news2: scale_2_clears_at"),
        ("[news2]\nscale_2_at_most = nan", "news2: scale_2_clears_at"),
        ("[signal_lost]\nafter = \"0s\"", "signal_lost: after"),
        ("[anomalies]\nalpha = 2.0", "anomalies: alpha"),
        ("[anomalies]\nz_clears_at = 9", "anomalies: z_clears_at"),
        (
            "[ranges]\nheart_rate = { min = 20, max = 120 }",
            "rule `heart-rate-high` can never be crossed, since ranges.heart_rate",
        ),
        (
            "[ranges]\ntemperature = { min = 96, max = 115 }",
            "rule `temperature-low` can never be crossed",
        ),
        (
            "[[alerts.limits]]\nvital = \"temperature\"\nat_most = 120\nseverity = \"info\"",
            "rule `temperature-low` can never be cleared",
        ),
    ] {
        let error = HealthcareConfig::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let shown = error.to_string();
        assert!(shown.contains(says) && !shown.contains('\n'), "{text}: {shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn no_mistake_quotes_what_stands_in_the_file() {
    for text in [
        "kafka = \"hunter2\"",
        "[kafka]\nproperties = \"sasl.password=hunter2\"",
        "[kafka]\nproperties = [\"hunter2\"]",
        "[kafka.properties]\nsasl.password = [\"hunter2\"]",
        "[kafka.properties]\nsasl.password = hunter2",
        "[kafka]\nbootstrap_servers = [\"hunter2\"]",
        "[kafka]\nstart = \"hunter2\"",
        "[kafka]\ndiscovery_interval = \"1 hunter2, expected hunter2\"",
        "[kafka]\non_data_loss = \"hunter2\"",
        "[mirror]\ntransaction_timeout = \"hunter2\"",
        "[monitor]\nwebhook = \"http://example.org/hunter2\"",
        "[monitor]\nwebhook = { url = \"hunter2\" }",
        "[monitor]\nwebhook_attempts = \"hunter2\"",
        "[monitor]\nlag = \"`hunter2`\"",
        "[runtime]\nmemory_limit = \"hunter2\"",
        "[ranges]\nspo2 = \"hunter2\"",
        "[alerts]\nlimits = \"hunter2\"",
        "[[alerts.limits]]\nvital = \"hunter2\"",
        "[news2]\nscale_2_patients = [\"hunter2\"]",
        "[quarantine]\non_rejected = \"hunter2\"",
        "[schedule]\nreport = \"hunter2\"",
    ] {
        let error = HealthcareConfig::parse(text).unwrap_err();
        let shown = error::chain(&error);
        assert!(!shown.contains("hunter2") && !shown.contains('\n'), "{text}: {shown}");
    }
    let properties = HealthcareConfig::parse("[kafka]\nproperties = 7").unwrap_err().to_string();
    assert!(properties.contains("kafka.properties must be a table"), "{properties}");
}

#[test]
fn limits_that_nobody_asks_need_no_readings() {
    let text = "[ranges]\nheart_rate = { min = 20, max = 120 }\n[alerts]\nenabled = false";
    assert!(HealthcareConfig::parse(text).is_ok());
}

#[test]
fn a_least_deviation_is_its_own_vitals_and_one_is_left_out_by_name() {
    let of = |text: &str| {
        let section = HealthcareConfig::parse(text).unwrap().anomalies;
        Vital::ALL.map(|vital| section.baseline(vital).map(|settings| settings.min_deviation))
    };
    let mut expected = of("");
    assert!(expected.iter().all(Option::is_some), "{expected:?}");
    expected[Vital::Spo2 as usize] = Some(2.0);
    assert_eq!(of("[anomalies]\nmin_deviation = { spo2 = 2 }"), expected);
    expected[Vital::Diastolic as usize] = None;
    let except = "[anomalies]\nmin_deviation = { spo2 = 2 }\nexcept = [\"diastolic\"]";
    assert_eq!(of(except), expected);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = HealthcareConfig::load(Some(Path::new("/does/not/exist.toml"))).unwrap_err();
    assert!(error::chain(&error).contains("/does/not/exist.toml"), "{error}");
}

#[test]
fn debug_shows_no_secret() {
    let config =
        HealthcareConfig::parse("[kafka.properties]\nsasl.password = \"hunter2\"").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_source_takes_over_every_setting() {
    let text = "[kafka]\nbootstrap_servers = \"b:1\"\ntopic = \"t\"\nstart = \"latest\"\ngroup_id = \"g\"\n\
                discovery_interval = \"1s\"\non_data_loss = \"reset\"\n[kafka.properties]\nx = 1";
    let source = HealthcareConfig::parse(text).unwrap().kafka.source().unwrap();
    assert_eq!((source.bootstrap_servers.as_str(), source.topic.as_str()), ("b:1", "t"));
    assert_eq!((source.start, source.on_data_loss), (Start::Latest, OnDataLoss::Reset));
    assert_eq!(source.group_id.as_deref(), Some("g"));
    assert_eq!(source.discovery_interval, Duration::from_secs(1));
    assert_eq!(source.properties["x"], "1");
    assert!(HealthcareConfig::default().kafka.source().is_err());
}

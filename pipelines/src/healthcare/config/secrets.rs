//! Whether a configuration file that holds a secret is its owner's alone.

use std::path::Path;

use thalweg_connectors::kafka::config::is_secret;

use super::HealthcareConfig;

/// Ends of names of properties that say where a secret is, and not what it is.
const PLACES: [&str; 4] = [".file", ".keytab", ".location", ".url"];

/// Warns of a file whose secrets others may read. It is no error: whoever mounts it may have no say in its mode.
pub(super) fn warn(path: &Path, config: &HealthcareConfig) {
    if let (Some(setting), true) = (secret(config), others_may_read(path)) {
        let shown = path.display();
        tracing::warn!(
            "others may read configuration file {shown}, which holds {setting}: chmod 600 {shown}"
        );
    }
}

/// The name of a setting that is a secret, if there is one.
fn secret(config: &HealthcareConfig) -> Option<String> {
    let is_value = |key: &&String| !PLACES.iter().any(|place| key.ends_with(place));
    let property = config.kafka.properties.keys().filter(|key| is_secret(key)).find(is_value);
    let webhook = || config.monitor.webhook.as_ref().map(|_| "monitor.webhook".to_owned());
    property.map(|key| format!("kafka property {key}")).or_else(webhook)
}

#[cfg(unix)]
fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn others_may_read(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_secret_is_told_by_its_name_and_where_one_lies_is_none() {
        for (text, expected) in [
            ("", None),
            ("[kafka.properties]\nssl.key.location = \"/k.pem\"\nsasl.username = \"u\"", None),
            ("[kafka.properties]\nsasl.oauthbearer.token.endpoint.url = \"https://a\"", None),
            (
                "[kafka.properties]\nssl.key.location = \"/k\"\nssl.key.password = \"hunter2\"",
                Some("kafka property ssl.key.password"),
            ),
            (
                "[kafka.properties]\n\"sasl.password\" = \"hunter2\"",
                Some("kafka property sasl.password"),
            ),
            ("[monitor]\nwebhook = \"https://hooks.example.org/x\"", Some("monitor.webhook")),
        ] {
            let config = HealthcareConfig::parse(text).unwrap();
            assert_eq!(secret(&config).as_deref(), expected, "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_is_open_to_a_group_or_to_all() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, expected) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), permissions).unwrap();
            assert_eq!(others_may_read(file.path()), expected, "{mode:o}");
        }
        assert!(!others_may_read(Path::new("/does/not/exist")));
    }
}

//! librdkafka's settings as TOML: `"sasl.username" = "me"` and `sasl.username = "me"` say the same, and numbers and
//! booleans need no quotes.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Error as _};
use toml::{Table, Value};

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    // Whatever stands there may be a secret, and what others say of it quotes it.
    let table = Table::deserialize(input).map_err(|_| {
        D::Error::custom(
            "kafka.properties must be a table of librdkafka's settings and their values",
        )
    })?;
    let mut properties = BTreeMap::new();
    flatten("", table, &mut properties).map_err(|key| {
        D::Error::custom(format!("kafka property `{key}` must be a text, a number or a boolean"))
    })?;
    Ok(properties)
}

/// Joins the keys of nested tables by dots; stops at a value that is none of a property.
fn flatten(
    prefix: &str,
    table: Table,
    properties: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        let text = match value {
            Value::String(text) => text,
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            Value::Table(inner) => {
                flatten(&key, inner, properties)?;
                continue;
            }
            Value::Array(_) | Value::Datetime(_) => return Err(key),
        };
        properties.insert(key, text);
    }
    Ok(())
}

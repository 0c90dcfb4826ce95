//! Commands for schedulers: how they end, and what they say last.

use std::process::{Command, Output};

use serde_json::Value;

use super::{output, shown};

/// Runs it and expects this exit code.
pub(crate) fn ends_with(command: &mut Command, code: i32) -> Output {
    let output = output(command);
    assert_eq!(output.status.code(), Some(code), "{}", shown(&output));
    output
}

/// How the audit log names who runs a command, where `USER` is `operator`.
pub(crate) fn operator() -> String {
    let uid = Command::new("id").arg("-ru").output().unwrap().stdout;
    format!("uid:{}(operator)", String::from_utf8(uid).unwrap().trim())
}

/// The last line of standard output: one JSON object.
pub(crate) fn last_line(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let last = text.lines().last().unwrap_or_default();
    let said: Option<Value> = serde_json::from_str(last).ok();
    assert!(said.as_ref().is_some_and(Value::is_object), "{}", shown(output));
    said.unwrap()
}

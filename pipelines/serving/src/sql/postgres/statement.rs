//! What a statement asks for: rows, a setting, nothing, or something that is refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, Reset, Set, SetExpr, Statement, Value, Visit, Visitor,
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// Rows.
    Rows,
    /// The value of a setting.
    Show(String),
    /// Another value for a setting.
    Set(String, String),
    /// The settings as they were in the beginning.
    Reset,
    /// They, and no prepared statements.
    Discard,
    /// This prepared statement is forgotten, or all of them.
    Deallocate(Option<String>),
    /// A transaction begins. Each query sees the newest versions all the same.
    Begin,
    /// It ends.
    End(&'static str),
    /// What clients say out of habit; the answer is its tag.
    Nothing(&'static str),
    /// Something that would change data.
    Change,
    /// Something that is not known here.
    Unknown,
}

/// Sorts a statement.
pub(super) fn asked(statement: &Statement) -> Asked {
    match statement {
        Statement::Query(query) if only_reads(query) => Asked::Rows,
        Statement::ShowVariable { variable } => {
            let words: Vec<String> =
                variable.iter().map(|word| word.value.to_lowercase()).collect();
            Asked::Show(words.join(" "))
        }
        Statement::Set(set) => setting(set),
        Statement::Reset(reset) => match &reset.reset {
            Reset::ALL => Asked::Reset,
            Reset::ConfigurationParameter(name) => Asked::Set(plain(name), String::new()),
        },
        Statement::Discard { .. } => Asked::Discard,
        Statement::StartTransaction { .. } => Asked::Begin,
        Statement::Commit { .. } => Asked::End("COMMIT"),
        Statement::Rollback { savepoint: None, .. } => Asked::End("ROLLBACK"),
        Statement::Rollback { .. } => Asked::Nothing("ROLLBACK"),
        Statement::Savepoint { .. } => Asked::Nothing("SAVEPOINT"),
        Statement::ReleaseSavepoint { .. } => Asked::Nothing("RELEASE"),
        Statement::Deallocate { name, .. } => Asked::Deallocate(match name.quote_style {
            Some(_) => Some(name.value.clone()),
            None if name.value.eq_ignore_ascii_case("all") => None,
            None => Some(name.value.to_lowercase()),
        }),
        Statement::Close { .. } => Asked::Nothing("CLOSE CURSOR"),
        Statement::UNLISTEN { .. } => Asked::Nothing("UNLISTEN"),
        Statement::Explain { .. }
        | Statement::ExplainTable { .. }
        | Statement::Prepare { .. }
        | Statement::Execute { .. }
        | Statement::Declare { .. }
        | Statement::Fetch { .. }
        | Statement::LISTEN { .. } => Asked::Unknown,
        _ => Asked::Change,
    }
}

fn setting(set: &Set) -> Asked {
    let text = |value: &Expr| match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        other => other.to_string(),
    };
    match set {
        Set::SingleAssignment { variable, values, .. } => {
            let values: Vec<String> = values.iter().map(text).collect();
            Asked::Set(plain(variable), values.join(", "))
        }
        Set::SetTimeZone { value, .. } => Asked::Set("timezone".to_owned(), text(value)),
        Set::SetNames { charset_name, .. } => {
            Asked::Set("client_encoding".to_owned(), charset_name.value.clone())
        }
        Set::SetTransaction { .. } | Set::SetNamesDefault {} => Asked::Nothing("SET"),
        // Nobody becomes somebody else.
        Set::SetRole { .. } | Set::SetSessionAuthorization(_) => Asked::Change,
        _ => Asked::Unknown,
    }
}

fn plain(name: &ObjectName) -> String {
    name.to_string().replace('"', "").to_lowercase()
}

/// Whether no part of a query writes or locks.
fn only_reads(query: &Query) -> bool {
    struct Writes;
    impl Visitor for Writes {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            if query.locks.is_empty() && reads(&query.body) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        }
    }
    query.visit(&mut Writes).is_continue()
}

fn reads(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_none(),
        SetExpr::SetOperation { left, right, .. } => reads(left) && reads(right),
        // Queries inside are visited by themselves.
        SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => true,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn sorted(sql: &str) -> Asked {
        let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
        asked(&statements[0])
    }

    #[test]
    fn queries_settings_and_habits_are_told_from_changes() {
        for sql in ["select 1", "values (1)", "with a as (select 1) select * from a"] {
            assert_eq!(sorted(sql), Asked::Rows, "{sql}");
        }
        for sql in [
            "insert into t values (1)",
            "update t set a = 1",
            "delete from t",
            "create table t (a int)",
            "create table t as select 1",
            "drop table t",
            "truncate t",
            "copy t to '/tmp/x'",
            "copy t to program 'sh'",
            "select 1 into t",
            "select * from t for update",
            "with a as (insert into t values (1) returning 1) select * from a",
            "select * from (select * from t for share) x",
            "set role admin",
            "grant select on t to ada",
            "vacuum",
            "call f()",
        ] {
            assert_eq!(sorted(sql), Asked::Change, "{sql}");
        }
        assert_eq!(sorted("explain select 1"), Asked::Unknown);
        assert_eq!(sorted("show server_version"), Asked::Show("server_version".to_owned()));
        assert_eq!(
            sorted("set statement_timeout = '5s'"),
            Asked::Set("statement_timeout".to_owned(), "5s".to_owned())
        );
        assert_eq!(
            sorted("set extra_float_digits to 3"),
            Asked::Set("extra_float_digits".to_owned(), "3".to_owned())
        );
        assert_eq!(sorted("discard all"), Asked::Discard);
        assert_eq!(sorted("reset all"), Asked::Reset);
        assert_eq!(sorted("deallocate prepare all"), Asked::Deallocate(None));
        assert_eq!(sorted("deallocate S1"), Asked::Deallocate(Some("s1".to_owned())));
        assert_eq!(sorted("deallocate \"All\""), Asked::Deallocate(Some("All".to_owned())));
        assert_eq!(sorted("begin"), Asked::Begin);
        assert_eq!(sorted("rollback"), Asked::End("ROLLBACK"));
    }
}

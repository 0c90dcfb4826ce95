//! What a statement asks for: rows, a setting, nothing, or something that is refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CloseCursor, ContextModifier, Declare, Expr, FetchDirection, Ident, ObjectName, Query, Reset,
    Set, SetExpr, Statement, Value, Visit, Visitor,
};

use super::dialect::folded;
use super::tokens::MOVED;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// Rows.
    Rows,
    /// A cursor for rows.
    Declare(Declared),
    /// So many more rows of a cursor, or all that are left.
    Fetch(String, Option<u64>),
    /// So many rows of a cursor are gone past, or all that are left.
    Move(String, Option<u64>),
    /// This cursor ends, or all of them.
    Close(Option<String>),
    /// The value of a setting.
    Show(String),
    /// Another value for a setting.
    Set(String, String),
    /// Until the transaction ends.
    SetLocal(String, String),
    /// The settings as they were in the beginning.
    Reset,
    /// They, and no prepared statements.
    Discard,
    /// This prepared statement is forgotten, or all of them.
    Deallocate(Option<String>),
    /// A transaction begins. Each query sees the newest versions all the same.
    Begin,
    /// It goes back to a savepoint: what has failed since then is forgotten.
    Back,
    /// It ends.
    End(&'static str),
    /// What clients say out of habit; the answer is its tag.
    Nothing(&'static str),
    /// Something that would change data.
    Change,
    /// Something that is refused for a reason of its own: SQLSTATE and words.
    Refused(&'static str, &'static str),
    /// Something that is not known here.
    Unknown,
}

/// A cursor as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) name: String,
    /// Whether its values are sent in binary where nothing else is asked for.
    pub(super) binary: bool,
    /// Whether it outlives its transaction.
    pub(super) hold: bool,
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
        Statement::Rollback { .. } => Asked::Back,
        Statement::Savepoint { .. } => Asked::Nothing("SAVEPOINT"),
        Statement::ReleaseSavepoint { .. } => Asked::Nothing("RELEASE"),
        Statement::Deallocate { name, .. } => Asked::Deallocate(match name.quote_style {
            Some(_) => Some(name.value.clone()),
            None if name.value.eq_ignore_ascii_case("all") => None,
            None => Some(name.value.to_lowercase()),
        }),
        Statement::Declare { stmts } => declare(stmts),
        Statement::Fetch { name, direction, into, .. } => match into {
            None => fetch(name, direction, Asked::Fetch),
            Some(into) if into.to_string() == MOVED => fetch(name, direction, Asked::Move),
            Some(_) => Asked::Unknown,
        },
        Statement::Close { cursor: CloseCursor::All } => Asked::Close(None),
        Statement::Close { cursor: CloseCursor::Specific { name } } => {
            Asked::Close(Some(folded(name)))
        }
        Statement::UNLISTEN { .. } => Asked::Nothing("UNLISTEN"),
        Statement::Explain { .. }
        | Statement::ExplainTable { .. }
        | Statement::Prepare { .. }
        | Statement::Execute { .. }
        | Statement::LISTEN { .. } => Asked::Unknown,
        _ => Asked::Change,
    }
}

/// The query in a statement: the statement itself, or what a cursor is declared for.
pub(super) fn query_of(mut statement: Statement) -> Statement {
    let inside = match &mut statement {
        Statement::Declare { stmts } => stmts.first_mut().and_then(|it| it.for_query.take()),
        _ => None,
    };
    inside.map_or(statement, Statement::Query)
}

fn declare(declares: &[Declare]) -> Asked {
    let [Declare { names, binary, scroll, hold, for_query: Some(query), .. }] = declares else {
        return Asked::Unknown;
    };
    let [name] = names.as_slice() else { return Asked::Unknown };
    if !only_reads(query) {
        return Asked::Change;
    }
    if *scroll == Some(true) {
        return Asked::Refused("0A000", "cursors only go forward: leave out SCROLL");
    }
    let (binary, hold) = (*binary == Some(true), *hold == Some(true));
    Asked::Declare(Declared { name: folded(name), binary, hold })
}

fn fetch(
    name: &Ident,
    direction: &FetchDirection,
    asked: fn(String, Option<u64>) -> Asked,
) -> Asked {
    let most = match direction {
        FetchDirection::Next | FetchDirection::Forward { limit: None } => Some(Some(1)),
        FetchDirection::All | FetchDirection::ForwardAll => Some(None),
        FetchDirection::Count { limit } | FetchDirection::Forward { limit: Some(limit) } => {
            limit.to_string().parse::<u64>().ok().filter(|rows| *rows > 0).map(Some)
        }
        _ => None,
    };
    most.map_or(
        Asked::Refused("55000", "cursors only go forward: FETCH or MOVE a number of rows, or ALL"),
        |most| asked(folded(name), most),
    )
}

fn setting(set: &Set) -> Asked {
    match set {
        Set::SingleAssignment { scope, variable, values, .. } => {
            let values: Vec<String> = values.iter().map(text).collect();
            let is_local = matches!(scope, Some(ContextModifier::Local));
            let asked = if is_local { Asked::SetLocal } else { Asked::Set };
            asked(plain(variable), values.join(", "))
        }
        Set::SetTimeZone { local, value } => {
            let asked = if *local { Asked::SetLocal } else { Asked::Set };
            asked("timezone".to_owned(), text(value))
        }
        Set::SetNames { charset_name, .. } => {
            Asked::Set("client_encoding".to_owned(), charset_name.value.clone())
        }
        Set::SetTransaction { .. } | Set::SetNamesDefault {} => Asked::Nothing("SET"),
        // Nobody becomes somebody else.
        Set::SetRole { .. } | Set::SetSessionAuthorization(_) => Asked::Change,
        _ => Asked::Unknown,
    }
}

fn text(value: &Expr) -> String {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        // `SET TIME ZONE INTERVAL '+00:00' HOUR TO MINUTE`.
        Expr::Interval(interval) => text(&interval.value),
        other => other.to_string(),
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
            "declare c cursor for select * from t for update",
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
        assert_eq!(
            sorted("set local statement_timeout = 5"),
            Asked::SetLocal("statement_timeout".to_owned(), "5".to_owned())
        );
        for (sql, zone) in [
            ("set time zone 'Europe/Berlin'", "Europe/Berlin"),
            ("set session timezone to 'UTC'", "UTC"),
            ("set TimeZone = utc", "utc"),
            ("set time zone -5", "-5"),
            ("set time zone interval '-08:00' hour to minute", "-08:00"),
            ("set time zone local", "local"),
        ] {
            assert_eq!(sorted(sql), Asked::Set("timezone".to_owned(), zone.to_owned()), "{sql}");
        }
        assert_eq!(sorted("rollback to savepoint s"), Asked::Back);
        assert_eq!(sorted("discard all"), Asked::Discard);
        assert_eq!(sorted("close C"), Asked::Close(Some("c".to_owned())));
        assert_eq!(sorted("close all"), Asked::Close(None));
        assert_eq!(sorted("reset all"), Asked::Reset);
        assert_eq!(sorted("deallocate prepare all"), Asked::Deallocate(None));
        assert_eq!(sorted("deallocate S1"), Asked::Deallocate(Some("s1".to_owned())));
        assert_eq!(sorted("deallocate \"All\""), Asked::Deallocate(Some("All".to_owned())));
        assert_eq!(sorted("begin"), Asked::Begin);
        assert_eq!(sorted("rollback"), Asked::End("ROLLBACK"));
    }

    #[test]
    fn cursors_go_forward() {
        for (sql, binary, hold) in [
            ("declare \"C\" cursor for select 1", false, false),
            (
                "declare \"C\" binary insensitive no scroll cursor with hold for select 1",
                true,
                true,
            ),
            ("declare \"C\" cursor without hold for values (1)", false, false),
        ] {
            let declared = Declared { name: "C".to_owned(), binary, hold };
            assert_eq!(sorted(sql), Asked::Declare(declared), "{sql}");
        }
        let scroll = sorted("declare c scroll cursor for select 1");
        assert!(matches!(scroll, Asked::Refused("0A000", _)), "{scroll:?}");
        for (sql, most) in [
            ("fetch next from C", Some(1)),
            ("fetch 7 in c", Some(7)),
            ("fetch forward 100 from \"c\"", Some(100)),
            ("fetch all from c", None),
            ("fetch forward all from c", None),
        ] {
            assert_eq!(sorted(sql), Asked::Fetch("c".to_owned(), most), "{sql}");
        }
        for sql in [
            "fetch prior from c",
            "fetch first from c",
            "fetch backward 1 from c",
            "fetch backward all from c",
            "fetch absolute 1 from c",
            "fetch relative 1 from c",
            "fetch 0 from c",
            "fetch $1 from c",
        ] {
            assert!(matches!(sorted(sql), Asked::Refused("55000", _)), "{sql}");
        }
    }

    #[test]
    fn a_move_is_a_fetch_into_nothing() {
        let into = |sql: &str| sorted(&format!("{sql} into {MOVED}"));
        for (sql, most) in
            [("fetch next from C", Some(1)), ("fetch 7 in c", Some(7)), ("fetch all from c", None)]
        {
            assert_eq!(into(sql), Asked::Move("c".to_owned(), most), "{sql}");
        }
        assert!(matches!(into("fetch prior from c"), Asked::Refused("55000", _)));
        assert_eq!(sorted("fetch next from c into x"), Asked::Unknown);
    }

    #[test]
    fn the_query_of_a_cursor_is_a_statement() {
        for sql in ["declare c cursor for select 1", "select 1"] {
            let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
            assert_eq!(query_of(statements.remove(0)).to_string(), "SELECT 1");
        }
    }
}

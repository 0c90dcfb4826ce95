//! Operators that `DataFusion` takes for something else than `PostgreSQL` does. They are calls of functions, as they are
//! there: `time AT TIME ZONE zone` is `timezone(zone, time)`, and `text LIKE pattern ESCAPE '/'` is
//! `text LIKE like_escape(pattern, '/')`, whose pattern has backslashes instead.

use std::convert::Infallible;
use std::mem;
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::logical_expr::{ScalarUDF, Signature, Volatility};
use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Statement, Value, visit_expressions_mut,
};

use super::super::declared::cast;
use super::super::failure::Told;
use super::super::functions::function;

const LIKE_ESCAPE: &str = "like_escape";

/// Makes such operators calls.
pub(super) fn called(statement: &mut Statement) {
    let ControlFlow::Continue(()): ControlFlow<Infallible> =
        visit_expressions_mut(statement, |expr| {
            match expr {
                Expr::Like { pattern, escape_char, .. }
                | Expr::ILike { pattern, escape_char, .. } => {
                    if let Some(escape) = escape_char.take() {
                        let arguments = [taken(pattern), Expr::Value(escape)];
                        **pattern = call(LIKE_ESCAPE, arguments.map(text));
                    }
                }
                Expr::AtTimeZone { timestamp, time_zone } => {
                    let (zone, time) = (text(taken(time_zone)), taken(timestamp));
                    *expr = call("timezone", [zone, time]);
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
}

fn taken(expr: &mut Expr) -> Expr {
    mem::replace(expr, Expr::value(Value::Null))
}

/// A parameter is one, too.
fn text(mut expr: Expr) -> Expr {
    if matches!(&expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_))) {
        cast(&mut expr, DataType::Text);
    }
    expr
}

fn call(name: &str, arguments: [Expr; 2]) -> Expr {
    let arguments = arguments.map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `like_escape(pattern, sign)`.
pub(super) fn like_escape() -> ScalarUDF {
    let texts = Signature::exact(vec![ArrowType::Utf8, ArrowType::Utf8], Volatility::Immutable);
    function(LIKE_ESCAPE, texts, |row| match (row.text(0), row.text(1)) {
        (Some(pattern), Some(sign)) => escaped(pattern, sign).map(Some),
        _ => Ok(None),
    })
}

/// A pattern in which a backslash stands before what stands for itself, where `sign` stands in `pattern`. Without a sign
/// everything is as it stands there, but for the two that stand for others.
fn escaped(pattern: &str, sign: &str) -> Result<String, Told> {
    const BACKSLASH: char = '\\';
    let mut letters = sign.chars();
    let (sign, None) = (letters.next(), letters.next()) else {
        return Err(Told::new("22025", "ESCAPE takes one sign, or an empty text"));
    };
    let mut escaped = String::with_capacity(pattern.len());
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        let (letter, is_itself) = if Some(letter) == sign {
            let next = letters.next();
            let ends =
                || Told::new("22025", "a pattern of LIKE must not end with its sign of ESCAPE");
            (next.ok_or_else(ends)?, true)
        } else {
            (letter, letter == BACKSLASH)
        };
        if is_itself {
            escaped.push(BACKSLASH);
        }
        escaped.push(letter);
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn operators_are_calls() {
        for (sql, expected) in [
            ("SELECT a LIKE 'b/%' ESCAPE '/'", "SELECT a LIKE like_escape('b/%', '/')"),
            (
                "SELECT 1 WHERE a NOT ILIKE $1 ESCAPE $2",
                "SELECT 1 WHERE a NOT ILIKE like_escape($1::TEXT, $2::TEXT)",
            ),
            ("SELECT a LIKE b || '%' ESCAPE ''", "SELECT a LIKE like_escape(b || '%', '')"),
            ("SELECT a LIKE 'b%'", "SELECT a LIKE 'b%'"),
            (
                "SELECT max(t) AT TIME ZONE 'UTC' AT TIME ZONE $1 FROM (SELECT now() AT TIME ZONE z AS t FROM y)",
                "SELECT timezone($1::TEXT, timezone('UTC', max(t))) \
                 FROM (SELECT timezone(z, now()) AS t FROM y)",
            ),
        ] {
            let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
            called(&mut statements[0]);
            assert_eq!(statements[0].to_string(), expected);
        }
    }

    #[test]
    fn what_a_sign_stands_before_is_itself() {
        for (pattern, sign, expected) in [
            ("100/%_", "/", r"100\%_"),
            ("a//b/c%", "/", r"a\/b\c%"),
            (r"a\b!_%", "!", r"a\\b\_%"),
            (r"a\%b%", r"\", r"a\%b%"),
            (r"a\%", "", r"a\\%"),
            ("%é_%é%", "é", r"%\_%\%"),
        ] {
            assert_eq!(escaped(pattern, sign).as_deref(), Ok(expected), "{pattern} {sign}");
        }
        for (pattern, sign) in [("a", "//"), ("a/", "/"), (r"a\", r"\")] {
            let refused = escaped(pattern, sign).err().map(|told| told.code);
            assert_eq!(refused, Some("22025"), "{pattern} {sign}");
        }
    }
}

//! Two columns of an answer may have one name: `select null, null`. `DataFusion` plans no such query, so the second one is
//! given another name, that with the column's number behind it. For `DataFusion` a cast has the name of what is cast.

use std::collections::HashSet;
use std::convert::Infallible;
use std::mem;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, SelectItem, SetExpr, Statement, Value, visit_expressions_mut,
};

/// Gives the columns of a query names of their own.
pub(super) fn distinct(statement: &mut Statement) {
    if let Statement::Query(query) = statement {
        columns(&mut query.body);
    }
}

/// An identifier as it is compared: in small letters, unless it is quoted.
pub(in super::super) fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn columns(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => rename(&mut select.projection),
        SetExpr::Query(query) => columns(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            columns(left);
            columns(right);
        }
        _ => {}
    }
}

fn rename(items: &mut [SelectItem]) {
    let mut seen = HashSet::new();
    for (at, item) in items.iter_mut().enumerate() {
        let (expr, whole, name) = match item {
            SelectItem::UnnamedExpr(expr) => {
                let (whole, name) = named(expr);
                (expr, whole, name)
            }
            SelectItem::ExprWithAlias { expr, alias } => (expr, folded(alias), folded(alias)),
            _ => continue,
        };
        if seen.insert(whole) {
            continue;
        }
        let alias = Ident::with_quote('"', format!("{name}:{}", at + 1));
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

/// What tells an expression from another one, and the name of its column.
fn named(expr: &Expr) -> (String, String) {
    match &uncast(expr) {
        Expr::Identifier(name) => (folded(name), folded(name)),
        Expr::CompoundIdentifier(names) => {
            let parts: Vec<String> = names.iter().map(folded).collect();
            (parts.join("."), parts.last().cloned().unwrap_or_default())
        }
        other => (other.to_string(), other.to_string()),
    }
}

/// An expression without what has no part in its name.
fn uncast(expr: &Expr) -> Expr {
    let mut expr = expr.clone();
    let ControlFlow::Continue(()): ControlFlow<Infallible> =
        visit_expressions_mut(&mut expr, |part| {
            let inside = match part {
                Expr::Cast { expr, .. } | Expr::Nested(expr) => {
                    mem::replace(expr.as_mut(), Expr::value(Value::Null))
                }
                Expr::TypedString(typed) => Expr::Value(typed.value.clone()),
                _ => return ControlFlow::Continue(()),
            };
            *part = inside;
            ControlFlow::Continue(())
        });
    expr
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn the_second_column_of_a_name_has_another_one() {
        for (sql, expected) in [
            ("SELECT NULL, x, NULL FROM t", "SELECT NULL, x, NULL AS \"NULL:3\" FROM t"),
            ("SELECT t.X, t.x FROM t", "SELECT t.X, t.x AS \"x:2\" FROM t"),
            ("SELECT a AS n, b AS N FROM t", "SELECT a AS n, b AS \"n:2\" FROM t"),
            (
                "SELECT 1, 1 UNION SELECT 2, 2",
                "SELECT 1, 1 AS \"1:2\" UNION SELECT 2, 2 AS \"2:2\"",
            ),
            ("SELECT a.id, b.id FROM a, b", "SELECT a.id, b.id FROM a, b"),
            ("SELECT 'a', 'A', *", "SELECT 'a', 'A', *"),
            (
                "SELECT w, w::DATE, (w) FROM t",
                "SELECT w, w::DATE AS \"w:2\", (w) AS \"w:3\" FROM t",
            ),
            ("SELECT t.W::DATE, t.w", "SELECT t.W::DATE, t.w AS \"w:2\""),
            (
                "SELECT max(w::INT), max(CAST(w AS TEXT)), DATE '2026-01-01', '2026-01-01'",
                "SELECT max(w::INT), max(CAST(w AS TEXT)) AS \"max(w):2\", DATE '2026-01-01', \
                 '2026-01-01' AS \"'2026-01-01':4\"",
            ),
            ("SELECT w::DATE, v::DATE", "SELECT w::DATE, v::DATE"),
        ] {
            let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
            distinct(&mut statements[0]);
            assert_eq!(statements[0].to_string(), expected);
        }
    }
}

//! What clients ask about one row of `pg_catalog` inside another question: `(SELECT c.relkind = 'c' FROM
//! pg_catalog.pg_class c WHERE c.oid = t.typrelid)`. `DataFusion` plans a subquery that refers to what is around it if it is
//! an aggregate. No two rows of a table have one number, so the first value is the only one.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, Select, SelectItem, SetExpr, Statement, TableAlias, TableFactor,
    visit_expressions, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::names::folded;

/// Makes such questions aggregates.
pub(super) fn aggregated(statement: &mut Statement) {
    let ControlFlow::Continue(()): ControlFlow<Infallible> =
        visit_expressions_mut(statement, |expr| {
            if let Expr::Subquery(query) = expr {
                take_first(query);
            }
            ControlFlow::Continue(())
        });
}

fn take_first(query: &mut Query) {
    if query.order_by.is_some() {
        return;
    }
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let Select { projection, from, selection, .. } = select.as_mut();
    let ([SelectItem::UnnamedExpr(value)], [table], Some(condition)) =
        (projection.as_mut_slice(), from.as_slice(), selection)
    else {
        return;
    };
    let TableFactor::Table { name, alias: Some(alias), .. } = &table.relation else { return };
    let is_lookup = table.joins.is_empty()
        && name.to_string().to_lowercase().starts_with("pg_catalog.")
        && is_by_number(condition, alias);
    // It may be an aggregate already.
    let calls = visit_expressions(&*value, |part| match part {
        Expr::Function(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if !is_lookup || calls.is_break() {
        return;
    }
    let first = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&format!("first_value({value})"))
        .and_then(|mut parser| parser.parse_expr());
    if let Ok(first) = first {
        *value = first;
    }
}

/// Whether a condition names the number of the row.
fn is_by_number(condition: &Expr, alias: &TableAlias) -> bool {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = condition else { return false };
    [left, right].into_iter().any(|side| match side.as_ref() {
        Expr::CompoundIdentifier(names) => match names.as_slice() {
            [table, column] => folded(table) == folded(&alias.name) && folded(column) == "oid",
            _ => false,
        },
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_up_by_number_is_the_first_of_its_rows() {
        let asked = |sql: &str| {
            let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
            aggregated(&mut statements[0]);
            statements[0].to_string()
        };
        let around = |inner: &str| format!("SELECT t.oid FROM t WHERE t.a = 0 OR (SELECT {inner})");
        let from = "FROM pg_catalog.pg_class C WHERE c.oid = t.a";
        assert_eq!(
            asked(&around(&format!("c.relkind = 'c' {from}"))),
            around(&format!("first_value(c.relkind = 'c') {from}"))
        );
        for inner in [
            "max(c.relkind) FROM pg_catalog.pg_class c WHERE c.oid = t.a",
            "c.relkind FROM pg_catalog.pg_class c WHERE c.reltype = t.a",
            "c.relkind FROM pg_catalog.pg_class c WHERE t.oid = 7",
            "c.relkind FROM pg_catalog.pg_class c WHERE c.oid = t.a ORDER BY 1",
            "c.relkind FROM pg_catalog.pg_class c, b WHERE c.oid = t.a",
            "c.relkind FROM silver_events c WHERE c.oid = t.a",
        ] {
            assert_eq!(asked(&around(inner)), around(inner));
        }
    }
}

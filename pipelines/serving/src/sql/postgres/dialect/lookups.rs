//! What clients ask about one row of `pg_catalog` inside another question: `(SELECT c.relkind = 'c' FROM
//! pg_catalog.pg_class c WHERE c.oid = t.typrelid)`. `DataFusion` plans a subquery that refers to what is around it if it is
//! an aggregate. No two rows of a table have one number, so the first value is the only one.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement,
    TableFactor, VisitMut, VisitorMut, visit_expressions,
};

use super::arrays::collected;
use super::constants::unasked;
use super::empty::{has_no_rows, instead};
use super::names::folded;
use super::parsed;

/// Makes such questions aggregates, and spares those that have no answer.
pub(super) fn aggregated(statement: &mut Statement) {
    let ControlFlow::Continue(()) = statement.visit(&mut Lookups);
}

struct Lookups;

impl VisitorMut for Lookups {
    type Break = Infallible;

    /// From the outside in: what is within a question that has no answer need not be planned either.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        match expr {
            Expr::Subquery(query) if has_no_rows(query) => {
                if let Some(null) = instead(query, "NULL") {
                    *expr = null;
                }
            }
            Expr::Subquery(query) => take_first(query),
            Expr::Function(function) => match collected(function) {
                Some(array) => *expr = array,
                None => unasked(function),
            },
            _ => {}
        }
        ControlFlow::Continue(())
    }
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
    let TableFactor::Table { name, alias, .. } = &table.relation else { return };
    let called = match alias {
        Some(alias) => Some(&alias.name),
        None => name.0.last().and_then(ObjectNamePart::as_ident),
    };
    let is_lookup = table.joins.is_empty()
        && name.to_string().to_lowercase().starts_with("pg_catalog.")
        && called.is_some_and(|called| is_by_number(condition, called));
    // It may be an aggregate already.
    let calls = visit_expressions(&*value, |part| match part {
        Expr::Function(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if !is_lookup || calls.is_break() {
        return;
    }
    if let Some(first) = parsed(&format!("first_value({value})")) {
        *value = first;
    }
}

/// Whether a condition names the number of the row of a table that is called so.
fn is_by_number(condition: &Expr, called: &Ident) -> bool {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = condition else { return false };
    [left, right].into_iter().any(|side| match side.as_ref() {
        Expr::CompoundIdentifier(names) => match names.as_slice() {
            [.., table, column] => folded(table) == folded(called) && folded(column) == "oid",
            _ => false,
        },
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    /// Ten within each other are three times as long, not a thousand times.
    #[test]
    fn arrays_within_arrays_do_not_multiply() {
        for by in ["1", "1, 1", "v", "v, v", "w, w"] {
            let mut sql = format!("SELECT n AS v FROM t ORDER BY {by}");
            for _ in 0..10 {
                sql = format!("SELECT ARRAY({sql}) AS v FROM t ORDER BY {by}");
            }
            let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, &sql).unwrap();
            aggregated(&mut statements[0]);
            let told = statements[0].to_string();
            assert!(told.len() < 3 * sql.len(), "{} of {}: {told}", told.len(), sql.len());
        }
    }

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
        // As SQLAlchemy asks, without another name for the table.
        let from = "FROM pg_catalog.pg_type WHERE pg_catalog.pg_type.oid = t.a";
        assert_eq!(
            asked(&around(&format!("pg_catalog.pg_type.typcollation {from}"))),
            around(&format!("first_value(pg_catalog.pg_type.typcollation) {from}"))
        );
        assert_eq!(
            asked(
                "SELECT coalesce((SELECT adbin FROM pg_catalog.pg_attrdef WHERE adrelid = t.a), '')"
            ),
            "SELECT coalesce(NULL, '')"
        );
        assert_eq!(
            asked("SELECT (SELECT d.adbin FROM pg_catalog.pg_attrdef d WHERE d.adrelid = $1)"),
            "SELECT CASE WHEN $1 IS NULL THEN NULL ELSE NULL END"
        );
        // As psql asks about the columns of a table, and about domains.
        for columns in ["a.attcollation <> t.typcollation", "t.typcollation <> bt.typcollation"] {
            let sql = format!(
                "SELECT (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t \
                 WHERE c.oid = a.b AND t.oid = a.c AND {columns}) FROM a"
            );
            assert_eq!(asked(&sql), "SELECT NULL FROM a");
        }
        assert_eq!(
            asked(
                "SELECT ARRAY(SELECT polname || array(SELECT 1) FROM pg_catalog.pg_policy) FROM t"
            ),
            "SELECT ARRAY[]::TEXT[] FROM t"
        );
        assert_eq!(
            asked("SELECT ARRAY(SELECT ARRAY(SELECT b FROM u) FROM t)"),
            "SELECT coalesce((SELECT array_agg(coalesce((SELECT array_agg(b) FROM u), make_array())) FROM t), \
             make_array())"
        );
        assert_eq!(
            asked(
                "SELECT col_description(a::REGCLASS, 1), obj_description($1), pg_get_expr(a, 1) FROM t"
            ),
            "SELECT col_description(), obj_description($1), pg_get_expr(a, 1) FROM t"
        );
        for inner in [
            "max(c.relkind) FROM pg_catalog.pg_class c WHERE c.oid = t.a",
            "c.relkind FROM pg_catalog.pg_class c WHERE c.reltype = t.a",
            "c.relkind FROM pg_catalog.pg_class c WHERE t.oid = 7",
            "c.relkind FROM pg_catalog.pg_class c WHERE c.oid = t.a ORDER BY 1",
            "c.relkind FROM pg_catalog.pg_class c, b WHERE c.oid = t.a",
            "c.relkind FROM silver_events c WHERE c.oid = t.a",
            "pg_class.relkind FROM pg_catalog.pg_class WHERE t.oid = 7",
        ] {
            assert_eq!(asked(&around(inner)), around(inner));
        }
    }
}

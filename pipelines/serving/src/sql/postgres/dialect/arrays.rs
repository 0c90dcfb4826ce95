//! `ARRAY(SELECT …)`, which `DataFusion` does not know: what a query has is collected by an aggregate, and where it has nothing
//! the array is empty.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArguments, Ident, ObjectNamePart, OrderByExpr, OrderByKind, Query,
    SelectItem, SetExpr, Value, Visit, Visitor,
};

use super::empty::{has_no_rows, instead, is_ungrouped};
use super::names::folded;
use super::parsed;

/// What is asked instead of such an array; `None`: it is none, or its query does more than to select.
pub(super) fn collected(function: &Function) -> Option<Expr> {
    let FunctionArguments::Subquery(query) = &function.args else { return None };
    if !function.name.to_string().eq_ignore_ascii_case("array") {
        return None;
    }
    if has_no_rows(query) {
        return instead(query, "ARRAY[]::TEXT[]");
    }
    parsed(&format!("coalesce(({}), make_array())", aggregate(query)?))
}

/// The query as an aggregate: one row with all that it has.
fn aggregate(query: &Query) -> Option<Query> {
    let mut query = query.clone();
    if query.with.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        return None;
    }
    let order = query.order_by.take();
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    if select.distinct.is_some() || !is_ungrouped(select) {
        return None;
    }
    let (value, name) = match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(value)] => (value, column(value)),
        [SelectItem::ExprWithAlias { expr, alias }] => (expr, Some(alias)),
        _ => return None,
    };
    let order = match order.map(|order| order.kind) {
        None => String::new(),
        Some(OrderByKind::Expressions(by)) => ordered(by, value, name)?,
        Some(OrderByKind::All(_)) => return None,
    };
    let aggregate = parsed(&format!("array_agg({value}{order})"))?;
    select.projection = vec![SelectItem::UnnamedExpr(aggregate)];
    Some(query)
}

/// The order of an array. What means the column, which an aggregate does not have, becomes the value: once, and only if there is
/// no query in it. Then nothing that is put there twice is rewritten again, and a statement of arrays within arrays grows by no
/// more than what is written in it.
fn ordered(by: Vec<OrderByExpr>, value: &Expr, name: Option<&Ident>) -> Option<String> {
    let mut is_by_value = false;
    let mut items = Vec::new();
    for mut by in by {
        if means_value(&by.expr, name)? {
            if is_by_value || value.visit(&mut Queries).is_break() {
                return None;
            }
            is_by_value = true;
            // One value has no order, and a number would be that of a column again.
            if matches!(value, Expr::Value(_)) {
                continue;
            }
            by.expr = value.clone();
        }
        items.push(by.to_string());
    }
    let order = if items.is_empty() { "" } else { " ORDER BY " };
    Some(format!("{order}{}", items.join(", ")))
}

/// Whether something to order by is the column: its number, or its name, which counts before those of the tables. `None`: it is
/// the number of another column.
fn means_value(by: &Expr, name: Option<&Ident>) -> Option<bool> {
    match by {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => (number == "1").then_some(true),
            _ => Some(false),
        },
        Expr::Identifier(by) => Some(name.is_some_and(|name| folded(name) == folded(by))),
        _ => Some(false),
    }
}

/// The name that a value gives to its column.
fn column(value: &Expr) -> Option<&Ident> {
    match value {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => column(expr),
        Expr::Function(function) => function.name.0.last().and_then(ObjectNamePart::as_ident),
        _ => None,
    }
}

/// Looks for a query.
struct Queries;

impl Visitor for Queries {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_of_a_query_is_an_aggregate() {
        let asked = |sql: &str| match parsed(sql).unwrap() {
            Expr::Function(function) => collected(&function).map(|expr| expr.to_string()),
            other => panic!("{other}"),
        };
        let instead = |query: &str| Some(format!("coalesce(({query}), make_array())"));
        assert_eq!(
            asked("ARRAY(SELECT a || 'x' AS b FROM t WHERE t.i = u.i)"),
            instead("SELECT array_agg(a || 'x') FROM t WHERE t.i = u.i")
        );
        assert_eq!(
            asked("array(select e.a from t order by 1 desc, e.b)"),
            instead("SELECT array_agg(e.a ORDER BY e.a DESC, e.b) FROM t")
        );
        assert_eq!(
            asked("array(select enumlabel from pg_catalog.pg_enum order by 1)").as_deref(),
            Some("ARRAY[]::TEXT[]")
        );
        assert_eq!(
            asked("array(select 1 from pg_catalog.pg_enum where a = $2 or b = $1::INT)").as_deref(),
            Some(
                "CASE WHEN $2 IS NULL AND $1::INT IS NULL THEN ARRAY[]::TEXT[] ELSE ARRAY[]::TEXT[] END"
            )
        );
        for sql in [
            "array(select a from t limit 1)",
            "array(select distinct a from t)",
            "array(select a from t group by a)",
            "array(select a from t union select 1)",
            "array(select a, b from t)",
            "array(select a from t order by 2)",
            "array_agg(a)",
        ] {
            assert_eq!(asked(sql), None, "{sql}");
        }
    }

    #[test]
    fn the_value_is_put_where_its_number_or_its_name_stands() {
        let order = |sql: &str| {
            let Some(Expr::Function(function)) = parsed(sql) else { panic!("{sql}") };
            let told = collected(&function)?.to_string();
            let inside = told.split_once("array_agg(")?.1.split_once(") FROM t")?.0;
            Some(inside.to_owned())
        };
        for (sql, expected) in [
            ("ARRAY(SELECT -n AS n FROM t ORDER BY N DESC, b)", "-n ORDER BY -n DESC, b"),
            ("ARRAY(SELECT -n AS n FROM t ORDER BY t.n)", "-n ORDER BY t.n"),
            ("ARRAY(SELECT -n AS n FROM t ORDER BY n + 1)", "-n ORDER BY n + 1"),
            ("ARRAY(SELECT n::TEXT FROM t ORDER BY n)", "n::TEXT ORDER BY n::TEXT"),
            ("ARRAY(SELECT upper(n) FROM t ORDER BY upper)", "upper(n) ORDER BY upper(n)"),
            ("ARRAY(SELECT -n FROM t ORDER BY n)", "-n ORDER BY n"),
            ("ARRAY(SELECT 1 FROM t ORDER BY 1)", "1"),
            ("ARRAY(SELECT 'a' AS b FROM t ORDER BY b, c)", "'a' ORDER BY c"),
        ] {
            assert_eq!(order(sql).as_deref(), Some(expected), "{sql}");
        }
        for by in ["1, 1", "a, 1", "1, a, 1", "b, 1, 1 desc"] {
            assert_eq!(order(&format!("ARRAY(SELECT a FROM t ORDER BY {by})")), None, "{by}");
        }
        for value in ["(SELECT 1)", "ARRAY(SELECT 1)", "a IN (SELECT 1)", "EXISTS (SELECT 1)"] {
            for by in ["1", "v"] {
                let sql = format!("ARRAY(SELECT {value} AS v FROM t ORDER BY {by})");
                assert_eq!(order(&sql), None, "{sql}");
            }
        }
    }
}

//! `ARRAY(SELECT …)`, which `DataFusion` does not know: what a query has is collected by an aggregate, and where it has nothing
//! the array is empty.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArguments, OrderByExpr, OrderByKind, Query, SelectItem, SetExpr, Value,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::empty::{has_no_rows, is_ungrouped};

/// What is asked instead of such an array; `None`: it is none, or its query does more than to select.
pub(super) fn collected(function: &Function) -> Option<Expr> {
    let FunctionArguments::Subquery(query) = &function.args else { return None };
    if !function.name.to_string().eq_ignore_ascii_case("array") {
        return None;
    }
    if has_no_rows(query) {
        return parsed("ARRAY[]::TEXT[]");
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
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
        select.projection.as_slice()
    else {
        return None;
    };
    let order = match order.map(|order| order.kind) {
        None => String::new(),
        Some(OrderByKind::Expressions(by)) => {
            let by: Vec<String> = by.iter().map(|by| by_value(by, value)).collect();
            format!(" ORDER BY {}", by.join(", "))
        }
        Some(OrderByKind::All(_)) => return None,
    };
    let aggregate = parsed(&format!("array_agg({value}{order})"))?;
    select.projection = vec![SelectItem::UnnamedExpr(aggregate)];
    Some(query)
}

/// `ORDER BY 1` means the first column, which an aggregate does not have.
fn by_value(by: &OrderByExpr, value: &Expr) -> String {
    let mut by = by.clone();
    if matches!(&by.expr, Expr::Value(number) if matches!(number.value, Value::Number(..))) {
        by.expr = value.clone();
    }
    by.to_string()
}

fn parsed(sql: &str) -> Option<Expr> {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql);
    parser.and_then(|mut parser| parser.parse_expr()).ok()
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
        for sql in [
            "array(select a from t limit 1)",
            "array(select distinct a from t)",
            "array(select a from t group by a)",
            "array(select a from t union select 1)",
            "array(select a, b from t)",
            "array_agg(a)",
        ] {
            assert_eq!(asked(sql), None, "{sql}");
        }
    }
}

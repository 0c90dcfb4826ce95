//! Tables of `pg_catalog` that have no rows: nobody here makes what they tell of. A subquery over one of them is null, and an
//! array of it is empty, whatever else it asks for, which may be more than `DataFusion` plans. So it is with what asks for a
//! collation that is not that of the type.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, GroupByExpr, JoinOperator,
    ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
    visit_expressions,
};

use super::keys::parameters;
use super::names::folded;
use super::parsed;

/// Defaults, values of types, what inherits, who may see which rows, sequences.
const TABLES: [&str; 5] = ["pg_attrdef", "pg_enum", "pg_inherits", "pg_policy", "pg_sequence"];
/// Of a column and of a type, or of a domain and of what it is made of: they are the same here.
const COLLATIONS: [&str; 2] = ["attcollation", "typcollation"];
/// An array of each table that is null.
const OPTIONS: &str = "reloptions";
/// What a row is made into one by one, beside the functions whose names begin with `pg_`. Of any other function it is not known
/// that it does not count rows, or so. The library has made `array_contains` of `= ANY`.
const OF_ONE_ROW: [&str; 5] =
    ["array", "array_contains", "array_to_string", "json_build_object", "format_type"];

/// The one column of a query that has no rows for certain.
pub(super) fn has_no_rows(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let ([SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }], None) =
        (select.projection.as_slice(), &query.with)
    else {
        return false;
    };
    let counts = visit_expressions(value, |part| match part {
        Expr::Function(function) if !is_of_one_row(function) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let is_never = || select.selection.as_ref().is_some_and(differs_in_collation);
    is_ungrouped(select) && counts.is_continue() && (select.from.iter().any(has_none) || is_never())
}

/// What stands for a query without rows: `nothing`, beside its parameters, for the client sends their values.
pub(super) fn instead(query: &Query, nothing: &str) -> Option<Expr> {
    let parameters = parameters(query);
    if parameters.is_empty() {
        return parsed(nothing);
    }
    let parameters = parameters.join(" IS NULL AND ");
    parsed(&format!("CASE WHEN {parameters} IS NULL THEN {nothing} ELSE {nothing} END"))
}

fn differs_in_collation(condition: &Expr) -> bool {
    let is_collation =
        |expr: &Expr| column(expr).is_some_and(|name| COLLATIONS.contains(&name.as_str()));
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            differs_in_collation(left) || differs_in_collation(right)
        }
        Expr::BinaryOp { left, op: BinaryOperator::NotEq, right } => {
            is_collation(left) && is_collation(right)
        }
        _ => false,
    }
}

/// Whether a query neither groups its rows nor looks at groups.
pub(super) fn is_ungrouped(select: &Select) -> bool {
    select.having.is_none()
        && matches!(&select.group_by,
            GroupByExpr::Expressions(by, more) if by.is_empty() && more.is_empty())
}

fn is_of_one_row(function: &Function) -> bool {
    let name = last(&function.name);
    name.is_some_and(|name| name.starts_with("pg_") || OF_ONE_ROW.contains(&name.as_str()))
}

/// Whether a join has no rows since its first table has none.
fn has_none(table: &TableWithJoins) -> bool {
    let adds_none = table.joins.iter().all(|join| {
        matches!(
            join.join_operator,
            JoinOperator::Join(_)
                | JoinOperator::Inner(_)
                | JoinOperator::Left(_)
                | JoinOperator::LeftOuter(_)
                | JoinOperator::CrossJoin(_)
        )
    });
    adds_none && is_empty(&table.relation)
}

fn is_empty(relation: &TableFactor) -> bool {
    match relation {
        TableFactor::Table { name, args: None, .. } => {
            let parts = name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded);
            matches!(parts.collect::<Vec<_>>().as_slice(),
                [schema, table] if schema == "pg_catalog" && TABLES.contains(&table.as_str()))
        }
        TableFactor::Table { name, args: Some(args), .. } => {
            last(name).is_some_and(|name| name == "unnest")
                && matches!(args.args.as_slice(),
                    [FunctionArg::Unnamed(FunctionArgExpr::Expr(array))] if is_unset(array))
        }
        TableFactor::UNNEST { array_exprs, .. } => array_exprs.iter().all(is_unset),
        _ => false,
    }
}

fn is_unset(array: &Expr) -> bool {
    column(array).is_some_and(|name| name == OPTIONS)
}

/// The name of a column.
fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(folded(name)),
        Expr::CompoundIdentifier(names) => names.last().map(folded),
        _ => None,
    }
}

fn last(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(ObjectNamePart::as_ident).map(folded)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn over_a_table_without_rows_there_are_none() {
        let none = |sql: &str| {
            let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql);
            has_no_rows(&parser.and_then(|mut parser| parser.parse_query()).unwrap())
        };
        for sql in [
            "select pg_get_expr(d.adbin, d.adrelid) from pg_catalog.pg_attrdef d where d.adrelid = 1",
            "select polname || array_to_string(array(select rolname from pg_roles where array_contains(polroles, oid)), ',') from Pg_Catalog.pg_policy",
            "select 1 as a from pg_catalog.pg_enum e left join t on e.oid = t.oid, u",
            "select 'toast.' || x from pg_catalog.unnest(tc.reloptions) x",
            "select x from unnest(reloptions) x",
        ] {
            assert!(none(sql), "{sql}");
        }
        for sql in [
            "select count(*) from pg_catalog.pg_attrdef",
            "select coalesce(max(adnum), 0) from pg_catalog.pg_attrdef",
            "select 1 from pg_catalog.pg_attrdef having true",
            "select 1 from pg_catalog.pg_class",
            "select 1 from public.pg_enum",
            "select 1 from pg_catalog.pg_collation c where c.oid = a.attcollation",
            "select 1 from pg_catalog.pg_type t where t.typcollation <> 0 and t.typcollation = a.attcollation",
            "select count(*) from pg_catalog.pg_type t where t.typcollation <> a.attcollation",
            "select 1 from pg_catalog.pg_enum e right join t on e.oid = t.oid",
            "select 1 from t left join pg_catalog.pg_enum e on e.oid = t.oid",
            "select 1 from pg_catalog.pg_enum union select 2",
            "select x from unnest(array[1]) x",
            "select 1",
        ] {
            assert!(!none(sql), "{sql}");
        }
    }
}

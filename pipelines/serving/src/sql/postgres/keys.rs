//! What clients ask about keys and indexes by taking arrays of `pg_catalog` apart, and about types that users have defined by
//! naming what is around a query inside it. Neither can be planned. No table has a key, and nobody defines a type: the answer
//! has the columns that are asked for and no rows.

use std::iter;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Query, SelectItem, SetExpr, Statement, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::names::folded;

/// The columns of a key, by number.
const ARRAYS: [&str; 3] = ["conkey", "confkey", "indkey"];
/// Makes a row of each of them.
const EXPAND: &str = "_pg_expandarray";

/// What is asked instead of a question about keys or defined types; `None`: it is not one.
pub(super) fn keyless(statement: &Statement) -> Option<Statement> {
    let Statement::Query(query) = statement else { return None };
    if query.visit(&mut Apart).is_continue() {
        return None;
    }
    without_rows(query)
}

/// Looks for an array of a key that is taken apart, or for what a defined type is made of.
struct Apart;

impl Visitor for Apart {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let found = match expr {
            Expr::CompoundFieldAccess { root, access_chain } => {
                let dots = access_chain.iter().filter_map(|part| match part {
                    AccessExpr::Dot(expr) => Some(expr),
                    AccessExpr::Subscript(_) => None,
                });
                let is_subscript = |part: &AccessExpr| matches!(part, AccessExpr::Subscript(_));
                access_chain.iter().any(is_subscript)
                    && iter::once(root.as_ref()).chain(dots).any(is_key)
            }
            Expr::Subquery(query) => is_base(query),
            Expr::Function(function) => function.name.to_string().to_lowercase().ends_with(EXPAND),
            _ => false,
        };
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// JDBC's `(SELECT CASE WHEN t.oid = 16 THEN -7 … END FROM pg_type WHERE oid = t.typbasetype)`.
fn is_base(query: &Query) -> bool {
    const BASE: &str = "typbasetype";
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let [SelectItem::UnnamedExpr(Expr::Case { .. })] = select.projection.as_slice() else {
        return false;
    };
    let Some(Expr::BinaryOp { left, op: BinaryOperator::Eq, right }) = &select.selection else {
        return false;
    };
    [left, right].into_iter().any(|side| match side.as_ref() {
        Expr::CompoundIdentifier(names) => names.last().is_some_and(|name| folded(name) == BASE),
        _ => false,
    })
}

fn is_key(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        _ => None,
    };
    name.is_some_and(|name| ARRAYS.contains(&folded(name).as_str()))
}

/// A query with the same names of columns and no rows.
fn without_rows(query: &Query) -> Option<Statement> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let mut columns = Vec::new();
    for (at, item) in select.projection.iter().enumerate() {
        let name = match item {
            SelectItem::ExprWithAlias { alias: name, .. }
            | SelectItem::UnnamedExpr(Expr::Identifier(name)) => folded(name),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => folded(names.last()?),
            SelectItem::UnnamedExpr(_) => format!("column{}", at + 1),
            _ => return None,
        };
        columns.push(format!("CAST(NULL AS TEXT) AS \"{}\"", name.replace('"', "\"\"")));
    }
    let text = format!("SELECT {} WHERE false", columns.join(", "));
    Parser::parse_sql(&PostgreSqlDialect {}, &text).ok()?.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(sql: &str) -> Option<String> {
        let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
        keyless(&statements[0]).map(|statement| statement.to_string())
    }

    #[test]
    fn questions_about_keys_keep_their_columns() {
        for (sql, columns) in [
            (
                "select ta.attname, NULL from pg_attribute ta, pg_index i where ta.attnum = i.indkey[ta.attnum-1]",
                ["attname", "column2"],
            ),
            (
                "select c.relname as \"FK_NAME\", i::int2 as KEY_SEQ from (select conkey, 1 as i from pg_constraint) ref \
                 inner join pg_class c on c.oid = conkey[i] order by ref.i",
                ["FK_NAME", "key_seq"],
            ),
            (
                "select r.a, r.b from (select (information_schema._pg_expandarray(i.indkey)).n as a, 2 as b \
                 from pg_index i) r",
                ["a", "b"],
            ),
            (
                "select n.nspname as type_schem, case when t.typtype = 'd' then (select case when t.oid = 16 then -7 else 1111 end \
                 from pg_type where oid = t.typbasetype) else null end as base_type \
                 from pg_catalog.pg_type t, pg_catalog.pg_namespace n where t.typnamespace = n.oid",
                ["type_schem", "base_type"],
            ),
        ] {
            let [first, second] = columns.map(|name| format!("CAST(NULL AS TEXT) AS \"{name}\""));
            let expected = format!("SELECT {first}, {second} WHERE false");
            assert_eq!(asked(sql), Some(expected), "{sql}");
        }
        for sql in [
            "select indkey from pg_index",
            "select a[1] from t",
            "select * from t where conkey = 'x'",
            "select t.typbasetype, (select c.relkind = 'c' from pg_class c where c.oid = t.typrelid) from pg_type t",
            "show server_version",
        ] {
            assert_eq!(asked(sql), None, "{sql}");
        }
    }
}

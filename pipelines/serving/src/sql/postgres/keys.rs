//! What clients ask about keys and indexes by taking arrays of `pg_catalog` apart, which cannot be planned. No table has
//! a key: the answer has the columns that are asked for and no rows.

use std::iter;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Query, SelectItem, SetExpr, Statement, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::names::folded;

/// The columns of a key, by number.
const ARRAYS: [&str; 3] = ["conkey", "confkey", "indkey"];
/// Makes a row of each of them.
const EXPAND: &str = "_pg_expandarray";

/// What is asked instead of a question about keys; `None`: it is not one.
pub(super) fn keyless(statement: &Statement) -> Option<Statement> {
    let Statement::Query(query) = statement else { return None };
    if query.visit(&mut Apart).is_continue() {
        return None;
    }
    without_rows(query)
}

/// Looks for an array of a key that is taken apart.
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
            Expr::Function(function) => function.name.to_string().to_lowercase().ends_with(EXPAND),
            _ => false,
        };
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
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
        ] {
            let [first, second] = columns.map(|name| format!("CAST(NULL AS TEXT) AS \"{name}\""));
            let expected = format!("SELECT {first}, {second} WHERE false");
            assert_eq!(asked(sql), Some(expected), "{sql}");
        }
        for sql in [
            "select indkey from pg_index",
            "select a[1] from t",
            "select * from t where conkey = 'x'",
            "show server_version",
        ] {
            assert_eq!(asked(sql), None, "{sql}");
        }
    }
}

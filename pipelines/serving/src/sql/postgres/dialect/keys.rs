//! What clients ask about keys and indexes by taking arrays of `pg_catalog` apart, and about types that users have defined by
//! naming what is around a query inside it. Neither can be planned. No table has a key, and nobody defines a type: the answer
//! has the columns that are asked for and no rows, and takes the parameters that are sent with the question.

use std::iter;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName,
    ObjectNamePart, Query, SelectItem, SetExpr, Statement, TableFactor, Value, Visit, Visitor,
    visit_expressions,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::names::folded;

/// The columns of a key, by number.
const ARRAYS: [&str; 3] = ["conkey", "confkey", "indkey"];
/// Makes a row of each of them.
const EXPAND: &str = "_pg_expandarray";
/// Take an array apart, or look for a column in it: the library has made `array_contains` of `= ANY`.
const TAKE_APART: [&str; 4] = ["array_contains", "array_position", "generate_subscripts", "unnest"];

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
            Expr::AnyOp { right, .. } => is_key(right),
            Expr::Function(function) => {
                let arguments = match &function.args {
                    FunctionArguments::List(list) => list.args.as_slice(),
                    FunctionArguments::None | FunctionArguments::Subquery(_) => &[],
                };
                function.name.to_string().to_lowercase().ends_with(EXPAND)
                    || takes_apart(&function.name, arguments)
            }
            _ => false,
        };
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        let found = match table {
            TableFactor::UNNEST { array_exprs, .. } => array_exprs.iter().any(is_key),
            TableFactor::Table { name, args: Some(list), .. } => takes_apart(name, &list.args),
            TableFactor::Function { name, args, .. } => takes_apart(name, args),
            _ => false,
        };
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn takes_apart(name: &ObjectName, arguments: &[FunctionArg]) -> bool {
    let name = name.0.last().and_then(ObjectNamePart::as_ident).map(folded);
    name.is_some_and(|name| TAKE_APART.contains(&name.as_str()))
        && matches!(arguments.first(),
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(array))) if is_key(array))
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
    let mut text = format!("SELECT {} WHERE false", columns.join(", "));
    for parameter in parameters(query) {
        text += &format!(" AND {parameter} IS NULL");
    }
    Parser::parse_sql(&PostgreSqlDialect {}, &text).ok()?.pop()
}

/// The parameters of a query, with what they are cast to.
pub(super) fn parameters(query: &Query) -> Vec<String> {
    let mut found: Vec<(String, String)> = Vec::new();
    let walk = visit_expressions(query, |expr| {
        let inner = match expr {
            Expr::Cast { expr, .. } => expr.as_ref(),
            other => other,
        };
        if let Expr::Value(value) = inner
            && let Value::Placeholder(name) = &value.value
            && !found.iter().any(|(known, _)| known == name)
        {
            found.push((name.clone(), expr.to_string()));
        }
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(walk.is_continue(), "nothing breaks it");
    found.into_iter().map(|(_, text)| text).collect()
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
        // As SQLAlchemy and Metabase ask, and with parameters.
        for (asks, parameters) in [
            ("unnest(pg_catalog.pg_index.indkey) as b from pg_index", ""),
            ("generate_subscripts(i.indkey, $1::INT) as b from pg_index i", " AND $1::INT IS NULL"),
            ("n.b from pg_index i, unnest(i.indkey) n", ""),
            ("c.b from pg_constraint c where 7 = any(c.conkey) and c.b = $1", " AND $1 IS NULL"),
            ("c.b from pg_constraint c where array_contains(c.confkey, 7)", ""),
        ] {
            let sql = format!("select a, {asks}");
            let expected = format!(
                "SELECT CAST(NULL AS TEXT) AS \"a\", CAST(NULL AS TEXT) AS \"b\" WHERE false{parameters}"
            );
            assert_eq!(asked(&sql), Some(expected), "{sql}");
        }
        for sql in [
            "select indkey from pg_index",
            "select a, unnest(b) from t",
            "select a from t where a = any(array['r', 'p'])",
            "select a[1] from t",
            "select * from t where conkey = 'x'",
            "select t.typbasetype, (select c.relkind = 'c' from pg_class c where c.oid = t.typrelid) from pg_type t",
            "show server_version",
        ] {
            assert_eq!(asked(sql), None, "{sql}");
        }
    }
}

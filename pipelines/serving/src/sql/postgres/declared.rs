//! The types that a client declares for parameters: they are so, whatever stands beside them in the query. The planner, which
//! would take a parameter for what it is compared or computed with, reads `$1::real` instead of `$1`.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Select, SelectItem, Statement, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use pgwire::api::Type;

use super::parameters::{is_text, member};

/// Lets parameters have the types that are declared. `values` are theirs, if they are known already: those of `numeric` tell
/// how many digits it has.
pub(super) fn declare(statement: &mut Statement, types: &[Option<Type>], values: &[ScalarValue]) {
    if types.iter().any(Option::is_some) {
        let ControlFlow::Continue(()) =
            statement.visit(&mut Casts { types, values, is_cast: false });
    }
}

struct Casts<'a> {
    types: &'a [Option<Type>],
    values: &'a [ScalarValue],
    /// The query itself says what comes next.
    is_cast: bool,
}

impl VisitorMut for Casts<'_> {
    type Break = Infallible;

    /// A text beside something else is read as that, as if it stood in the query. By itself it is a text.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Infallible> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                && self.declared(expr).is_some_and(|(declared, _)| is_text(declared))
            {
                cast(expr, DataType::Text);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if let Expr::Cast { expr, .. } = expr {
            self.is_cast = number(expr).is_some();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if number(expr).is_none() || std::mem::take(&mut self.is_cast) {
            return ControlFlow::Continue(());
        }
        let declared = self.declared(expr).and_then(|(declared, value)| name(declared, value));
        if let Some(data_type) = declared.and_then(|name| parsed(&name)) {
            cast(expr, data_type);
        }
        ControlFlow::Continue(())
    }
}

impl Casts<'_> {
    /// What is declared for a parameter, and its value.
    fn declared(&self, expr: &Expr) -> Option<(&Type, Option<&ScalarValue>)> {
        let at = number(expr)?.checked_sub(1)?;
        Some((self.types.get(at)?.as_ref()?, self.values.get(at)))
    }
}

/// The number of a parameter.
fn number(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else { return None };
    let Value::Placeholder(name) = &value.value else { return None };
    name.strip_prefix('$')?.parse().ok()
}

/// Makes a cast of it.
pub(super) fn cast(expr: &mut Expr, data_type: DataType) {
    let inner = std::mem::replace(expr, Expr::value(Value::Null));
    *expr = Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(inner),
        data_type,
        array: false,
        format: None,
    };
}

/// What SQL calls it; `None`: a text, or nothing that is known here.
fn name(declared: &Type, value: Option<&ScalarValue>) -> Option<String> {
    if let Some(member) = member(declared) {
        let member = name(&member, None).unwrap_or_else(|| "text".to_owned());
        return Some(member + "[]");
    }
    let name = match *declared {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "int",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::NUMERIC => {
            return Some(match value {
                Some(ScalarValue::Decimal128(Some(_), precision, scale)) => {
                    format!("numeric({precision}, {scale})")
                }
                _ => "numeric".to_owned(),
            });
        }
        Type::BYTEA => "bytea",
        Type::DATE => "date",
        Type::TIME => "time",
        // In µs the year 9999 has room, which it has not in ns.
        Type::TIMESTAMP => "timestamp(6)",
        Type::TIMESTAMPTZ => "timestamptz(6)",
        Type::INTERVAL => "interval",
        _ => return None,
    };
    Some(name.to_owned())
}

fn parsed(name: &str) -> Option<DataType> {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(name);
    parser.and_then(|mut parser| parser.parse_data_type()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_types_that_are_declared() {
        let declared = |sql: &str, types: &[Option<Type>], values: &[ScalarValue]| {
            let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
            declare(&mut statements[0], types, values);
            statements[0].to_string()
        };
        let both = [Some(Type::FLOAT8), Some(Type::INTERVAL)];
        for (sql, expected) in [
            ("SELECT n / $1 FROM t", "SELECT n / $1::DOUBLE PRECISION FROM t"),
            ("SELECT $1::BIGINT", "SELECT $1::BIGINT"),
            ("SELECT ($1 + 1)::BIGINT", "SELECT ($1::DOUBLE PRECISION + 1)::BIGINT"),
            ("SELECT 1 WHERE t > now() - $2", "SELECT 1 WHERE t > now() - $2::INTERVAL"),
            ("SELECT $3, $0", "SELECT $3, $0"),
        ] {
            assert_eq!(declared(sql, &both, &[]), expected);
        }
        let text = [None, Some(Type::VARCHAR)];
        let sql = "SELECT $1, $2, $2 AS b FROM t WHERE a = $2";
        assert_eq!(
            declared(sql, &text, &[]),
            "SELECT $1, $2::TEXT, $2::TEXT AS b FROM t WHERE a = $2"
        );
        let number = [Some(Type::NUMERIC)];
        let digits = [ScalarValue::Decimal128(Some(25), 2, 1)];
        assert_eq!(declared("SELECT $1", &number, &[]), "SELECT $1::NUMERIC");
        assert_eq!(declared("SELECT $1", &number, &digits), "SELECT $1::NUMERIC(2,1)");
        let many = [Some(Type::INT4_ARRAY), Some(Type::UUID_ARRAY)];
        let sql = "SELECT 1 WHERE a = ANY($1) OR b = ANY($2)";
        let expected = "SELECT 1 WHERE a = ANY($1::INT[]) OR b = ANY($2::TEXT[])";
        assert_eq!(declared(sql, &many, &[]), expected);
    }
}

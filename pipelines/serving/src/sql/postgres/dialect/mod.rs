//! `PostgreSQL`'s SQL, of which `DataFusion` plans less, or something else.
//!
//! A text is read, for no longer than it should take (`reading.rs`), and parsed by the library (`library.rs`). A statement is
//! rewritten before it is planned: questions about keys (`keys.rs`), rows looked up by number (`lookups.rs`) or in tables
//! without any (`empty.rs`), arrays of queries (`arrays.rs`), operators that are calls of functions (`operators.rs`), names
//! that come twice (`names.rs`). While it is planned, texts become booleans where they stand beside
//! some (`booleans.rs`). And it finds the functions that the library lacks: those that have one answer (`constants.rs`), make
//! texts (`formats.rs`, `keywords.rs`), know time zones (`zones.rs`), or templates of times (`times.rs`, `templates.rs`,
//! `readers.rs`).

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{Expr, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

mod arrays;
mod booleans;
mod constants;
mod empty;
mod formats;
mod keys;
mod keywords;
mod library;
mod lookups;
mod names;
mod operators;
mod readers;
mod reading;
mod templates;
mod times;
mod zones;

pub(super) use library::Library;
pub(super) use names::folded;
pub(super) use times::templated;
pub(super) use zones::{UTC, is_utc};

/// A statement as it is planned.
pub(super) fn rewritten(statement: Statement) -> Statement {
    let mut statement = keys::keyless(&statement).unwrap_or(statement);
    lookups::aggregated(&mut statement);
    operators::called(&mut statement);
    names::distinct(&mut statement);
    statement
}

/// An expression as it is written.
fn parsed(sql: &str) -> Option<Expr> {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql);
    parser.and_then(|mut parser| parser.parse_expr()).ok()
}

/// Makes known what the library lacks.
pub(super) fn register(context: &mut SessionContext) -> Result<()> {
    let zones = ScalarUDF::from(zones::TimeZoneOf::new());
    let functions = constants::constants().chain(formats::formats());
    for function in functions.chain([operators::like_escape(), zones]) {
        SessionContext::register_udf(context, function);
    }
    context.register_expr_planner(Arc::new(booleans::Booleans))
}

//! Functions that clients call while they look around, and that have the same answer whatever they are asked: nothing here
//! has a comment, a default of a key's or a place on a disk that is told, and whatever is there is visible.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{
    ColumnarValue, ScalarUDF, Signature, SimpleScalarUDF, TypeSignature, Volatility,
};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArguments, ObjectNamePart, Value, visit_expressions,
};

use super::names::folded;

/// Texts that are null.
const TEXTS: [&str; 11] = [
    "col_description",
    "obj_description",
    "shobj_description",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_sqlbody",
    "pg_get_indexdef",
    "pg_get_serial_sequence",
    "pg_tablespace_location",
    // It returns nothing: there are no locks to give back, which asyncpg does before a connection is used again.
    "pg_advisory_unlock_all",
    "pg_get_viewdef",
];
/// The number of a type that a user has defined, by which psycopg asks for `hstore`.
const TYPE: &str = "to_regtype";
/// How much room something takes is not told. The library says 0 of two of them.
const SIZES: [&str; 6] = [
    "pg_database_size",
    "pg_indexes_size",
    "pg_relation_size",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_total_relation_size",
];
const VISIBLE: [&str; 11] = [
    "pg_collation_is_visible",
    "pg_conversion_is_visible",
    "pg_function_is_visible",
    "pg_opclass_is_visible",
    "pg_operator_is_visible",
    "pg_opfamily_is_visible",
    "pg_statistics_obj_is_visible",
    "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible",
    "pg_ts_template_is_visible",
    "pg_type_is_visible",
];

/// All of them.
pub(super) fn constants() -> impl Iterator<Item = ScalarUDF> {
    let texts = TEXTS.into_iter().map(|name| (name, ScalarValue::Utf8(None)));
    let sizes = SIZES.into_iter().map(|name| (name, ScalarValue::Int64(None)));
    let visible = VISIBLE.into_iter().map(|name| (name, ScalarValue::Boolean(Some(true))));
    let all = texts.chain(sizes).chain(visible).chain([(TYPE, ScalarValue::Int32(None))]);
    all.map(|(name, value)| constant(name, value))
}

fn constant(name: &str, value: ScalarValue) -> ScalarUDF {
    let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
    let signature = Signature::one_of(any, Volatility::Stable);
    let data_type = value.data_type();
    ScalarUDF::from(SimpleScalarUDF::new_with_signature(
        name,
        signature,
        data_type,
        Arc::new(move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone()))),
    ))
}

/// Lets a text that is null not look at what it is asked about, which may not be computed: Metabase has the name of a table
/// made a number there. Parameters stay, for the client sends their values.
pub(super) fn unasked(function: &mut Function) {
    let name = function.name.0.last().and_then(ObjectNamePart::as_ident).map(folded);
    if !name.is_some_and(|name| TEXTS.contains(&name.as_str())) {
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else { return };
    let parameters = visit_expressions(&list.args, |part| match part {
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    if parameters.is_continue() {
        list.args.clear();
    }
}

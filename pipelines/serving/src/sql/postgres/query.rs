//! A query that has been planned: which parameters it has, which columns its rows have.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::failure::Told;

/// As many as a message of the protocol can hold.
const MOST_PARAMETERS: usize = 65_535;

/// About what a state takes: the names of all functions.
const STATE: usize = 64 << 10;
/// And a column of a node's schema.
const COLUMN: usize = 128;

/// A planned query.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) plan: LogicalPlan,
    pub(super) state: SessionState,
    /// The tables it reads.
    pub(super) tables: Vec<String>,
    /// About how many bytes it takes while it is kept.
    pub(super) weight: usize,
}

impl Query {
    pub(super) fn new(plan: LogicalPlan, state: SessionState, tables: Vec<String>) -> Self {
        let weight = weight(&plan);
        Self { plan, state, tables, weight }
    }

    /// The types of its parameters, by number; `None` where nothing tells.
    pub(super) fn parameters(&self) -> Result<Vec<Option<DataType>>, Told> {
        let mut found = self.plan.get_parameter_types().map_err(|error| Told::planning(&error))?;
        // `$1::bigint` says what it is by its cast, and what counts rows is a number.
        let walked = self.plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Limit(limit) = node {
                for count in [&limit.skip, &limit.fetch].into_iter().flatten() {
                    if let Expr::Placeholder(parameter) = count.as_ref() {
                        let known = found.entry(parameter.id.clone()).or_insert(None);
                        known.get_or_insert(DataType::Int64);
                    }
                }
            }
            for expression in node.expressions() {
                expression.apply(|part| {
                    if let Expr::Cast(cast) = part
                        && let Expr::Placeholder(parameter) = cast.expr.as_ref()
                    {
                        let known = found.entry(parameter.id.clone()).or_insert(None);
                        known.get_or_insert_with(|| cast.field.data_type().clone());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
            Ok(TreeNodeRecursion::Continue)
        });
        walked.map_err(|error| Told::planning(&error))?;
        let number = |name: &str| name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
        let count = found.keys().filter_map(|name| number(name)).max().unwrap_or(0);
        if count > MOST_PARAMETERS {
            return Err(Told::new("54023", "the query has too many parameters"));
        }
        let mut types = vec![None; count];
        for (name, data_type) in found {
            if let Some(place) = number(&name).and_then(|n| types.get_mut(n.wrapping_sub(1))) {
                *place = data_type;
            }
        }
        Ok(types)
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }

    /// The query with values for its parameters.
    pub(super) fn with(mut self, values: Vec<ScalarValue>) -> Result<Self, Told> {
        let plan = self.plan.replace_params_with_values(&ParamValues::from(values));
        self.plan = plan.map_err(|error| Told::planning(&error))?;
        Ok(self)
    }
}

fn weight(plan: &LogicalPlan) -> usize {
    let mut bytes = STATE;
    let walked = plan.apply_with_subqueries(|node| {
        bytes += COLUMN * node.schema().fields().len();
        for expression in node.expressions() {
            expression.apply(|_| {
                bytes += size_of::<Expr>();
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_or(usize::MAX / 2, |_| bytes)
}

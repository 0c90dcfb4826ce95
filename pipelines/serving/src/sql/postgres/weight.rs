//! How much a statement becomes once it is planned. `DataFusion` puts the plan of a common table expression wherever its
//! name stands, and walks over each of them: a chain of a few joins with themselves is more than any machine can walk. In the
//! same way it puts expressions where a column's name stands, when it moves a condition into the query that has them.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, ObjectNamePart, Query, SelectItem, SetExpr, Statement, Visit, Visitor,
    visit_expressions,
};

use super::dialect::folded;
use super::failure::Told;

/// Relations and queries in a plan: as many as a text without common table expressions can have words.
const MOST: u64 = 5_000;
/// Columns of tables in one expression, once every name stands for what it is. Ten in each of five queries within each other,
/// which is more than any report has.
const MOST_COLUMNS: u64 = 100_000;
/// Expressions of a statement as it is planned. The text has fewer words, but a literal may be an array of many, and
/// `'t'::regclass` is a query.
const MOST_EXPRESSIONS: u64 = 100_000;
/// Subqueries in the expressions of each other, each of which is planned twice as often as the one around it.
const DEEPEST: usize = 10;

/// Refuses what would become too large.
pub(super) fn bearable(statement: &Statement) -> Result<(), Told> {
    let ControlFlow::Break(beyond) = statement.visit(&mut Weigher::default()) else {
        return Ok(());
    };
    let told = match beyond {
        Beyond::Relations => format!(
            "common table expressions that use each other stand for more than {MOST} relations: \
             use each of them less often"
        ),
        Beyond::Expressions => {
            format!("the statement stands for more than {MOST_EXPRESSIONS} expressions and values")
        }
        Beyond::Depth => {
            format!("subqueries stand in expressions of each other more than {DEEPEST} deep")
        }
        Beyond::Columns => format!(
            "expressions of queries within each other stand for more than {MOST_COLUMNS} columns: \
             name a column less often in each of them"
        ),
    };
    Err(Told::new("54001", told))
}

/// What there is too much of.
enum Beyond {
    Relations,
    Columns,
    Expressions,
    Depth,
}

/// What a query stands for.
#[derive(Clone, Copy)]
struct Weight {
    relations: u64,
    /// Of its largest expression.
    columns: u64,
}

/// Columns in the largest expression that a query selects, as it is written; 1 where it has none.
fn columns(body: &SetExpr) -> u64 {
    match body {
        SetExpr::Select(select) => {
            select.projection.iter().map(references).max().unwrap_or(1).max(1)
        }
        SetExpr::SetOperation { left, right, .. } => columns(left).max(columns(right)),
        _ => 1,
    }
}

fn is_query(expression: &Expr) -> bool {
    matches!(expression, Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. })
}

fn references(item: &SelectItem) -> u64 {
    let mut count = 0;
    let walk = visit_expressions(item, |expression| {
        let is_column = matches!(expression, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        count += u64::from(is_column);
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(walk.is_continue(), "nothing breaks it");
    count
}

/// Weighs queries from the inside out.
#[derive(Default)]
struct Weigher {
    /// The queries around the place that is looked at.
    around: Vec<Level>,
    expressions: u64,
    /// Subqueries of expressions around the place that is looked at.
    deep: usize,
}

/// A query that is being weighed.
struct Level {
    /// Its common table expressions that are still to come, the last one first: they come before all else of it.
    names: Vec<String>,
    /// Those that have come, and what each stands for.
    known: HashMap<String, Weight>,
    weight: Weight,
}

impl Level {
    fn add(&mut self, part: Weight) {
        self.weight.relations = self.weight.relations.saturating_add(part.relations);
        self.weight.columns = self.weight.columns.max(part.columns);
    }
}

impl Visitor for Weigher {
    type Break = Beyond;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Beyond> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables).rev();
        let names = tables.map(|table| folded(&table.alias.name)).collect();
        self.around.push(Level {
            names,
            known: HashMap::new(),
            weight: Weight { relations: 1, columns: 1 },
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Beyond> {
        let Some(Level { mut weight, .. }) = self.around.pop() else {
            return ControlFlow::Continue(());
        };
        weight.columns = weight.columns.saturating_mul(columns(&query.body));
        if weight.relations > MOST {
            return ControlFlow::Break(Beyond::Relations);
        }
        if weight.columns > MOST_COLUMNS {
            return ControlFlow::Break(Beyond::Columns);
        }
        if let Some(level) = self.around.last_mut() {
            match level.names.pop() {
                Some(name) => drop(level.known.insert(name, weight)),
                None => level.add(weight),
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Beyond> {
        self.expressions += 1;
        if self.expressions > MOST_EXPRESSIONS {
            return ControlFlow::Break(Beyond::Expressions);
        }
        self.deep += usize::from(is_query(expression));
        if self.deep > DEEPEST {
            return ControlFlow::Break(Beyond::Depth);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Beyond> {
        self.deep -= usize::from(is_query(expression));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<Beyond> {
        // As the planner looks for it.
        let parts = name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded);
        let name = parts.collect::<Vec<_>>().join(".");
        let known = self.around.iter().rev().find_map(|level| level.known.get(&name));
        let weight = known.copied().unwrap_or(Weight { relations: 1, columns: 1 });
        if let Some(level) = self.around.last_mut() {
            level.add(weight);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn is_bearable(sql: &str) -> bool {
        let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
        statements.iter().all(|statement| bearable(statement).is_ok())
    }

    /// Each table is the one before it as often as `times`.
    fn chain(length: usize, times: usize) -> String {
        let mut tables = vec!["t0 as (select 1 as a)".to_owned()];
        for at in 1..length {
            let from = (0..times).map(|one| format!("T{} as \"x{one}\"", at - 1));
            let from = from.collect::<Vec<_>>().join(" cross join ");
            tables.push(format!("t{at} as (select x0.a from {from})"));
        }
        format!("with {} select count(*) from t{}", tables.join(", "), length - 1)
    }

    #[test]
    fn a_chain_of_joins_with_themselves_is_weighed_as_it_is_planned() {
        assert!(is_bearable(&chain(100, 1)));
        assert!(is_bearable(&chain(10, 2)));
        assert!(!is_bearable(&chain(14, 2)));
        assert!(!is_bearable(&chain(200, 2)));
        let declared = format!("declare c cursor for {}", chain(40, 2));
        assert!(!is_bearable(&declared));
        // In the common table expression of a query within a query, though nobody reads it.
        let inside = format!("with a as ({}) select 1 from (select 2) b", chain(40, 2));
        assert!(!is_bearable(&inside));
        let expression = format!("select 1 where exists ({})", chain(40, 2));
        assert!(!is_bearable(&expression));
    }

    #[test]
    fn subqueries_in_expressions_of_each_other_have_a_depth() {
        for (begin, end) in
            [("(select ", ")"), ("exists(select 1 where ", ")"), ("1 in (select ", ")")]
        {
            let nested = |depth| format!("select {}1{}", begin.repeat(depth), end.repeat(depth));
            assert!(is_bearable(&nested(DEEPEST)), "{begin}");
            assert!(!is_bearable(&nested(DEEPEST + 1)), "{begin}");
        }
        let beside = format!("select {}", vec!["(select 1)"; 100].join(", "));
        assert!(is_bearable(&beside));
        let from = format!("select * from {}t{}", "(select * from ".repeat(20), ") a".repeat(20));
        assert!(is_bearable(&from));
    }

    /// Each query has a column of the one within it twice.
    fn nested(depth: usize) -> String {
        let within = (0..depth).fold("select a as x from t".to_owned(), |within, _| {
            format!("select x + x as x, a from ({within}) as within")
        });
        format!("select * from ({within}) as within where x > 1")
    }

    #[test]
    fn expressions_of_queries_within_each_other_are_weighed_as_they_are_put_together() {
        assert!(is_bearable(&nested(10)));
        assert!(!is_bearable(&nested(18)));
        let mut tables = vec!["t0 as (select a, b from t)".to_owned()];
        for at in 1..40 {
            tables.push(format!("t{at} as (select a + b as a, b - a as b from t{})", at - 1));
        }
        assert!(!is_bearable(&format!("with {} select a from t39 where a > 1", tables.join(", "))));
        // One beside the other is no more than they are.
        let beside = vec!["(select a + b + c as x from t) as u"; 100].join(", ");
        assert!(is_bearable(&format!("select 1 from {beside}")));
    }

    #[test]
    fn all_expressions_of_a_statement_are_weighed() {
        let values = |times: usize| format!("select array[{}]", vec!["1"; times].join(", "));
        assert!(is_bearable(&values(90_000)));
        assert!(!is_bearable(&values(100_000)));
    }

    #[test]
    fn a_name_means_what_is_nearest() {
        let many = |name: &str, times: usize| vec![name; times].join(", ");
        // The heavy `a` is another one's.
        let sql = format!(
            "select * from (with a as (select 1 from {}) select 1 from a) x, {}",
            many("t", 400),
            many("a", 400)
        );
        assert!(is_bearable(&sql));
        let sql = format!(
            "with a as (select 1 from {}) select 1 from {}",
            many("t", 400),
            many("a", 400)
        );
        assert!(!is_bearable(&sql));
        assert!(is_bearable("with recursive n as (select 1 union all select 1 from n) select 1"));
    }
}

//! How much a statement becomes once it is planned. `DataFusion` puts the plan of a common table expression wherever its
//! name stands, and walks over each of them: a chain of a few joins with themselves is more than any machine can walk.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ObjectName, ObjectNamePart, Query, Statement, Visit, Visitor,
};

use super::failure::Told;
use super::names::folded;

/// Relations and queries in a plan: as many as a text without common table expressions can have words.
const MOST: u64 = 5_000;

/// Refuses what would become too large.
pub(super) fn bearable(statement: &Statement) -> Result<(), Told> {
    if statement.visit(&mut Weigher::default()).is_continue() {
        return Ok(());
    }
    Err(Told::new(
        "54001",
        format!(
            "common table expressions that use each other stand for more than {MOST} relations: \
             use each of them less often"
        ),
    ))
}

/// Weighs queries from the inside out.
#[derive(Default)]
struct Weigher {
    /// The queries around the place that is looked at.
    around: Vec<Level>,
}

/// A query that is being weighed.
struct Level {
    /// Its common table expressions that are still to come, the last one first: they come before all else of it.
    names: Vec<String>,
    /// Those that have come, and what each stands for.
    known: HashMap<String, u64>,
    weight: u64,
}

impl Visitor for Weigher {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables).rev();
        let names = tables.map(|table| folded(&table.alias.name)).collect();
        self.around.push(Level { names, known: HashMap::new(), weight: 1 });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        let Some(Level { weight, .. }) = self.around.pop() else {
            return ControlFlow::Continue(());
        };
        if weight > MOST {
            return ControlFlow::Break(());
        }
        if let Some(level) = self.around.last_mut() {
            match level.names.pop() {
                Some(name) => drop(level.known.insert(name, weight)),
                None => level.weight = level.weight.saturating_add(weight),
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        // As the planner looks for it.
        let parts = name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded);
        let name = parts.collect::<Vec<_>>().join(".");
        let known = self.around.iter().rev().find_map(|level| level.known.get(&name));
        let weight = known.copied().unwrap_or(1);
        if let Some(level) = self.around.last_mut() {
            level.weight = level.weight.saturating_add(weight);
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

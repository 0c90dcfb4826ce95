//! What the library makes of a text: it puts questions of known clients in place of those that they ask, and rewrites the rest
//! by rules. One of its rules is left out: it makes a subquery in a list of columns null where it looks as if it referred to
//! what is around it, and takes the first of its rows otherwise. What clients ask so about `pg_catalog` is answered beside here
//! (`lookups.rs`, `empty.rs`), and what else cannot be planned is refused.

use datafusion::sql::sqlparser::ast::Statement;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_pg_catalog::sql::rules::{
    AliasDuplicatedProjectionRewrite, CurrentUserVariableToSessionUserFunctionCall,
    FixArrayLiteral, FixVersionColumnName, PrependUnqualifiedPgTableName,
    ResolveUnqualifiedIdentifier, RewriteArrayAnyAllOperation, RewritePgCatalogOperator,
    RewriteRegCastToSubquery, SqlStatementRewriteRule, StripCallableQualifier, StripCollate,
};

use super::super::failure::Told;
use super::reading::written;

/// The library's parser, and the rules that are kept of it.
pub(in super::super) struct Library {
    parser: PostgresCompatibilityParser,
    rules: Vec<Box<dyn SqlStatementRewriteRule>>,
}

impl Library {
    pub(in super::super) fn new() -> Self {
        Self {
            parser: PostgresCompatibilityParser::new(),
            // In the library's order. `RemoveSubqueryFromProjection` would be the last but one.
            rules: vec![
                Box::new(AliasDuplicatedProjectionRewrite),
                Box::new(ResolveUnqualifiedIdentifier),
                Box::new(RewriteArrayAnyAllOperation),
                Box::new(PrependUnqualifiedPgTableName),
                Box::new(StripCallableQualifier),
                Box::new(FixArrayLiteral),
                Box::new(CurrentUserVariableToSessionUserFunctionCall),
                Box::new(StripCollate),
                Box::new(RewritePgCatalogOperator),
                Box::new(RewriteRegCastToSubquery::new()),
                Box::new(FixVersionColumnName),
            ],
        }
    }

    /// The statements in a text.
    pub(in super::super) fn parse(&self, text: &str) -> Result<Vec<Statement>, Told> {
        // First, for it is bounded.
        let mut written = written(text)?.into_iter();
        let theirs = self.parser.parse(text);
        let theirs = theirs.map_err(|error| Told::new("42601", error.to_string()))?;
        // The questions that they know are not told: theirs is another one if its rules do not make it of what is written.
        let ours = theirs.into_iter().map(|theirs| match written.next().flatten() {
            Some(written) if self.is_made_of(&theirs, &written) => self.rewrite(written),
            _ => theirs,
        });
        Ok(ours.collect())
    }

    /// Their texts are compared: the comparison of two trees goes deeper into the stack.
    fn is_made_of(&self, theirs: &Statement, written: &Statement) -> bool {
        self.parser.rewrite(written.clone()).to_string() == theirs.to_string()
    }

    /// A statement by the rules.
    pub(in super::super) fn rewrite(&self, statement: Statement) -> Statement {
        self.rules.iter().fold(statement, |statement, rule| rule.rewrite(statement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(sql: &str) -> String {
        let statements = Library::new().parse(sql).unwrap();
        let statements: Vec<String> = statements.iter().map(ToString::to_string).collect();
        statements.join("; ")
    }

    #[test]
    fn subqueries_in_a_list_of_columns_are_left_as_they_are() {
        for sql in [
            "SELECT (SELECT max(t.a) FROM t)",
            "SELECT (SELECT count(*) FROM t AS b WHERE b.a > t.a) AS n FROM t",
            "SELECT (SELECT a FROM t WHERE a > $1)",
            "SELECT 1; SELECT (SELECT b.a FROM t AS b, u WHERE b.a = t.a) FROM t",
            "DECLARE c CURSOR FOR SELECT (SELECT max(t.a) FROM t)",
        ] {
            assert_eq!(parsed(sql), sql);
        }
    }

    #[test]
    fn what_the_library_rewrites_otherwise_is_rewritten() {
        for (sql, expected) in [
            ("select version()", "SELECT version() AS version"),
            (
                "select oid, c.* from pg_class c where relkind = any('{r,v}')",
                "SELECT oid AS __alias_oid, c.* FROM pg_catalog.pg_class c WHERE \
                 array_contains(ARRAY['r', 'v'], relkind)",
            ),
            (
                "select pg_catalog.upper('a' collate pg_catalog.c), current_user, '7'::regclass, '{1}'::int[]",
                "SELECT upper('a'), session_user, 7, ARRAY[1]::INT[]",
            ),
            ("select 'a' operator(pg_catalog.~) 'b'", "SELECT 'a' ~ 'b'"),
            ("abort", "ROLLBACK"),
            (
                "abort; select (select a from t where a > $1)",
                "ROLLBACK; SELECT (SELECT a FROM t WHERE a > $1)",
            ),
        ] {
            assert_eq!(parsed(sql), expected);
        }
        // A question of psql's that it knows.
        let known = "SELECT oid, stxrelid::pg_catalog.regclass, \
                     stxnamespace::pg_catalog.regnamespace::pg_catalog.text AS nsp, stxname, \
                     pg_catalog.pg_get_statisticsobjdef_columns(oid) AS columns, 'd' = any(stxkind) AS ndist_enabled, \
                     'f' = any(stxkind) AS deps_enabled, 'm' = any(stxkind) AS mcv_enabled, stxstattarget \
                     FROM pg_catalog.pg_statistic_ext WHERE stxrelid = '7' ORDER BY nsp, stxname;";
        let both = parsed(&format!("{known} SELECT (SELECT a FROM t WHERE a > $1)"));
        let (known, ours) = both.split_once("; ").unwrap();
        assert!(known.ends_with("WHERE false"), "{known}");
        assert_eq!(ours, "SELECT (SELECT a FROM t WHERE a > $1)");
    }
}

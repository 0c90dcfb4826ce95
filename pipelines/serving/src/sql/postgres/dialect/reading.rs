//! What is written in a text, statement by statement, and how much the parser has to read for it.
//!
//! What it cannot read in one way it reads in another, and again within that: calls, subqueries or a chain of names in each
//! other, twenty levels deep, keep it busy for minutes and more. So it is counted how often it begins to read a value.

use std::any::TypeId;
use std::cell::Cell;

use datafusion::sql::sqlparser::ast::{Expr, Statement};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::super::failure::Told;

/// Values, read once or again: a tenth of a second. What clients ask has a few thousand at most.
const MOST: usize = 20_000;

/// The statements of a text, `None` for those that only the library reads.
pub(super) fn written(text: &str) -> Result<Vec<Option<Statement>>, Told> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location();
    let tokens = tokens.map_err(|error| Told::new("42601", error.to_string()))?;
    let counting = Counting { left: Cell::new(MOST) };
    let statements = tokens.split(|token| token.token == Token::SemiColon);
    // Each by itself: behind one that only the library reads it goes on.
    statements
        .filter(|tokens| tokens.iter().any(is_solid))
        .map(|tokens| counting.read(tokens))
        .collect()
}

fn is_solid(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_))
}

/// `PostgreSqlDialect`, which all methods are of but the last.
#[derive(Debug)]
struct Counting {
    left: Cell<usize>,
}

impl Counting {
    fn read(&self, tokens: &[TokenWithSpan]) -> Result<Option<Statement>, Told> {
        let mut parser = Parser::new(self).with_tokens_with_locations(tokens.to_vec());
        let statements = parser.parse_statements();
        if self.left.get() == 0 {
            let told = "the statement has calls, queries or names nested too deeply";
            return Err(Told::new("54001", told));
        }
        Ok(statements.ok().and_then(|mut statements| statements.pop()))
    }
}

/// Methods that are `PostgreSqlDialect`'s.
macro_rules! delegated {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self $(, $argument: $kind)*) -> $answer {
            PostgreSqlDialect {}.$name($($argument),*)
        })*
    };
}

impl Dialect for Counting {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    delegated! {
        identifier_quote_style(identifier: &str) -> Option<char>;
        is_delimited_identifier_start(ch: char) -> bool;
        is_identifier_start(ch: char) -> bool;
        is_identifier_part(ch: char) -> bool;
        supports_unicode_string_literal() -> bool;
        is_reserved_for_identifier(keyword: Keyword) -> bool;
        is_custom_operator_part(ch: char) -> bool;
        get_next_precedence(parser: &Parser<'_>) -> Option<Result<u8, ParserError>>;
        supports_filter_during_aggregation() -> bool;
        supports_group_by_expr() -> bool;
        prec_value(precedence: Precedence) -> u8;
        allow_extract_custom() -> bool;
        allow_extract_single_quotes() -> bool;
        supports_create_index_with_clause() -> bool;
        supports_explain_with_utility_options() -> bool;
        supports_listen_notify() -> bool;
        supports_factorial_operator() -> bool;
        supports_bitwise_shift_operators() -> bool;
        supports_comment_on() -> bool;
        supports_load_extension() -> bool;
        supports_named_fn_args_with_colon_operator() -> bool;
        supports_named_fn_args_with_expr_name() -> bool;
        supports_empty_projections() -> bool;
        supports_nested_comments() -> bool;
        supports_string_escape_constant() -> bool;
        supports_numeric_literal_underscores() -> bool;
        supports_array_typedef_with_brackets() -> bool;
        supports_geometric_types() -> bool;
        supports_set_names() -> bool;
        supports_alter_column_type_using() -> bool;
        supports_notnull_operator() -> bool;
        supports_interval_options() -> bool;
        supports_insert_table_alias() -> bool;
        supports_create_table_like_parenthesized() -> bool;
        supports_select_wildcard_with_alias() -> bool;
        supports_comma_separated_trim() -> bool;
        supports_xml_expressions() -> bool;
        supports_comment_optimizer_hint() -> bool;
    }

    /// At the beginning of each value. The parser tries no other way behind this error.
    fn parse_prefix(&self, _: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        self.left.set(self.left.get().saturating_sub(1));
        (self.left.get() == 0).then_some(Err(ParserError::RecursionLimitExceeded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(begin: &str, value: &str, end: &str, depth: usize) -> String {
        format!("select 1 + {}{value}{}", begin.repeat(depth), end.repeat(depth))
    }

    #[test]
    fn each_statement_is_read_as_postgres_has_it() {
        let sql =
            "select a::int[], 'x' ~ $1 from t; abort; ; select json_object('a' : 1) -- the end";
        let statements = written(sql).unwrap();
        let shown: Vec<_> =
            statements.iter().map(|one| one.as_ref().map(ToString::to_string)).collect();
        let expected =
            [Some("SELECT a::INT[], 'x' ~ $1 FROM t"), None, Some("SELECT json_object('a' : 1)")];
        assert_eq!(shown, expected.map(|one| one.map(str::to_owned)));
    }

    #[test]
    fn what_would_be_read_for_minutes_is_refused() {
        for (begin, end) in [
            ("upper(", ")"),
            ("row(", ")"),
            ("and(", ")"),
            ("not(", ")"),
            ("case(", ")"),
            ("any(", ")"),
            ("cast(", " as int)"),
            ("position(", " in 'a')"),
            ("substring(", " from 1)"),
            ("overlay(", " placing 'a' from 1)"),
            ("extract(day from ", ")"),
            ("ceil(", ")"),
            ("trim(", ")"),
            ("exists(select ", ")"),
            ("(select ", ")"),
            ("array(select ", ")"),
            ("a.", ""),
            ("interval ", ""),
            ("(with a as (select 1) select ", ")"),
        ] {
            // As it should be, and cut off: each ends, most of them here.
            drop(written(&nested(begin, "1", end, 22)));
            drop(written(&nested(begin, "", "", 22)));
            // Nobody's statement is so deep.
            assert!(written(&nested(begin, "a", end, 5)).is_ok(), "{begin}");
        }
        let many = "select 1; ".repeat(100);
        for (begin, value, end) in [("upper(", "1", ")"), ("a.", "", ""), ("not(", "", "")] {
            let sql = many.clone() + &nested(begin, value, end, 22);
            assert_eq!(written(&sql).err().map(|told| told.code), Some("54001"), "{begin}");
        }
        // Long is not deep.
        assert!(written(&format!("select {}1", "upper(a) || ".repeat(1_000))).is_ok());
    }
}

//! The words and signs of a text: how many there may be, `VERSION AS OF`, which is no SQL of PostgreSQL's, a `FETCH` that
//! leaves words out, and `MOVE`.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::RESERVED_FOR_TABLE_ALIAS;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::failure::Told;

/// Between a table's name and a version of it.
pub(super) const AT_VERSION: &str = "@v";
/// Where rows go by `MOVE`, which the parser does not know: into nothing.
pub(super) const MOVED: &str = "\"@move\"";

/// Words and signs of a text: beyond that a sum of ones is nested so deeply that its end exhausts the stack.
const MOST_SOLID: usize = 5_000;
/// `WHEN a THEN b`.
const SHORTEST_BRANCH: usize = 4;
/// With spaces and comments, which a parser walks over again and again.
const MOST: usize = 100_000;

/// What may stand between the values of arrays, each of which is one word: `'{1,2,3}'`. The parser makes an expression of each
/// value.
const MOST_COMMAS: usize = 100_000;

/// What a text is made of.
pub(super) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, Told> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location();
    let tokens = tokens.map_err(|error| Told::new("42601", error.to_string()))?;
    if tokens.len() > MOST {
        return Err(Told::new(
            "54001",
            "the statement has more than 100000 words, signs and spaces",
        ));
    }
    if sql.matches(',').count() > MOST_COMMAS {
        return Err(Told::new("54001", "the statement has more than 100000 commas"));
    }
    if weight(&tokens) > MOST_SOLID {
        return Err(Told::new("54001", "the statement has more than 5000 words and signs"));
    }
    Ok(tokens)
}

fn is_solid(token: &Token) -> bool {
    !matches!(token, Token::Whitespace(_))
}

/// Words and signs, of which a branch of a `CASE` that is `WHEN t.oid = 16 THEN -5` counts as its shortest, `WHEN a THEN b`:
/// JDBC writes one for each type. That takes nothing from the bound. Branches stand beside each other and are no deeper one by
/// one, and there are no more of them than before. Nothing else is read so: `when` and `then` may be names, but behind a
/// literal neither can go on with an expression, and a branch ends where the next one begins, or with `ELSE` or `END`.
fn weight(tokens: &[TokenWithSpan]) -> usize {
    let solid = tokens.iter().map(|token| &token.token).filter(|token| is_solid(token));
    let solid: Vec<&Token> = solid.collect();
    let (mut weight, mut rest) = (0, solid.as_slice());
    while let [_, behind @ ..] = rest {
        (weight, rest) = match plain_branch(rest) {
            Some(behind) => (weight + SHORTEST_BRANCH, behind),
            None => (weight + 1, behind),
        };
    }
    weight
}

/// What stands behind such a branch, if it is one.
fn plain_branch<'a, 'b>(tokens: &'a [&'b Token]) -> Option<&'a [&'b Token]> {
    let [when, Token::Word(_), rest @ ..] = tokens else { return None };
    let mut rest = rest;
    while let [Token::Period, Token::Word(_), behind @ ..] = rest {
        rest = behind;
    }
    let [Token::Eq, value, then, rest @ ..] = rest else { return None };
    let ([Token::Minus, result, rest @ ..] | [result, rest @ ..]) = rest else { return None };
    let is_literal =
        |token: &Token| matches!(token, Token::Number(..) | Token::SingleQuotedString(_));
    let ends = rest
        .first()
        .is_some_and(|next| ["when", "else", "end"].iter().any(|word| is_word(next, word)));
    let is_branch = is_word(when, "when") && is_literal(value) && is_word(then, "then");
    (is_branch && is_literal(result) && ends).then_some(rest)
}

/// Turns `events VERSION AS OF 12` into the name of that version, which the parser of PostgreSQL's SQL takes. It keeps
/// the table's own name as its alias, unless another one follows. `tokens` are those of `sql`, and all other text stays
/// as it was written: a token does not know how its text was escaped, and errors tell lines and columns.
pub(super) fn time_travel(sql: &str, tokens: &[TokenWithSpan]) -> String {
    let solid: Vec<&TokenWithSpan> = tokens.iter().filter(|token| is_solid(&token.token)).collect();
    let mut renamed = Vec::new();
    for (at, window) in solid.windows(5).enumerate() {
        let [name, version, as_, of, number] = window else { continue };
        let (Token::Word(table), Token::Number(digits, _)) = (&name.token, &number.token) else {
            continue;
        };
        let words = [(version, "version"), (as_, "as"), (of, "of")];
        if !words.iter().all(|(token, word)| is_word(&token.token, word)) {
            continue;
        }
        let table = if table.quote_style.is_some() {
            table.value.clone()
        } else {
            table.value.to_lowercase()
        };
        let after = solid.get(at + 5).map(|token| &token.token);
        let alias =
            if has_alias(after) { String::new() } else { format!(" AS {}", quoted(&table)) };
        let instead = quoted(&format!("{table}{AT_VERSION}{digits}")) + &alias;
        renamed.push((name.span.start, number.span.end, instead));
    }
    let mut rest = Rest { sql, line: 1, column: 1 };
    let mut text = String::with_capacity(sql.len());
    for (start, end, instead) in renamed {
        text.push_str(rest.until(start));
        text.push_str(&instead);
        rest.until(end);
    }
    text + rest.sql
}

/// What has not been read of a text, and where in the text that begins.
struct Rest<'a> {
    sql: &'a str,
    line: u64,
    column: u64,
}

impl<'a> Rest<'a> {
    /// Reads to a place, as the tokenizer counts places: in characters, from 1.
    fn until(&mut self, place: Location) -> &'a str {
        let mut bytes = 0;
        for character in self.sql.chars() {
            if (self.line, self.column) >= (place.line, place.column) {
                break;
            }
            (self.line, self.column) =
                if character == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
            bytes += character.len_utf8();
        }
        let (read, rest) = self.sql.split_at(bytes);
        self.sql = rest;
        read
    }
}

/// Spells a `FETCH` out as the parser takes it: `FETCH c`, `FETCH 5 c` and `FETCH FORWARD FROM c` are as good for
/// PostgreSQL. A `MOVE` has the same words. `None`: the text is something else.
pub(super) fn fetch(tokens: &[TokenWithSpan]) -> Option<String> {
    let solid: Vec<&Token> =
        tokens.iter().map(|token| &token.token).filter(|token| is_solid(token)).collect();
    let last = solid.iter().rposition(|token| **token != Token::SemiColon)?;
    let [first, between @ .., Token::Word(name)] = solid.get(..=last)? else { return None };
    let into = if is_word(first, "fetch") {
        String::new()
    } else if is_word(first, "move") {
        format!(" INTO {MOVED}")
    } else {
        return None;
    };
    if between.contains(&&Token::SemiColon) {
        return None;
    }
    let direction = match between {
        [direction @ .., from] if is_word(from, "from") || is_word(from, "in") => direction,
        all => all,
    };
    let mut direction: Vec<String> = direction.iter().map(ToString::to_string).collect();
    match direction.as_slice() {
        [] => direction.push("NEXT".to_owned()),
        [way] if ["forward", "backward"].contains(&way.to_ascii_lowercase().as_str()) => {
            direction.push("1".to_owned());
        }
        _ => {}
    }
    let name = if name.quote_style.is_some() { quoted(&name.value) } else { name.value.clone() };
    Some(format!("FETCH {} FROM {name}{into}", direction.join(" ")))
}

fn is_word(token: &Token, expected: &str) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether what follows a table is a name for it, as the parser would take it.
fn has_alias(after: Option<&Token>) -> bool {
    matches!(after, Some(Token::Word(word)) if !RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_count_too() {
        assert!(tokens(&format!("select{}1", " ".repeat(MOST))).is_err());
        assert!(tokens(&format!("select{}1", " ".repeat(MOST / 2))).is_ok());
        assert!(tokens(&"1,".repeat(MOST_SOLID)).is_err());
        let array = |commas| format!("select '{{{}1}}'::int[]", "1,".repeat(commas));
        assert!(tokens(&array(MOST_COMMAS)).is_ok());
        assert!(tokens(&array(MOST_COMMAS + 1)).is_err());
    }

    #[test]
    fn a_branch_counts_as_its_shortest() {
        let counted = |sql: &str| weight(&tokens(sql).unwrap());
        for (branches, expected) in [
            ("when t.oid = 16 then -5 when a.b.c = 'x' then 7", 8),
            ("when a then b", 4),
            // Whatever is nested counts as it is written.
            ("when a = 1 then 2 + 3", 8),
            ("when a = 1 then (2)", 8),
            ("when a = 1 + 2 then 3", 8),
            ("when a = b then 3", 6),
        ] {
            let sql = format!("case {branches} else 1 end");
            assert_eq!(counted(&sql), expected + 4, "{sql}");
        }
        // They are names here.
        for sql in ["1 + when + then + 1", "when = 1 then", "then = 1 when = 2 then -"] {
            assert_eq!(counted(sql), sql.split(' ').count(), "{sql}");
        }
        let branches =
            |count| format!("select case{} end", " when t.oid = 16 then -5".repeat(count));
        assert!(tokens(&branches(1_200)).is_ok());
        assert!(tokens(&branches(1_300)).is_err());
        assert!(tokens(&format!("select 1{}", " + when + then".repeat(1_300))).is_err());
    }

    #[test]
    fn a_fetch_is_spelled_out() {
        let spelled = |sql: &str| fetch(&tokens(sql).unwrap());
        for (sql, expected) in [
            ("fetch c", "FETCH NEXT FROM c"),
            ("fetch from c;", "FETCH NEXT FROM c"),
            ("FETCH 5 \"a \"\"C\";", "FETCH 5 FROM \"a \"\"C\""),
            ("fetch forward in c", "FETCH forward 1 FROM c"),
            ("fetch backward c", "FETCH backward 1 FROM c"),
            ("fetch forward all from c", "FETCH forward all FROM c"),
            ("move c;", "FETCH NEXT FROM c INTO \"@move\""),
            ("MOVE forward 5 in \"C\"", "FETCH forward 5 FROM \"C\" INTO \"@move\""),
        ] {
            assert_eq!(spelled(sql).as_deref(), Some(expected), "{sql}");
        }
        for sql in [
            "fetch 5 from c; commit",
            "move 5 in c; commit",
            "select c",
            "fetch",
            "move",
            "\"move\" c",
            ";",
            "",
            "fetch 5 from 6",
        ] {
            assert_eq!(spelled(sql), None, "{sql}");
        }
    }

    #[test]
    fn a_version_becomes_part_of_the_name() {
        for (asked, expected) in [
            (
                "select * from silver_events VERSION AS OF 12",
                "select * from \"silver_events@v12\" AS \"silver_events\"",
            ),
            (
                "select a.x from Public.T version as of 0 a where 1=1",
                "select a.x from Public.\"t@v0\" a where 1=1",
            ),
            (
                "select * from t version as of 3 AS b, u version as of 4 where t.x",
                "select * from \"t@v3\" AS b, \"u@v4\" AS \"u\" where t.x",
            ),
            (
                "select t.x from u join t version as of 3 using (id) window w as (order by x)",
                "select t.x from u join \"t@v3\" AS \"t\" using (id) window w as (order by x)",
            ),
            (
                "select t.x from t VERSION AS OF 3 WINDOW w as (order by x)",
                "select t.x from \"t@v3\" AS \"t\" WINDOW w as (order by x)",
            ),
            (
                "select t.x from t version as of 3 tablesample system (10)",
                "select t.x from \"t@v3\" AS \"t\" tablesample system (10)",
            ),
            (
                "select x.y from t version as of 3 \"using\" where 1=1",
                "select x.y from \"t@v3\" \"using\" where 1=1",
            ),
            (
                "select * from t version as of 1 version as of 2",
                "select * from \"t@v1\" version as of 2",
            ),
            ("select version as of from t", "select version as of from t"),
            ("select 't version as of 3'", "select 't version as of 3'"),
            ("select version()", "select version()"),
            (
                "select 'it''s', E'\\n', '\u{e9}\n'\n from \"a \"\"b\" version  as of 3 -- it's\n where x = ''",
                "select 'it''s', E'\\n', '\u{e9}\n'\n from \"a \"\"b@v3\" AS \"a \"\"b\" -- it's\n where x = ''",
            ),
        ] {
            assert_eq!(time_travel(asked, &tokens(asked).unwrap()), expected);
        }
    }
}

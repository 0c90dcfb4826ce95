//! Words that mean something where a name could stand.

/// Those of `PostgreSQL` 16 that are no names without quotes, or not everywhere.
const WORDS: &str = "all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case \
    cast char character check coalesce collate collation column concurrently constraint create cross current_catalog \
    current_date current_role current_schema current_time current_timestamp current_user dec decimal default \
    deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full grant \
    greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull join \
    json_array json_arrayagg json_object json_objectagg lateral leading least left like limit localtime \
    localtimestamp national natural nchar none normalize not notnull null nullif numeric offset on only or order out \
    outer overlaps overlay placing position precision primary real references returning right row select \
    session_user setof similar smallint some substring symmetric system_user table tablesample then time timestamp \
    to trailing treat trim true union unique user using values varchar variadic verbose when where window with \
    xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize \
    xmltable";

/// Whether a name has to be in quotes because of what it means. It is in small letters.
pub(super) fn is_keyword(name: &str) -> bool {
    WORDS.split(' ').any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_reserved_and_names_are_not() {
        for word in ["all", "json_array", "natural", "order", "time", "user", "xmltable"] {
            assert!(is_keyword(word), "{word}");
        }
        for name in ["", "name", "partition", "public", "value", "all analyse"] {
            assert!(!is_keyword(name), "{name}");
        }
    }
}

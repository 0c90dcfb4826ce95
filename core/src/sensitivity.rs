//! What a column may disclose, and what a sink is cleared for.
//!
//! The mark travels in the Arrow field's metadata, so it survives every operator that keeps the field. A graph in
//! which a marked column reaches a sink without the clearance does not build (architecture, "Privacy is a type").

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use arrow_schema::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Key of the mark in an Arrow field's metadata.
pub const SENSITIVITY_KEY: &str = "thalweg.sensitivity";

/// What a column's values disclose about a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Sensitivity {
    /// A person's name.
    PhiName,
    /// A social security number.
    PhiSsn,
    /// A telephone number.
    PhiPhone,
    /// A date of birth.
    PhiDob,
    /// A postal address.
    PhiAddress,
    /// An identifier such as a medical record number.
    PhiId,
    /// A date directly related to a person.
    PhiDate,
    /// An event as received: may hold anything.
    PhiRaw,
}

impl Sensitivity {
    /// Every mark there is.
    pub const ALL: [Self; 8] = [
        Self::PhiName,
        Self::PhiSsn,
        Self::PhiPhone,
        Self::PhiDob,
        Self::PhiAddress,
        Self::PhiId,
        Self::PhiDate,
        Self::PhiRaw,
    ];

    /// The name in field metadata and in `#[record(sensitivity = "…")]`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PhiName => "phi.name",
            Self::PhiSsn => "phi.ssn",
            Self::PhiPhone => "phi.phone",
            Self::PhiDob => "phi.dob",
            Self::PhiAddress => "phi.address",
            Self::PhiId => "phi.id",
            Self::PhiDate => "phi.date",
            Self::PhiRaw => "phi.raw",
        }
    }

    /// The mark called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The marks of a field and of the fields inside it; several are joined by a comma (an opaque `map` unites those of
/// its inputs). A mark of an unknown name counts as [`Sensitivity::PhiRaw`]: unknown fails closed.
pub fn sensitivities(field: &Field) -> BTreeSet<Sensitivity> {
    let own = field.metadata().get(SENSITIVITY_KEY).into_iter().flat_map(|marks| marks.split(','));
    let mut all: BTreeSet<Sensitivity> = own
        .filter(|m| !m.is_empty())
        .map(|m| Sensitivity::from_name(m).unwrap_or(Sensitivity::PhiRaw))
        .collect();
    within(field.data_type(), &mut all);
    all
}

/// Adds the marks of the fields inside a type.
fn within(data_type: &DataType, all: &mut BTreeSet<Sensitivity>) {
    match data_type {
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::ListView(inner)
        | DataType::LargeListView(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::Map(inner, _) => all.extend(sensitivities(inner)),
        DataType::Struct(fields) => all.extend(fields.iter().flat_map(|f| sensitivities(f))),
        DataType::Union(fields, _) => {
            all.extend(fields.iter().flat_map(|(_, f)| sensitivities(f)));
        }
        DataType::RunEndEncoded(ends, values) => {
            all.extend([ends, values].into_iter().flat_map(|f| sensitivities(f)));
        }
        DataType::Dictionary(keys, values) => {
            within(keys, all);
            within(values, all);
        }
        // No field is inside of any other.
        _ => {}
    }
}

/// The union of the marks of every field of a schema.
pub fn all_sensitivities(schema: &Schema) -> BTreeSet<Sensitivity> {
    schema.fields().iter().flat_map(|f| sensitivities(f)).collect()
}

/// The same field with exactly these marks.
///
/// ```
/// use arrow_schema::{DataType, Field};
/// use thalweg_core::sensitivity::{Sensitivity, mark, sensitivities};
/// let field = mark(Field::new("name", DataType::Utf8, true), [Sensitivity::PhiName]);
/// assert!(sensitivities(&field).contains(&Sensitivity::PhiName));
/// assert!(sensitivities(&mark(field, [])).is_empty());
/// ```
#[must_use]
pub fn mark(field: Field, marks: impl IntoIterator<Item = Sensitivity>) -> Field {
    let marks: Vec<&str> =
        marks.into_iter().collect::<BTreeSet<_>>().into_iter().map(Sensitivity::as_str).collect();
    let mut metadata: HashMap<String, String> = field.metadata().clone();
    if marks.is_empty() {
        metadata.remove(SENSITIVITY_KEY);
    } else {
        metadata.insert(SENSITIVITY_KEY.to_owned(), marks.join(","));
    }
    field.with_metadata(metadata)
}

/// The output of an operator that the graph cannot look into: every column carries the marks of *all* input columns
/// besides its own, but for those that are declassified. `declassified` holds columns and reasons.
///
/// # Errors
/// A reason is empty.
pub fn inherit(
    output: &Schema,
    input: &Schema,
    declassified: &[(&'static str, &'static str)],
) -> Result<Schema> {
    if let Some((column, _)) = declassified.iter().find(|(_, reason)| reason.trim().is_empty()) {
        return Err(Error::graph(format!("column `{column}` is declassified without a reason")));
    }
    let inherited = all_sensitivities(input);
    let fields = output.fields().iter().map(|field| {
        let field: &Field = field;
        let mut marks = sensitivities(field);
        if declassified.iter().all(|(column, _)| column != field.name()) {
            marks.extend(&inherited);
        }
        mark(field.clone(), marks)
    });
    Ok(Schema::new(fields.collect::<Vec<_>>()).with_metadata(output.metadata().clone()))
}

/// What a sink may receive. The default is nothing at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clearance(BTreeSet<Sensitivity>);

impl Clearance {
    /// Cleared for unmarked columns only.
    pub fn none() -> Self {
        Self::default()
    }

    /// Cleared for these marks besides unmarked columns.
    pub fn of(marks: impl IntoIterator<Item = Sensitivity>) -> Self {
        Self(marks.into_iter().collect())
    }

    /// Cleared for everything: a store that is itself protected, or a test.
    pub fn all() -> Self {
        Self::of(Sensitivity::ALL)
    }

    /// Whether columns with this mark may enter.
    pub fn allows(&self, sensitivity: Sensitivity) -> bool {
        self.0.contains(&sensitivity)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{UnionFields, UnionMode};

    use super::*;

    #[test]
    fn marks_inside_a_column_are_marks_of_the_column() {
        let name = mark(Field::new("name", DataType::Utf8, true), [Sensitivity::PhiName]);
        let person = DataType::Struct(vec![name.clone()].into());
        let inner = Arc::new(Field::new("person", person.clone(), true));
        let ends = Arc::new(Field::new("ends", DataType::Int32, false));
        let union = UnionFields::from_fields([Field::new("none", DataType::Null, true), name]);
        for data_type in [
            person.clone(),
            DataType::List(Arc::clone(&inner)),
            DataType::LargeList(Arc::clone(&inner)),
            DataType::ListView(Arc::clone(&inner)),
            DataType::LargeListView(Arc::clone(&inner)),
            DataType::FixedSizeList(Arc::clone(&inner), 2),
            DataType::Map(Arc::clone(&inner), false),
            DataType::Union(union, UnionMode::Sparse),
            DataType::RunEndEncoded(ends, inner),
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(person)),
        ] {
            let people = Field::new("people", data_type, true);
            assert_eq!(sensitivities(&people), BTreeSet::from([Sensitivity::PhiName]), "{people}");
        }
    }

    #[derive(crate::Record)]
    #[expect(dead_code, reason = "only its columns are used")]
    struct Visit {
        #[record(sensitivity = "phi.id, phi.date")]
        r#type: String,
    }

    #[test]
    fn a_field_of_a_record_has_all_the_marks_that_it_is_given() {
        let schema = <Visit as crate::Record>::schema();
        let field = schema.field_with_name("type").unwrap();
        assert_eq!(
            sensitivities(field),
            BTreeSet::from([Sensitivity::PhiId, Sensitivity::PhiDate])
        );
        assert_eq!(Visit::TYPE.name(), "type");
    }
}

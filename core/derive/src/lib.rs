//! `#[derive(Record)]`: column constants and a schema from a plain struct.

use proc_macro::TokenStream;
use proc_macro2::Ident;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Fields, LitStr, parse_macro_input};

/// The marks by name, and the variants of `thalweg_core::Sensitivity`.
const MARKS: [(&str, &str); 8] = [
    ("phi.name", "PhiName"),
    ("phi.ssn", "PhiSsn"),
    ("phi.phone", "PhiPhone"),
    ("phi.dob", "PhiDob"),
    ("phi.address", "PhiAddress"),
    ("phi.id", "PhiId"),
    ("phi.date", "PhiDate"),
    ("phi.raw", "PhiRaw"),
];

/// Implements `thalweg_core::Record` and makes one typed constant per field: `heart_rate` becomes `HEART_RATE`.
///
/// Field types: `f64 i64 i32 bool String Micros Vec<u8> Vec<String>`, each also in `Option<…>` for a column that may
/// be null. Attributes of a field: `#[record(sensitivity = "phi.name")]`, several marks joined by commas;
/// `#[record(name = "column")]`. A raw name is taken without `r#`.
#[proc_macro_derive(Record, attributes(record))]
pub fn derive_record(input: TokenStream) -> TokenStream {
    expand(&parse_macro_input!(input as DeriveInput))
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

fn expand(input: &DeriveInput) -> syn::Result<proc_macro2::TokenStream> {
    // Who marks the whole struct must not believe that its fields are marked.
    if let Some(attribute) = of_record(&input.attrs).next() {
        let what =
            "`record` has attributes at fields only: mark each field that discloses something";
        return Err(syn::Error::new_spanned(attribute, what));
    }
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new_spanned(&input.ident, "a record is a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(syn::Error::new_spanned(&input.ident, "a record's fields have names"));
    };
    let mut constants = Vec::new();
    let mut names = Vec::new();
    let mut schema_fields = Vec::new();
    for field in &fields.named {
        let Some(ident) = &field.ident else { continue };
        let plain = ident.unraw().to_string();
        let Attributes { name, marks } = Attributes::of(&field.attrs)?;
        let name = name.unwrap_or_else(|| plain.clone());
        let constant = format_ident!("{}", plain.to_uppercase());
        let ty = &field.ty;
        let vis = &field.vis;
        let doc = format!("Column `{name}`.");
        constants.push(quote! {
            #[doc = #doc]
            #vis const #constant: ::thalweg_core::record::Column<
                <#ty as ::thalweg_core::record::FieldType>::Column,
            > = if <#ty as ::thalweg_core::record::FieldType>::NULLABLE {
                ::thalweg_core::record::Column::nullable(#name)
            } else {
                ::thalweg_core::record::Column::required(#name)
            };
        });
        schema_fields.push(quote! {
            ::thalweg_core::sensitivity::mark(
                Self::#constant.field(),
                [#(::thalweg_core::Sensitivity::#marks),*],
            )
        });
        names.push(name);
    }
    let ident = &input.ident;
    Ok(quote! {
        impl #ident {
            #(#constants)*
        }
        impl ::thalweg_core::Record for #ident {
            fn schema() -> ::thalweg_core::record::SchemaRef {
                ::std::sync::Arc::new(::thalweg_core::record::Schema::new(vec![#(#schema_fields),*]))
            }
            const COLUMNS: &'static [&'static str] = &[#(#names),*];
        }
    })
}

/// What `#[record(…)]` says of a field.
struct Attributes {
    name: Option<String>,
    /// Variants of `Sensitivity`.
    marks: Vec<Ident>,
}

impl Attributes {
    /// Each may be given once: a second one that took the place of the first would take its marks away.
    fn of(attributes: &[Attribute]) -> syn::Result<Self> {
        let (mut name, mut sensitivity): (Option<LitStr>, Option<LitStr>) = (None, None);
        for attribute in of_record(attributes) {
            attribute.parse_nested_meta(|meta| {
                let place = if meta.path.is_ident("sensitivity") {
                    &mut sensitivity
                } else if meta.path.is_ident("name") {
                    &mut name
                } else {
                    return Err(meta.error("known here: sensitivity = \"…\", name = \"…\""));
                };
                if place.is_some() {
                    return Err(meta.error("given twice; several marks are joined by commas"));
                }
                *place = Some(meta.value()?.parse()?);
                Ok(())
            })?;
        }
        let marks = sensitivity.map_or_else(|| Ok(Vec::new()), |text| marks(&text))?;
        Ok(Self { name: name.map(|name| name.value()), marks })
    }
}

/// The variants of the marks in `text`, at least one.
fn marks(text: &LitStr) -> syn::Result<Vec<Ident>> {
    let value = text.value();
    let variant = |mark: &str| {
        let known = MARKS.iter().find(|(name, _)| *name == mark.trim());
        known.map(|(_, variant)| Ident::new(variant, text.span())).ok_or_else(|| {
            let names: Vec<&str> = MARKS.iter().map(|(name, _)| *name).collect();
            syn::Error::new_spanned(text, format!("known here: {}", names.join(", ")))
        })
    };
    value.split(',').map(variant).collect()
}

/// The attributes that are meant for this derive.
fn of_record(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("record"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the derive makes of a struct, without white space, or why it makes nothing.
    fn made(text: &str) -> Result<String, String> {
        let input: DeriveInput = syn::parse_str(text).unwrap();
        let made = expand(&input).map_err(|error| error.to_string())?;
        Ok(made.to_string().split_whitespace().collect())
    }

    #[test]
    fn an_attribute_that_would_mean_nothing_does_not_compile() {
        for (text, says) in [
            ("#[record(sensitivity = \"phi.raw\")] struct A { a: i64 }", "at fields only"),
            (
                "struct A { #[record(sensitivity = \"phi.raw\", sensitivity = \"phi.id\")] a: i64 }",
                "given twice",
            ),
            (
                "struct A { #[record(sensitivity = \"phi.raw\")] #[record(sensitivity = \"phi.id\")] a: i64 }",
                "given twice",
            ),
            ("struct A { #[record(name = \"b\", name = \"c\")] a: i64 }", "given twice"),
            ("struct A { #[record(sensitivity = \"phi\")] a: i64 }", "known here: phi.name"),
            ("struct A { #[record(sensitivity = \"\")] a: i64 }", "known here: phi.name"),
            ("struct A { #[record(sensitivity = \"phi.id,\")] a: i64 }", "known here: phi.name"),
            ("struct A { #[record(mark = \"phi.id\")] a: i64 }", "known here: sensitivity"),
            ("enum A { B }", "a record is a struct"),
        ] {
            let told = made(text).unwrap_err();
            assert!(told.contains(says), "{text}: {told}");
        }
        assert!(made("#[other] struct A { #[other] a: i64 }").is_ok());
    }

    #[test]
    fn a_field_may_have_several_marks() {
        let text = "struct A { #[record(sensitivity = \"phi.id, phi.date\", name = \"b\")] a: i64, c: i64 }";
        let made = made(text).unwrap();
        let marked = "mark(Self::A.field(),[::thalweg_core::Sensitivity::PhiId,::thalweg_core::Sensitivity::PhiDate],)";
        assert!(made.contains(marked), "{made}");
        assert!(made.contains("mark(Self::C.field(),[],)"), "{made}");
        assert!(made.contains("=&[\"b\",\"c\"]"), "{made}");
    }

    #[test]
    fn a_raw_name_is_a_column_without_its_prefix() {
        let made = made("struct A { r#type: String }").unwrap();
        assert!(made.contains("constTYPE:") && made.contains("=&[\"type\"]"), "{made}");
    }
}

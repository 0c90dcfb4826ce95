//! `#[derive(Record)]`: column constants and a schema from a plain struct.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Fields, LitStr, parse_macro_input};

/// Implements `thalweg_core::Record` and makes one typed constant per field: `heart_rate` becomes `HEART_RATE`.
///
/// Field types: `f64 i64 i32 bool String Micros Vec<u8> Vec<String>`, each also in `Option<…>` for a column that may
/// be null. Attributes: `#[record(sensitivity = "phi.name")]`, `#[record(name = "column")]`.
#[proc_macro_derive(Record, attributes(record))]
pub fn derive_record(input: TokenStream) -> TokenStream {
    expand(&parse_macro_input!(input as DeriveInput))
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

fn expand(input: &DeriveInput) -> syn::Result<proc_macro2::TokenStream> {
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
        let mut name = ident.to_string();
        let mut sensitivity: Option<LitStr> = None;
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("record")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("sensitivity") {
                    sensitivity = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("name") {
                    name = meta.value()?.parse::<LitStr>()?.value();
                } else {
                    return Err(meta.error("known here: sensitivity = \"…\", name = \"…\""));
                }
                Ok(())
            })?;
        }
        if let Some(mark) = &sensitivity {
            const KNOWN: [&str; 8] = [
                "phi.name",
                "phi.ssn",
                "phi.phone",
                "phi.dob",
                "phi.address",
                "phi.id",
                "phi.date",
                "phi.raw",
            ];
            if !KNOWN.contains(&mark.value().as_str()) {
                return Err(syn::Error::new_spanned(
                    mark,
                    format!("known here: {}", KNOWN.join(", ")),
                ));
            }
        }
        let constant = format_ident!("{}", ident.to_string().to_uppercase());
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
        let marks = sensitivity.map_or_else(
            || quote! { [] },
            |mark| quote! { ::thalweg_core::Sensitivity::from_name(#mark) },
        );
        schema_fields.push(quote! {
            ::thalweg_core::sensitivity::mark(Self::#constant.field(), #marks)
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

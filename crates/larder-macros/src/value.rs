//! The type of the stored values, from what the function returns.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, GenericArgument, PathArguments, PathSegment, Result, Type};

use crate::function::{Function, bare};
use crate::options::Options;

/// Refuses options that do not fit what the function returns.
pub(crate) fn check(function: &Function, options: &Options) -> Result<()> {
    let returned = function.returned()?;
    let is_result = last_segment(returned).is_some_and(|segment| segment.ident == "Result");
    if is_result && options.result.is_none() {
        return Err(Error::new_spanned(
            returned,
            "say what becomes of errors: write `result` to store values only, or `result = false` to store errors too",
        ));
    }
    Ok(())
}

/// The type of the values that the function's own cache stores.
pub(crate) fn stored_type(function: &Function, options: &Options) -> Result<TokenStream> {
    if let Some(ty) = &options.value_type {
        return Ok(ty.to_token_stream());
    }
    let mut ty = function.returned()?;
    if options.result == Some(true) {
        ty = first_argument(ty, |name| name.ends_with("Result"))
            .ok_or_else(|| not_of_the_kind(ty, "result", "a `Result<V, E>`"))?;
    }
    if options.option {
        ty = first_argument(ty, |name| name == "Option")
            .ok_or_else(|| not_of_the_kind(ty, "option", "an `Option<V>`"))?;
    }
    let instead = "return an owned value of a type that can be written in a static, or give a cache with `cache = …`";
    function.check_static(ty, "what the function returns", instead)?;
    Ok(quote!(#ty))
}

fn not_of_the_kind(ty: &Type, option: &str, wanted: &str) -> Error {
    let given = quote!(#ty).to_string().replace(" < ", "<").replace(" >", ">").replace(" ,", ",");
    Error::new_spanned(
        ty,
        format!(
            "`{option}` is for a function that returns {wanted}, and this is `{given}`; if it is an alias, say with \
             `value_type = …` what is stored"
        ),
    )
}

/// The last part of a path such as `std::io::Result<V>`.
fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match bare(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// `V` of `Name<V, …>`, if the name is one of those wanted.
fn first_argument(ty: &Type, is_wanted: impl Fn(&str) -> bool) -> Option<&Type> {
    let segment = last_segment(ty).filter(|segment| is_wanted(&segment.ident.to_string()))?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

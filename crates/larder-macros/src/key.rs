//! The key of a call: by which expression it is looked up, which type it has when it is stored, and which
//! arguments it borrows.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Index, Path, Result, Type, UnOp};

use crate::function::{Function, Parameter, bare, is_by_value, mentions};
use crate::options::Options;

/// The key of a call.
pub(crate) struct Key {
    /// What the reference needs to be there: the type that stands for a key of several parts, or nothing.
    pub(crate) items: TokenStream,
    /// A reference to the key, or to what stands for it.
    pub(crate) reference: TokenStream,
    /// The type of the stored key, or why it is not known.
    ty: Result<TokenStream>,
    /// What the user wrote, if anything.
    expression: Option<Expr>,
}

/// One part of a key: a parameter, or an expression.
struct Part {
    /// A reference to the part, or to a borrowed form of it.
    reference: TokenStream,
    /// The part itself, if each call has it to give away: it is a number or something as small, or it is
    /// computed. All others are copied on a miss, which may need memory.
    value: Option<TokenStream>,
    ty: Result<TokenStream>,
}

impl Key {
    /// The key that the options name, or else all arguments.
    pub(crate) fn new(function: &Function, options: &Options) -> Result<Self> {
        let mut key = match &options.key {
            Some(expression) => Self::of_expression(function, expression, &options.larder),
            None => Self::of_arguments(function, options)?,
        };
        if let Some(ty) = &options.key_type {
            key.ty = Ok(ty.to_token_stream());
        }
        Ok(key)
    }

    /// The type of the stored key.
    pub(crate) fn ty(&self) -> Result<TokenStream> {
        self.ty.clone()
    }

    /// Whether the key may borrow the argument, which a call that computes the value then cannot take.
    pub(crate) fn borrows(&self, argument: &Ident) -> bool {
        match &self.expression {
            Some(expression) => mentions(expression.to_token_stream(), &argument.to_string()),
            None => argument != "self",
        }
    }

    fn of_expression(function: &Function, expression: &Expr, larder: &Path) -> Self {
        let written = Some(expression.clone());
        match without_parentheses(expression) {
            Expr::Tuple(tuple) => {
                let parts = tuple.elems.iter().map(|part| Part::of_expression(function, part));
                Self::tuple(parts.collect(), written, larder)
            }
            single => Self::single(Part::of_expression(function, single), written),
        }
    }

    fn of_arguments(function: &Function, options: &Options) -> Result<Self> {
        if let Some(receiver) = function.receiver()
            && !options.cache.as_ref().is_some_and(|cache| mentions(quote!(#cache), "self"))
        {
            return Err(Error::new_spanned(
                receiver,
                "a method needs a key that says which part of `self` the result depends on: write `key = (self.id, page)` with \
                 `key_type = (u64, u32)`, or `key = page` if it depends on none, or `cache = self.pages` if each \
                 value has a cache of its own",
            ));
        }
        for parameter in &function.parameters {
            if parameter.is_exclusive() {
                return Err(Error::new_spanned(
                    &parameter.ty,
                    "a `&mut` argument cannot be part of the key: say with `key = …` which arguments are",
                ));
            }
        }
        let mut parts: Vec<_> =
            function.parameters.iter().map(|part| Part::of_parameter(function, part)).collect();
        if parts.len() == 1 {
            return Ok(Self::single(parts.remove(0), None));
        }
        Ok(Self::tuple(parts, None, &options.larder))
    }

    fn single(part: Part, expression: Option<Expr>) -> Self {
        Self { items: TokenStream::new(), reference: part.reference, ty: part.ty, expression }
    }

    fn tuple(parts: Vec<Part>, expression: Option<Expr>, larder: &Path) -> Self {
        let values: Option<Vec<_>> = parts.iter().map(|part| part.value.as_ref()).collect();
        let (items, reference) = match values {
            Some(values) => (TokenStream::new(), quote!(&(#(#values,)*))),
            None => {
                let references = parts.iter().map(|part| &part.reference);
                (stand_in(&parts, larder), quote!(&CachedKeyParts(#(#references),*)))
            }
        };
        let types: Result<Vec<_>> = parts.into_iter().map(|part| part.ty).collect();
        let ty = types.map(|types| quote!((#(#types,)*)));
        Self { items, reference, ty, expression }
    }
}

/// The type that stands for a tuple in a lookup. It refers to the parts, and copies them on a miss.
fn stand_in(parts: &[Part], larder: &Path) -> TokenStream {
    let index: Vec<_> = (0..parts.len()).map(Index::from).collect();
    let stored: Vec<_> = (0..parts.len()).map(|index| format_ident!("K{index}")).collect();
    // A value has the type of the stored part, so that the compiler infers the one from the other. What is
    // named may be a borrowed form of it.
    let (mut given, mut borrowed) = (stored.clone(), Vec::new());
    for (index, _) in parts.iter().enumerate().filter(|(_, part)| part.value.is_none()) {
        given[index] = format_ident!("Q{index}");
        borrowed.push(given[index].clone());
    }
    quote! {
        struct CachedKeyParts<'k, #(#given: ?::core::marker::Sized),*>(#(&'k #given),*);

        // A tuple hashes its parts one after the other.
        impl<#(#given: ?::core::marker::Sized + ::core::hash::Hash),*> ::core::hash::Hash
            for CachedKeyParts<'_, #(#given),*>
        {
            fn hash<H: ::core::hash::Hasher>(&self, state: &mut H) {
                #(::core::hash::Hash::hash(self.#index, state);)*
            }
        }

        impl<#(#stored,)* #(#borrowed: ?::core::marker::Sized),*> #larder::Equivalent<(#(#stored,)*)>
            for CachedKeyParts<'_, #(#given),*>
        where
            #(#given: #larder::Equivalent<#stored>,)*
        {
            fn equivalent(&self, key: &(#(#stored,)*)) -> bool {
                #(#larder::Equivalent::equivalent(self.#index, &key.#index))&&*
            }
        }

        impl<#(#stored,)* #(#borrowed: ?::core::marker::Sized),*> #larder::ToKey<(#(#stored,)*)>
            for CachedKeyParts<'_, #(#given),*>
        where
            #(#given: #larder::ToKey<#stored>,)*
        {
            fn to_key(&self) -> (#(#stored,)*) {
                (#(#larder::ToKey::to_key(self.#index),)*)
            }
        }
    }
}

impl Part {
    fn of_parameter(function: &Function, parameter: &Parameter) -> Self {
        let name = &parameter.name;
        let ty = stored_type(function, parameter);
        // A reference that lives for ever is stored as it is.
        if parameter.is_reference() && !is_static(&parameter.ty) {
            return Self { reference: quote!(#name), value: None, ty };
        }
        let value = is_small(&parameter.ty).then(|| quote!(::core::clone::Clone::clone(&#name)));
        Self { reference: quote!(&#name), value, ty }
    }

    fn of_expression(function: &Function, expression: &Expr) -> Self {
        let part = match function.parameter(expression) {
            Some(parameter) => Self::of_parameter(function, parameter),
            None => Self::of_other(function, expression),
        };
        let is_exclusive = |parameter: &Parameter| {
            parameter.is_exclusive()
                && mentions(expression.to_token_stream(), &parameter.name.to_string())
        };
        if part.value.is_none() && function.parameters.iter().any(is_exclusive) {
            // The body needs the argument for itself, so the key cannot refer to it.
            let reference = part.reference;
            let value = quote!(::std::borrow::ToOwned::to_owned(#reference));
            return Self { reference: quote!(&#value), value: Some(value), ty: part.ty };
        }
        part
    }

    fn of_other(function: &Function, expression: &Expr) -> Self {
        let expression = without_parentheses(expression);
        let unknown = || {
            let message = "the type of the key is not visible here: add `key_type = …`";
            Err(Error::new_spanned(expression, message))
        };
        let is_self_reference = matches!(expression, Expr::Path(path) if path.path.is_ident("self"))
            && function.receiver().is_some_and(|receiver| !is_by_value(receiver));
        match expression {
            Expr::Cast(cast) => {
                let what = "the key";
                let instead = "give `key_type`";
                let ty = function
                    .check_static(&cast.ty, what, instead)
                    .map(|()| cast.ty.to_token_stream());
                Self::of_value(expression, ty)
            }
            // What is named is looked up where it is, and copied to be stored.
            Expr::Reference(_) => Self::of_place(quote!(#expression), unknown()),
            _ if is_self_reference => Self::of_place(quote!(#expression), unknown()),
            _ if is_place(expression) => {
                Self::of_place(quote_spanned!(expression.span()=> &#expression), unknown())
            }
            // What is computed is there to be used.
            _ => Self::of_value(expression, unknown()),
        }
    }

    fn of_place(reference: TokenStream, ty: Result<TokenStream>) -> Self {
        Self { reference, value: None, ty }
    }

    fn of_value(expression: &Expr, ty: Result<TokenStream>) -> Self {
        Self {
            reference: quote_spanned!(expression.span()=> &(#expression)),
            value: Some(quote!(#expression)),
            ty,
        }
    }
}

/// Whether the expression names something that is there, and does not compute it.
fn is_place(expression: &Expr) -> bool {
    match without_parentheses(expression) {
        Expr::Unary(unary) => matches!(unary.op, UnOp::Deref(_)),
        Expr::Path(_) | Expr::Field(_) | Expr::Index(_) => true,
        _ => false,
    }
}

fn without_parentheses(expression: &Expr) -> &Expr {
    match expression {
        Expr::Paren(inner) => without_parentheses(&inner.expr),
        Expr::Group(inner) => without_parentheses(&inner.expr),
        other => other,
    }
}

/// Whether a copy of such a value costs less than to refer to it.
fn is_small(ty: &Type) -> bool {
    const SMALL: [&str; 15] = [
        "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
        "bool", "char", "Duration",
    ];
    match bare(ty) {
        Type::Path(path) => SMALL.iter().any(|name| path.path.is_ident(name)),
        Type::Reference(_) => true,
        _ => false,
    }
}

fn is_static(ty: &Type) -> bool {
    let Type::Reference(reference) = bare(ty) else { return false };
    reference.mutability.is_none()
        && reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static")
}

/// The type in which a parameter is stored: its own, or the owned form of what it refers to.
fn stored_type(function: &Function, parameter: &Parameter) -> Result<TokenStream> {
    let what = format!("the type of `{}`", parameter.name);
    let instead = "say with `key = …` and `key_type = …` what identifies a call, or give a cache with `cache = …`";
    let ty = bare(&parameter.ty);
    let Type::Reference(reference) = ty else {
        function.check_static(ty, &what, instead)?;
        return Ok(quote!(#ty));
    };
    function.check_static(&reference.elem, &what, instead)?;
    if is_static(ty) {
        return Ok(quote!(#ty));
    }
    let target = bare(&reference.elem);
    Ok(match target {
        Type::Path(path) if path.qself.is_none() && path.path.is_ident("str") => {
            quote_spanned!(target.span()=> ::std::string::String)
        }
        Type::Slice(slice) => {
            let element = &slice.elem;
            quote_spanned!(target.span()=> ::std::vec::Vec<#element>)
        }
        other => quote_spanned!(target.span()=> <#other as ::std::borrow::ToOwned>::Owned),
    })
}

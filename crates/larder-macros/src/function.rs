//! The function that the attribute stands on: what it takes and returns, and whether it can be cached.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    AttrStyle, Error, Expr, FnArg, GenericParam, Ident, ItemFn, Lifetime, Pat, Receiver,
    ReceiverKind, Result, ReturnType, Safety, Signature, Type, TypeImplTrait,
};

/// The function, and what of it the expansion needs more than once.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    pub(crate) parameters: Vec<Parameter>,
}

/// A parameter other than `self`.
pub(crate) struct Parameter {
    /// Its name in the cached function: its own, or one for a pattern that is not a name.
    pub(crate) name: Ident,
    pub(crate) pattern: Pat,
    pub(crate) ty: Type,
}

impl Function {
    /// The function in `item`.
    ///
    /// # Errors
    /// If it is something else, or a function whose calls cannot be left out.
    pub(crate) fn parse(item: TokenStream) -> Result<Self> {
        if !is_function(&item) {
            return Err(Error::new_spanned(
                item,
                "`#[cached]` is for functions and methods that have a body",
            ));
        }
        let mut item: ItemFn = syn::parse2(item)?;
        for attribute in &mut item.attrs {
            // An attribute within the body is about the function too.
            attribute.style = AttrStyle::Outer;
        }
        let sig = &item.sig;
        if let Safety::Unsafe(token) = &sig.safety {
            return Err(Error::new(
                token.span(),
                "an `unsafe fn` cannot be cached, because a hit does not run it: cache a safe function that calls it",
            ));
        }
        if let Some(constness) = &sig.constness {
            return Err(Error::new(
                constness.span(),
                "a `const fn` cannot be cached, because a cache does not exist before the program runs: remove \
                 `const`, or `#[cached]`",
            ));
        }
        if let Some(variadic) = &sig.variadic {
            return Err(Error::new(variadic.span(), "a function with `...` cannot be cached"));
        }
        let mut parameters = Vec::new();
        for (index, input) in sig.inputs.iter().enumerate() {
            let FnArg::Typed(typed) = input else { continue };
            if let Some(attribute) = typed.attrs.first() {
                return Err(Error::new_spanned(
                    attribute,
                    "a cached function cannot have attributes on its parameters",
                ));
            }
            let name = match &*typed.pat {
                Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => {
                    pat.ident.clone()
                }
                // No other parameter has this name, whatever it is called.
                pattern => {
                    let span = Span::mixed_site().located_at(pattern.span());
                    format_ident!("argument_{index}", span = span)
                }
            };
            parameters.push(Parameter {
                name,
                pattern: (*typed.pat).clone(),
                ty: (*typed.ty).clone(),
            });
        }
        let function = Self { item, parameters };
        if let Some(receiver) = function.receiver()
            && changes_self(receiver)
        {
            return Err(Error::new_spanned(
                receiver,
                "a method with `&mut self` cannot be cached, because a hit would leave out what it changes",
            ));
        }
        function.returned()?;
        Ok(function)
    }

    pub(crate) fn sig(&self) -> &Signature {
        &self.item.sig
    }

    pub(crate) fn name(&self) -> &Ident {
        &self.item.sig.ident
    }

    /// The function's name with `suffix`.
    pub(crate) fn helper_name(&self, suffix: &str) -> Ident {
        let name = self.name();
        format_ident!("{}_{suffix}", name.unraw(), span = name.span())
    }

    pub(crate) fn receiver(&self) -> Option<&Receiver> {
        self.item.sig.receiver()
    }

    /// Whether `Self` is written anywhere in the function.
    pub(crate) fn names_self_type(&self) -> bool {
        let mut found = SelfType { is_found: false };
        found.visit_signature(&self.item.sig);
        found.visit_block(&self.item.block);
        found.is_found
    }

    /// The type that a call returns, awaited if it is a future.
    pub(crate) fn returned(&self) -> Result<&Type> {
        let nothing = |at: &dyn ToTokens| {
            Error::new_spanned(
                at,
                "a function that returns nothing leaves nothing to store: remove `#[cached]`",
            )
        };
        match &self.sig().output {
            ReturnType::Default => Err(nothing(self.name())),
            ReturnType::Type(_, ty) => match &**ty {
                Type::Tuple(tuple) if tuple.elems.is_empty() => Err(nothing(ty)),
                Type::Never(_) => Err(nothing(ty)),
                _ => Ok(ty),
            },
        }
    }

    /// The parameter that `expression` is, if it is nothing else: `x`, `&x`, `*x` or `(x)`.
    pub(crate) fn parameter(&self, expression: &Expr) -> Option<&Parameter> {
        match expression {
            Expr::Path(path) => {
                let ident = path.path.get_ident()?;
                self.parameters.iter().find(|parameter| parameter.name == *ident)
            }
            Expr::Paren(inner) => self.parameter(&inner.expr),
            Expr::Group(inner) => self.parameter(&inner.expr),
            Expr::Reference(inner) if inner.mutability.is_none() => {
                self.parameter(&inner.expr).filter(|parameter| !parameter.is_reference())
            }
            Expr::Unary(inner) if matches!(inner.op, syn::UnOp::Deref(_)) => {
                self.parameter(&inner.expr).filter(|parameter| parameter.is_reference())
            }
            _ => None,
        }
    }

    /// Says why `ty` cannot be in a static, which has one type for all calls.
    pub(crate) fn check_static(&self, ty: &Type, what: &str, instead: &str) -> Result<()> {
        let mut found = Nameless { function: self, error: None };
        found.visit_type(ty);
        match found.error {
            None => Ok(()),
            Some((at, why)) => Err(Error::new_spanned(at, format!("{what} {why}: {instead}"))),
        }
    }

    /// The types and constants that the function is generic over, to call its helper with them.
    pub(crate) fn generic_arguments(&self) -> TokenStream {
        let arguments: Vec<_> = (self.sig().generics.params.iter())
            .filter_map(|parameter| match parameter {
                GenericParam::Type(ty) => Some(&ty.ident),
                GenericParam::Const(constant) => Some(&constant.ident),
                _ => None,
            })
            .collect();
        if arguments.is_empty() { TokenStream::new() } else { quote!(::<#(#arguments),*>) }
    }
}

impl Parameter {
    pub(crate) fn is_reference(&self) -> bool {
        matches!(bare(&self.ty), Type::Reference(_))
    }

    /// Whether it is a `&mut` reference.
    pub(crate) fn is_exclusive(&self) -> bool {
        is_exclusive(&self.ty)
    }
}

/// Whether the item looks like a function with a body. If it is one, what is wrong with it is for the parser
/// to say.
fn is_function(item: &TokenStream) -> bool {
    let tokens: Vec<_> = item.clone().into_iter().collect();
    let has_body = matches!(
        tokens.last(),
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace
    );
    has_body && tokens.iter().any(|token| matches!(token, TokenTree::Ident(ident) if ident == "fn"))
}

/// Whether the method may change what `self` refers to.
fn changes_self(receiver: &Receiver) -> bool {
    match &receiver.kind {
        ReceiverKind::Reference(_, _, mutability) => mutability.is_some(),
        ReceiverKind::Typed(_, ty) => is_exclusive(ty),
        _ => false,
    }
}

/// Whether the type is a `&mut` reference.
fn is_exclusive(ty: &Type) -> bool {
    matches!(bare(ty), Type::Reference(reference) if reference.mutability.is_some())
}

/// Whether the method takes `self` itself, and not a reference to it.
pub(crate) fn is_by_value(receiver: &Receiver) -> bool {
    match &receiver.kind {
        ReceiverKind::Reference(..) => false,
        ReceiverKind::Typed(_, ty) => !matches!(bare(ty), Type::Reference(_)),
        _ => true,
    }
}

/// The type without parentheses around it.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Paren(inner) => bare(&inner.elem),
        Type::Group(inner) => bare(&inner.elem),
        other => other,
    }
}

/// Whether the identifier is somewhere in the tokens.
pub(crate) fn mentions(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions(group.stream(), name),
        TokenTree::Ident(ident) => ident == name,
        _ => false,
    })
}

/// Looks for `Self` where it is the type around the function.
struct SelfType {
    is_found: bool,
}

impl<'ast> Visit<'ast> for SelfType {
    fn visit_ident(&mut self, ident: &'ast Ident) {
        self.is_found |= ident == "Self";
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.is_found |= mentions(invocation.tokens.clone(), "Self");
    }

    // In an item within the body, it is another type, or none.
    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

/// Looks for the first thing in a type that has no meaning outside of the function.
struct Nameless<'f> {
    function: &'f Function,
    error: Option<(TokenStream, String)>,
}

impl Nameless<'_> {
    fn refuse(&mut self, at: impl ToTokens, why: impl Into<String>) {
        self.error.get_or_insert_with(|| (at.into_token_stream(), why.into()));
    }
}

impl<'ast> Visit<'ast> for Nameless<'_> {
    fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
        if reference.lifetime.is_none() {
            self.refuse(reference, "is borrowed");
        }
        visit::visit_type_reference(self, reference);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.refuse(lifetime, format!("is borrowed for `{lifetime}`"));
        }
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast TypeImplTrait) {
        self.refuse(ty, "has no name");
    }

    // `fn(&str)` and `dyn Fn(&str)` are the same types for all lifetimes.
    fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}

    fn visit_parenthesized_generic_arguments(
        &mut self,
        _: &'ast syn::ParenthesizedGenericArguments,
    ) {
    }

    fn visit_ident(&mut self, ident: &'ast Ident) {
        if ident == "Self" {
            self.refuse(ident, "is `Self`, which a static cannot name");
        }
        let is_parameter =
            (self.function.sig().generics.params.iter()).any(|parameter| match parameter {
                GenericParam::Type(ty) => ty.ident == *ident,
                GenericParam::Const(constant) => constant.ident == *ident,
                _ => false,
            });
        if is_parameter {
            self.refuse(
                ident,
                format!("depends on `{ident}`, and a static has one type for all of them"),
            );
        }
    }
}

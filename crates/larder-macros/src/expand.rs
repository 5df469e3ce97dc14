//! What a cached function becomes: itself with a lookup for a body, its cache, and its old body.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, FnArg, Ident, ItemFn, Meta, Pat, ReceiverKind, Result, ReturnType,
    Signature, Visibility, parse_quote,
};

use crate::function::{Function, is_by_value, mentions};
use crate::key::Key;
use crate::options::{Helpers, Options};
use crate::value;

/// The capacity if no option says another.
const DEFAULT_CAPACITY: usize = 10_000;

/// The expansion of `#[cached(options)] item`.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    let function = Function::parse(item)?;
    value::check(&function, &options)?;
    let key = Key::new(&function, &options)?;
    let expansion = Expansion { function: &function, options: &options, key: &key };
    let own_cache = match options.cache {
        Some(_) => None,
        None => Some(expansion.own_cache()?),
    };
    let load = expansion.load()?;
    let call = expansion.call(&load);

    let attributes = Attributes::of(&function.item.attrs);
    let signature = expansion.signature();
    let visibility = &function.item.vis;
    let visibility_of_helpers = match &options.helpers {
        Helpers::LikeTheFunction => visibility,
        Helpers::Of(other) => other,
        Helpers::None => {
            let attributes = &function.item.attrs;
            return Ok(quote! {
                #(#attributes)*
                #visibility #signature {
                    #own_cache
                    #call
                }
            });
        }
    };
    expansion.check_helper_names()?;
    let cached = {
        let (shared, own) = (&attributes.shared, &attributes.of_the_function);
        quote! {
            #(#own)* #(#shared)*
            #visibility #signature {
                #call
            }
        }
    };
    let cache =
        own_cache.map(|cache| expansion.cache_helper(&attributes, visibility_of_helpers, &cache));
    let uncached = expansion.uncached_helper(&attributes, visibility_of_helpers);
    Ok(quote!(#cached #cache #uncached))
}

/// What all parts of the expansion are made of.
struct Expansion<'e> {
    function: &'e Function,
    options: &'e Options,
    key: &'e Key,
}

/// The static in which the function's own cache is.
struct OwnCache {
    /// `Cache<K, V>`.
    ty: TokenStream,
    name: Ident,
    item: TokenStream,
}

impl ToTokens for OwnCache {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.item.to_tokens(tokens);
    }
}

impl Expansion<'_> {
    /// The static, with the builder's calls.
    fn own_cache(&self) -> Result<OwnCache> {
        let larder = &self.options.larder;
        let key = self.key.ty()?;
        let value = value::stored_type(self.function, self.options)?;
        let function = self.function.name().unraw().to_string();
        let name = match &self.options.name {
            Some(name) => quote!(#name),
            None => quote!(::core::concat!(::core::module_path!(), "::", #function)),
        };
        let settings = self.options.settings.iter().map(|setting| &setting.call);
        let has_capacity = self.options.settings.iter().any(|setting| setting.option == "capacity");
        let capacity = (!has_capacity && self.options.builder.is_none())
            .then(|| quote!(.capacity(#DEFAULT_CAPACITY)));
        let mut builder = quote! {
            #larder::Cache::<#key, #value>::builder().name(#name) #capacity #(#settings)*
        };
        if let Some(last) = &self.options.builder {
            // A closure gets to know the type of the builder from the call of a function, and not from
            // its own call.
            builder = quote! {{
                fn cached_configure<B>(
                    builder: B,
                    last: impl ::core::ops::FnOnce(B) -> B,
                ) -> B {
                    last(builder)
                }
                cached_configure(#builder, #last)
            }};
        }
        let failure = format!("the cache of `{function}` cannot be built: {{}}");
        let ty = quote!(#larder::Cache<#key, #value>);
        let name = self.static_name();
        let error = Ident::new("error", Span::mixed_site());
        let item = quote! {
            static #name: ::std::sync::LazyLock<#ty> = ::std::sync::LazyLock::new(|| {
                #builder.build().unwrap_or_else(|#error| ::core::panic!(#failure, #error))
            });
        };
        Ok(OwnCache { ty, name, item })
    }

    /// No name that the options may mention: `capacity = PAGE_CACHE` is about a constant of the user's.
    fn static_name(&self) -> Ident {
        let name = self.function.name();
        let upper = name.unraw().to_string().to_uppercase();
        format_ident!("LARDER_CACHE_OF_{upper}", span = name.span())
    }

    /// The function that returns the cache.
    fn cache_helper(
        &self,
        attributes: &Attributes,
        visibility: &Visibility,
        cache: &OwnCache,
    ) -> TokenStream {
        let name = self.function.helper_name("cache");
        let shared = &attributes.shared;
        let documentation = format!(
            "The cache of `{}`: for statistics, and to invalidate what is stored.",
            self.function.name().unraw()
        );
        let OwnCache { ty, name: static_name, item } = cache;
        quote! {
            #[doc = #documentation]
            #(#shared)*
            #[allow(dead_code)]
            #visibility fn #name() -> &'static #ty {
                #item
                &#static_name
            }
        }
    }

    /// The function with its old body.
    fn uncached_helper(&self, attributes: &Attributes, visibility: &Visibility) -> ItemFn {
        let mut item = self.function.item.clone();
        item.sig.ident = self.function.helper_name("uncached");
        item.vis = visibility.clone();
        let documentation = format!(
            "`{}` without its cache: computes the result, and stores nothing.",
            self.function.name().unraw()
        );
        item.attrs = vec![parse_quote!(#[doc = #documentation])];
        item.attrs.extend(attributes.shared.iter().cloned());
        item.attrs.extend(attributes.of_the_body.iter().cloned());
        item
    }

    /// The signature with names for parameters, since what a pattern takes apart cannot be handed on.
    fn signature(&self) -> Signature {
        let mut signature = self.function.sig().clone();
        let mut parameters = self.function.parameters.iter();
        for input in &mut signature.inputs {
            match input {
                FnArg::Receiver(receiver) => {
                    if is_by_value(receiver) {
                        receiver.mutability = None;
                    }
                }
                FnArg::Typed(typed) => {
                    if let Some(parameter) = parameters.next() {
                        let name = &parameter.name;
                        *typed.pat = parse_quote!(#name);
                    }
                }
            }
        }
        signature
    }

    /// Whether the call that computes the value must leave the argument in place, because the key, or the
    /// cache, is borrowed from it.
    fn is_borrowed(&self, argument: &Ident) -> bool {
        let cache = self.options.cache.as_ref();
        self.key.borrows(argument)
            || cache.is_some_and(|cache| mentions(quote!(#cache), &argument.to_string()))
    }

    /// The argument for the body: a clone of a value that is borrowed, made on a miss.
    fn argument(&self, name: &Ident, is_by_value: bool) -> TokenStream {
        if is_by_value && self.is_borrowed(name) {
            quote_spanned!(name.span()=> ::core::clone::Clone::clone(&#name))
        } else {
            quote!(#name)
        }
    }

    /// What computes the value: a closure, or a future.
    fn load(&self) -> Result<TokenStream> {
        let is_async = self.function.sig().asyncness.is_some();
        if matches!(self.options.helpers, Helpers::None) {
            return self.load_in_place(is_async);
        }
        let function = self.path_of(&self.function.helper_name("uncached"));
        let generics = self.function.generic_arguments();
        let mut arguments = Vec::new();
        if let Some(receiver) = self.function.receiver() {
            let name = Ident::new("self", receiver.self_token.span());
            arguments.push(self.argument(&name, is_by_value(receiver)));
        }
        for parameter in &self.function.parameters {
            arguments.push(self.argument(&parameter.name, !parameter.is_reference()));
        }
        let call = quote!(#function #generics(#(#arguments),*));
        Ok(if is_async { quote!(async { #call.await }) } else { quote!(|| #call) })
    }

    /// The body within the closure or the future.
    fn load_in_place(&self, is_async: bool) -> Result<TokenStream> {
        if let Some(receiver) = self.function.receiver() {
            let name = Ident::new("self", receiver.self_token.span());
            if is_by_value(receiver) && self.is_borrowed(&name) {
                return Err(Error::new_spanned(
                    receiver,
                    "with `helpers = false` the key cannot be borrowed from `self` that is taken by value: take `&self`",
                ));
            }
            if matches!(receiver.kind, ReceiverKind::Value) && receiver.mutability.is_some() {
                return Err(Error::new_spanned(
                    receiver,
                    "with `helpers = false`, write `self` instead of `mut self`",
                ));
            }
        }
        let bindings = self.function.parameters.iter().filter_map(|parameter| {
            let is_plain = matches!(&parameter.pattern, Pat::Ident(pat)
                if pat.mutability.is_none() && pat.ident == parameter.name);
            let is_cloned = !parameter.is_reference() && self.is_borrowed(&parameter.name);
            if is_plain && !is_cloned {
                return None;
            }
            let pattern = &parameter.pattern;
            let value = self.argument(&parameter.name, !parameter.is_reference());
            Some(quote!(let #pattern = #value;))
        });
        let statements = &self.function.item.block.stmts;
        let returned = self.function.returned()?;
        if !is_async {
            return Ok(quote!(|| -> #returned { #(#bindings)* #(#statements)* }));
        }
        // The type of the future's output is not written anywhere else, and `?` needs it.
        let value = Ident::new("value", Span::mixed_site());
        Ok(quote! {
            async {
                #[allow(unreachable_code, clippy::all, clippy::pedantic)]
                if let ::core::option::Option::Some(#value) = ::core::option::Option::None::<#returned> {
                    return #value;
                }
                #(#bindings)*
                let #value: #returned = { #(#statements)* };
                #value
            }
        })
    }

    /// The lookup, which runs `load` on a miss.
    fn call(&self, load: &TokenStream) -> TokenStream {
        let (is_fallible, is_optional) = (self.options.result == Some(true), self.options.option);
        let verb = match (is_fallible, is_optional) {
            (false, false) => "get_or_insert_with",
            (true, false) => "try_get_or_insert_with",
            (false, true) => "optionally_get_or_insert_with",
            (true, true) => "try_optionally_get_or_insert_with",
        };
        let is_async = self.function.sig().asyncness.is_some();
        let verb = if is_async { format!("{verb}_async") } else { verb.to_owned() };
        // What the compiler says of types concerns what the function returns.
        let span = match &self.function.sig().output {
            ReturnType::Type(_, ty) => ty.span(),
            ReturnType::Default => self.function.name().span(),
        };
        let verb = Ident::new(&verb, span);
        let cache = self.cache();
        let Key { items, reference, .. } = self.key;
        let wait = is_async.then(|| quote!(.await));
        let looked_up = quote!(#cache.#verb(#reference, #load)#wait);
        if !is_fallible {
            return quote!(#items #looked_up);
        }
        let value = Ident::new("value", Span::mixed_site());
        let larder = &self.options.larder;
        let error = Ident::new("error", Span::mixed_site().located_at(span));
        let returned = quote_spanned!(span=> ::std::sync::Arc::unwrap_or_clone(#error));
        // Nothing is known of the error's type, so it cannot be shown.
        let others = match &self.options.map_error {
            Some(map) => quote! {
                ::core::result::Result::Err(#error) => {
                    ::core::result::Result::map_err(::core::result::Result::Err(#error), #map)
                }
            },
            None => {
                let function = self.function.name().unraw();
                let circle =
                    format!("`{function}` was called with the same key from within itself");
                let late = format!("`{function}` did not return in the time that its cache allows");
                quote! {
                    ::core::result::Result::Err(#larder::LoadError::Reentrant) => ::core::panic!(#circle),
                    ::core::result::Result::Err(_) => ::core::panic!(#late),
                }
            }
        };
        quote! {
            #items
            match #looked_up {
                ::core::result::Result::Ok(#value) => ::core::result::Result::Ok(#value),
                ::core::result::Result::Err(#larder::LoadError::Failed(#error)) => {
                    ::core::result::Result::Err(#returned)
                }
                #others
            }
        }
    }

    /// The cache, on which a method can be called.
    fn cache(&self) -> TokenStream {
        match (&self.options.cache, &self.options.helpers) {
            (
                Some(
                    cache @ (Expr::Path(_) | Expr::Field(_) | Expr::MethodCall(_) | Expr::Call(_)),
                ),
                _,
            ) => {
                quote!(#cache)
            }
            (Some(cache), _) => quote!((#cache)),
            (None, Helpers::None) => {
                let name = self.static_name();
                quote!(#name)
            }
            (None, _) => {
                let helper = self.path_of(&self.function.helper_name("cache"));
                quote!(#helper())
            }
        }
    }

    /// The path of a helper function, which stands where the function stands.
    fn path_of(&self, helper: &Ident) -> TokenStream {
        if self.is_in_impl() { quote!(Self::#helper) } else { quote!(#helper) }
    }

    fn is_in_impl(&self) -> bool {
        self.options.in_impl.unwrap_or_else(|| {
            let written = [&self.options.cache, &self.options.key, &self.options.builder];
            self.function.receiver().is_some()
                || self.function.names_self_type()
                || written.iter().any(|expression| mentions(quote!(#expression), "Self"))
        })
    }

    /// Refuses an argument that would be called in place of a helper.
    fn check_helper_names(&self) -> Result<()> {
        if self.is_in_impl() {
            return Ok(());
        }
        let helpers = ["cache", "uncached"].map(|suffix| self.function.helper_name(suffix));
        let mut names = self.function.parameters.iter().map(|parameter| &parameter.name);
        match names.find(|name| helpers.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(
                name.span(),
                format!(
                    "an argument cannot have the name of the helper function `{name}`: rename it, or write \
                     `helpers = false`"
                ),
            )),
        }
    }
}

/// The attributes of the function, by where they belong.
struct Attributes {
    /// Conditions and lints: on all functions of the expansion.
    shared: Vec<Attribute>,
    /// What callers see.
    of_the_function: Vec<Attribute>,
    /// All others, other macros too: what stands below `#[cached]` is about the body.
    of_the_body: Vec<Attribute>,
}

impl Attributes {
    fn of(attributes: &[Attribute]) -> Self {
        let mut sorted =
            Self { shared: Vec::new(), of_the_function: Vec::new(), of_the_body: Vec::new() };
        for attribute in attributes {
            let name = attribute.path().get_ident().map(ToString::to_string).unwrap_or_default();
            let list = match name.as_str() {
                "cfg" | "allow" | "warn" | "deny" | "forbid" => &mut sorted.shared,
                "doc" if is_hidden(attribute) => &mut sorted.shared,
                "doc" | "must_use" | "deprecated" | "cfg_attr" => &mut sorted.of_the_function,
                // What a linker sees; `unsafe` stands before one of them.
                "no_mangle" | "export_name" | "link_section" | "unsafe" => {
                    &mut sorted.of_the_function
                }
                _ => &mut sorted.of_the_body,
            };
            list.push(attribute.clone());
        }
        sorted
    }
}

/// Whether it is `#[doc(hidden)]`.
fn is_hidden(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list) if mentions(list.tokens.clone(), "hidden"))
}

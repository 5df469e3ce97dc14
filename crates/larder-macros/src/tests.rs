//! What is refused, and with which words.

use proc_macro2::TokenStream;
use quote::quote;

use crate::expand::expand;

/// The message of the error.
fn refusal(options: TokenStream, item: TokenStream) -> String {
    let shown = format!("#[cached({options})] {item}");
    match expand(options, item) {
        Ok(_) => panic!("accepted: {shown}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn assert_refused(options: TokenStream, item: TokenStream, wanted: &str) {
    let message = refusal(options, item);
    assert!(message.contains(wanted), "{message}\ndoes not contain\n{wanted}");
}

/// The text of the expansion, without blanks.
fn expansion(options: TokenStream, item: TokenStream) -> String {
    expand(options, item).unwrap().to_string().replace(' ', "")
}

fn function() -> TokenStream {
    quote!(
        fn f(n: u64) -> u64 {
            n
        }
    )
}

#[test]
fn a_function_whose_calls_cannot_be_left_out_is_refused() {
    for (item, wanted) in [
        (
            quote!(
                struct S;
            ),
            "`#[cached]` is for functions and methods that have a body",
        ),
        (
            quote!(
                fn f(n: u64) -> u64;
            ),
            "that have a body",
        ),
        (
            quote!(
                unsafe fn f(n: u64) -> u64 {
                    n
                }
            ),
            "an `unsafe fn` cannot be cached",
        ),
        (
            quote!(
                const fn f(n: u64) -> u64 {
                    n
                }
            ),
            "a `const fn` cannot be cached",
        ),
        (
            quote!(
                fn f(n: u64) {
                    n;
                }
            ),
            "returns nothing",
        ),
        (
            quote!(
                fn f(n: u64) -> () {
                    n;
                }
            ),
            "returns nothing",
        ),
        (
            quote!(
                fn f(n: u64) -> ! {
                    loop {}
                }
            ),
            "returns nothing",
        ),
        (
            quote!(
                fn f(&mut self, n: u64) -> u64 {
                    n
                }
            ),
            "`&mut self` cannot be cached",
        ),
        (
            quote!(
                fn f(self: &mut Self, n: u64) -> u64 {
                    n
                }
            ),
            "`&mut self` cannot be cached",
        ),
        (
            quote!(
                fn f(#[a] n: u64) -> u64 {
                    n
                }
            ),
            "cannot have attributes on its parameters",
        ),
    ] {
        assert_refused(quote!(key = n), item, wanted);
    }
}

#[test]
fn a_method_without_a_key_is_refused() {
    let method = quote!(
        fn f(&self, n: u64) -> u64 {
            n
        }
    );
    assert_refused(
        quote!(),
        method.clone(),
        "a method needs a key that says which part of `self` the result depends on",
    );
    assert_refused(quote!(cache = CACHE), method.clone(), "a method needs a key");
    assert!(expand(quote!(cache = self.cache), method.clone()).is_ok());
    assert!(expand(quote!(key = n), method).is_ok());
}

#[test]
fn a_key_whose_type_is_not_known_is_refused() {
    for item in [
        quote!(
            fn f(n: &impl Show) -> u64 {
                0
            }
        ),
        quote!(
            fn f(n: impl Show) -> u64 {
                0
            }
        ),
        quote!(
            fn f(n: Option<&str>) -> u64 {
                0
            }
        ),
        quote!(
            fn f<'a>(n: Cow<'a, str>) -> u64 {
                0
            }
        ),
        quote!(
            fn f<T: Show>(n: T) -> u64 {
                0
            }
        ),
        quote!(
            fn f<const N: usize>(n: [u8; N]) -> u64 {
                0
            }
        ),
        quote!(
            fn f(n: Self) -> u64 {
                0
            }
        ),
        quote!(
            fn f(n: &&str) -> u64 {
                0
            }
        ),
    ] {
        assert_refused(quote!(), item.clone(), "the type of `n`");
        assert_refused(quote!(key = n), item.clone(), "say with `key = …` and `key_type = …`");
        assert!(expand(quote!(key = n, key_type = String), item.clone()).is_ok(), "{item}");
        assert!(expand(quote!(cache = CACHE), item.clone()).is_ok(), "{item}");
    }
    let method = quote!(
        fn f(&self, n: u64) -> u64 {
            n
        }
    );
    assert_refused(quote!(key = self.id), method.clone(), "add `key_type = …`");
    assert_refused(quote!(key = (n, self.id)), method, "add `key_type = …`");
    assert_refused(
        quote!(),
        quote!(
            fn f(n: &mut u64) -> u64 {
                0
            }
        ),
        "a `&mut` argument",
    );
}

#[test]
fn a_value_that_a_static_cannot_hold_is_refused() {
    for (item, wanted) in [
        (
            quote!(
                fn f(n: &str) -> &str {
                    n
                }
            ),
            "what the function returns is borrowed",
        ),
        (
            quote!(
                fn f<'a>(n: &'a str) -> Cow<'a, str> {
                    n
                }
            ),
            "is borrowed for `'a`",
        ),
        (
            quote!(
                fn f<T>(n: u64) -> Vec<T> {
                    n
                }
            ),
            "depends on `T`",
        ),
        (
            quote!(
                fn f(n: u64) -> impl Show {
                    n
                }
            ),
            "has no name",
        ),
        (
            quote!(
                fn f(n: u64) -> Option<Self> {
                    n
                }
            ),
            "is `Self`, which a static cannot name",
        ),
    ] {
        assert_refused(quote!(key = n), item.clone(), wanted);
        assert!(expand(quote!(key = n, cache = CACHE), item.clone()).is_ok(), "{item}");
    }
    let pointer = quote!(
        fn f(n: u64) -> fn(&str) -> &'static str {
            n
        }
    );
    assert!(expand(quote!(), pointer).is_ok());
}

#[test]
fn an_option_that_does_not_fit_the_function_is_refused() {
    let result = quote!(
        fn f(n: u64) -> Result<u64, E> {
            n
        }
    );
    assert_refused(quote!(), result.clone(), "say what becomes of errors");
    assert!(expand(quote!(result = false), result).is_ok());
    assert_refused(quote!(result), function(), "a `Result<V, E>`, and this is `u64`");
    assert_refused(
        quote!(result),
        quote!(
            fn f(n: u64) -> Alias {
                n
            }
        ),
        "say with `value_type = …` what is stored",
    );
    assert_refused(
        quote!(result, option),
        quote!(
            fn f(n: u64) -> io::Result<Vec<u8>> {
                n
            }
        ),
        "an `Option<V>`, and this is `Vec<u8>`",
    );
    let by_value = quote!(
        fn f(self) -> u64 {
            0
        }
    );
    assert_refused(quote!(key = self, key_type = S, helpers = false), by_value, "take `&self`");
}

#[test]
fn options_that_do_not_fit_each_other_are_refused() {
    for (options, wanted) in [
        (quote!(key_type = u64), "`key_type` has no effect without `key`"),
        (quote!(map_error = g), "`map_error` has no effect without `result`"),
        (quote!(stale_if_error = "1h"), "`stale_if_error` has no effect without `result`"),
        (quote!(negative_ttl = "1s"), "`negative_ttl` has no effect without `option`"),
        (quote!(negative_ttl = "1s", option = false), "no effect without `option`"),
        (quote!(cache = CACHE, ttl = 1), "`ttl` is for a cache that the attribute makes"),
        (quote!(cache = CACHE, capacity = 1), "`capacity` is for a cache"),
        (quote!(cache = CACHE, key = n, key_type = u64), "`key_type` is for a cache"),
        (quote!(ttl = 1, ttl = 2), "`ttl` is given twice"),
    ] {
        assert_refused(options, function(), wanted);
    }
}

#[test]
fn an_argument_with_the_name_of_a_helper_is_refused() {
    let item = |name: &str| {
        let name = syn::Ident::new(name, proc_macro2::Span::call_site());
        quote!(
            fn f(#name: u64) -> u64 {
                1
            }
        )
    };
    assert_refused(quote!(), item("f_cache"), "the name of the helper function `f_cache`");
    assert_refused(quote!(), item("f_uncached"), "write `helpers = false`");
    for options in [quote!(helpers = false), quote!(in_impl)] {
        assert!(expand(options, item("f_cache")).is_ok());
    }
}

#[test]
fn an_option_that_is_written_wrongly_is_refused() {
    for (options, wanted) in [
        (quote!(capacity), "`capacity` needs a value"),
        (quote!(ttl), "`ttl` needs a value"),
        (quote!(ttl = "soon"), "`soon` is not a duration"),
        (quote!(option = 1), "`option` is on or off"),
        (quote!(policy = "mru"), "`mru` is not a policy of larder; its policies are lru, lfu,"),
        (quote!(helpers = 1), "`helpers` is a visibility"),
        (quote!(capacity = 1 ttl = 2), "expected `,`"),
        (quote!(100), "an option begins with its name, as in `capacity = 1_000`"),
        (quote!("1m"), "an option begins with its name"),
    ] {
        assert_refused(options, function(), wanted);
    }
}

#[test]
fn an_unknown_option_is_refused_with_the_one_that_is_meant() {
    for (name, wanted) in [
        ("size", "write `capacity = …`"),
        ("max_size", "write `capacity = …`"),
        ("time", "write `ttl = \"90s\"`"),
        ("time_refresh", "write `time_to_idle"),
        ("convert", "write `key = …` for the expression"),
        ("ty", "write `cache = …`"),
        ("create", "write `cache = …`"),
        ("sync_writes", "nothing has to be chosen"),
        ("cache_err", "write `result = false`"),
        ("cache_none", "leave `option` out"),
        ("result_fallback", "stale_if_error"),
        ("refresh_after_write", "write `refresh_after = …`"),
        ("negative_time_to_live", "write `negative_ttl = …`"),
        ("companions_vis", "helpers = pub(crate)"),
        ("max_weight", "write `builder = |builder| …`"),
        ("colour", "the options are `capacity`, `ttl`,"),
    ] {
        let name = syn::Ident::new(name, proc_macro2::Span::call_site());
        assert_refused(quote!(#name = 1), function(), wanted);
        assert_refused(quote!(#name), function(), &format!("there is no option `{name}`"));
    }
}

#[test]
fn each_option_of_the_cache_is_a_call_on_its_builder() {
    for (options, wanted) in [
        (quote!(), ".capacity(10000usize).build()"),
        (quote!(capacity = "5 + N"), ".capacity(5+N).build()"),
        (quote!(ttl = 90), ".time_to_live(::core::time::Duration::new(90u64,0u32))"),
        (quote!(time_to_idle = TIME), ".time_to_idle(TIME)"),
        (quote!(jitter = 0.1), ".jitter(0.1)"),
        (quote!(policy = "sieve"), ".policy(::larder::Policy::sieve())"),
        (quote!(policy = "LRU", crate = a::b), ".policy(a::b::Policy::lru())"),
        (quote!(refresh_after = 1), ".refresh_after_write(::core::time::Duration::new("),
        (
            quote!(stale_while_revalidate = 1),
            ".stale_while_revalidate(::core::time::Duration::new(",
        ),
        (quote!(eager_refresh = 0.8), ".eager_refresh(0.8)"),
        (quote!(early_refresh = 1.0), ".early_refresh(1.0)"),
        (quote!(load_timeout = 1), ".load_timeout(::core::time::Duration::new("),
        (quote!(option = false, name = N), ".name(N)"),
        (quote!(count_lookups), ".count_lookups()"),
        (quote!(builder = g), "cached_configure(::larder::Cache::<u64,u64>::builder().name("),
    ] {
        let text = expansion(options, function());
        assert!(text.contains(wanted), "{text}\ndoes not contain\n{wanted}");
    }
    let fallible = quote!(
        fn f(n: u64) -> Result<Option<u64>, E> {
            n
        }
    );
    let text = expansion(quote!(result, option, stale_if_error = 1, negative_ttl = 2), fallible);
    assert!(text.contains(".stale_if_error(::core::time::Duration::new(1u64,0u32))"));
    assert!(text.contains(".negative_time_to_live(::core::time::Duration::new(2u64,0u32))"));
    assert!(!expansion(quote!(builder = g), function()).contains(".capacity("));
    assert!(!expansion(quote!(count_lookups = false), function()).contains("count_lookups"));
}

#[test]
fn a_key_is_looked_up_once_by_reference_to_what_a_copy_may_need_memory_for() {
    let borrowing = quote!(
        fn f(word: &str, n: u64) -> u64 {
            n
        }
    );
    for options in [quote!(), quote!(refresh_after = 1), quote!(cache = CACHE), quote!(builder = g)]
    {
        let text = expansion(options, borrowing.clone());
        assert!(text.contains(".get_or_insert_with(&CachedKeyParts(word,&n),||"), "{text}");
        assert_eq!(text.matches("_with(").count(), 1, "{text}");
        assert!(!text.contains(".get("), "{text}");
    }
    let small = quote!(
        fn f(n: u64, word: &'static str) -> u64 {
            n
        }
    );
    assert!(!expansion(quote!(), small).contains("struct"));
    assert!(
        !expansion(quote!(key = (n, n as u8, g(n)), key_type = T), function()).contains("struct")
    );
}

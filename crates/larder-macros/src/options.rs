//! What stands between the brackets of `#[cached(…)]`: parsing, and what is wrong whatever the function is.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{
    Error, Expr, ExprLit, Ident, Lit, LitBool, LitStr, Path, Result, Token, Type, Visibility,
    parse_quote,
};

use crate::duration;

/// The options of one attribute.
pub(crate) struct Options {
    /// The calls on the builder of the cache, in the order in which they were given.
    pub(crate) settings: Vec<Setting>,
    policy: Option<(Ident, Expr)>,
    /// The name of the cache.
    pub(crate) name: Option<Expr>,
    /// A function or closure that has the last word on the builder.
    pub(crate) builder: Option<Expr>,
    pub(crate) key: Option<Expr>,
    pub(crate) key_type: Option<Type>,
    pub(crate) value_type: Option<Type>,
    /// A cache of the caller's, instead of a static of the function's own.
    pub(crate) cache: Option<Expr>,
    /// Whether an `Err` is returned and not stored; `None` if the attribute does not say.
    pub(crate) result: Option<bool>,
    /// Whether a `None` is returned and not stored as a value.
    pub(crate) option: bool,
    /// What becomes of a `LoadError` that the function did not return.
    pub(crate) map_error: Option<Expr>,
    pub(crate) helpers: Helpers,
    /// Whether the function stands in an `impl`; `None` if the attribute does not say.
    pub(crate) in_impl: Option<bool>,
    /// The path of the crate `larder`.
    pub(crate) larder: Path,
}

/// A call on the builder.
pub(crate) struct Setting {
    /// The option's name.
    pub(crate) option: Ident,
    /// The call, with its dot.
    pub(crate) call: TokenStream,
}

/// Which functions stand beside the cached one.
#[derive(Clone)]
pub(crate) enum Helpers {
    /// `f_cache` and `f_uncached`, as visible as `f`.
    LikeTheFunction,
    /// The same two, with a visibility of their own.
    Of(Visibility),
    /// None: the static and the body are within the function.
    None,
}

/// Every option, for messages.
const NAMES: &str = "`capacity`, `ttl`, `time_to_idle`, `jitter`, `policy`, `name`, `count_lookups`, \
    `refresh_after`, `eager_refresh`, `early_refresh`, `stale_while_revalidate`, `stale_if_error`, `negative_ttl`, `load_timeout`, `builder`, \
    `key`, `key_type`, `value_type`, `cache`, `result`, `option`, `map_error`, `helpers`, `in_impl` and `crate`";

/// The policies that have a constructor of their own.
const POLICIES: [&str; 7] =
    ["lru", "lfu", "fifo", "sieve", "s3_fifo", "window_tiny_lfu", "cost_aware"];

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self {
            settings: Vec::new(),
            policy: None,
            name: None,
            builder: None,
            key: None,
            key_type: None,
            value_type: None,
            cache: None,
            result: None,
            option: false,
            map_error: None,
            helpers: Helpers::LikeTheFunction,
            in_impl: None,
            larder: parse_quote!(::larder),
        };
        let mut given: Vec<Ident> = Vec::new();
        while !input.is_empty() {
            let name = input.call(Ident::parse_any).map_err(|error| {
                let message = "an option begins with its name, as in `capacity = 1_000`";
                Error::new(error.span(), message)
            })?;
            if given.contains(&name) {
                return Err(Error::new(name.span(), format!("`{name}` is given twice")));
            }
            options.parse_one(&name, input)?;
            given.push(name);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        // Only now is the path of the crate known, wherever it stands.
        if let Some((name, value)) = options.policy.take() {
            let policy = options.policy_of(&value)?;
            options.settings.push(Setting { option: name, call: quote!(.policy(#policy)) });
        }
        options.check(&given)?;
        Ok(options)
    }
}

impl Options {
    fn parse_one(&mut self, name: &Ident, input: ParseStream<'_>) -> Result<()> {
        match name.to_string().as_str() {
            "capacity" => self.set(name, "capacity", &expression(name, input)?),
            "jitter" => self.set(name, "jitter", &expression(name, input)?),
            "early_refresh" => self.set(name, "early_refresh", &expression(name, input)?),
            "eager_refresh" => self.set(name, "eager_refresh", &expression(name, input)?),
            "ttl" => self.set_duration(name, "time_to_live", input)?,
            "time_to_idle" => self.set_duration(name, "time_to_idle", input)?,
            "negative_ttl" => self.set_duration(name, "negative_time_to_live", input)?,
            "refresh_after" => self.set_duration(name, "refresh_after_write", input)?,
            "stale_while_revalidate" => self.set_duration(name, "stale_while_revalidate", input)?,
            "stale_if_error" => self.set_duration(name, "stale_if_error", input)?,
            "load_timeout" => self.set_duration(name, "load_timeout", input)?,
            "policy" => self.policy = Some((name.clone(), value(name, input)?)),
            "count_lookups" => {
                if flag(name, input)? {
                    self.settings
                        .push(Setting { option: name.clone(), call: quote!(.count_lookups()) });
                }
            }
            // Text is the name itself here, not an expression in quotes.
            "name" => self.name = Some(value(name, input)?),
            "builder" => self.builder = Some(expression(name, input)?),
            "key" => self.key = Some(expression(name, input)?),
            "key_type" => self.key_type = Some(quotable(name, input)?),
            "value_type" => self.value_type = Some(quotable(name, input)?),
            "cache" => self.cache = Some(expression(name, input)?),
            "result" => self.result = Some(flag(name, input)?),
            "option" => self.option = flag(name, input)?,
            "map_error" => self.map_error = Some(expression(name, input)?),
            "helpers" => self.helpers = helpers(name, input)?,
            "in_impl" => self.in_impl = Some(flag(name, input)?),
            "crate" => {
                equals(name, input)?;
                self.larder = if let Some(text) = text(input)? {
                    text.parse_with(Path::parse_mod_style)?
                } else {
                    input.call(Path::parse_mod_style)?
                };
            }
            other => return Err(unknown(name.span(), other)),
        }
        Ok(())
    }

    fn set(&mut self, option: &Ident, method: &str, value: &Expr) {
        let method = Ident::new(method, option.span());
        self.settings.push(Setting { option: option.clone(), call: quote!(.#method(#value)) });
    }

    fn set_duration(&mut self, option: &Ident, method: &str, input: ParseStream<'_>) -> Result<()> {
        let duration = duration::expression(&value(option, input)?)?;
        let method = Ident::new(method, option.span());
        self.settings.push(Setting { option: option.clone(), call: quote!(.#method(#duration)) });
        Ok(())
    }

    /// A policy of the library by its name, or any expression.
    fn policy_of(&self, value: &Expr) -> Result<TokenStream> {
        let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = value else {
            return Ok(quote!(#value));
        };
        let (given, larder) = (text.value(), &self.larder);
        let Some(name) = POLICIES.iter().find(|name| name.eq_ignore_ascii_case(&given)) else {
            return Err(Error::new_spanned(
                text,
                format!(
                    "`{given}` is not a policy of larder; its policies are {}. One that was registered is \
                     `policy = larder::Policy::named(\"{given}\")`",
                    POLICIES.join(", ")
                ),
            ));
        };
        let constructor = Ident::new(name, text.span());
        Ok(quote!(#larder::Policy::#constructor()))
    }

    /// What does not fit together.
    fn check(&self, given: &[Ident]) -> Result<()> {
        let found = |name: &str| given.iter().find(|given| *given == name);
        if self.cache.is_some() {
            let of_the_cache = [
                "capacity",
                "ttl",
                "time_to_idle",
                "jitter",
                "policy",
                "name",
                "count_lookups",
                "refresh_after",
                "eager_refresh",
                "early_refresh",
                "stale_while_revalidate",
                "stale_if_error",
                "negative_ttl",
                "load_timeout",
                "builder",
                "key_type",
                "value_type",
            ];
            if let Some(option) = of_the_cache.iter().find_map(|name| found(name)) {
                return Err(Error::new(
                    option.span(),
                    format!(
                        "`{option}` is for a cache that the attribute makes; the cache that `cache` names has its \
                         own settings and types"
                    ),
                ));
            }
        }
        let needs = [
            ("key_type", "key", self.key.is_some()),
            ("map_error", "result", self.result == Some(true)),
            ("stale_if_error", "result", self.result == Some(true)),
            ("negative_ttl", "option", self.option),
        ];
        for (option, needed, is_there) in needs {
            if let (Some(option), false) = (found(option), is_there) {
                return Err(Error::new(
                    option.span(),
                    format!("`{option}` has no effect without `{needed}`"),
                ));
            }
        }
        Ok(())
    }
}

fn equals(name: &Ident, input: ParseStream<'_>) -> Result<()> {
    if input.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        return Ok(());
    }
    Err(Error::new(name.span(), format!("`{name}` needs a value: `{name} = …`")))
}

/// The value of an option as it stands there.
fn value(name: &Ident, input: ParseStream<'_>) -> Result<Expr> {
    equals(name, input)?;
    input.parse()
}

/// Text that is the whole value of the option.
fn text(input: ParseStream<'_>) -> Result<Option<LitStr>> {
    let ahead = input.fork();
    if ahead.parse::<LitStr>().is_ok() && (ahead.is_empty() || ahead.peek(Token![,])) {
        return input.parse().map(Some);
    }
    Ok(None)
}

/// A value that may stand in quotes.
fn quotable<T: Parse>(name: &Ident, input: ParseStream<'_>) -> Result<T> {
    equals(name, input)?;
    match text(input)? {
        Some(text) => text.parse(),
        None => input.parse(),
    }
}

fn expression(name: &Ident, input: ParseStream<'_>) -> Result<Expr> {
    quotable(name, input)
}

fn flag(name: &Ident, input: ParseStream<'_>) -> Result<bool> {
    if !input.peek(Token![=]) {
        return Ok(true);
    }
    equals(name, input)?;
    let value: Expr = input.parse()?;
    match value {
        Expr::Lit(ExprLit { lit: Lit::Bool(LitBool { value, .. }), .. }) => Ok(value),
        other => Err(Error::new_spanned(
            other,
            format!("`{name}` is on or off: write `{name}`, or `{name} = false`"),
        )),
    }
}

fn helpers(name: &Ident, input: ParseStream<'_>) -> Result<Helpers> {
    equals(name, input)?;
    if input.peek(LitBool) {
        let on = input.parse::<LitBool>()?.value;
        return Ok(if on { Helpers::LikeTheFunction } else { Helpers::None });
    }
    match input.parse()? {
        Visibility::Inherited => Err(input.error(
            "`helpers` is a visibility, such as `pub(crate)`, or `false` for no helper functions",
        )),
        visibility => Ok(Helpers::Of(visibility)),
    }
}

/// The error for an option that does not exist, with the one that a user of another crate may mean.
fn unknown(span: Span, name: &str) -> Error {
    let advice = match name {
        "size" | "max_size" | "max_capacity" | "unbound" => {
            "write `capacity = …`; every cache has a bound"
        }
        "time" | "ttl_secs" | "ttl_millis" | "time_to_live" => {
            "write `ttl = \"90s\"`, or `ttl = 90` for seconds"
        }
        "refresh" | "time_refresh" | "tti" => {
            "write `time_to_idle = \"90s\"`, which each hit starts anew"
        }
        "convert" => "write `key = …` for the expression, and `key_type = …` for its type",
        "ty" | "type" | "create" => {
            "write `cache = …` with a cache of your own, or `builder = |builder| …`"
        }
        "sync_writes" | "sync_writes_buckets" | "sync_lock" | "unsync_reads" | "shards" => {
            "nothing has to be chosen: lookups take no lock, and one call computes the value of a key"
        }
        "cache_err" => "write `result = false` to store errors like values",
        "cache_none" => "leave `option` out, and `None` is stored like any value",
        "result_fallback" => "write `result, stale_if_error = \"1h\"`",
        "refresh_after_write" => "write `refresh_after = …`",
        "negative_time_to_live" => "write `negative_ttl = …`",
        "companions" | "companions_vis" => "write `helpers = false`, or `helpers = pub(crate)`",
        "weigher" | "max_weight" | "listener" | "expires" | "clock" | "maintenance" => {
            "write `builder = |builder| …`, which can call every method of `larder::Builder`"
        }
        _ => "",
    };
    let message = if advice.is_empty() {
        format!("there is no option `{name}`; the options are {NAMES}")
    } else {
        format!("there is no option `{name}`: {advice}")
    };
    Error::new(span, message)
}

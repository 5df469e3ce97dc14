//! What a client may ask for.
//!
//! Everyone may probe. The metrics need the password, if there is one. So do the page and what it asks for; if
//! there is no password, the server is in protected mode as for clients of Redis: only clients of this machine may see
//! them, and only under a name that no other site can have. A page of another site whose name is made to resolve to
//! this machine gets nothing.
//!
//! A request that changes something must be JSON and have a header of its own. A page of another site cannot send such
//! a request without asking for permission first, which is never given.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap, HeaderName};

use super::answer::Refusal;

/// The header that requests which change something must have.
const OWN_HEADER: HeaderName = HeaderName::from_static("x-larder");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What protects the page.
#[derive(Clone, Copy)]
pub(super) enum Guard<'g> {
    /// A password; the function says whether a text is it.
    Password(&'g dyn Fn(&[u8]) -> bool),
    /// Only clients of this machine are served.
    OwnMachine,
    /// Nothing, as the configuration says.
    Nobody,
}

/// Whether the metrics may be read.
pub(super) fn check_metrics(headers: &HeaderMap, guard: Guard<'_>) -> Result<(), Refusal> {
    match guard {
        Guard::Password(is_password)
            if !given_password(headers).is_some_and(|given| is_password(&given)) =>
        {
            Err(Refusal::Unauthorized)
        }
        _ => Ok(()),
    }
}

/// Whether the page may be seen, with what it shows.
pub(super) fn check_page(
    headers: &HeaderMap,
    peer: IpAddr,
    guard: Guard<'_>,
) -> Result<(), Refusal> {
    match guard {
        Guard::Password(_) => check_metrics(headers, guard),
        Guard::OwnMachine if !peer.to_canonical().is_loopback() => Err(Refusal::NotLocal),
        Guard::OwnMachine if !host(headers).is_some_and(is_own_name) => Err(Refusal::ForeignHost),
        Guard::OwnMachine | Guard::Nobody => Ok(()),
    }
}

/// Whether a request that may be seen may also change something.
pub(super) fn check_change(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    if text(&FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Err(Refusal::ForeignOrigin);
    }
    if let Some(origin) = text(&header::ORIGIN) {
        let names = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if names.is_none() || names != host(headers) {
            return Err(Refusal::ForeignOrigin);
        }
    }
    let media_type = text(&header::CONTENT_TYPE).and_then(|value| value.split(';').next());
    let is_json =
        media_type.is_some_and(|name| name.trim().eq_ignore_ascii_case("application/json"));
    if is_json && text(&OWN_HEADER) == Some("1") { Ok(()) } else { Err(Refusal::NotJson) }
}

/// The host that the client thinks it speaks to, with its port.
fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// Whether nobody else can have given this machine that name.
fn is_own_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// The password of a request, in either form.
fn given_password(headers: &HeaderMap) -> Option<Vec<u8>> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = given.split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        Some(credentials.as_bytes().to_vec())
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = STANDARD.decode(credentials).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some(decoded[colon + 1..].to_vec())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair =
            |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_page_is_seen_by_this_machine_under_its_own_names() {
        let local = IpAddr::from([127, 0, 0, 1]);
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "[::1]", "10.1.2.3:1"]
        {
            let headers = headers(&[("host", host)]);
            assert!(check_page(&headers, local, Guard::OwnMachine).is_ok(), "{host}");
            let other = IpAddr::from([10, 0, 0, 2]);
            let seen = check_page(&headers, other, Guard::OwnMachine);
            assert!(matches!(seen, Err(Refusal::NotLocal)), "{host}");
            assert!(check_page(&headers, other, Guard::Nobody).is_ok(), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "", ":80"]
        {
            let headers = headers(&[("host", host)]);
            let seen = check_page(&headers, local, Guard::OwnMachine);
            assert!(matches!(seen, Err(Refusal::ForeignHost)), "{host}");
        }
        assert!(check_page(&HeaderMap::new(), local, Guard::OwnMachine).is_err());
    }

    #[test]
    fn a_password_is_taken_in_both_forms() {
        let anyone = IpAddr::from([10, 0, 0, 2]);
        let is_password = |given: &[u8]| given == b"p:w";
        let guard = Guard::Password(&is_password);
        let seen = |authorization: &'static str| {
            let headers = headers(&[("authorization", authorization), ("host", "cache.example")]);
            let page = check_page(&headers, anyone, guard).is_ok();
            assert_eq!(check_metrics(&headers, guard).is_ok(), page);
            page
        };
        // The passwords are `p:w`, `p:w`, and `p`, with the names `user`, none and `user`.
        assert!(seen("Basic dXNlcjpwOnc=") && seen("basic OnA6dw=="));
        assert!(seen("Bearer p:w") && seen("bearer p:w"));
        for wrong in
            ["Basic dXNlcjpw", "Basic ???", "Basic cDp3", "Bearer p", "Bearer", "Digest p:w"]
        {
            assert!(!seen(wrong), "{wrong}");
        }
        assert!(check_page(&HeaderMap::new(), anyone, guard).is_err());
        assert!(check_metrics(&HeaderMap::new(), guard).is_err());
        assert!(check_metrics(&HeaderMap::new(), Guard::OwnMachine).is_ok());
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let own =
            [("host", "localhost:80"), ("content-type", "application/json"), ("x-larder", "1")];
        let with =
            |more: &[(&'static str, &'static str)]| check_change(&headers(&[&own, more].concat()));
        assert!(with(&[]).is_ok());
        assert!(
            with(&[("origin", "http://localhost:80"), ("sec-fetch-site", "same-origin")]).is_ok()
        );
        assert!(with(&[("content-type", "application/json; charset=utf-8")]).is_ok());
        for origin in ["http://localhost:81", "http://evil.example", "null", ""] {
            assert!(matches!(with(&[("origin", origin)]), Err(Refusal::ForeignOrigin)), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(matches!(with(&[("sec-fetch-site", site)]), Err(Refusal::ForeignOrigin)));
        }
        for left_out in 1..own.len() {
            let mut fewer = own.to_vec();
            fewer.remove(left_out);
            assert!(matches!(check_change(&headers(&fewer)), Err(Refusal::NotJson)));
        }
    }
}

//! What a client may ask for.
//!
//! Everyone may probe. The metrics need the password, if there is one. So do the page and what it asks for; if
//! there is none, only clients of this machine may see them, and only under a name that no other site
//! can give itself: a page from elsewhere whose name is made to point to this machine gets nothing.
//!
//! What changes something must be JSON and have a header of its own. A page of another site cannot send such
//! a request without asking first whether it may, and nobody answers that it may.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap, HeaderName};
use subtle::ConstantTimeEq;

use super::answer::Refusal;

/// The header that requests which change something must have.
const OWN_HEADER: HeaderName = HeaderName::from_static("x-larder");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether the metrics may be read.
pub(super) fn check_metrics(headers: &HeaderMap, password: Option<&str>) -> Result<(), Refusal> {
    match password {
        Some(password) if !has_password(headers, password) => Err(Refusal::Unauthorized),
        _ => Ok(()),
    }
}

/// Whether the page may be seen, with what it shows.
pub(super) fn check_page(
    headers: &HeaderMap,
    peer: IpAddr,
    password: Option<&str>,
) -> Result<(), Refusal> {
    match password {
        Some(_) => check_metrics(headers, password),
        None if !peer.to_canonical().is_loopback() => Err(Refusal::NotLocal),
        None if !host(headers).is_some_and(is_own_name) => Err(Refusal::ForeignHost),
        None => Ok(()),
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

fn has_password(headers: &HeaderMap, password: &str) -> bool {
    let Some(given) = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok()) else {
        return false;
    };
    let Some((scheme, credentials)) = given.split_once(' ') else { return false };
    let given = if scheme.eq_ignore_ascii_case("bearer") {
        credentials.trim().as_bytes().to_vec()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let Ok(decoded) = STANDARD.decode(credentials.trim()) else { return false };
        match decoded.iter().position(|byte| *byte == b':') {
            Some(colon) => decoded[colon + 1..].to_vec(),
            None => return false,
        }
    } else {
        return false;
    };
    given.ct_eq(password.as_bytes()).into()
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
            assert!(check_page(&headers, local, None).is_ok(), "{host}");
            let other = IpAddr::from([10, 0, 0, 2]);
            assert!(matches!(check_page(&headers, other, None), Err(Refusal::NotLocal)));
        }
        for host in
            ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "", ":80"]
        {
            let headers = headers(&[("host", host)]);
            let seen = check_page(&headers, local, None);
            assert!(matches!(seen, Err(Refusal::ForeignHost)), "{host}");
        }
        assert!(check_page(&HeaderMap::new(), local, None).is_err());
    }

    #[test]
    fn a_password_is_taken_in_both_forms() {
        let anyone = IpAddr::from([10, 0, 0, 2]);
        let seen = |authorization: &'static str| {
            let headers = headers(&[("authorization", authorization), ("host", "cache.example")]);
            let page = check_page(&headers, anyone, Some("p:w")).is_ok();
            assert_eq!(check_metrics(&headers, Some("p:w")).is_ok(), page);
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
        assert!(check_page(&HeaderMap::new(), anyone, Some("p:w")).is_err());
        assert!(check_metrics(&HeaderMap::new(), Some("p:w")).is_err());
        assert!(check_metrics(&HeaderMap::new(), None).is_ok());
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

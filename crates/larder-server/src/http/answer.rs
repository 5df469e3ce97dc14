//! Answers: their forms, and the headers that all of them have.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hasher, RandomState};

use http_body_util::Full;
use hyper::body::Bytes as BodyBytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use larder::metrics::MetricsError;
use serde::Serialize;
use thiserror::Error;

pub(super) type Body = Full<BodyBytes>;

const PAGE: &str = include_str!("page.html");
/// Stands in the page for a number that is new for each answer.
const NONCE: &str = "{{nonce}}";

/// Why a request is refused.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("there is nothing at this path; the page is at /")]
    NotFound,
    #[error("this path takes only {allowed}")]
    MethodNotAllowed { allowed: &'static str },
    #[error("give the password by basic authentication, with any name, or as a bearer token")]
    Unauthorized,
    #[error(
        "without a password, only programs of this machine may ask for this; give the server a password"
    )]
    NotLocal,
    #[error(
        "without a password, the host must be an address or localhost; use http://127.0.0.1, or give the \
         server a password"
    )]
    ForeignHost,
    #[error("the request comes from the page of another site")]
    ForeignOrigin,
    #[error("send JSON, with the headers content-type: application/json and x-larder: 1")]
    NotJson,
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the metrics cannot be written: {0}")]
    Metrics(#[from] MetricsError),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotLocal | Self::ForeignHost | Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Metrics(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer, with the error as JSON.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = json(&serde_json::json!({ "error": self.to_string() }));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        match self {
            Self::Unauthorized => {
                let challenge =
                    HeaderValue::from_static("Basic realm=\"larder\", charset=\"UTF-8\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            Self::MethodNotAllowed { allowed } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            // The rest of the body is not read.
            Self::BodyTooLarge { .. } | Self::BodyTooSlow => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// An answer of that type.
pub(super) fn typed(content_type: &'static str, body: impl Into<BodyBytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let always: [(HeaderName, &str); 6] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// An answer of plain text.
pub(super) fn text(body: &'static str) -> Response<Body> {
    typed("text/plain; charset=utf-8", body)
}

/// An answer of JSON.
pub(super) fn json(body: &impl Serialize) -> Response<Body> {
    let body =
        serde_json::to_vec(body).expect("its keys are strings, and writing to memory succeeds");
    typed("application/json", body)
}

/// The page. Its scripts and styles run because they name the nonce of the answer; others do not.
pub(super) fn page() -> Response<Body> {
    let random = || RandomState::new().build_hasher().finish();
    let nonce = format!("{:016x}{:016x}", random(), random());
    let mut response = typed("text/html; charset=utf-8", PAGE.replace(NONCE, &nonce));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).expect("it is ASCII");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

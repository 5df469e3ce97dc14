//! From a request to its answer.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header;
use hyper::{Method, Request, Response, StatusCode};

use super::access::{self, Guard};
use super::answer::{self, Body, Refusal};
use super::{BODY_TIME, MAX_BODY_BYTES, Site, keys, metrics, status};
use crate::shared::Shared;

/// Answers a request.
pub(super) async fn answer(
    request: Request<Incoming>,
    peer: IpAddr,
    site: &Site,
) -> Response<Body> {
    try_answer(request, peer, site).await.unwrap_or_else(Refusal::into_response)
}

async fn try_answer(
    request: Request<Incoming>,
    peer: IpAddr,
    site: &Site,
) -> Result<Response<Body>, Refusal> {
    let (head, body) = request.into_parts();
    let shared = &*site.shared;
    let is_password = |given: &[u8]| shared.is_password(given);
    let guard = match shared.settings().password() {
        Some(_) => Guard::Password(&is_password),
        None if shared.is_protected() => Guard::OwnMachine,
        None => Guard::Nobody,
    };
    let path = head.uri.path();
    let is_change = path == "/api/invalidate";
    match head.method {
        Method::POST if is_change => {}
        Method::GET | Method::HEAD if !is_change => {}
        _ if !is_known(path) => return Err(Refusal::NotFound),
        _ => {
            let allowed = if is_change { "POST" } else { "GET, HEAD" };
            return Err(Refusal::MethodNotAllowed { allowed });
        }
    }
    match path {
        "/healthz" => return Ok(answer::text("ok\n")),
        "/readyz" => return Ok(readiness(shared)),
        "/metrics" => {
            access::check_metrics(&head.headers, guard)?;
            let accept = head.headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
            return metrics::answer(site, accept.unwrap_or_default());
        }
        _ if !is_known(path) => return Err(Refusal::NotFound),
        _ => access::check_page(&head.headers, peer, guard)?,
    }
    match path {
        "/" => Ok(answer::page()),
        "/api/status" => Ok(answer::json(&status::read(shared))),
        "/api/hottest" => Ok(answer::json(&keys::hottest(site))),
        "/api/explain" => Ok(answer::json(&keys::explain(shared, head.uri.query())?)),
        _ => {
            access::check_change(&head.headers)?;
            let body = read_body(body, BODY_TIME).await?;
            Ok(answer::json(&keys::invalidate(shared, &body)?))
        }
    }
}

fn is_known(path: &str) -> bool {
    matches!(
        path,
        "/" | "/healthz"
            | "/readyz"
            | "/metrics"
            | "/api/status"
            | "/api/hottest"
            | "/api/explain"
            | "/api/invalidate"
    )
}

/// Whether the server is ready for clients.
fn readiness(shared: &Shared) -> Response<Body> {
    match shared.readiness.obstacle() {
        None => answer::text("ready\n"),
        Some(obstacle) => {
            let mut response = answer::typed("text/plain; charset=utf-8", format!("{obstacle}\n"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

async fn read_body(body: Incoming, time: Duration) -> Result<Vec<u8>, Refusal> {
    let limited = Limited::new(body, MAX_BODY_BYTES);
    let Ok(collected) = tokio::time::timeout(time, limited.collect()).await else {
        return Err(Refusal::BodyTooSlow);
    };
    match collected {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Refusal::BodyTooLarge { limit: MAX_BODY_BYTES })
        }
        Err(_) => Err(Refusal::Malformed("the body is not whole")),
    }
}

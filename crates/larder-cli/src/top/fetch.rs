//! Asks a process, by HTTP.

use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::Uri;

use super::exposition::{self, BadText};
use super::reading::TopReading;
use super::status;
use crate::error::TopError;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer.
const MAX_BYTES: u64 = 16 << 20;

/// Where to ask, and how.
pub(super) struct Source {
    agent: Agent,
    kind: SourceKind,
    password: Option<String>,
    begun: Instant,
}

enum SourceKind {
    /// A server, at this address without a path.
    Server(String),
    /// Metrics, at this address.
    Metrics(String),
}

impl Source {
    /// Finds out what is served at an address: the status of a server; otherwise metrics, at this path, or at
    /// `/metrics` if there is none. Returns it with the first reading.
    pub(super) fn open(
        url: &str,
        password: Option<String>,
    ) -> Result<(Self, TopReading), TopError> {
        let bad = || TopError::BadUrl { given: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
            return Err(bad());
        }
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        let root = url.trim_end_matches('/').to_owned();
        let has_path = !matches!(uri.path(), "" | "/");
        let kind = if has_path { SourceKind::Metrics(root) } else { SourceKind::Server(root) };
        let mut source = Self { agent: config.into(), kind, password, begun: Instant::now() };
        let refused = match source.read() {
            Ok(reading) => return Ok((source, reading)),
            Err(refused) => refused,
        };
        match (&source.kind, &refused) {
            (SourceKind::Server(root), TopError::Status { .. } | TopError::NotAStatus { .. }) => {
                source.kind = SourceKind::Metrics(format!("{root}/metrics"));
                let reading = source.read()?;
                Ok((source, reading))
            }
            _ => Err(refused),
        }
    }

    /// Asks for everything.
    pub(super) fn read(&self) -> Result<TopReading, TopError> {
        let mut reading = match &self.kind {
            SourceKind::Server(root) => {
                let url = format!("{root}/api/status");
                let text = self.get(&url)?;
                let not_a_status = |source| TopError::NotAStatus { url: url.clone(), source };
                let mut reading = status::parse(&text).map_err(not_a_status)?;
                let hottest = self.get(&format!("{root}/api/hottest"))?;
                reading.caches[0].hottest =
                    status::parse_hottest(&hottest).map_err(not_a_status)?;
                reading
            }
            SourceKind::Metrics(url) => {
                let url = || url.clone();
                exposition::parse(&self.get(&url())?).map_err(|bad| match bad {
                    BadText::Line(line) => TopError::NotASample { url: url(), line },
                    BadText::NoCache => TopError::NoMetrics { url: url() },
                })?
            }
        };
        reading.at = self.begun.elapsed();
        Ok(reading)
    }

    fn get(&self, url: &str) -> Result<String, TopError> {
        let no_answer =
            |source| TopError::NoAnswer { url: url.to_owned(), source: Box::new(source) };
        let mut request = self.agent.get(url);
        if let Some(password) = &self.password {
            request = request.header("authorization", format!("Bearer {password}"));
        }
        let mut response = request.call().map_err(no_answer)?;
        match response.status().as_u16() {
            200 => {}
            401 => return Err(TopError::PasswordWanted { url: url.to_owned() }),
            status => return Err(TopError::Status { url: url.to_owned(), status }),
        }
        response.body_mut().with_config().limit(MAX_BYTES).read_to_string().map_err(no_answer)
    }
}

//! What went wrong with a request, as problem+json (RFC 9457): what it is, and what to do.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gpak_kernel::{journal::JournalError, memory::MemoryError, run::DriveError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::failure::Failure;

/// Why a request was not done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// What sort of problem it is: `urn:gpak:` and a word.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Seconds after which it may go better.
    #[serde(skip)]
    pub after: Option<u64>,
}

/// What a handler gives.
pub type Answered<T> = Result<T, Problem>;

impl Problem {
    /// A problem of that sort.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:gpak:{kind}"),
            title: kind.replace('-', " "),
            status: status.as_u16(),
            detail: detail.into(),
            help: None,
            after: None,
        }
    }

    /// With what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With the seconds after which it may go better.
    pub fn after(mut self, seconds: u64) -> Self {
        self.after = Some(seconds);
        self
    }

    /// The request makes no sense.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// The request can be read, but not done.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", detail)
    }

    /// There is no such thing.
    pub fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// It cannot be done as things stand.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// The credential does not reach so far.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// There is no credential, or none that counts.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).help(
            "send `Authorization: Bearer` with an API key (`gpak serve keys add`) or an access token \
             (POST /auth/login)",
        )
    }

    /// The service itself cannot do it now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).after(5)
    }

    /// Something that should not happen; the client is not told more than that.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        tracing::error!("a request failed: {why}");
        let detail = "the service could not do it; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let after = self.after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"gpak\""),
            );
        }
        response
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        match &error {
            JournalError::NoRun(run) => Self::missing(format!("there is no run {run}"))
                .help("GET /api/v1/runs lists those there are"),
            JournalError::Busy { .. } => Self::conflict(error.to_string())
                .help("another process drives it; wait for that one"),
            JournalError::Conflict { .. } => Self::conflict(error.to_string()),
            JournalError::Chain(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "broken-journal",
                error.to_string(),
            )
            .help("fork the run from an entry before that one"),
            JournalError::Store(_) => Self::unavailable(error.to_string()),
        }
    }
}

impl From<DriveError> for Problem {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Journal(error) => error.into(),
            DriveError::EmptyTask => {
                Self::unprocessable("the task is empty").help("say what is to be done")
            }
            DriveError::Workspace { .. } => Self::missing(error.to_string()),
            DriveError::NoEntry { .. } | DriveError::IsChild { .. } | DriveError::Unable(_) => {
                Self::conflict(error.to_string())
            }
        }
    }
}

impl From<MemoryError> for Problem {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Invalid(why) => Self::unprocessable(why),
            MemoryError::Store(why) | MemoryError::Embedder(why) => Self::unavailable(why),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let problem = match failure.code {
            crate::failure::USAGE => Self::unprocessable(failure.to_string()),
            _ => Self::unavailable(failure.to_string()),
        };
        match miette::Diagnostic::help(&failure) {
            Some(help) => problem.help(help.to_string()),
            None => problem,
        }
    }
}

//! Reads parts of a request, and says as a [`Problem`] what is wrong with them.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::BytesRejection},
    http::{StatusCode, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::problem::Problem;

/// The body, read as JSON. Whatever its content type says: nothing but JSON is taken here, and a page of
/// another origin does not get this far (see [`guard`](super::guard)).
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(unread)?;
        let text = match bytes.trim_ascii() {
            b"" | b"null" => b"{}",
            text => text,
        };
        serde_json::from_slice(text).map(Self).map_err(|why| {
            let problem = match why.is_data() {
                true => Problem::unprocessable(format!("the body does not fit: {why}")),
                false => Problem::bad(format!("the body is no JSON: {why}")),
            };
            problem.help("GET /openapi.json says what each request takes")
        })
    }
}

fn unread(why: BytesRejection) -> Problem {
    match why.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            Problem::new(status, "too-large", "the body is larger than is taken here")
        }
        _ => Problem::bad(format!("the body cannot be read: {why}")),
    }
}

/// A part of the path.
pub struct Part<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Part<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let part = Path::<T>::from_request_parts(parts, state).await;
        part.map(|Path(part)| Self(part))
            .map_err(|why| Problem::missing(format!("there is nothing of that name: {why}")))
    }
}

/// What stands behind `?` in the address.
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let asked = Query::<T>::from_request_parts(parts, state).await;
        asked
            .map(|Query(asked)| Self(asked))
            .map_err(|why| Problem::bad(why.body_text()))
    }
}

/// A whole number, or none. JSON knows no difference between 200 and 200.0, and neither does its schema.
pub fn whole<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: TryFrom<u64>,
{
    /// Up to here each whole number has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let float = || {
        let float = number.as_f64()?;
        ((0.0..=EXACT).contains(&float) && float.fract() == 0.0).then_some(float as u64)
    };
    let whole = number.as_u64().or_else(float);
    let fits = whole.and_then(|whole| T::try_from(whole).ok());
    let wrong =
        || serde::de::Error::custom(format!("`{number}` is no whole number that is taken here"));
    fits.map(Some).ok_or_else(wrong)
}

//! The page at `/`, for people: `cli/web`, built into the binary.

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

use super::House;

const INDEX: &str = include_str!("../../web/dist/index.html");
const SCRIPT: &str = include_str!("../../web/dist/page.js");
const STYLE: &str = include_str!("../../web/dist/page.css");

/// Nothing runs in the page, is asked by it, or is shown around it, but what comes from here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The paths of the page, which anybody may have: they say nothing of what is here.
pub const PATHS: [&str; 3] = ["/", "/page.js", "/page.css"];

/// The page's files.
pub fn router() -> Router<House> {
    let [index, script, style] = PATHS;
    Router::new()
        .route(index, get(|| async { told("text/html", INDEX) }))
        .route(script, get(|| async { told("text/javascript", SCRIPT) }))
        .route(style, get(|| async { told("text/css", STYLE) }))
}

fn told(what: &str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format!("{what}; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        // Another version of gpak has another page at the same address.
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, text).into_response()
}

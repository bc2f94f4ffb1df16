//! What is looked at before who asks: that a browser was not sent here by a page of somebody else.
//!
//! A page on the internet can make a browser send requests to this machine, and by a name that it makes
//! point here (DNS rebinding) even read the answers. Both are seen in the headers: the name that the
//! browser was told is in `Host`, and the page's own address is in `Origin`.

use std::{collections::BTreeSet, net::IpAddr};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{House, problem::Problem};

/// The names that this service answers to.
pub struct Guard {
    hosts: BTreeSet<String>,
}

impl Guard {
    /// This machine's own names, and those that are given.
    pub fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let given = hosts.into_iter().map(|host| host.to_lowercase());
        Self {
            hosts: own.into_iter().chain(given).collect(),
        }
    }

    /// Whether a request with these headers was meant for this service.
    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let said = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let said = uri.authority().map(|it| it.as_str()).or(said);
        let host = said.map(host_of).unwrap_or_default();
        if !self.is_own(&host) {
            let status = StatusCode::MISDIRECTED_REQUEST;
            let what = format!("this service does not answer to the name `{host}`");
            return Err(Problem::new(status, "wrong-host", what)
                .help("use its address, or start it with `gpak serve --host` and that name"));
        }
        let Some(origin) = headers.get(header::ORIGIN) else {
            return self.check_fetch(headers);
        };
        let origin = origin.to_str().unwrap_or_default();
        let theirs = origin.split_once("://").map(|(_, rest)| rest);
        // A page may ask the service that it came from, and no other.
        if theirs.is_some() && theirs == said {
            return Ok(());
        }
        Err(Problem::forbidden(format!(
            "pages of `{origin}` may not use this service"
        )))
    }

    /// A browser that sends no `Origin` says in another header where the request began.
    fn check_fetch(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let site = headers
            .get("sec-fetch-site")
            .and_then(|site| site.to_str().ok());
        match site {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_) => Err(Problem::forbidden(
                "pages of other sites may not use this service",
            )),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        self.hosts.contains(host)
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// The name in `name:port`, in small letters.
fn host_of(authority: &str) -> String {
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    host.unwrap_or_default()
        .trim_end_matches('.')
        .to_lowercase()
}

/// Turns away what was not meant for this service, and says on every answer what a browser may do with it.
pub async fn guard(State(house): State<House>, request: Request, next: Next) -> Response {
    let mut response = match house.guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            house.metrics.refused("origin");
            problem.into_response()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
             frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    let json = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, more: &[(&'static str, &str)]) -> Result<(), u16> {
        let guard = Guard::new(["Box.lan".to_owned()]);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for (name, value) in more {
            headers.insert(*name, value.parse().unwrap());
        }
        let checked = guard.check(&"/api/v1/runs".parse().unwrap(), &headers);
        checked.map_err(|problem| problem.status)
    }

    #[test]
    fn a_name_that_is_made_to_point_here_is_not_answered_to() {
        for host in [
            "localhost:1",
            "127.0.0.1:4725",
            "[::1]:1",
            "127.0.0.2",
            "BOX.lan.",
        ] {
            assert_eq!(check(host, &[]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "a@evil:1",
        ] {
            assert_eq!(check(host, &[]), Err(421), "{host}");
        }
    }

    #[test]
    fn only_pages_of_this_service_may_use_it() {
        let origin = |origin| check("localhost:1", &[("origin", origin)]);
        assert_eq!(origin("http://localhost:1"), Ok(()));
        for other in [
            "http://localhost:2",
            "https://evil.example",
            "null",
            "http://127.0.0.1:1",
        ] {
            assert_eq!(origin(other), Err(403), "{other}");
        }
        let site = |site| check("localhost:1", &[("sec-fetch-site", site)]);
        assert_eq!(site("same-origin"), Ok(()));
        assert_eq!(site("none"), Ok(()));
        assert_eq!(site("cross-site"), Err(403));
        assert_eq!(site("same-site"), Err(403));
    }
}

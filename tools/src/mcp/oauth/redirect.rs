//! Where a browser comes back to once a person has logged in: a port of this machine that is open for as
//! long as the login takes (RFC 8252, 7.3).

use std::{io, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use reqwest::Url;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

/// The path that browsers come back to.
const PATH: &str = "/callback";
/// Connections at a time. Browsers open some that they do not use.
const CONNECTIONS: usize = 16;
/// How long a browser may take to say what it wants, and to read the answer.
const BROWSER: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD: usize = 32 * 1024;

/// A port that waits for a browser.
pub(super) struct Redirect {
    listener: TcpListener,
    base: Url,
}

/// A browser that came back, and waits for a page.
pub(super) struct Visit {
    /// The address that it came to.
    pub(super) url: Url,
    page: oneshot::Sender<Page>,
    browsers: JoinSet<()>,
}

/// Whether the authorization server gave a code; if not, why.
pub(super) type Said = Result<(), String>;

struct Page {
    status: StatusCode,
    text: String,
}

type Arrived = (String, oneshot::Sender<Page>);

impl Redirect {
    /// Opens the port, or a free one where none is named.
    pub(super) async fn open(port: Option<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port.unwrap_or(0))).await?;
        let base = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
        let base = Url::parse(&base).map_err(io::Error::other)?;
        Ok(Self { listener, base })
    }

    /// The address that a browser is to be sent back to.
    pub(super) fn uri(&self) -> String {
        format!("{}{PATH}", self.base.origin().ascii_serialization())
    }

    /// Waits for the browser that comes back from the login of that `state`. Whoever else comes is told so.
    pub(super) async fn visit(self, state: &str) -> io::Result<(Visit, Said)> {
        let (arrive, mut arrived) = mpsc::channel::<Arrived>(CONNECTIONS);
        let mut browsers = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if browsers.len() < CONNECTIONS => {
                    browsers.spawn(serve(accepted?.0, arrive.clone()));
                }
                Some(_) = browsers.join_next() => {}
                Some((target, page)) = arrived.recv() => {
                    let url = self.base.join(&target).map_err(io::Error::other)?;
                    match said(&url, state) {
                        Some(said) => return Ok((Visit { url, page, browsers }, said)),
                        None => answer(page, StatusCode::BAD_REQUEST, FOREIGN.to_owned()),
                    }
                }
            }
        }
    }
}

const FOREIGN: &str =
    "This is not the answer that gpak waits for. Go through the address that it printed.";

fn answer(page: oneshot::Sender<Page>, status: StatusCode, text: String) {
    // The browser may be gone.
    let _ = page.send(Page { status, text });
}

impl Visit {
    /// Shows how the login went.
    pub(super) async fn show(mut self, outcome: Result<String, String>) {
        let (status, text) = match outcome {
            Ok(text) => (StatusCode::OK, text),
            Err(text) => (StatusCode::BAD_REQUEST, text),
        };
        answer(self.page, status, text);
        // Its other connections have nothing to say any more.
        let shown = async { while self.browsers.join_next().await.is_some() {} };
        let _ = timeout(Duration::from_secs(1), shown).await;
    }
}

/// What the address says that a browser came back to. None if it is not about this login.
fn said(url: &Url, state: &str) -> Option<Said> {
    let values = |name: &str| -> Vec<String> {
        let pairs = url.query_pairs();
        let named = pairs.filter(|(key, _)| key == name);
        named.map(|(_, value)| value.into_owned()).collect()
    };
    if values("state") != [state] {
        return None;
    }
    if let [error] = values("error").as_slice() {
        let described = values("error_description").into_iter().next();
        let described = described.map_or_else(String::new, |text| format!(" ({text})"));
        return Some(Err(format!("{error}{described}")));
    }
    Some(match values("code").len() == 1 && values("iss").len() < 2 {
        true => Ok(()),
        false => Err("it came back without a code".to_owned()),
    })
}

/// Serves one connection. What goes wrong with it is its browser's trouble.
async fn serve(stream: TcpStream, arrive: mpsc::Sender<Arrived>) {
    let service = service_fn(|request: Request<Incoming>| page(request, arrive.clone()));
    let mut server = http1::Builder::new();
    server
        .keep_alive(false)
        .max_buf_size(HEAD)
        .timer(TokioTimer::new())
        .header_read_timeout(BROWSER);
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn page(
    request: Request<Incoming>,
    arrive: mpsc::Sender<Arrived>,
) -> Result<Response<String>, hyper::Error> {
    let page = match request.method() == Method::GET && request.uri().path() == PATH {
        false => None,
        true => {
            let (send, page) = oneshot::channel();
            // The login may be over.
            let _ = arrive.send((request.uri().to_string(), send)).await;
            page.await.ok()
        }
    };
    let nothing = || Page {
        status: StatusCode::NOT_FOUND,
        text: "There is nothing here.".to_owned(),
    };
    let Page { status, text } = page.unwrap_or_else(nothing);
    let mut response = Response::new(text);
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, header::HeaderValue::from_static(value));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_with_the_state_of_the_login_counts() {
        let refused = |why: &str| Some(Err(why.to_owned()));
        for (query, is) in [
            ("code=c&state=s", Some(Ok(()))),
            ("code=c&state=s&iss=https%3A%2F%2Fa", Some(Ok(()))),
            ("code=c&state=t", None),
            ("code=c", None),
            ("code=c&state=s&state=s", None),
            ("error=access_denied", None),
            ("error=access_denied&state=s", refused("access_denied")),
            (
                "error=x&error_description=no+way&state=s",
                refused("x (no way)"),
            ),
            ("state=s", refused("it came back without a code")),
            (
                "code=c&code=d&state=s",
                refused("it came back without a code"),
            ),
            (
                "code=c&state=s&iss=a&iss=b",
                refused("it came back without a code"),
            ),
        ] {
            let url = Url::parse(&format!("http://127.0.0.1:1/callback?{query}")).unwrap();
            assert_eq!(said(&url, "s"), is, "{query}");
        }
    }

    #[tokio::test]
    async fn others_than_the_browser_of_the_login_are_told_so_and_do_not_end_it() {
        let redirect = Redirect::open(None).await.unwrap();
        let uri = redirect.uri();
        // One that is opened and never used, as browsers do.
        let idle = TcpStream::connect(uri.split('/').nth(2).unwrap())
            .await
            .unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(crate::wasm::net::tls().unwrap());
        let client = client.build().unwrap();
        let visiting = tokio::spawn(redirect.visit("s"));
        let got = |query: &str| {
            let sent = client.get(format!("{uri}{query}")).send();
            async move { sent.await.unwrap().status().as_u16() }
        };
        assert_eq!(got("?code=c&state=wrong").await, 400);
        assert_eq!(got("/elsewhere").await, 404);
        let posted = client
            .post(format!("{uri}?code=c&state=s"))
            .send()
            .await
            .unwrap();
        assert_eq!(posted.status().as_u16(), 404);
        let ours = tokio::spawn(got("?code=c&state=s"));
        let (visit, said) = visiting.await.unwrap().unwrap();
        assert_eq!(said, Ok(()));
        assert!(visit.url.as_str().ends_with("?code=c&state=s"));
        drop(idle);
        visit.show(Ok("done".to_owned())).await;
        assert_eq!(ours.await.unwrap(), 200);
    }
}

//! `gpak serve`: the agent behind HTTP, for programs and people of this machine.
//!
//! ```text
//!   connection ── TLS, time limits (listen)
//!       request ── its trace (trace) ── its Host and Origin (guard) ── its body's size
//!               ── who it is from, how often (access) ── whether it came before (access::once)
//!               ── what it wants: api · openai · mcp
//!                      │                     ▲
//!                      ▼                     │ entries, as they come
//!       run ── queue ── drivers (work) ── journal
//! ```
//!
//! The journal is the only truth about runs; nothing here remembers one otherwise.

mod access;
mod api;
pub mod args;
mod db;
mod guard;
mod health;
mod hub;
mod listen;
mod manage;
pub mod mcp;
mod metrics;
mod openai;
mod page;
mod problem;
mod take;
mod trace;
mod traces;
mod webhooks;
mod work;

use std::{
    fs::{File, TryLockError},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

use crate::{
    commands::print_json,
    failure::{DONE, Failure, file},
    home::Home,
    settings::Settings,
    wire,
};
use access::{limits::Limits, tokens::Signing, users};
use args::{ServeArgs, StartArgs};
use db::Store;
use guard::Guard;
use metrics::Metrics;
use problem::{Answered, Problem};
use webhooks::Notices;
use work::{Bounds, Watched, Work};

/// Bytes of a body that are taken.
const BODY: u64 = 4 * 1024 * 1024;
/// Bytes of a body that are read at most, to be polite.
const READ: u64 = 64 * 1024 * 1024;
/// How long a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long runs that are driven may go on once the service is asked to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long the first link is good.
const LINK: Duration = Duration::from_secs(3600);

/// All that a request may need.
pub struct Parts {
    home: Home,
    store: Store,
    signing: Signing,
    limits: Limits,
    guard: Guard,
    metrics: Arc<Metrics>,
    traces: Arc<traces::Traces>,
    work: Work,
    hub: hub::Hub,
    /// Runs that webhooks may have to be told of.
    notices: Arc<Notices>,
    /// There is something to send.
    deliveries: Notify,
    /// The first pause between two attempts to send something.
    webhook_pause: Duration,
    started: Instant,
    /// Names this start of the service.
    boot: String,
    /// Whether clients come over TLS.
    tls: bool,
    /// Streams and waits end: the service stops.
    stop: CancellationToken,
}

/// The service, shared by its requests.
pub type House = Arc<Parts>;

impl Parts {
    /// Writes down whether runs are held: it outlives the service.
    async fn set_held(&self, held: bool) -> Answered<()> {
        let set = move |transaction: &rusqlite::Transaction<'_>| {
            transaction.execute("DELETE FROM flags WHERE name = 'held'", [])?;
            if held {
                transaction.execute("INSERT INTO flags (name) VALUES ('held')", [])?;
            }
            Ok(())
        };
        Ok(self.store.write(set).await?)
    }

    fn was_held(&self) -> Result<bool, Failure> {
        Ok(self.store.read(|connection| {
            connection
                .prepare("SELECT 1 FROM flags WHERE name = 'held'")?
                .exists([])
        })?)
    }
}

/// `gpak serve`
pub async fn serve(home: &Home, args: ServeArgs, json: bool) -> Result<u8, Failure> {
    match args.command {
        Some(command) => manage::manage(home, command, json).await,
        None => start(home, args.start, json).await,
    }
}

async fn start(home: &Home, args: StartArgs, json: bool) -> Result<u8, Failure> {
    let tls = listen::tls(&args.tls)?;
    is_allowed(args.listen, tls.is_some() || args.plain)?;
    let _only = only_one(home)?;
    let store = Store::open(&home.data)?;
    let signing = Signing::open(&store)?;
    let metrics = Arc::new(Metrics::new());
    let notices = Arc::new(Notices::default());
    let workspace = wire::workspace(&args.place.workspace)?;
    let settings = Settings::read(home, &workspace)?;
    let settings = settings.with_flags(args.model.as_ref(), &args.bounds);
    let also = args.also.iter().map(|folder| wire::workspace(folder));
    let workspaces = std::iter::once(Ok(workspace)).chain(also);
    let bounds = Bounds {
        workspaces: workspaces.collect::<Result<Vec<PathBuf>, _>>()?,
        drivers: args.drivers,
        queue: args.queue,
        flags: args.bounds,
    };
    let listener = bind(args.listen).await?;
    let address = listener
        .local_addr()
        .map_err(|why| unbindable(args.listen, &why))?;
    let stop = CancellationToken::new();
    let (traces, sending) = traces::Traces::from_env(stop.clone())?;
    let traces = Arc::new(traces);
    let watched = Watched {
        metrics: metrics.clone(),
        notices: notices.clone(),
        traces: traces.clone(),
    };
    let opening = CancellationToken::new();
    let mind = wire::mind_at_hand(home, &settings, json, &opening).await?;
    let work = Work::open(home.clone(), bounds, mind, watched)?;
    wire::sweep_copies(home, work.journal()).await?;
    let house = Arc::new(Parts {
        home: home.clone(),
        limits: Limits::new(args.rate),
        guard: Guard::new(args.host.into_iter().chain([address.ip().to_string()])),
        boot: db::random()?,
        hub: hub::Hub::default(),
        deliveries: Notify::new(),
        webhook_pause: Duration::from_secs(args.webhook_pause),
        started: Instant::now(),
        notices,
        traces,
        tls: tls.is_some(),
        stop: stop.clone(),
        store,
        signing,
        metrics,
        work,
    });
    house.work.start();
    if house.was_held()? {
        house.work.hold().await;
        tracing::warn!("runs are held, as before; POST /api/v1/override releases them");
    }
    let hooks = tokio::spawn(webhooks::run(house.clone()));
    let found = house
        .work
        .recover()
        .await
        .map_err(|why| Failure::new(why.detail))?;
    if found > 0 {
        tracing::info!("{found} runs go on");
    }
    tell(&house, address, json).await?;
    let served = tokio::spawn(listen::listen(
        listener,
        tls,
        app(house.clone()),
        stop.clone(),
        GRACE,
    ));
    crate::commands::run::next_signal().await;
    tracing::info!("stopping");
    tokio::spawn(async {
        crate::commands::run::next_signal().await;
        std::process::exit(i32::from(crate::failure::INTERRUPTED));
    });
    house.work.drain(GRACE).await;
    stop.cancel();
    for task in [served, hooks].into_iter().chain(sending) {
        task.await.map_err(|why| Failure::new(why.to_string()))?;
    }
    Ok(DONE)
}

/// Whoever listens where other machines reach it says how it is kept safe.
fn is_allowed(listen: SocketAddr, is_safe: bool) -> Result<(), Failure> {
    if listen.ip().is_loopback() || is_safe {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{listen} is reached by other machines, and keys would go there in the clear"
    ))
    .help(
        "give --tls-cert and --tls-key; or listen on 127.0.0.1; or say --plain, if a proxy in front has \
         TLS",
    ))
}

/// Two services with one home would drive the same runs.
fn only_one(home: &Home) -> Result<File, Failure> {
    let path = home.data.join("serve.lock");
    std::fs::create_dir_all(&home.data).map_err(file(&home.data))?;
    let mut options = File::options();
    let opened = options.create(true).truncate(false).write(true).open(&path);
    let lock = opened.map_err(file(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Failure::new("gpak serve runs already")
            .help("stop it, or set GPAK_HOME to another folder for a second one")),
        Err(TryLockError::Error(why)) => Err(file(&path)(why)),
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|why| unbindable(address, &why))
}

fn unbindable(address: SocketAddr, why: &std::io::Error) -> Failure {
    Failure::new(format!("{address} cannot be listened on: {why}"))
        .help("name another with --listen, as in 127.0.0.1:0 for any that is free")
}

/// Says where it listens, and the first time how to get in.
async fn tell(house: &House, address: SocketAddr, json: bool) -> Result<(), Failure> {
    let scheme = if house.tls { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    let mut link = None;
    if let Some(admin) = users::first(&house.store)? {
        let secret = manage::link(&house.store, &admin).await?;
        link = Some(format!("{url}/login?token={secret}"));
    }
    if json {
        print_json(&serde_json::json!({"listening": url, "link": link}));
        return Ok(());
    }
    say!("gpak listens on {url}");
    if let Some(link) = link {
        say!("open this once, within an hour, to sign in as admin:\n  {link}");
        say!("for programs: gpak serve keys add");
    }
    Ok(())
}

fn app(house: House) -> Router {
    let layer = |state: &House| state.clone();
    Router::new()
        .merge(api::docs::router())
        .merge(openai::router())
        .merge(mcp::router(&house))
        .merge(page::router())
        .route("/login", get(access::login::open))
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(middleware::from_fn_with_state(
            layer(&house),
            access::once::once,
        ))
        .layer(middleware::from_fn_with_state(
            layer(&house),
            access::who::identify,
        ))
        .layer(middleware::from_fn(whole))
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(layer(&house), guard::guard))
        .layer(middleware::from_fn_with_state(
            layer(&house),
            openai::errors,
        ))
        .layer(middleware::from_fn_with_state(layer(&house), trace::trace))
        .with_state(house)
}

async fn nothing() -> Problem {
    Problem::missing("there is nothing at this address")
        .help("GET /openapi.json says what there is")
}

async fn not_so() -> Problem {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Problem::new(
        status,
        "method-not-allowed",
        "this address does not take that method",
    )
    .help("the header Allow says which it takes")
}

/// Reads the body before anything else is done: not for ever, and not more than is taken.
async fn whole(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIME, collect(body)).await {
        Ok(Ok(body)) => next.run(Request::from_parts(parts, body.into())).await,
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => {
            let status = StatusCode::REQUEST_TIMEOUT;
            let what = "the body did not come in time";
            Problem::new(status, "too-slow", what).into_response()
        }
    }
}

/// The whole body. What is too large is still read for a while, and thrown away: a client that is writing
/// does not see the answer before it is done.
async fn collect(mut body: Body) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let what = format!("a body has {BODY} bytes at most");
        Problem::new(status, "too-large", what)
    };
    let mut whole = Vec::new();
    let mut length = body.size_hint().lower();
    if length > READ {
        return Err(too_large());
    }
    length = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|why| Problem::bad(format!("the body did not come whole: {why}")))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        length += data.len() as u64;
        if length > READ {
            break;
        }
        if length <= BODY {
            whole.extend_from_slice(data);
        }
    }
    match length <= BODY {
        true => Ok(whole),
        false => Err(too_large()),
    }
}

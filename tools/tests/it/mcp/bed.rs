//! Packages that the tests need, the server of `server.py`, and a user who calls its tools.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use gpak_kernel::{
    event::RunId,
    label::Label,
    run::Human,
    tool::{Call, Tool, ToolContext, ToolError, ToolOutput},
};
use gpak_tools::mcp::{OAuth, Options, Progress, ServerConfig, Servers, Transport};
use serde_json::Value;
use tempfile::TempDir;

use crate::bench::id;

const PYPI: &str = "mcp==2.3.0";

/// A folder with what `make` puts there, made once for all tests and runs of them while `wanted` stays.
/// Tests in several processes may ask at once; one makes it.
pub fn kept(name: &str, wanted: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let stamp = folder.join("made");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return folder;
    }
    make(&folder);
    fs::write(&stamp, wanted).unwrap();
    folder
}

pub fn done(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{said}");
}

/// An example of this crate. `cargo test` and `cargo nextest` build them beside the tests.
pub fn example(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let example = this.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(example.exists(), "{} was not built", example.display());
    example
}

fn python() -> PathBuf {
    let folder = kept("mcp-python", PYPI, |folder| {
        done(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(folder.join("python")),
        );
        let pip = folder.join("python/bin/pip");
        done(Command::new(pip).args(["install", "--quiet", PYPI]));
    });
    folder.join("python/bin/python")
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/mcp/server.py")
}

/// The server behind HTTP; it ends when this is dropped.
pub struct Listening {
    process: Child,
    port: String,
}

impl Listening {
    pub fn start() -> Self {
        let mut process = Command::new(python())
            .arg(script())
            .arg("http")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut port).unwrap();
        let port = port.trim().to_owned();
        assert!(!port.is_empty(), "the server did not start");
        Self { process, port }
    }

    pub fn transport(&self) -> Transport {
        Transport::Http {
            url: format!("http://127.0.0.1:{}/mcp", self.port),
            headers: BTreeMap::new(),
            token: None,
            oauth: OAuth::default(),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server as a program that is started.
pub fn started() -> Transport {
    started_as("stdio")
}

pub fn started_as(kind: &str) -> Transport {
    Transport::Command {
        program: python().display().to_string(),
        args: vec![script().display().to_string(), kind.to_owned()],
        env: BTreeMap::new(),
        folder: "/".into(),
    }
}

/// A user of servers.
pub struct User {
    pub home: TempDir,
    pub servers: Servers,
    pub told: Arc<Mutex<Vec<Progress>>>,
    tools: Vec<Arc<dyn Tool>>,
}

impl User {
    /// One who has these servers, and waits so long for a sign of life in a call.
    pub async fn of(named: Vec<(&str, Transport)>, timeout: Duration) -> Self {
        let home = TempDir::new().unwrap();
        let configs = named.into_iter().map(|(name, transport)| ServerConfig {
            name: name.parse().unwrap(),
            transport,
            start_timeout: Duration::from_secs(120),
            timeout,
            tools: Vec::new(),
        });
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        let options = Options {
            folder: home.path().join("mcp"),
            output_bytes: 2_000,
            yes: false,
            progress: Box::new(move |progress| heard.lock().unwrap().push(progress.clone())),
        };
        let servers = Servers::new(configs.collect(), options);
        for health in servers.list_new().await {
            let name = &health.server;
            assert!(health.protocol.is_ok(), "{name}: {:?}", health.protocol);
            assert_eq!(health.left_out, Vec::<String>::new(), "{name}");
        }
        let tools = servers.tools();
        Self {
            home,
            servers,
            told,
            tools,
        }
    }

    pub fn answering(self, person: impl Human + 'static) -> Self {
        self.servers.ask(Arc::new(person));
        self
    }

    pub async fn call(&self, name: &str, args: Value) -> Result<ToolOutput, ToolError> {
        call(&self.tools, name, args).await
    }
}

/// Calls one of these tools.
pub async fn call(
    tools: &[Arc<dyn Tool>],
    name: &str,
    args: Value,
) -> Result<ToolOutput, ToolError> {
    let tool = tools.iter().find(|tool| tool.spec().name == name).unwrap();
    let call = Call {
        id: id(1),
        name: name.to_owned(),
        args,
        attempt: 1,
    };
    let context = ToolContext {
        run: RunId::from_u128(7),
        workspace: "/".into(),
        trust: Label::Own,
        may_change: true,
    };
    tool.call(&call, &context).await
}

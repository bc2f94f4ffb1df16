//! Real servers that PyPI has: llama.cpp's (`xllamacpp`) and a proxy that speaks Ollama's protocol
//! (`ollama-proxy-plus`), in an environment of their own that the tests make once.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use gpak_kernel::model::catalogue::testkit::{models_dir, small_model};

/// The packages, pinned.
const PACKAGES: [&str; 2] = ["xllamacpp==2026.10.11549", "ollama-proxy-plus==0.1.0"];
/// Tokens of the window that the server is started with; the model was trained for 8192.
pub const WINDOW: u32 = 2048;
/// The name that the server gives the model.
pub const MODEL: &str = "small";

/// How long a server may take to be ready on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(300);

const SERVE: &str = r#"
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
params.n_parallel, params.model_alias = 1, {"small"}
params.use_jinja = params.endpoint_slots = True
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print("ready", flush=True)
sys.stdin.read()
"#;

/// The Python of the environment, made the first time. Tests in several processes may ask at once; one
/// makes it and the others wait.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let folder = models_dir().with_file_name("gpak-test-python");
        let python = folder.join("bin/python");
        let stamp = folder.join("packages");
        std::fs::create_dir_all(&folder).unwrap();
        let lock = std::fs::File::create(folder.join("lock")).unwrap();
        lock.lock().unwrap();
        let wanted = PACKAGES.join("\n");
        if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
            return python;
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--only-binary",
            ":all:",
            "--disable-pip-version-check",
        ];
        run(Command::new(&python).args(pip).args(PACKAGES));
        std::fs::write(&stamp, wanted).unwrap();
        python
    })
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{said}");
}

/// A server that ends with its test.
pub struct Served {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub base: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// llama.cpp's server with the small model, ready.
pub fn llama() -> Served {
    let model = small_model().unwrap();
    let port = free_port();
    let mut child = Command::new(python())
        .args(["-c", SERVE])
        .arg(model)
        .args([port.to_string(), WINDOW.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let base = format!("http://127.0.0.1:{port}");
    let served = Served { child, base };
    while !line.starts_with("ready") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "the server ended");
    }
    served
}

/// A proxy that speaks Ollama's protocol, in front of `llama`.
pub fn ollama_proxy(llama: &Served) -> Served {
    let port = free_port();
    let serve = "import sys, uvicorn; from ollama_proxy.server import app; \
                 uvicorn.run(app, host='127.0.0.1', port=int(sys.argv[1]), log_level='error')";
    let child = Command::new(python())
        .args(["-c", serve, &port.to_string()])
        .env("PROVIDERS_LLAMA_BASE_URL", format!("{}/v1", llama.base))
        .env("PROVIDERS_LLAMA_API_KEY", "none")
        .env("EXTRA_MODELS", format!("llama/{MODEL}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let base = format!("http://127.0.0.1:{port}");
    let mut served = Served { child, base };
    let start = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            served.child.try_wait().unwrap().is_none(),
            "the proxy ended"
        );
        assert!(start.elapsed() < PATIENCE, "the proxy is not ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    served
}

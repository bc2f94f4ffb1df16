//! A home and a workspace of its own for each test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Place {
    dir: TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir }
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub fn database(&self) -> PathBuf {
        self.home().join("data/journal.db")
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.work().join(path)).unwrap()
    }

    /// Every file of the workspace with its content.
    pub fn files(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let mut folders = vec![self.work()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path
                        .strip_prefix(self.work())
                        .unwrap()
                        .display()
                        .to_string();
                    files.push((name, fs::read_to_string(path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    /// Writes a script and gives the model that says it.
    pub fn script(&self, lines: &[Value]) -> String {
        let path = self.dir.path().join("script.json");
        fs::write(&path, Value::from(lines).to_string()).unwrap();
        format!("scripted/{}", path.display())
    }

    pub fn command(&self) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_gpak"))
    }

    /// Another program, whose `gpak` has this home.
    pub fn command_of(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.work())
            .env("GPAK_HOME", self.home())
            .env("NO_COLOR", "1");
        for name in [
            "GPAK_MODEL",
            "GPAK_WINDOW",
            "GPAK_POLICY",
            "GPAK_BUDGET",
            "GPAK_STRATEGY",
            "GPAK_MEMORY",
            "GPAK_NAMESPACE",
            "GPAK_TEST_KILL",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
        ] {
            command.env_remove(name);
        }
        // An Ollama that runs on this machine is none of a test's business: nothing listens there.
        command.env("OLLAMA_HOST", "127.0.0.1:9");
        command
    }

    pub fn gpak(&self, args: &[&str]) -> Said {
        Said::from(self.command().args(args).output().unwrap())
    }

    /// Writes the user's settings.
    pub fn config(&self, text: &str) {
        fs::create_dir_all(self.home().join("config")).unwrap();
        fs::write(self.home().join("config/config.toml"), text).unwrap();
    }

    /// `gpak run --yes` of a script.
    pub fn run(&self, lines: &[Value]) -> Said {
        let model = self.script(lines);
        self.gpak(&["run", "--yes", "--model", &model, "do it"])
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    /// Fails unless the command ended so.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    /// Fails unless both outputs together say this.
    #[track_caller]
    pub fn saying(self, parts: &[&str]) -> Self {
        let all = format!("{}\n{}", self.out, self.err);
        for part in parts {
            assert!(all.contains(part), "no `{part}` in:\n{all}");
        }
        self
    }
}

/// A reply with one call.
pub fn call(name: &str, args: Value) -> Value {
    json!({"thought": format!("I call {name}."), "calls": [{"name": name, "args": args}]})
}

/// The reply, only if the last message has this in it.
pub fn when(said: &str, mut reply: Value) -> Value {
    reply["when"] = said.into();
    reply
}

/// Starts gpak, interrupts it once the file `sign` of the workspace is whole, and gives its exit code.
pub fn interrupted_once(place: &Place, args: &[&str], sign: &str) -> Option<i32> {
    let mut child = place
        .command()
        .args(args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let sign = place.work().join(sign);
    while !fs::read_to_string(&sign)
        .unwrap_or_default()
        .ends_with('\n')
    {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    child.wait().unwrap().code()
}

/// Whether a process runs; one that was killed stays in `/proc` until it is reaped.
pub fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

pub fn finish(answer: &str) -> Value {
    call("finish", json!({"answer": answer}))
}

/// Every file below a folder that ends so.
pub fn below(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    found
}

//! A terminal that tests type into and read from: tmux, the system's or else the distribution's package,
//! unpacked below `target`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// How long something may take to appear on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A terminal with a command in it. It ends with its test.
pub struct Terminal {
    socket: PathBuf,
}

/// How tmux is called; None where there is none and none can be had.
fn tmux() -> Option<&'static Tmux> {
    static TMUX: OnceLock<Option<Tmux>> = OnceLock::new();
    TMUX.get_or_init(|| {
        let here = Tmux {
            program: "tmux".into(),
            libraries: None,
        };
        // A test of how it is fetched does not take the system's.
        let fetch = std::env::var_os("GPAK_TEST_FETCH_TMUX").is_some();
        if !fetch && here.works() {
            return Some(here);
        }
        let fetched = fetched();
        if fetched.is_none() {
            println!("NOT RUN: neither tmux nor apt-get is here");
        }
        fetched
    })
    .as_ref()
}

struct Tmux {
    program: PathBuf,
    libraries: Option<PathBuf>,
}

impl Tmux {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    fn works(&self) -> bool {
        let said = self.command().arg("-V").output();
        said.is_ok_and(|said| said.status.success())
    }
}

/// The distribution's package and what it needs, without root.
fn fetched() -> Option<Tmux> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tmux");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let unpacked = unpacked(&folder);
    if unpacked.works() {
        return Some(unpacked);
    }
    if Command::new("apt-get").arg("--version").output().is_err() {
        return None;
    }
    // A system that never fetched the lists of its packages gets them here, beside its own.
    if !download(&folder, &[]) {
        let lists = folder.join("lists");
        fs::create_dir_all(lists.join("partial")).unwrap();
        let lists = format!("Dir::State::lists={}", lists.display());
        let cache = format!("Dir::Cache={}", folder.join("cache").display());
        fs::create_dir_all(folder.join("cache/archives/partial")).unwrap();
        let own = ["-o", &lists, "-o", &cache, "-o", "Debug::NoLocking=1"];
        said(Command::new("apt-get").args(own).arg("update"));
        assert!(download(&folder, &own), "apt-get has no tmux");
    }
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "deb") {
            let root = folder.join("root");
            said(Command::new("dpkg-deb").arg("-x").args([&path, &root]));
        }
    }
    let fetched = self::unpacked(&folder);
    assert!(fetched.works(), "the tmux that was fetched does not run");
    Some(fetched)
}

/// Downloads tmux and what it needs but for the C library; false if apt-get does not know it.
fn download(folder: &Path, options: &[&str]) -> bool {
    let needs = Command::new("apt-cache")
        .args(options)
        .args(["depends", "tmux"])
        .output()
        .unwrap();
    let needs = String::from_utf8_lossy(&needs.stdout).into_owned();
    let needs = needs
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| *name != "libc6");
    let downloaded = Command::new("apt-get")
        .args(options)
        .args(["download", "tmux"])
        .args(needs)
        .current_dir(folder)
        .output()
        .unwrap();
    downloaded.status.success()
}

/// What was unpacked there.
fn unpacked(folder: &Path) -> Tmux {
    let root = folder.join("root/usr");
    let libraries = fs::read_dir(root.join("lib")).into_iter().flatten();
    let mut libraries = libraries.map(|entry| entry.unwrap().path());
    Tmux {
        program: root.join("bin/tmux"),
        libraries: libraries.find(|path| path.to_string_lossy().contains("-linux-")),
    }
}

/// What a command printed.
fn said(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout).into_owned(),
        String::from_utf8_lossy(&stderr),
    );
    assert!(status.success(), "{command:?} failed:\n{stdout}\n{stderr}");
    stdout
}

impl Terminal {
    /// Runs `command` in a terminal of its own; None where there is no tmux to be had.
    pub fn run(socket: PathBuf, command: &Command) -> Option<Self> {
        tmux()?;
        let terminal = Self { socket };
        let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
        let (mut without, mut with) = (String::new(), String::new());
        for (name, value) in command.get_envs() {
            let name = name.to_str().unwrap();
            match value {
                Some(value) => with.push_str(&format!(" {name}={}", quoted(value))),
                None => without.push_str(&format!(" -u {name}")),
            }
        }
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(quoted).collect();
        let folder = command.get_current_dir().unwrap().to_str().unwrap();
        // The shell stays when the command is interrupted, and says how it ended.
        let line = format!(
            "trap : INT; env{without}{with} {}; echo \"ended with $?\"; exec cat",
            words.join(" ")
        );
        terminal.tmux(&[
            "new-session",
            "-d",
            "-x",
            "110",
            "-y",
            "50",
            "-c",
            folder,
            "sh",
            "-c",
            &line,
        ]);
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut command = tmux().unwrap().command();
        command
            .arg("-S")
            .arg(&self.socket)
            .args(["-f", "/dev/null"])
            .args(args);
        command
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX");
        said(&mut command)
    }

    /// What is on the screen and above it.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-J", "-S", "-200"])
    }

    /// Waits until the screen is so.
    #[track_caller]
    pub fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(start.elapsed() < PATIENCE, "no {what} on:\n{screen}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until this is on the screen.
    #[track_caller]
    pub fn sees(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// Types text as it is.
    pub fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Presses a key by its name: `Enter`, `C-c`, `Up`, `M-Enter`.
    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(tmux) = tmux() {
            let mut kill = tmux.command();
            kill.arg("-S").arg(&self.socket).arg("kill-server");
            // It may have ended by itself.
            let _ = kill.output();
        }
    }
}

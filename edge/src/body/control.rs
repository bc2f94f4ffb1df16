//! The way of a person to a body that lives: a socket of its process, which only its user can open.
//!
//! One line of JSON asks, one line answers. What drives is a dead man's switch: a motion stands for a
//! fraction of a second and must be asked for again. Whoever drives or holds the body holds its mission, too,
//! until it is let go. Anybody may press the e-stop; a person releases it, and says why.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::broadcast,
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    driver::Driver,
    hal::{Lifecycle, Twist},
    live::Hold,
    record::Recorder,
    telemetry::Mode,
};
use crate::{
    mesh::Node,
    reflex::{
        clock::now,
        command::{Release, Source, SourceKey},
        shm::{Board, BoardError, Commander, Writer},
        verdict::{Bounds, Severity},
    },
};

/// For how long a motion stands at most: so soon a body stands that nobody drives any more.
pub const LONGEST: Duration = Duration::from_millis(500);
/// A longer question is none.
const LONGEST_LINE: u64 = 4096;
/// Those who ask at once.
const MOST: usize = 32;
/// How long a request to release the e-stop may take to be granted.
const GRANTED: Duration = Duration::from_secs(2);

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// How the body is.
    Status,
    /// Drive like that, and hold the mission.
    Drive {
        /// Forwards.
        linear_mps: f32,
        /// To the left.
        angular_radps: f32,
        /// For how long; asked for again before that, it goes on.
        for_ms: u64,
        /// Who asks.
        by: String,
    },
    /// Stand, and hold the mission.
    Hold {
        /// Who asks.
        by: String,
    },
    /// Let the mission go on.
    LetGo {
        /// Who asks.
        by: String,
    },
    /// Press the e-stop.
    Press {
        /// Who asks.
        by: String,
    },
    /// Release the e-stop.
    Release {
        /// Who asks.
        by: String,
        /// Why it may move again.
        reason: String,
    },
    /// What happens, a line each, from now on.
    Watch,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// How a body is that lives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BodyStatus {
    /// What it is called.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// How the driver stands.
    pub lifecycle: Lifecycle,
    /// What it does.
    pub mode: Mode,
    /// What it is there for.
    pub task: String,
    /// How many peers are on the mesh and were heard lately; nothing without a mesh.
    pub peers_visible: Option<u32>,
    /// Messages of the body that could not be read.
    pub refused: u64,
}

/// What is wrong with asking.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens there.
    #[error("the robot's process does not answer: {0}")]
    Gone(std::io::Error),
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// What it says cannot be understood.
    #[error("the robot's process answers something else: {0}; is it another version of gpak?")]
    Unreadable(String),
}

/// All that is needed to answer.
pub struct Desk {
    /// What it is called.
    pub name: String,
    /// What it is there for.
    pub task: String,
    /// The board.
    pub board: Board,
    /// The key of a person.
    pub key: SourceKey,
    /// What a person may wish.
    pub bounds: Bounds,
    /// The driver.
    pub driver: Arc<Mutex<Box<dyn Driver>>>,
    /// The mission's hold.
    pub hold: Hold,
    /// The mesh.
    pub mesh: Option<Arc<Node>>,
    /// Where all is written down.
    pub recorder: Recorder,
    /// The file to which every release of the e-stop is added, with its reason.
    pub releases: PathBuf,
}

/// Answers until it is dropped.
pub struct Control {
    _stop: DropGuard,
}

struct Room {
    desk: Desk,
    hands: Mutex<(Commander, Writer<Release>)>,
}

impl Control {
    /// Listens there; the folder must be its user's alone.
    ///
    /// # Errors
    ///
    /// The socket cannot be made, or another has the person's slots of the board.
    pub fn listen(socket: &Path, desk: Desk) -> Result<Self, BoardError> {
        let hands = (
            desk.board.commander(Source::Manual, desk.key.clone())?,
            desk.board.release_writer()?,
        );
        let listener = UnixListener::bind(socket).map_err(|why| BoardError::System {
            what: "listen for a person",
            why,
        })?;
        let room = Arc::new(Room {
            desk,
            hands: Mutex::new(hands),
        });
        let stop = CancellationToken::new();
        let told = stop.clone();
        tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    () = told.cancelled() => return,
                    Some(_) = open.join_next() => {}
                    taken = listener.accept(), if open.len() < MOST => match taken {
                        Ok((stream, _)) => { open.spawn(room.clone().serve(stream)); }
                        Err(why) => tracing::warn!("the robot's socket: {why}"),
                    },
                }
            }
        });
        Ok(Self {
            _stop: stop.drop_guard(),
        })
    }
}

impl Room {
    async fn serve(self: Arc<Self>, stream: UnixStream) {
        let (from, mut to) = stream.into_split();
        let mut lines = BufReader::new(tokio::io::AsyncReadExt::take(from, LONGEST_LINE));
        loop {
            lines.get_mut().set_limit(LONGEST_LINE);
            let mut line = String::new();
            match lines.read_line(&mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let said = match serde_json::from_str(&line) {
                Ok(Ask::Watch) => return self.watched(to).await,
                Ok(ask) => self.answer(ask).await,
                Err(why) => Err(format!("this asks nothing: {why}")),
            };
            let said = said.map_or_else(Answer::Error, Answer::Ok);
            let said = serde_json::to_string(&said).unwrap_or_default();
            if to.write_all(format!("{said}\n").as_bytes()).await.is_err() {
                return;
            }
        }
    }

    async fn watched(&self, mut to: tokio::net::unix::OwnedWriteHalf) {
        let mut coming = self.desk.recorder.watch();
        loop {
            let line = match coming.recv().await {
                Ok(line) => line.to_string(),
                Err(broadcast::error::RecvError::Lagged(lines)) => {
                    json!({"missed": lines}).to_string()
                }
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if to.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, ask: Ask) -> Result<Value, String> {
        if !matches!(ask, Ask::Status | Ask::Watch) {
            tracing::warn!(?ask, "a person");
            self.desk.recorder.put("/override", now(), &ask);
        }
        let desk = &self.desk;
        match ask {
            Ask::Status | Ask::Watch => {}
            Ask::Hold { .. } => {
                desk.hold.take();
                self.hands().0.withdraw();
            }
            Ask::LetGo { .. } => {
                self.hands().0.withdraw();
                desk.hold.let_go();
            }
            Ask::Press { .. } => {
                desk.board.press();
                desk.hold.take();
            }
            Ask::Drive {
                linear_mps,
                angular_radps,
                for_ms,
                ..
            } => return self.drive(linear_mps, angular_radps, for_ms),
            Ask::Release { by, reason } => self.release(&by, &reason).await?,
        }
        serde_json::to_value(self.status()).map_err(|why| why.to_string())
    }

    fn hands(&self) -> std::sync::MutexGuard<'_, (Commander, Writer<Release>)> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drive(&self, linear_mps: f32, angular_radps: f32, for_ms: u64) -> Result<Value, String> {
        if !(linear_mps.is_finite() && angular_radps.is_finite()) {
            return Err("a motion needs two numbers".to_owned());
        }
        let most = self.desk.bounds;
        if self.latched() {
            return Err(
                "the e-stop holds: release it first (release_estop, or `gpak robot release`)"
                    .to_owned(),
            );
        }
        let twist = Twist {
            linear_mps: linear_mps.clamp(-most.backward_mps, most.forward_mps),
            angular_radps: angular_radps.clamp(-most.turn_radps, most.turn_radps),
        };
        let stands = Duration::from_millis(for_ms.max(1)).min(LONGEST);
        self.desk.hold.take();
        self.hands().0.send(twist, stands);
        let is_capped = (twist.linear_mps, twist.angular_radps) != (linear_mps, angular_radps);
        let status = self.desk.board.status().unwrap_or_default();
        Ok(json!({
            "wished": twist, "capped": is_capped, "for_ms": stands.as_millis() as u64,
            "severity": status.severity, "causes": status.causes.iter().map(|cause| cause.name()).collect::<Vec<_>>(),
        }))
    }

    fn latched(&self) -> bool {
        let status = self.desk.board.status();
        status.is_some_and(|status| status.latched) || self.desk.board.is_pressed()
    }

    async fn release(&self, by: &str, reason: &str) -> Result<(), String> {
        if reason.trim().is_empty() {
            return Err("say why it may move again".to_owned());
        }
        let desk = &self.desk;
        let before = desk.board.status().unwrap_or_default();
        if !self.latched() {
            return Err("no e-stop holds".to_owned());
        }
        // Whatever was wished before counts no longer, and the mission does not go on by itself.
        desk.hold.take();
        self.hands().1.write(&desk.key.release(before.epoch, now()));
        let until = tokio::time::Instant::now() + GRANTED;
        while self.latched() {
            if tokio::time::Instant::now() > until {
                let status = desk.board.status().unwrap_or_default();
                return Err(format!(
                    "it is not released: the reflexes say {}; set the body upright and away from what holds it, \
                     and ask again",
                    status.causes
                ));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        note_release(&desk.releases, by, reason)
            .map_err(|why| format!("it is released, and the reason is not written down: {why}"))
    }

    fn status(&self) -> BodyStatus {
        let desk = &self.desk;
        let time = now();
        let (lifecycle, driver, refused) = {
            let driver = desk.driver.lock().unwrap_or_else(PoisonError::into_inner);
            (driver.lifecycle(), driver.name(), driver.refused())
        };
        let status = desk.board.status().unwrap_or_default();
        let manual = desk.board.command(Source::Manual);
        let drives = manual.is_some_and(|signed| signed.command.until() > time);
        let moves = desk.board.wheels().twist(time) != Twist::default();
        let mode = match () {
            () if self.latched() => Mode::EStop,
            () if drives => Mode::Manual,
            () if desk.hold.holds() => Mode::Held,
            () if status.severity >= Severity::Stop => Mode::Stopped,
            () if moves => Mode::Moves,
            () => Mode::Rests,
        };
        BodyStatus {
            name: desk.name.clone(),
            driver: driver.to_owned(),
            lifecycle,
            mode,
            task: desk.task.clone(),
            peers_visible: desk.mesh.as_ref().map(|node| node.visible(time)),
            refused,
        }
    }
}

/// Adds a release of the e-stop to a file, on the disk before this returns.
///
/// # Errors
///
/// The file cannot be written.
pub fn note_release(file: &Path, by: &str, reason: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let line =
        json!({"at": jiff::Timestamp::now().to_string(), "released_by": by, "reason": reason});
    let mut options = std::fs::File::options();
    let mut file = options.append(true).create(true).open(file)?;
    writeln!(file, "{line}")?;
    file.sync_data()
}

/// Asks a body that lives.
///
/// # Errors
///
/// It is not there, or says no.
pub async fn ask(socket: &Path, ask: &Ask) -> Result<Value, ControlError> {
    let mut stream = UnixStream::connect(socket)
        .await
        .map_err(ControlError::Gone)?;
    let line =
        serde_json::to_string(ask).map_err(|why| ControlError::Unreadable(why.to_string()))?;
    let asked = stream.write_all(format!("{line}\n").as_bytes()).await;
    asked.map_err(ControlError::Gone)?;
    let mut said = String::new();
    let read = BufReader::new(stream).read_line(&mut said).await;
    if read.map_err(ControlError::Gone)? == 0 {
        return Err(ControlError::Gone(std::io::ErrorKind::UnexpectedEof.into()));
    }
    match serde_json::from_str(&said) {
        Ok(Answer::Ok(ok)) => Ok(ok),
        Ok(Answer::Error(why)) => Err(ControlError::Refused(why)),
        Err(_) => Err(ControlError::Unreadable(said)),
    }
}

/// What happens with a body, line by line.
///
/// # Errors
///
/// It is not there.
pub async fn watch(socket: &Path) -> Result<tokio::io::Lines<BufReader<UnixStream>>, ControlError> {
    let mut stream = UnixStream::connect(socket)
        .await
        .map_err(ControlError::Gone)?;
    let asked = stream.write_all(b"{\"ask\":\"watch\"}\n").await;
    asked.map_err(ControlError::Gone)?;
    Ok(BufReader::new(stream).lines())
}

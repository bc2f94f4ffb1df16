//! A small world for tests: four tools, one of each effect, over an append-only log of what was done.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gpak_kernel::{
    entry::Entry,
    event::{Event, RunId, RunSpec},
    journal::{Journal, MemoryJournal},
    model::{Delta, Model, scripted::Scripted},
    policy::{Budget, Permissions},
    run::{
        Answer, Driver, Ended, Human, Machine, Nobody, Observer, Resumption, State, SystemClock,
        Waiting, replay,
    },
    tool::{Call, Control, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, Toolbox},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// What was done, in order: `tool argument`.
pub type Log = Arc<Mutex<Vec<String>>>;

pub const RUN: RunId = RunId::from_u128(7);

pub struct Noted {
    spec: ToolSpec,
    log: Log,
}

pub fn spec(name: &str, effect: Effect, resumable: bool, control: Option<Control>) -> ToolSpec {
    let property = match control {
        Some(Control::Finish) => "answer",
        Some(Control::Ask) => "question",
        _ => "what",
    };
    ToolSpec {
        resumable,
        control,
        ..ToolSpec::new(
            name,
            format!("Does {name}."),
            json!({
                "type": "object",
                "properties": {property: {"type": "string"}},
                "required": [property],
                "additionalProperties": false
            }),
            effect,
        )
    }
}

/// A tool that notes its calls.
pub fn noted(spec: ToolSpec, log: &Log) -> Arc<dyn Tool> {
    let log = log.clone();
    Arc::new(Noted { spec, log })
}

#[async_trait]
impl Tool for Noted {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let what = call.args["what"].as_str().unwrap().to_owned();
        self.log
            .lock()
            .unwrap()
            .push(format!("{} {what}", call.name));
        match what.as_str() {
            "hang" => std::future::pending().await,
            "reject" => Err(ToolError::Rejected("no such thing".into())),
            "fatal" => Err(ToolError::Fatal("the disk is full; free some".into())),
            "panic" => panic!("a tool that panics"),
            _ => Ok(ToolOutput::text(format!("did {what}"))),
        }
    }

    async fn compensate(&self, call: &Call, _: &ToolContext) -> Result<String, ToolError> {
        let what = call.args["what"].as_str().unwrap();
        self.log.lock().unwrap().push(format!("undo {what}"));
        match what {
            "changed" => Err(ToolError::Rejected("changed: changed since".into())),
            _ => Ok(format!("{what} is back")),
        }
    }
}

pub fn specs() -> Vec<ToolSpec> {
    vec![
        spec("look", Effect::Pure, false, None),
        spec("set", Effect::Idempotent, false, None),
        spec("save", Effect::Reversible, true, None),
        spec("send", Effect::Irreversible, false, None),
        spec("ask_user", Effect::Pure, false, Some(Control::Ask)),
        spec("finish", Effect::Pure, false, Some(Control::Finish)),
    ]
}

pub struct World {
    pub driver: Driver,
    pub log: Log,
    pub script: Arc<Scripted>,
}

pub fn task(permissions: Permissions, attended: bool) -> RunSpec {
    RunSpec {
        task: "do it".into(),
        workspace: std::env::temp_dir(),
        model: "scripted/script".into(),
        budget: Budget::default(),
        permissions,
        attended,
        conversation: false,
        origin: None,
        check: Vec::new(),
        strategy: None,
        parent: None,
    }
}

pub fn yes() -> Permissions {
    Permissions {
        yes: true,
        ..Permissions::default()
    }
}

impl World {
    pub fn new(lines: Vec<gpak_kernel::model::scripted::Line>) -> Self {
        let log = Log::default();
        let tools = specs().into_iter().map(|spec| -> Arc<dyn Tool> {
            Arc::new(Noted {
                spec,
                log: log.clone(),
            })
        });
        let script = Arc::new(Scripted::new(lines));
        let driver = Driver {
            journal: Arc::new(MemoryJournal::default()),
            model: script.clone(),
            toolbox: Toolbox::new(tools).unwrap(),
            human: Arc::new(Nobody),
            clock: Arc::new(SystemClock),
            instructions: "Be brief.".into(),
            repository: Default::default(),
            remembering: None,
            introduced: None,
            stop: CancellationToken::new(),
        };
        Self {
            driver,
            log,
            script,
        }
    }

    pub fn answered_by(mut self, answers: Vec<Option<Answer>>) -> Self {
        self.driver.human = Arc::new(Answers(Mutex::new(answers.into_iter().collect())));
        self
    }

    /// With more tools.
    pub fn with(mut self, tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        self.driver.toolbox = self.driver.toolbox.with(tools).unwrap();
        self
    }

    pub async fn create(&self, spec: RunSpec) {
        self.driver.create(RUN, spec).await.unwrap();
    }

    /// Drives the run, rebuilding the machine from the journal after every entry.
    pub async fn drive(&self, attended: bool) -> Ended {
        let resumption = Resumption {
            attended,
            ..Resumption::default()
        };
        self.drive_with(resumption).await
    }

    pub async fn drive_with(&self, resumption: Resumption) -> Ended {
        let mut rebuild = Rebuild(self.driver.journal.clone());
        let ended = self
            .driver
            .drive(RUN, resumption, &mut rebuild)
            .await
            .unwrap();
        replay::check(&self.entries().await).unwrap();
        ended
    }

    pub async fn run(&self, spec: RunSpec) -> Ended {
        let attended = spec.attended;
        self.create(spec).await;
        let ended = self.drive(attended).await;
        assert_eq!(
            self.script.unused(&self.entries().await),
            0,
            "the script was not used up"
        );
        ended
    }

    pub async fn entries(&self) -> Vec<Entry> {
        self.driver.journal.read(RUN, 1).await.unwrap()
    }

    pub async fn events(&self) -> Vec<Event> {
        self.entries()
            .await
            .into_iter()
            .map(|entry| entry.event)
            .collect()
    }

    pub fn done(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn model(&mut self, model: Arc<dyn Model>) {
        self.driver.model = model;
    }
}

/// Holds the journal against the driver: what is folded from it must be what the driver knows.
struct Rebuild(Arc<dyn Journal>);

impl Observer for Rebuild {
    fn entry(&mut self, entry: &Entry, state: &State) {
        let entries = futures::FutureExt::now_or_never(self.0.read(entry.run, 1));
        let entries = entries.expect("nobody else holds the journal").unwrap();
        let known: Vec<_> = entries
            .into_iter()
            .filter(|one| one.seq <= entry.seq)
            .collect();
        assert_eq!(Machine::fold(&known).state(), state);
    }

    fn delta(&mut self, _: Delta<'_>) {}
}

struct Answers(Mutex<std::collections::VecDeque<Option<Answer>>>);

#[async_trait]
impl Human for Answers {
    async fn ask(&self, _: &Waiting, _: Option<&str>) -> Option<Answer> {
        self.0
            .lock()
            .unwrap()
            .pop_front()
            .expect("asked more often than expected")
    }
}

/// `run_command`, whose commands end with these exit codes, one after the other.
pub struct Commands {
    spec: ToolSpec,
    log: Log,
    codes: Mutex<std::collections::VecDeque<i32>>,
}

impl Commands {
    pub fn ending(codes: &[i32], log: &Log) -> Arc<dyn Tool> {
        let mut spec = spec("run_command", Effect::Irreversible, false, None);
        spec.input = json!({
            "type": "object",
            "properties": {"command": {"type": "string"}, "timeout_seconds": {"type": "integer"}},
            "required": ["command"],
        });
        let codes = Mutex::new(codes.iter().copied().collect());
        let log = log.clone();
        Arc::new(Self { spec, log, codes })
    }
}

#[async_trait]
impl Tool for Commands {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let command = call.args["command"].as_str().unwrap();
        self.log.lock().unwrap().push(format!("run {command}"));
        if command == "hang" {
            std::future::pending::<()>().await;
        }
        let code = self
            .codes
            .lock()
            .unwrap()
            .pop_front()
            .expect("a command more than expected");
        Ok(ToolOutput {
            data: Some(json!({"exit_code": code})),
            ..ToolOutput::text(format!("exit code {code}\nit says {code}"))
        })
    }
}

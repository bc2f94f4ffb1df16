//! Where runs of MCP clients are made: in the service, or in a process that serves one client.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use gpak_kernel::{
    event::{Requested, RunId, RunSpec},
    model::{
        ToolCall,
        literal::{self, Literal},
    },
    tool::ToolSpec,
};
use serde_json::{Map, json};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::{
    home::Home,
    serve::{
        House,
        access::Who,
        api::runs::short_enough,
        problem::{Answered, Problem},
        trace::Trace,
        work::{Order, Work, request_of},
    },
    settings::Settings,
    wire,
};

/// Where runs of MCP clients are made.
pub struct Host {
    /// The user's folders.
    pub home: Home,
    /// The runs.
    pub work: Work,
    /// The settings to look for a model by, where none was opened when the process began: a client that only
    /// calls tools needs none.
    late: Option<Settings>,
    model: OnceCell<String>,
    /// The tools as they were last listed, for who looks at a request before it is read.
    known: Mutex<Vec<ToolSpec>>,
}

impl Host {
    /// In the service.
    pub fn of(house: &House) -> Self {
        Self {
            home: house.home.clone(),
            work: house.work.clone(),
            late: None,
            model: OnceCell::new(),
            known: Mutex::default(),
        }
    }

    /// In a process of its own. The model is opened when a task first needs it.
    pub fn alone(home: Home, work: Work, settings: Settings) -> Self {
        Self {
            home,
            work,
            late: Some(settings),
            model: OnceCell::new(),
            known: Mutex::default(),
        }
    }

    /// The tools that a client may call: all that act, and none by which a model speaks to the machine.
    pub async fn tools(&self) -> Answered<Vec<ToolSpec>> {
        let workspace = self.work.workspace(None)?;
        let tools = self.work.tools_in(&workspace, literal::ID).await?;
        let acts = |tool: &ToolSpec| tool.control.is_none() && tool.name != READ_HISTORY;
        let tools: Vec<_> = tools.into_iter().filter(acts).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone_from(&tools);
        Ok(tools)
    }

    /// The tool of that name, as it was last listed.
    pub fn known(&self, name: &str) -> Option<ToolSpec> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|tool| tool.name == name).cloned()
    }

    /// Begins the run of a call. `asks`: somebody can be asked what it needs leave for.
    pub async fn call(&self, by: &By, call: ToolCall, asks: bool) -> Answered<RunId> {
        let (mut spec, _) = self.spec(None, Literal::task(&call))?;
        spec.attended = asks;
        spec.strategy = Some(gpak_kernel::event::Choice::React);
        self.work
            .create(by.order(spec, Some(literal::ID.to_owned())))
            .await
    }

    /// Begins a run of the agent.
    pub async fn run(
        &self,
        by: &By,
        task: String,
        workspace: Option<PathBuf>,
        model: Option<String>,
    ) -> Answered<RunId> {
        short_enough(&task)?;
        let (mut spec, settings) = self.spec(workspace, task)?;
        spec.check = settings.check.value.clone();
        spec.strategy = settings.strategy.value.map(Into::into);
        let model = match model {
            Some(model) => Some(model),
            None => self.model().await?,
        };
        self.work.create(by.order(spec, model)).await
    }

    fn spec(&self, workspace: Option<PathBuf>, task: String) -> Answered<(RunSpec, Settings)> {
        let workspace = self.work.workspace(workspace.as_deref())?;
        let settings = self.work.settings(&workspace)?;
        let spec = RunSpec {
            task,
            workspace,
            model: String::new(),
            budget: settings.budget(),
            permissions: settings.permissions(),
            attended: true,
            conversation: false,
            origin: None,
            check: Vec::new(),
            strategy: None,
            parent: None,
        };
        Ok((spec, settings))
    }

    async fn model(&self) -> Answered<Option<String>> {
        let Some(settings) = &self.late else {
            return Ok(None);
        };
        let open = || async {
            let stop = CancellationToken::new();
            let mind = wire::mind_at_hand(&self.home, settings, false, &stop).await?;
            self.work.add_mind(mind)
        };
        let opened = self.model.get_or_try_init(open).await;
        Ok(Some(opened.map_err(Problem::from)?.clone()))
    }

    /// The run of that id, if that client's user asked for it.
    pub async fn own(&self, by: &By, id: &str) -> Answered<RunId> {
        let missing = || Problem::missing(format!("there is no run `{id}` of yours"));
        let run: RunId = id.parse().map_err(|_| missing())?;
        let entries = self.work.journal().read(run, 1).await;
        let entries = entries.map_err(|_| missing())?;
        let asked = request_of(&entries).ok_or_else(missing)?;
        match asked.by == by.name {
            true => Ok(run),
            false => Err(missing()),
        }
    }
}

/// The tool that reads the history of the run that calls it: that of a call has none.
const READ_HISTORY: &str = "read_history";

/// Who calls.
pub struct By {
    /// The user's name.
    pub name: String,
    /// Whether they may do more than look.
    pub operates: bool,
    /// The trace that the call is a part of.
    pub trace: Option<Trace>,
}

impl By {
    /// A user of the service.
    pub fn user(who: &Who, trace: Option<Trace>) -> Self {
        Self {
            name: who.name.clone(),
            operates: who.needs(crate::serve::access::Role::Operator).is_ok(),
            trace,
        }
    }

    fn order(&self, spec: RunSpec, model: Option<String>) -> Order {
        let mut meta = Map::new();
        meta.insert("mcp".to_owned(), json!(true));
        if let Some(trace) = &self.trace {
            trace.note(&mut meta);
        }
        let request = Requested {
            by: self.name.clone(),
            meta,
            ..Requested::default()
        };
        Order {
            spec,
            model,
            request,
            run: None,
        }
    }
}

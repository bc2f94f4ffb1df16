//! What is answered to an MCP client.

use std::{sync::Arc, time::Duration};

use axum::http::request::Parts;
use gpak_kernel::{
    entry::Entry,
    event::{Event, Outcome, RunId},
    model::ToolCall,
    run::Waiting,
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
        CompleteRequestParams, CompleteResult, CompletionInfo, CreateTaskResult, DetailedTask,
        GetPromptRequestParams, GetPromptResponse, GetTaskParams, GetTaskResult, Implementation,
        InputRequiredResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion,
        ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Reference,
        ResourceTemplate, ServerCapabilities, ServerConfig, Task, TaskPayload, TaskStatus, Tool,
        UpdateTaskParams,
    },
    service::{ElicitationMode, RequestContext},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    ask::{self, Question},
    host::{By, Host},
    offered::{self, Look, Run},
    prompts, resources,
    stand::{Followed, Stand, Watched},
};
use crate::serve::{
    access::Who,
    problem::{Answered, Problem},
    trace::Trace,
};

/// How long a user may take to answer a client of the older protocol.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often a client should ask how a task stands, in milliseconds.
const POLL: u64 = 1000;

type Context = RequestContext<RoleServer>;

/// One client's server.
pub struct Server {
    host: Arc<Host>,
    /// Who calls, where all calls are of one user.
    alone: Option<String>,
}

impl Server {
    /// For users of the service.
    pub fn new(host: Arc<Host>) -> Self {
        Self { host, alone: None }
    }

    /// For the user of this process.
    pub fn alone(host: Arc<Host>, user: String) -> Self {
        let alone = Some(user);
        Self { host, alone }
    }

    fn by(&self, context: &Context) -> Answered<By> {
        if let Some(name) = &self.alone {
            return Ok(By {
                name: name.clone(),
                operates: true,
                trace: None,
            });
        }
        let parts = context.extensions.get::<Parts>();
        let who = parts.and_then(|parts| parts.extensions.get::<Who>());
        let trace = parts.and_then(|parts| parts.extensions.get::<Trace>());
        let who = who.ok_or_else(|| Problem::unauthorized("this takes a credential"))?;
        Ok(By::user(who, trace.cloned()))
    }

    /// What it takes to begin or change anything.
    fn operator(&self, context: &Context) -> Answered<By> {
        let by = self.by(context)?;
        match by.operates {
            true => Ok(by),
            false => {
                Err(Problem::forbidden("this takes the role operator")
                    .help("use a credential of one"))
            }
        }
    }

    /// The run of that id, if that client's user asked for it.
    async fn own(&self, by: &By, id: &str) -> Result<RunId, ErrorData> {
        self.host.own(by, id).await.map_err(invalid)
    }

    /// Begins what is called, or goes on with it.
    async fn begin(
        &self,
        request: &CallToolRequestParams,
        context: &Context,
    ) -> Result<Begun, ErrorData> {
        let by = self.operator(context).map_err(refused)?;
        if let Some(state) = &request.request_state {
            let run = self.own(&by, state).await?;
            let responses = request.input_responses.clone().unwrap_or_default();
            self.answer(run, &responses).await.map_err(invalid)?;
            let own = request.name != offered::RUN;
            return Ok(Begun::Run { run, own });
        }
        let args = Value::Object(request.arguments.clone().unwrap_or_default());
        match request.name.as_ref() {
            offered::RUN => {
                let asked: Run = match read(args) {
                    Ok(asked) => asked,
                    Err(why) => return Ok(Begun::Refused(why)),
                };
                let (task, workspace, model) = (asked.task, asked.workspace, asked.model);
                let run = self.host.run(&by, task, workspace, model).await;
                Ok(began(run, false))
            }
            offered::LOOK => {
                let run = match read::<Look>(args) {
                    Ok(look) => self.host.own(&by, &look.run).await,
                    Err(why) => return Ok(Begun::Refused(why)),
                };
                Ok(match run {
                    Ok(run) => Begun::Look(run),
                    Err(why) => Begun::Refused(in_words(&why)),
                })
            }
            name => {
                let tools = self.host.tools().await.map_err(internal)?;
                if !tools.iter().any(|tool| tool.name == name) {
                    let why =
                        format!("there is no tool `{name}`; tools/list lists those there are");
                    return Err(ErrorData::invalid_params(why, None));
                }
                let name = name.to_owned();
                let asks = can_be_asked(context);
                let run = self.host.call(&by, ToolCall { name, args }, asks).await;
                Ok(began(run, true))
            }
        }
    }

    /// Passes the answers of a client's user on to the run that waits for them.
    async fn answer(&self, run: RunId, responses: &rmcp::model::InputResponses) -> Answered<()> {
        let work = &self.host.work;
        let Stand::Asks(waits) = Watched::now(work, run).await?.stand(work).await? else {
            return Ok(());
        };
        let questions = self.questions(&waits).await?;
        for (waits, replies) in ask::replies(&questions, responses)? {
            work.answer(waits, replies).await?;
        }
        Ok(())
    }

    async fn questions(&self, waits: &[(RunId, Waiting)]) -> Answered<Vec<Question>> {
        let journal = self.host.work.journal();
        let mut questions = Vec::new();
        for (waits_for, waiting) in waits {
            questions.extend(Question::of(journal, *waits_for, waiting).await?);
        }
        Ok(questions)
    }

    /// Waits until a run has something to say, and says it.
    async fn outcome(
        &self,
        run: RunId,
        own: bool,
        context: &Context,
    ) -> Answered<CallToolResponse> {
        let work = &self.host.work;
        let mut steps = Steps::new(context);
        loop {
            let mut followed = Followed::new(work, run).await?;
            let stand = loop {
                let (entry, stand) = followed.next().await?;
                steps.tell(&entry).await;
                if !matches!(stand, Stand::Works) {
                    break stand;
                }
            };
            let watched = followed.watched;
            let Stand::Asks(waits) = &stand else {
                return Ok(watched.result(&stand, own).into());
            };
            let questions = self.questions(waits).await?;
            if questions.is_empty() || !can_be_asked(context) {
                return Ok(watched.result(&stand, own).into());
            }
            if is_stateless(context) {
                let requests = ask::requests(&questions);
                let result = InputRequiredResult::new(Some(requests), Some(run.to_string()));
                return Ok(result.into());
            }
            let mut answered = false;
            for question in &questions {
                let params = question.params();
                let asked = context
                    .peer
                    .create_elicitation_with_timeout(params, Some(PATIENCE));
                let result = asked.await.map_err(Problem::internal)?;
                if let Some(reply) = question.answer(&result) {
                    work.answer(question.run(), vec![reply]).await?;
                    answered = true;
                }
            }
            if !answered {
                return Ok(watched.result(&stand, own).into());
            }
        }
    }

    async fn task(&self, run: RunId) -> Answered<DetailedTask> {
        let work = &self.host.work;
        let watched = Watched::now(work, run).await?;
        let stand = watched.stand(work).await?;
        let entries = work.journal().read(run, 1).await?;
        let time = |entry: Option<&Entry>| {
            entry
                .map(|entry| entry.time.to_string())
                .unwrap_or_default()
        };
        let task = Task::new(
            run.to_string(),
            TaskStatus::Working,
            time(entries.first()),
            time(entries.last()),
        );
        let payload = match &stand {
            Stand::Works => TaskPayload::Working,
            Stand::Over(Outcome::Cancelled) => TaskPayload::Cancelled,
            Stand::Asks(waits) => TaskPayload::InputRequired {
                input_requests: ask::requests(&self.questions(waits).await?),
            },
            Stand::Over(_) | Stand::Paused(_) => {
                let result = json!(watched.result(&stand, false));
                TaskPayload::Completed {
                    result: result.as_object().cloned().unwrap_or_default(),
                }
            }
        };
        Ok(DetailedTask::new(task.with_poll_interval_ms(POLL), payload))
    }
}

/// What a call came to, to begin with.
enum Begun {
    /// A run; `own` says that it is that of a tool's call.
    Run { run: RunId, own: bool },
    /// A run that is looked at.
    Look(RunId),
    /// It cannot be done, and why.
    Refused(String),
}

fn began(run: Answered<RunId>, own: bool) -> Begun {
    match run {
        Ok(run) => Begun::Run { run, own },
        Err(why) => Begun::Refused(in_words(&why)),
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tasks()
            .enable_resources()
            .enable_prompts()
            .enable_completions()
            .build();
        let mut config = ServerConfig::new(capabilities).with_instructions(
            "The tools work in the folder that gpak was started for. Each call is journaled, and what it \
             changed can be undone with `gpak undo`. run_task gives a whole task to the agent.",
        );
        config.server_info = Implementation::new("gpak", env!("CARGO_PKG_VERSION"));
        config
    }

    /// What the headers of a call are held against, where its schema asks for arguments in headers.
    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.host.known(name).as_ref().map(offered::tool)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        self.by(&context).map_err(refused)?;
        let tools = self.host.tools().await.map_err(internal)?;
        let tools = tools.iter().map(offered::tool).chain(offered::ours());
        Ok(ListToolsResult::with_all_items(tools.collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let (run, own) = match self.begin(&request, &context).await? {
            Begun::Run { run, own } => (run, own),
            Begun::Refused(why) => return Ok(CallToolResult::error(vec![text(why)]).into()),
            Begun::Look(run) => {
                let work = &self.host.work;
                let watched = Watched::now(work, run).await.map_err(internal)?;
                let stand = watched.stand(work).await.map_err(internal)?;
                return Ok(watched.result(&stand, false).into());
            }
        };
        if !own && knows_tasks(&context) {
            let task = self.task(run).await.map_err(internal)?;
            return Ok(CreateTaskResult::new(task.task).into());
        }
        tokio::select! {
            outcome = self.outcome(run, own, &context) => outcome.map_err(internal),
            () = context.ct.cancelled() => {
                let why = match self.host.work.cancel(run).await {
                    Ok(()) => "it was cancelled".to_owned(),
                    Err(why) => in_words(&why),
                };
                Ok(CallToolResult::error(vec![text(why)]).into())
            }
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let by = self.by(&context).map_err(refused)?;
        let runs = resources::list(&self.host, &by).await;
        Ok(ListResourcesResult::with_all_items(runs.map_err(internal)?))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.by(&context).map_err(refused)?;
        let templates = resources::templates();
        Ok(ListResourceTemplatesResult::with_all_items(templates))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let by = self.by(&context).map_err(refused)?;
        let read = resources::read(&self.host, &by, &request.uri).await?;
        Ok(ReadResourceResult::new(vec![read]).into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.by(&context).map_err(refused)?;
        let skills = prompts::list(&self.host).await.map_err(internal)?;
        Ok(ListPromptsResult::with_all_items(skills))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.by(&context).map_err(refused)?;
        Ok(prompts::get(&self.host, &request).await?.into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let by = self.by(&context).map_err(refused)?;
        let host = &self.host;
        let values = match &request.r#ref {
            Reference::Resource(template) => {
                let known = resources::templates();
                let is = |one: &ResourceTemplate| one.uri_template == template.uri;
                if !known.iter().any(is) || request.argument.name != resources::RUN {
                    let why = format!("there is no {} in {}", request.argument.name, template.uri);
                    return Err(ErrorData::invalid_params(why, None));
                }
                let most = CompletionInfo::MAX_VALUES;
                let ids = resources::ids(host, &by, &request.argument.value, most).await;
                ids.map_err(internal)?
            }
            Reference::Prompt(prompt) => {
                let known = prompts::list(host).await.map_err(internal)?;
                if !known.iter().any(|one| one.name == prompt.name) {
                    let why = format!("there is no prompt `{}`", prompt.name);
                    return Err(ErrorData::invalid_params(why, None));
                }
                // A task is the user's own.
                Vec::new()
            }
            _ => Vec::new(),
        };
        let info = CompletionInfo::new(values);
        let info = info.map_err(|why| internal(Problem::internal(why)))?;
        Ok(CompleteResult::new(info))
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: Context,
    ) -> Result<GetTaskResult, ErrorData> {
        let by = self.by(&context).map_err(refused)?;
        let run = self.own(&by, &request.task_id).await?;
        Ok(GetTaskResult::new(self.task(run).await.map_err(internal)?))
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        let by = self.operator(&context).map_err(refused)?;
        let run = self.own(&by, &request.task_id).await?;
        let answered = self.answer(run, &request.input_responses).await;
        answered.map_err(invalid)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        let by = self.operator(&context).map_err(refused)?;
        let run = self.own(&by, &request.task_id).await?;
        match self.host.work.cancel(run).await {
            // It was over before: that is what cancelling it would have come to.
            Err(why) if why.status != 409 => Err(internal(why)),
            _ => Ok(()),
        }
    }
}

/// Tells a client that wants to know what a run does.
struct Steps<'a> {
    context: &'a Context,
    token: Option<rmcp::model::ProgressToken>,
    told: u32,
}

impl<'a> Steps<'a> {
    fn new(context: &'a Context) -> Self {
        let token = context.meta.get_progress_token();
        Self {
            context,
            token,
            told: 0,
        }
    }

    async fn tell(&mut self, entry: &Entry) {
        let Some(token) = &self.token else { return };
        let message = match &entry.event {
            Event::ModelReplied { reply, .. } if !reply.thought.is_empty() => reply.thought.clone(),
            Event::ToolStarted { call, .. } => format!("call {call}"),
            _ => return,
        };
        self.told += 1;
        let progress = ProgressNotificationParam::new(token.clone(), f64::from(self.told));
        let told = self
            .context
            .peer
            .notify_progress(progress.with_message(message));
        if let Err(why) = told.await {
            tracing::debug!("a client is not told how far it is: {why}");
        }
    }
}

/// Whether the client's user can be asked something.
fn can_be_asked(context: &Context) -> bool {
    let declared = context
        .client_capabilities()
        .and_then(|capabilities| capabilities.elicitation);
    match is_stateless(context) {
        true => declared.is_some_and(|modes| modes.form.is_some() || modes.url.is_none()),
        false => context
            .peer
            .supported_elicitation_modes()
            .contains(&ElicitationMode::Form),
    }
}

/// Whether it speaks the protocol in which the server asks nothing by itself.
fn is_stateless(context: &Context) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

fn knows_tasks(context: &Context) -> bool {
    context
        .client_capabilities()
        .is_some_and(|capabilities| capabilities.supports_tasks())
}

fn read<T: DeserializeOwned>(args: Value) -> Result<T, String> {
    serde_json::from_value(args).map_err(|why| format!("the arguments do not fit: {why}"))
}

fn text(text: String) -> rmcp::model::ContentBlock {
    rmcp::model::ContentBlock::text(text)
}

fn in_words(problem: &Problem) -> String {
    match &problem.help {
        Some(help) => format!("{}: {help}", problem.detail),
        None => problem.detail.clone(),
    }
}

fn refused(problem: Problem) -> ErrorData {
    ErrorData::invalid_request(in_words(&problem), None)
}

fn invalid(problem: Problem) -> ErrorData {
    match problem.status {
        500.. => internal(problem),
        _ => ErrorData::invalid_params(in_words(&problem), None),
    }
}

/// It could not be done, and why.
pub fn internal(problem: Problem) -> ErrorData {
    ErrorData::internal_error(in_words(&problem), None)
}

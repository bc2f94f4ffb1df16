//! `/api/v1/runs`

use std::path::PathBuf;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gpak_kernel::{
    event::{Event, Requested, RunSpec},
    journal::{RunFilter, RunSummary},
    policy::{Access, Budget, Rule},
    run::{Resumption, Status},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::state::{self, Run, id};
use crate::{
    args::StrategyArg,
    serve::{
        House,
        access::{Role, Who, once::Once},
        problem::{Answered, Problem},
        take::{Asked, Body, Part, whole},
        trace::Trace,
        work::{Order, Said},
    },
    settings::BudgetChange,
};

/// Characters of a task, and of a message, at most.
pub const LONGEST: usize = 64 * 1024;
/// Steps that a run may be given.
const MOST_STEPS: u32 = 1_000_000;
/// Tokens that a run may be given.
const MOST_TOKENS: u64 = 1_000_000_000_000;
/// Lines of a list, where nothing is said.
const PAGE: usize = 50;
/// Lines of a list, at most.
const LARGEST_PAGE: usize = 500;

/// What is to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRun {
    /// The task, in your words.
    #[schema(min_length = 1, max_length = 65536, pattern = "\\S")]
    task: String,
    /// The folder to work in, within those that the service works in.
    workspace: Option<String>,
    /// The model, as `provider/name`.
    model: Option<String>,
    /// What it may use up; what is not said is as in the settings.
    budget: Option<Bounds>,
    /// What is asked for or denied, besides what the settings say. Nothing can be allowed here.
    #[serde(default)]
    #[schema(value_type = Vec<NewRule>)]
    permissions: Vec<Rule>,
    /// How it is done: `auto`, `direct`, `react`, `plan` or `search`.
    #[schema(value_type = Option<String>, pattern = "^(auto|direct|react|plan|search)$")]
    strategy: Option<StrategyArg>,
    /// Whether somebody may be asked. If not, what needs asking is denied at once.
    #[serde(default = "yes")]
    attended: bool,
    /// Whether it waits for another message after each answer.
    #[serde(default)]
    conversation: bool,
    /// Whatever you want to have back with the run.
    #[serde(default)]
    #[schema(value_type = Object)]
    meta: Map<String, Value>,
}

fn yes() -> bool {
    true
}

/// A rule, as the settings have it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it describes `Rule`, which is the kernel's")]
pub struct NewRule {
    /// `ask` or `deny`.
    #[schema(pattern = "^(ask|deny)$")]
    access: String,
    /// The tool, or `*`.
    tool: Option<String>,
    /// Tools with that effect.
    #[schema(pattern = "^(pure|idempotent|reversible|irreversible)$")]
    effect: Option<String>,
    /// Patterns of arguments, by name.
    #[serde(default)]
    args: std::collections::BTreeMap<String, String>,
}

/// Bounds; those that are not given stay.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Replies of the model.
    #[schema(maximum = 1000000)]
    #[serde(default, deserialize_with = "whole")]
    steps: Option<u32>,
    /// Tokens.
    #[schema(maximum = 1000000000000i64)]
    #[serde(default, deserialize_with = "whole")]
    tokens: Option<u64>,
    /// US dollars.
    #[schema(minimum = 0)]
    cost: Option<f64>,
    /// Minutes at work.
    #[schema(minimum = 0)]
    minutes: Option<f64>,
}

impl Bounds {
    fn change(self) -> Answered<BudgetChange> {
        let amounts = [self.cost, self.minutes];
        if amounts
            .iter()
            .flatten()
            .any(|amount| !amount.is_finite() || *amount < 0.0)
        {
            return Err(Problem::unprocessable("a bound is 0 or more"));
        }
        if self.steps > Some(MOST_STEPS) || self.tokens > Some(MOST_TOKENS) {
            return Err(Problem::unprocessable("a bound that is so high is none"));
        }
        Ok(BudgetChange {
            steps: self.steps,
            tokens: self.tokens,
            cost: self.cost,
            minutes: self.minutes,
        })
    }
}

/// Start a run
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", request_body = NewRun,
    responses((status = 201, body = Run), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn create(
    State(house): State<House>,
    who: Who,
    once: Option<Extension<Once>>,
    trace: Extension<Trace>,
    Body(new): Body<NewRun>,
) -> Answered<Response> {
    who.needs(Role::Operator)?;
    let order = order(&house, &who, new, once, &trace)?;
    let run = house.work.create(order).await?;
    let mut response = (StatusCode::CREATED, Json(state::run(&house, run).await?)).into_response();
    let location = HeaderValue::from_str(&format!("/api/v1/runs/{run}"));
    let location = location.map_err(Problem::internal)?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

fn order(
    house: &House,
    who: &Who,
    new: NewRun,
    once: Option<Extension<Once>>,
    trace: &Trace,
) -> Answered<Order> {
    short_enough(&new.task)?;
    if new
        .permissions
        .iter()
        .any(|rule| rule.access == Access::Allow)
    {
        return Err(
            Problem::unprocessable("a request cannot allow itself anything")
                .help("allow it in the settings of the service, or decide when the run asks"),
        );
    }
    let patterns = new.permissions.iter().flat_map(|rule| rule.args.values());
    if patterns.into_iter().any(|pattern| !pattern.is_string()) {
        return Err(Problem::unprocessable(
            "the pattern of an argument is a text",
        ));
    }
    let workspace = house
        .work
        .workspace(new.workspace.map(PathBuf::from).as_deref())?;
    let settings = house.work.settings(&workspace)?;
    let mut permissions = settings.permissions();
    permissions.rules.extend(new.permissions);
    let change = new
        .budget
        .map(Bounds::change)
        .transpose()?
        .unwrap_or_default();
    let budget: Budget = change.apply(settings.budget());
    let strategy = new.strategy.or(settings.strategy.value);
    let spec = RunSpec {
        task: new.task,
        workspace,
        model: String::new(),
        budget,
        permissions,
        attended: new.attended,
        conversation: new.conversation,
        origin: None,
        check: match new.conversation {
            true => Vec::new(),
            false => settings.check.value.clone(),
        },
        strategy: strategy.map(Into::into).filter(|_| !new.conversation),
        parent: None,
    };
    let mut meta = new.meta;
    trace.note(&mut meta);
    Ok(Order {
        spec,
        model: new.model,
        request: Requested {
            by: who.name.clone(),
            meta,
            ..Requested::default()
        },
        run: once.map(|Extension(Once(run))| run),
    })
}

/// Fails for a text that is too long to be a task or a message.
pub fn short_enough(text: &str) -> Answered<()> {
    let length = text.chars().count();
    if length > LONGEST {
        return Err(Problem::unprocessable(format!(
            "the text has {length} characters, and {LONGEST} are taken"
        ))
        .help("put it into a file of the workspace, and name that"));
    }
    if text.trim().is_empty() {
        return Err(Problem::unprocessable("the text is empty"));
    }
    Ok(())
}

/// Which runs are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Only those that are `pending`, `running`, `waiting`, `completed`, `failed` or `cancelled`.
    #[param(value_type = Option<String>,
        pattern = "^(pending|running|waiting|completed|failed|cancelled)$")]
    status: Option<Status>,
    /// At most so many.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Go on from where the last list ended: its `next`.
    #[param(pattern = "^[0-9a-f]{32}\\.[0-9]{1,9}\\.[0-9]{1,19}$")]
    after: Option<String>,
    /// Runs that are parts of others as well.
    #[serde(default)]
    parts: bool,
}

/// A page of the list of runs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page {
    /// The runs.
    #[schema(value_type = Vec<Object>)]
    runs: Vec<RunSummary>,
    /// Give this as `after` to get the next page; nothing, if this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List the runs, newest first
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(Listed), responses(
    (status = 200, body = Page), (status = 400, body = Problem)))]
pub async fn list(
    State(house): State<House>,
    _: Who,
    Asked(listed): Asked<Listed>,
) -> Answered<Json<Page>> {
    let limit = listed.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Problem::bad(format!("`limit` is 1 to {LARGEST_PAGE}")));
    }
    let after = listed.after.as_deref().map(Place::read).transpose()?;
    let filter = |limit| RunFilter {
        status: listed.status,
        limit,
        whole: !listed.parts,
        ..RunFilter::default()
    };
    let journal = house.work.journal();
    let Some(place) = after else {
        let runs = journal.runs(&filter(Some(limit + 1))).await?;
        return Ok(Json(page(runs, 0, limit)));
    };
    // Newer runs push the place down, so a little more is read than it was; if it is not there, all.
    const SLACK: usize = 64;
    let mut runs = journal
        .runs(&filter(Some(place.at + limit + SLACK)))
        .await?;
    let mut found = runs.iter().position(|run| run.run == place.run);
    if found.is_none_or(|found| found + limit + 1 >= runs.len()) {
        runs = journal.runs(&filter(None)).await?;
        found = runs.iter().position(|run| run.run == place.run);
    }
    let from = match found {
        Some(found) => found + 1,
        // It changed its status since: go on from its time.
        None => runs.partition_point(|run| run.created >= place.created),
    };
    Ok(Json(page(runs, from, limit)))
}

fn page(runs: Vec<RunSummary>, from: usize, limit: usize) -> Page {
    let is_more = runs.len() > from + limit;
    let runs: Vec<_> = runs.into_iter().skip(from).take(limit).collect();
    let next = runs.last().filter(|_| is_more).map(|last| {
        let at = from + runs.len();
        format!("{}.{at}.{}", last.run, last.created.as_nanosecond())
    });
    Page { runs, next }
}

/// Where a page ended.
struct Place {
    run: gpak_kernel::event::RunId,
    at: usize,
    created: jiff::Timestamp,
}

impl Place {
    fn read(text: &str) -> Answered<Self> {
        let read = || {
            let mut parts = text.splitn(3, '.');
            let run = parts.next()?.parse().ok()?;
            let at = parts
                .next()?
                .parse()
                .ok()
                .filter(|at| *at < usize::MAX / 2)?;
            let created = parts.next()?.parse().ok()?;
            let created = jiff::Timestamp::from_nanosecond(created).ok()?;
            Some(Self { run, at, created })
        };
        read().ok_or_else(|| Problem::bad("`after` is the `next` of a page before"))
    }
}

/// Look at a run
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    responses((status = 200, body = Run), (status = 404, body = Problem)))]
pub async fn get(
    State(house): State<House>,
    _: Who,
    Part(run): Part<String>,
) -> Answered<Json<Run>> {
    Ok(Json(state::run(&house, id(&run)?).await?))
}

/// Cancel a run
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    responses((status = 200, body = Run), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn cancel(
    State(house): State<House>,
    who: Who,
    Part(run): Part<String>,
) -> Answered<Json<Run>> {
    who.needs(Role::Operator)?;
    let run = id(&run)?;
    house.work.cancel(run).await?;
    Ok(Json(state::run(&house, run).await?))
}

/// How a run goes on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GoOn {
    /// What it may use up from now on, counted from its beginning. A run that is out of budget gets as
    /// much again where nothing is said.
    budget: Option<Bounds>,
    /// What you say as it goes on.
    #[schema(min_length = 1, max_length = 65536, pattern = "\\S")]
    message: Option<String>,
}

/// Let a run go on that is out of budget, was interrupted, or was begun elsewhere
#[utoipa::path(post, path = "/api/v1/runs/{id}/resume", tag = "runs", request_body = Option<GoOn>,
    params(("id" = String, Path, description = "The run")),
    responses((status = 200, body = Run), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn resume(
    State(house): State<House>,
    who: Who,
    Part(run): Part<String>,
    Body(how): Body<GoOn>,
) -> Answered<Json<Run>> {
    who.needs(Role::Operator)?;
    let run = id(&run)?;
    let change = how.budget.map(Bounds::change).transpose()?;
    if let Some(message) = &how.message {
        short_enough(message)?;
    }
    house
        .work
        .go_on(run, &who.name, change, how.message)
        .await?;
    Ok(Json(state::run(&house, run).await?))
}

/// Where a fork begins.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// The last entry to share; the last before the run's end, where nothing is said.
    #[schema(minimum = 1)]
    #[serde(default, deserialize_with = "whole")]
    at: Option<u64>,
    /// The folder that the fork works in; the same, where nothing is said.
    workspace: Option<String>,
    /// What you say as it goes on.
    #[schema(min_length = 1, max_length = 65536, pattern = "\\S")]
    message: Option<String>,
}

/// Make a run that goes on from an entry of this one
#[utoipa::path(post, path = "/api/v1/runs/{id}/fork", tag = "runs", request_body = Option<Fork>,
    params(("id" = String, Path, description = "The run")),
    responses((status = 201, body = Run), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub async fn fork(
    State(house): State<House>,
    who: Who,
    once: Option<Extension<Once>>,
    Part(run): Part<String>,
    Body(fork): Body<Fork>,
) -> Answered<(StatusCode, Json<Run>)> {
    who.needs(Role::Operator)?;
    let run = id(&run)?;
    if let Some(message) = &fork.message {
        short_enough(message)?;
    }
    let same = workspace_of(&house, run).await?;
    let named = fork.workspace.map(PathBuf::from).unwrap_or(same);
    let workspace = house.work.workspace(Some(&named))?;
    let request = Requested {
        by: who.name.clone(),
        ..Requested::default()
    };
    let change = |state: &gpak_kernel::run::State| Resumption {
        attended: state.spec.as_ref().is_some_and(|spec| spec.attended),
        message: fork.message,
        ..Resumption::default()
    };
    let once = once.map(|Extension(Once(run))| run);
    let from = (run, fork.at);
    let forked = house
        .work
        .fork(from, once, Some(workspace), request, change);
    let run = state::run(&house, forked.await?).await?;
    Ok((StatusCode::CREATED, Json(run)))
}

async fn workspace_of(house: &House, run: gpak_kernel::event::RunId) -> Answered<PathBuf> {
    let entries = house.work.journal().read(run, 1).await?;
    let spec = entries.into_iter().find_map(|entry| match entry.event {
        Event::RunCreated { spec } => Some(spec.workspace),
        _ => None,
    });
    spec.ok_or_else(|| Problem::conflict("the run does not begin with its task"))
}

/// What an undo came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct Undone {
    /// What was put back, newest first.
    restored: Vec<String>,
    /// What was left as it is, and why.
    refused: Vec<String>,
    /// Calls that cannot be undone.
    irreversible: Vec<String>,
    /// How many episodes that were remembered of it were forgotten.
    forgotten: usize,
}

/// Put back every file that a run changed, or none and say which changed since
#[utoipa::path(post, path = "/api/v1/runs/{id}/undo", tag = "runs",
    params(("id" = String, Path, description = "The run")),
    responses((status = 200, body = Undone), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn undo(
    State(house): State<House>,
    who: Who,
    Part(run): Part<String>,
) -> Answered<Json<Undone>> {
    who.needs(Role::Operator)?;
    let undone = house.work.undo(id(&run)?).await?;
    Ok(Json(Undone {
        restored: undone.restored,
        refused: undone.refused,
        irreversible: undone.irreversible,
        forgotten: undone.forgotten,
    }))
}

/// Something that is said to a run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// What.
    #[schema(min_length = 1, max_length = 65536, pattern = "\\S")]
    text: String,
}

/// What became of a message.
#[derive(Debug, Serialize, ToSchema)]
pub struct Heard {
    /// `heard` by a run that is at work, one that `goes_on` with it, or one that `waits` for something else.
    pub became: String,
}

/// Say something to a run: between two steps it hears it, or goes on with it
#[utoipa::path(post, path = "/api/v1/runs/{id}/messages", tag = "runs", request_body = NewMessage,
    params(("id" = String, Path, description = "The run")),
    responses((status = 200, body = Heard), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub async fn say(
    State(house): State<House>,
    who: Who,
    Part(run): Part<String>,
    Body(message): Body<NewMessage>,
) -> Answered<Json<Heard>> {
    who.needs(Role::Operator)?;
    short_enough(&message.text)?;
    let became = match house.work.say(id(&run)?, message.text).await? {
        Said::Heard => "heard",
        Said::GoesOn => "goes_on",
        Said::Waits => "waits",
    };
    Ok(Json(Heard {
        became: became.to_owned(),
    }))
}

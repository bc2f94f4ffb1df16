//! The run that a request begins, or goes on with.

use axum::http::HeaderMap;
use gpak_kernel::{
    event::{Event, Requested, RunId, RunSpec},
    label::Label,
    run::{Answer, Machine, Resumption, State},
};
use serde_json::{Map, Value, json};

use super::{
    ask::{Ask, Outputs},
    pieces::{self, Piece},
    retry,
};
use crate::serve::{
    House,
    access::Who,
    api::runs::short_enough,
    problem::{Answered, Problem},
    trace::Trace,
    work::{Order, last_before_end},
};

/// A request to the agent.
pub struct Asking<'a> {
    /// The service.
    pub house: &'a House,
    /// Who asks.
    pub who: &'a Who,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// Where it was sent, and what it says, to know it again.
    pub request: (&'static str, &'a [u8]),
    /// The trace it is a part of.
    pub trace: &'a Trace,
    /// What it asks.
    pub ask: Ask,
    /// The stretch that it goes on from.
    pub previous: Option<(RunId, u64)>,
    /// What the client wants to have back.
    pub meta: Value,
}

impl Asking<'_> {
    /// The run, and the entry that the answer to this begins with.
    pub async fn begin(self) -> Answered<(RunId, u64)> {
        self.has_no_tool_of_ours().await?;
        if let Some(outputs) = self.ask.outputs() {
            let elsewhere = self.previous.is_some_and(|(run, _)| run != outputs.run);
            if elsewhere {
                return Err(Problem::unprocessable(
                    "the outputs are of calls of another response than the previous one",
                ));
            }
            return self.pass_on(outputs).await;
        }
        let task = self.ask.task()?;
        short_enough(&task)?;
        let (house, who) = (self.house, self.who);
        let run = retry::run_of(house, who, self.headers, self.request).await?;
        let request = Requested {
            by: who.name.clone(),
            instructions: self.ask.instructions.clone(),
            tools: self.ask.tools.clone(),
            meta: self.meta(),
        };
        match self.previous {
            Some(previous) => self.go_on_from(previous, run, task, request).await,
            None => self.create(run, task, request).await,
        }
    }

    fn meta(&self) -> Map<String, Value> {
        let mut meta = Map::new();
        meta.insert(META.to_owned(), self.meta.clone());
        self.trace.note(&mut meta);
        meta
    }

    /// A tool of the client's must not be taken for one of the agent's own.
    async fn has_no_tool_of_ours(&self) -> Answered<()> {
        let ours = self.house.work.tools().await?;
        let mut theirs = self.ask.tools.iter();
        let taken = theirs.find(|tool| ours.iter().any(|own| own.name == tool.name));
        match taken {
            None => Ok(()),
            Some(tool) => Err(Problem::unprocessable(format!(
                "the agent has a tool `{}` of its own",
                tool.name
            ))
            .help("give yours another name; GET /api/v1/tools lists the agent's")),
        }
    }

    async fn create(&self, run: RunId, task: String, request: Requested) -> Answered<(RunId, u64)> {
        let workspace = self.house.work.workspace(None)?;
        let settings = self.house.work.settings(&workspace)?;
        let spec = RunSpec {
            task,
            workspace,
            model: String::new(),
            budget: settings.budget(),
            permissions: settings.permissions(),
            attended: true,
            conversation: false,
            origin: None,
            check: settings.check.value.clone(),
            strategy: settings.strategy.value.map(Into::into),
            parent: None,
        };
        let order = Order {
            spec,
            model: None,
            request,
            run: Some(run),
        };
        Ok((self.house.work.create(order).await?, 1))
    }

    /// A response that was given is gone on from in a run of its own, so that it can be gone on from again
    /// in another way.
    async fn go_on_from(
        &self,
        (run, start): (RunId, u64),
        fork: RunId,
        task: String,
        request: Requested,
    ) -> Answered<(RunId, u64)> {
        let house = self.house;
        let (stretch, told) = pieces::so_far(house, run, start).await?;
        if stretch.end.is_none() {
            return Err(Problem::conflict(
                "the previous response is not complete yet",
            ));
        }
        if told.iter().any(|piece| matches!(piece, Piece::Call(_))) {
            return Err(Problem::unprocessable(
                "the previous response waits for the outputs of its calls",
            )
            .help("send a `function_call_output` for each"));
        }
        let mut entries = house.work.journal().read(run, 1).await?;
        entries.retain(|entry| entry.seq <= stretch.last);
        let at = last_before_end(&entries);
        let workspace = house.work.workspace(None)?;
        let budget = house.work.settings(&workspace)?.budget();
        let change = move |state: &State| Resumption {
            budget: Some(budget.on_top_of(&state.charged())),
            attended: true,
            message: Some(task),
            ..Resumption::default()
        };
        let from = (run, Some(at));
        let fork = house
            .work
            .fork(from, Some(fork), None, request, change)
            .await?;
        Ok((fork, at + 1))
    }

    /// Passes on what came of the client's calls. The same outputs again are the same answer.
    async fn pass_on(&self, outputs: Outputs) -> Answered<(RunId, u64)> {
        let house = self.house;
        if let Some(start) = answered(house, &outputs).await? {
            return Ok((outputs.run, start));
        }
        let entries = house.work.journal().read(outputs.run, 1).await?;
        let machine = Machine::fold(&entries);
        let answers = outputs.calls.iter().map(|(id, text)| {
            let tool = machine.state().call(*id).map(|call| call.name.clone());
            let from = Label::Tool(tool.unwrap_or_default());
            (*id, Answer::Text(text.clone()), from)
        });
        house.work.answer(outputs.run, answers.collect()).await?;
        for text in &outputs.said {
            house.work.say(outputs.run, text.clone()).await?;
        }
        let start = answered(house, &outputs).await?;
        let start = start.ok_or_else(|| Problem::internal("an answer was not written down"))?;
        Ok((outputs.run, start))
    }
}

/// Where a client's own wishes stand in what is kept with a run.
pub const META: &str = "openai";

/// The entry with which the answers to these calls begin, if they are all there.
async fn answered(house: &House, outputs: &Outputs) -> Answered<Option<u64>> {
    let entries = house.work.journal().read(outputs.run, 1).await?;
    let mut first = None;
    for (id, _) in &outputs.calls {
        let found = entries
            .iter()
            .find(|entry| matches!(&entry.event, Event::ToolFinished { call, .. } if call == id));
        let Some(found) = found else {
            return Ok(None);
        };
        first = Some(first.map_or(found.seq, |first: u64| first.min(found.seq)));
    }
    Ok(first)
}

/// What a client's wishes are, of those that are given back.
pub fn wishes(body: &Value, names: &[&str]) -> Value {
    let given = names.iter().filter_map(|name| {
        let value = body.get(*name).filter(|value| !value.is_null())?;
        Some(((*name).to_owned(), value.clone()))
    });
    json!(given.collect::<Map<_, _>>())
}

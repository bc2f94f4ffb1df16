//! What a client of this protocol is told of a run, read from its entries.
//!
//! A response is a stretch of a run: from the entry it begins with to the first behind it at which the
//! client is to act, or the run is over. A pause for an approval is none, nor one because the service
//! stopped: the run goes on behind it.

use futures::StreamExt;
use gpak_kernel::{
    entry::Entry,
    event::{Event, Outcome, PauseReason, Requested, RunId},
    model::Usage,
    run::{Machine, Waiting},
};

use super::ask::{Made, call_id};
use crate::serve::{
    House,
    problem::{Answered, Problem},
    work::request_of,
};

/// Something that a client is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// What the model thought.
    Thought(String),
    /// The answer.
    Answer(String),
    /// A call that the client is to make.
    Call(Made),
    /// Nothing more comes.
    End(End),
}

/// How a stretch ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// With an answer, or calls to make.
    Completed,
    /// Its budget is used up: what, in words.
    Incomplete(String),
    /// Without an answer: why.
    Failed(String),
    /// Somebody ended it.
    Cancelled,
}

/// Reads a stretch of a run, entry by entry.
pub struct Pieces {
    /// The run.
    pub run: RunId,
    /// The entry that the stretch begins with.
    pub start: u64,
    /// What was asked for.
    pub request: Requested,
    /// What the replies took.
    pub usage: Usage,
    /// When its first entry was written, in seconds since 1970.
    pub created: i64,
    /// When its last was.
    pub updated: i64,
    /// The last entry of it.
    pub last: u64,
    /// How it ended, if it did.
    pub end: Option<End>,
    machine: Machine,
    entries: Vec<Entry>,
}

impl Pieces {
    /// The stretch of that run that begins with that entry.
    pub fn new(run: RunId, start: u64) -> Self {
        Self {
            run,
            start,
            request: Requested::default(),
            usage: Usage::default(),
            created: 0,
            updated: 0,
            last: 0,
            end: None,
            machine: Machine::fold([]),
            entries: Vec::new(),
        }
    }

    /// Takes in the next entry of the run, and gives what it tells the client.
    pub fn take(&mut self, entry: Entry) -> Vec<Piece> {
        self.machine.apply(&entry);
        if let Event::RunCreated { .. } | Event::RunRequested { .. } = &entry.event {
            self.entries.push(entry.clone());
            self.request = request_of(&self.entries).unwrap_or_default();
        }
        if entry.seq < self.start || self.end.is_some() {
            return Vec::new();
        }
        if entry.seq == self.start {
            self.created = entry.time.as_second();
        }
        (self.last, self.updated) = (entry.seq, entry.time.as_second());
        let pieces = self.told(entry.event);
        if let Some(Piece::End(end)) = pieces.last() {
            self.end = Some(end.clone());
        }
        pieces
    }

    /// Whether it is what the run was created, or forked, for, and not the answer to calls.
    pub fn is_first(&self) -> bool {
        let spec = self.machine.state().spec.as_ref();
        let origin = spec.and_then(|spec| spec.origin);
        self.start == origin.map_or(1, |origin| origin.seq + 1)
    }

    fn told(&mut self, event: Event) -> Vec<Piece> {
        match event {
            Event::ModelReplied { reply } => {
                let (sum, one) = (&mut self.usage, &reply.usage);
                sum.input += one.input;
                sum.cached += one.cached;
                sum.output += one.output;
                // Text beside calls is said on the way; alone it is the answer, which comes at the end.
                let aside = Some(reply.text).filter(|_| !reply.calls.is_empty());
                let said = [Some(reply.thought), aside].into_iter().flatten();
                said.filter(|text| !text.trim().is_empty())
                    .map(Piece::Thought)
                    .collect()
            }
            Event::RunFinished { outcome } => match outcome {
                Outcome::Completed { answer } => {
                    vec![Piece::Answer(answer), Piece::End(End::Completed)]
                }
                Outcome::Failed { reason } => vec![Piece::End(End::Failed(reason))],
                Outcome::Cancelled => vec![Piece::End(End::Cancelled)],
            },
            Event::RunPaused { reason } => match reason {
                PauseReason::Interrupted => Vec::new(),
                PauseReason::Unanswered => self.calls(),
                PauseReason::Budget { message } => vec![Piece::End(End::Incomplete(message))],
                PauseReason::Model { message }
                | PauseReason::Tool { message }
                | PauseReason::Stuck { message } => vec![Piece::End(End::Failed(message))],
            },
            _ => Vec::new(),
        }
    }

    /// The calls that the client is to make; nothing, if the run waits for somebody else first.
    fn calls(&self) -> Vec<Piece> {
        let mut calls = Vec::new();
        for waiting in self.machine.waits_for() {
            let Waiting::Question { call, .. } = waiting else {
                break;
            };
            let is_theirs = self.request.tools.iter().any(|tool| tool.name == call.name);
            if !is_theirs {
                break;
            }
            calls.push(Piece::Call(Made {
                id: call_id(self.run, call.id),
                name: call.name,
                args: call.args.to_string(),
            }));
        }
        if !calls.is_empty() {
            calls.push(Piece::End(End::Completed));
        }
        calls
    }
}

/// The whole stretch, once it has come to its end, with all that it tells.
pub async fn whole(house: &House, run: RunId, start: u64) -> Answered<(Pieces, Vec<Piece>)> {
    let mut stretch = Pieces::new(run, start);
    let mut all = Vec::new();
    let mut entries = house.work.journal().watch(run, 1);
    while stretch.end.is_none() {
        let entry = tokio::select! {
            entry = entries.next() => entry,
            () = house.stop.cancelled() => {
                return Err(Problem::unavailable("the service stops; the run goes on when it is back"));
            }
        };
        let Some(entry) = entry else {
            return Err(Problem::missing("the run has no such response"));
        };
        all.extend(stretch.take(entry?));
    }
    Ok((stretch, all))
}

/// The stretch as far as it has come.
pub async fn so_far(house: &House, run: RunId, start: u64) -> Answered<(Pieces, Vec<Piece>)> {
    let mut stretch = Pieces::new(run, start);
    let mut all = Vec::new();
    for entry in house.work.journal().read(run, 1).await? {
        all.extend(stretch.take(entry));
    }
    Ok((stretch, all))
}

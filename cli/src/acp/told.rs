//! What happens in a run, as an editor is told it.

use agent_client_protocol::{
    Client,
    v1::{
        ConnectionTo,
        schema::{
            ContentBlock, ContentChunk, Plan, PlanEntry, PlanEntryPriority, PlanEntryStatus,
            SessionId, SessionNotification, SessionUpdate, ToolCall as Shown, ToolCallContent,
            ToolCallId, ToolCallLocation, ToolCallStatus, ToolCallUpdate, ToolCallUpdateFields,
            ToolKind,
        },
    },
};
use gpak_kernel::{
    entry::Entry,
    event::{Event, PlanItem, PlanStatus},
    label::Label,
    model::{CallId, Delta, Reply, ToolCall},
    run::{Ended, Observer, State},
    tool::{Control, ToolSpec},
};
use serde_json::Value;

use crate::show::{self, live};

/// Bytes of a result that an editor is shown.
const RESULT: usize = 16 * 1024;

/// Tells an editor what happens as it happens.
pub(super) struct View {
    session: SessionId,
    editor: ConnectionTo<Client>,
    /// Whether the reply that is under way was told as it came.
    told: bool,
}

impl View {
    pub(super) fn new(session: SessionId, editor: ConnectionTo<Client>) -> Self {
        Self {
            session,
            editor,
            told: false,
        }
    }

    /// Says why a turn ended, where that is not plain from what was told.
    pub(super) fn end(&mut self, ended: &Ended) {
        use gpak_kernel::event::{Outcome, PauseReason};
        let why = match ended {
            Ended::Finished(outcome @ Outcome::Failed { .. }) => live::ending(outcome),
            Ended::Paused(reason @ (PauseReason::Budget { .. } | PauseReason::Stuck { .. })) => {
                live::waiting(reason)
            }
            _ => return,
        };
        self.send(message(&why));
    }

    fn send(&self, update: SessionUpdate) {
        let note = SessionNotification::new(self.session.clone(), update);
        if let Err(why) = self.editor.send_notification(note) {
            tracing::debug!("the editor is gone: {why}");
        }
    }
}

impl Observer for View {
    fn entry(&mut self, entry: &Entry, state: &State) {
        if state
            .spec
            .as_ref()
            .is_some_and(|spec| spec.parent.is_some())
        {
            return;
        }
        let updates = match &entry.event {
            // What the user said, the editor knows.
            Event::RunCreated { .. } | Event::MessageReceived { .. } => return,
            Event::ModelReplied { reply } => {
                let said = match std::mem::take(&mut self.told) {
                    true => Vec::new(),
                    false => said(reply),
                };
                said.into_iter().chain(made(reply, state)).collect()
            }
            _ => of_past(entry, state),
        };
        updates.into_iter().for_each(|update| self.send(update));
    }

    fn delta(&mut self, delta: Delta<'_>) {
        match delta {
            Delta::Thought(text) => {
                self.told = true;
                self.send(thought(text));
            }
            Delta::Text(text) => {
                self.told = true;
                self.send(message(text));
            }
            _ => {}
        }
    }
}

/// What an entry tells an editor that was not there when it was made.
pub(super) fn of_past(entry: &Entry, state: &State) -> Vec<SessionUpdate> {
    match &entry.event {
        Event::RunCreated { spec } => vec![user(&spec.task)],
        Event::MessageReceived { text, from } if *from == Label::User => vec![user(text)],
        Event::MemoryRecalled { hits, failed } => {
            let lines = show::recalled(hits, failed.as_deref(), 160);
            vec![thought(&format!("{}\n", lines.join("\n")))]
        }
        Event::ModelReplied { reply } => {
            let said = said(reply).into_iter();
            said.chain(made(reply, state)).collect()
        }
        Event::ToolStarted { call, .. } => {
            let fields = ToolCallUpdateFields::new().status(ToolCallStatus::InProgress);
            vec![update(*call, fields)]
        }
        Event::ToolFinished {
            call,
            tool,
            outcome,
            ..
        } => {
            let control = control(state, tool);
            if control == Some(Control::Finish) && outcome.is_done() {
                return vec![message(outcome.text())];
            }
            if is_silent(control) || state.call(*call).is_none() {
                return Vec::new();
            }
            let status = match outcome.is_done() {
                true => ToolCallStatus::Completed,
                false => ToolCallStatus::Failed,
            };
            let text = outcome.text();
            let text = text.get(..text.floor_char_boundary(RESULT)).unwrap_or(text);
            let content = vec![ToolCallContent::from(ContentBlock::from(text))];
            let fields = ToolCallUpdateFields::new().status(status).content(content);
            vec![update(*call, fields)]
        }
        Event::PlanChanged { plan } => vec![SessionUpdate::Plan(Plan::new(
            plan.iter().map(item).collect(),
        ))],
        _ => Vec::new(),
    }
}

/// A reply in words.
fn said(reply: &Reply) -> Vec<SessionUpdate> {
    let mut said = Vec::new();
    if !reply.thought.trim().is_empty() {
        said.push(thought(&reply.thought));
    }
    if !reply.text.trim().is_empty() {
        said.push(message(&reply.text));
    }
    said
}

/// The calls of the last reply, before anything came of them.
fn made(reply: &Reply, state: &State) -> Vec<SessionUpdate> {
    let shown = |(index, call): (u32, &ToolCall)| {
        if is_silent(control(state, &call.name)) {
            return None;
        }
        let id = CallId {
            reply: state.replies,
            index,
        };
        let path = call.args.get("path").and_then(Value::as_str);
        let workspace = state.spec.as_ref().map(|spec| spec.workspace.as_path());
        let place = path.zip(workspace).map(|(path, folder)| folder.join(path));
        let call = Shown::new(self::id(id), show::call(call))
            .kind(kind(&call.name))
            .status(ToolCallStatus::Pending)
            .locations(place.map(ToolCallLocation::new).into_iter().collect())
            .raw_input(call.args.clone());
        Some(SessionUpdate::ToolCall(call))
    };
    (0..).zip(&reply.calls).filter_map(shown).collect()
}

fn control(state: &State, tool: &str) -> Option<Control> {
    let tools = &state.setup.as_ref()?.tools;
    let is_it = |spec: &&ToolSpec| spec.name == tool;
    tools.iter().find(is_it)?.control
}

/// Calls by which the model speaks to the machine are told by what they lead to.
fn is_silent(control: Option<Control>) -> bool {
    control.is_some_and(|control| control != Control::Delegate)
}

fn item(item: &PlanItem) -> PlanEntry {
    let status = match item.status {
        PlanStatus::Pending => PlanEntryStatus::Pending,
        PlanStatus::Active => PlanEntryStatus::InProgress,
        PlanStatus::Done => PlanEntryStatus::Completed,
    };
    PlanEntry::new(item.text.clone(), PlanEntryPriority::Medium, status)
}

fn update(call: CallId, fields: ToolCallUpdateFields) -> SessionUpdate {
    SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id(call), fields))
}

fn user(text: &str) -> SessionUpdate {
    SessionUpdate::UserMessageChunk(ContentChunk::new(ContentBlock::from(text)))
}

fn message(text: &str) -> SessionUpdate {
    SessionUpdate::AgentMessageChunk(ContentChunk::new(ContentBlock::from(text)))
}

fn thought(text: &str) -> SessionUpdate {
    SessionUpdate::AgentThoughtChunk(ContentChunk::new(ContentBlock::from(text)))
}

/// A call's name in its session.
pub(super) fn id(call: CallId) -> ToolCallId {
    ToolCallId::new(call.to_string())
}

/// The sort of tool, for the icon in front of it.
pub(super) fn kind(tool: &str) -> ToolKind {
    match tool {
        "read_file" | "list_files" | "read_history" | "recall" => ToolKind::Read,
        "search_files" => ToolKind::Search,
        "write_file" | "edit_file" => ToolKind::Edit,
        "move_file" => ToolKind::Move,
        "delete_file" | "forget" => ToolKind::Delete,
        "run_command" | "run_script" => ToolKind::Execute,
        _ => ToolKind::Other,
    }
}

//! The person in front of the editor, as the driver meets them.

use std::sync::Mutex;

use agent_client_protocol::{
    Client,
    v1::{
        ConnectionTo,
        schema::{
            ContentBlock, ContentChunk, PermissionOption, PermissionOptionKind,
            RequestPermissionOutcome, RequestPermissionRequest, SessionId, SessionNotification,
            SessionUpdate, ToolCallContent, ToolCallUpdate, ToolCallUpdateFields,
        },
    },
};
use async_trait::async_trait;
use gpak_kernel::{
    event::Decision,
    model::ToolCall,
    run::{Answer, Human, Waiting},
    tool::Call,
};

use super::{locked, told};

/// The person, and what they said ahead of being asked.
pub(super) struct Person {
    session: SessionId,
    editor: ConnectionTo<Client>,
    answer: Mutex<Option<String>>,
}

/// What can be answered: its id, its words, its kind for the editor, and what it means.
type Option4 = (&'static str, &'static str, PermissionOptionKind, Decision);

const LEAVE: [Option4; 3] = [
    (
        "allow",
        "Allow",
        PermissionOptionKind::AllowOnce,
        Decision::Allow,
    ),
    (
        "allow_for_session",
        "Allow for this session",
        PermissionOptionKind::AllowAlways,
        Decision::AllowForRun,
    ),
    (
        "reject",
        "Reject",
        PermissionOptionKind::RejectOnce,
        Decision::Deny,
    ),
];

const IN_DOUBT: [Option4; 3] = [
    (
        "again",
        "It was not done: do it",
        PermissionOptionKind::AllowOnce,
        Decision::Allow,
    ),
    (
        "was_done",
        "It was done",
        PermissionOptionKind::AllowAlways,
        Decision::WasDone,
    ),
    (
        "reject",
        "Leave it",
        PermissionOptionKind::RejectOnce,
        Decision::Deny,
    ),
];

impl Person {
    pub(super) fn new(session: SessionId, editor: ConnectionTo<Client>) -> Self {
        Self {
            session,
            editor,
            answer: Mutex::default(),
        }
    }

    /// What they say to the question that the run waits with.
    pub(super) fn answers(&self, text: String) {
        *locked(&self.answer) = Some(text);
    }

    /// Asks for leave. Never answers, if the turn is cancelled meanwhile: the driver is stopped then.
    async fn decide(&self, call: &Call, told: String, options: &[Option4]) -> Option<Answer> {
        let made = ToolCall {
            name: call.name.clone(),
            args: call.args.clone(),
        };
        let fields = ToolCallUpdateFields::new()
            .title(crate::show::call(&made))
            .kind(told::kind(&call.name))
            .raw_input(call.args.clone())
            .content(vec![ToolCallContent::from(ContentBlock::from(told))]);
        let update = ToolCallUpdate::new(told::id(call.id), fields);
        let offered = options
            .iter()
            .map(|(id, name, kind, _)| PermissionOption::new(*id, *name, *kind));
        let asked = RequestPermissionRequest::new(self.session.clone(), update, offered.collect());
        let answered = self.editor.send_request(asked).block_task().await;
        let chosen = match answered.map(|answered| answered.outcome) {
            Ok(RequestPermissionOutcome::Selected(chosen)) => chosen,
            Ok(_) => return std::future::pending().await,
            Err(why) => {
                tracing::warn!("the editor does not ask for leave: {why}");
                return None;
            }
        };
        let meant = options.iter().find(|(id, ..)| *id == &*chosen.option_id.0);
        let decision = meant.map_or(Decision::Deny, |(_, _, _, decision)| *decision);
        Some(Answer::Decision(decision, String::new()))
    }

    fn say(&self, text: &str) {
        let chunk = ContentChunk::new(ContentBlock::from(text));
        let update = SessionUpdate::AgentMessageChunk(chunk);
        let note = SessionNotification::new(self.session.clone(), update);
        if let Err(why) = self.editor.send_notification(note) {
            tracing::debug!("the editor is gone: {why}");
        }
    }
}

#[async_trait]
impl Human for Person {
    async fn ask(&self, waiting: &Waiting, preview: Option<&str>) -> Option<Answer> {
        match waiting {
            Waiting::Approval { call, reason } => {
                let told = match preview {
                    Some(preview) => format!("{reason}\n{preview}"),
                    None => reason.clone(),
                };
                self.decide(call, told, &LEAVE).await
            }
            Waiting::InDoubt { call } => {
                let told = "gpak was stopped while this was running; it may have been done.";
                self.decide(call, told.to_owned(), &IN_DOUBT).await
            }
            Waiting::Question { text, .. } => {
                let answer = locked(&self.answer).take();
                if answer.is_none() {
                    self.say(text);
                }
                answer.map(Answer::Text)
            }
            Waiting::Message | Waiting::Driver(_) => None,
        }
    }
}

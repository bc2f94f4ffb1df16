//! Our side of a connection: what a server may ask of us, and what it tells us.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rmcp::{
    ClientHandler, ErrorData, RoleClient,
    model::{
        ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
        ElicitationCapability, FormElicitationCapability, Implementation,
        ProgressNotificationParam, ProtocolVersion,
    },
    service::{NotificationContext, RequestContext},
};
use tokio::time::{Instant, sleep_until};

use super::{Progress, ServerName, Shared, elicit, locked};

/// How many times longer than without a sign of life a call may go on with signs of it.
const PATIENCE: u32 = 12;

/// Hears a server.
#[derive(Clone)]
pub(super) struct Client {
    server: ServerName,
    shared: Arc<Shared>,
    heard: Arc<Heard>,
}

/// What was heard of a server.
pub(super) struct Heard {
    pulse: Mutex<Pulse>,
    /// Whether its list of tools is another now.
    list_changed: AtomicBool,
    /// What the user was asked and how that went, since it was last told.
    asked: Mutex<Vec<String>>,
}

struct Pulse {
    last: Instant,
    /// Questions that a person is thinking about.
    questions: u32,
}

impl Client {
    pub(super) fn new(server: ServerName, shared: Arc<Shared>) -> Self {
        let heard = Heard {
            pulse: Mutex::new(Pulse {
                last: Instant::now(),
                questions: 0,
            }),
            list_changed: AtomicBool::new(false),
            asked: Mutex::default(),
        };
        Self {
            server,
            shared,
            heard: Arc::new(heard),
        }
    }

    pub(super) fn heard(&self) -> Arc<Heard> {
        self.heard.clone()
    }
}

impl Heard {
    /// Waits for `work` as long as there is a sign of life every `idle`, and a while at most. None if there
    /// was none. The time that a person thinks about a question does not count.
    pub(super) async fn alive<T>(
        &self,
        idle: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::pin!(work);
        let begun = Instant::now();
        locked(&self.pulse).last = begun;
        loop {
            let until = self.deadline(begun, idle);
            tokio::select! {
                done = &mut work => return Some(done),
                () = sleep_until(until) => {}
            }
            if Instant::now() >= self.deadline(begun, idle) {
                return None;
            }
        }
    }

    fn deadline(&self, begun: Instant, idle: Duration) -> Instant {
        let pulse = locked(&self.pulse);
        if pulse.questions > 0 {
            return Instant::now() + idle;
        }
        (pulse.last + idle).min(begun + idle * PATIENCE)
    }

    /// Whether the list of tools was said to be another, since this was last asked.
    pub(super) fn take_list_changed(&self) -> bool {
        self.list_changed.swap(false, Ordering::Relaxed)
    }

    /// What the user was asked, since this was last asked.
    pub(super) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.asked))
    }

    fn think(&self) -> Thinking<'_> {
        locked(&self.pulse).questions += 1;
        Thinking(self)
    }
}

/// A person is thinking, until this is dropped.
struct Thinking<'a>(&'a Heard);

impl Drop for Thinking<'_> {
    fn drop(&mut self) {
        let mut pulse = locked(&self.0.pulse);
        pulse.questions -= 1;
        pulse.last = Instant::now();
    }
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let form = FormElicitationCapability::default();
        let mut capabilities = ClientCapabilities::default();
        capabilities.elicitation = Some(ElicitationCapability::new().with_form(form));
        let gpak = Implementation::new("gpak", env!("CARGO_PKG_VERSION"));
        let mut config = ClientConfig::new(capabilities, gpak);
        config.protocol_version = ProtocolVersion::V_2025_11_25;
        config
    }

    async fn create_elicitation(
        &self,
        params: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let _thinking = self.heard.think();
        let ElicitRequestParams::FormElicitationParams {
            message,
            requested_schema,
            ..
        } = params
        else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        let form = elicit::Form::new(&message, &requested_schema)
            .map_err(|why| ErrorData::invalid_params(why, None))?;
        let answered = tokio::select! {
            answered = form.fill(&self.server, &self.shared) => answered,
            () = context.ct.cancelled() => elicit::Filled::Cancelled,
        };
        locked(&self.heard.asked).push(answered.told(&message));
        Ok(answered.into())
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        locked(&self.heard.pulse).last = Instant::now();
        (self.shared.progress)(&Progress {
            server: self.server.clone(),
            done: params.progress,
            of: params.total,
            message: params.message,
        });
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.heard.list_changed.store(true, Ordering::Relaxed);
    }
}

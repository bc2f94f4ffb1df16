//! A transport without answers that come too late.
//!
//! A server is first asked what it is, in the newest protocol. One that says nothing for a while is taken
//! for one of the protocol before, and greeted in that. It may only have been slow to start: then its
//! answer to the first question comes where that to the greeting is expected, and would be taken for a
//! mistake of the server. Where that answer is that it does speak the newest, it takes no greeting any
//! more, and has to be asked anew.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rmcp::{
    RoleClient,
    model::{ClientRequest, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};

/// A transport that keeps back what answers a question that was given up.
pub(super) struct InTime<T> {
    transport: T,
    asked: Vec<RequestId>,
    given_up: Vec<RequestId>,
    is_newest: Arc<AtomicBool>,
}

impl<T> InTime<T> {
    /// Sets `is_newest` where a late answer says that the server speaks the newest protocol.
    pub(super) fn new(transport: T, is_newest: Arc<AtomicBool>) -> Self {
        Self {
            transport,
            asked: Vec::new(),
            given_up: Vec::new(),
            is_newest,
        }
    }

    fn note(&mut self, message: &TxJsonRpcMessage<RoleClient>) {
        let JsonRpcMessage::Request(asked) = message else {
            return;
        };
        match &asked.request {
            ClientRequest::DiscoverRequest(_) => self.asked.push(asked.id.clone()),
            ClientRequest::InitializeRequest(_) => self.given_up.append(&mut self.asked),
            _ => {}
        }
    }

    fn is_late(&self, message: &RxJsonRpcMessage<RoleClient>) -> bool {
        let id = match message {
            JsonRpcMessage::Response(answer) => Some(&answer.id),
            JsonRpcMessage::Error(error) => error.id.as_ref(),
            _ => None,
        };
        id.is_some_and(|id| self.given_up.contains(id))
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for InTime<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.note(&message);
        self.transport.send(message)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let message = self.transport.receive().await?;
            if !self.is_late(&message) {
                return Some(message);
            }
            if matches!(message, JsonRpcMessage::Response(_)) {
                self.is_newest.store(true, Ordering::Relaxed);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.transport.close().await
    }
}

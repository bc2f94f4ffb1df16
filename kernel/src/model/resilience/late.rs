//! A model that is connected to when it is first asked.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::OnceCell;

use crate::model::{Deltas, Model, ModelError, ModelProfile, Reply, Request};

type Connect =
    Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Model>, ModelError>> + Send + Sync>;

/// A model whose server could not be reached yet, or need not be. It is connected to when it is first asked,
/// and at each time after that until it is there.
pub struct Late {
    profile: ModelProfile,
    connect: Connect,
    connected: OnceCell<Arc<dyn Model>>,
}

impl Late {
    /// A model of which only this is known, and how it is connected to.
    pub fn new(
        assumed: ModelProfile,
        connect: impl Fn() -> BoxFuture<'static, Result<Arc<dyn Model>, ModelError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            profile: assumed,
            connect: Box::new(connect),
            connected: OnceCell::new(),
        }
    }
}

#[async_trait]
impl Model for Late {
    fn profile(&self) -> &ModelProfile {
        let connected = self.connected.get();
        connected.map_or(&self.profile, |model| model.profile())
    }

    async fn reply(&self, request: &Request, deltas: &mut dyn Deltas) -> Result<Reply, ModelError> {
        let model = self.connected.get_or_try_init(|| (self.connect)()).await?;
        model.reply(request, deltas).await
    }
}

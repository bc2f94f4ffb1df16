//! Making the collection, and telling one that is another's.

use qdrant_client::{
    QdrantError,
    qdrant::{CollectionInfo, vectors_config::Config},
};
use tonic::Code;

use super::{
    Failed, QdrantMemory, outbox,
    point::{self, CONTEXT, MEANING, WORDS},
};

impl QdrantMemory {
    /// Makes the collection, or looks whether the one that is there is ours.
    pub(super) async fn prepare(&self) -> Result<(), Failed> {
        let inner = &*self.0;
        let (client, name) = (&inner.client, &inner.collection);
        let dimension = inner.local.embedder().dimension();
        if !client.collection_exists(name).await? {
            match client
                .create_collection(point::collection(name, dimension))
                .await
            {
                Ok(_) => {
                    for index in point::indexes(name) {
                        client.create_field_index(index).await?;
                    }
                    let target = inner.target.clone();
                    let begin = move |connection: &mut _| outbox::begin(connection, &target);
                    inner.local.write(begin).await?;
                    return Ok(());
                }
                // Another process was faster.
                Err(QdrantError::ResponseError { status })
                    if status.code() == Code::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        let info = client.collection_info(name).await?.result;
        if !info.is_some_and(|info| is_ours(&info, dimension)) {
            return Err(Failed::from(QdrantError::ConversionError(format!(
                "the collection `{name}` has another shape than gpak's: the vectors `{MEANING}` and \
                 `{CONTEXT}` of {dimension} numbers, and the sparse one `{WORDS}`. Set another collection \
                 name, or delete that one; it is made again of what is kept here"
            ))));
        }
        let target = inner.target.clone();
        let begun = move |connection: &mut _| outbox::begin_once(connection, &target);
        Ok(inner.local.write(begun).await?)
    }
}

fn is_ours(info: &CollectionInfo, dimension: usize) -> bool {
    let params = info
        .config
        .as_ref()
        .and_then(|config| config.params.as_ref());
    let Some(params) = params else {
        return false;
    };
    let dense = params
        .vectors_config
        .as_ref()
        .and_then(|all| all.config.as_ref());
    let sparse = params.sparse_vectors_config.as_ref();
    let Some(Config::ParamsMap(dense)) = dense else {
        return false;
    };
    [MEANING, CONTEXT].iter().all(|name| {
        let size = dense.map.get(*name).map(|params| params.size);
        size == Some(dimension as u64)
    }) && sparse.is_some_and(|sparse| sparse.map.contains_key(WORDS))
}

/// What an error of the server at `url` tells a user.
pub(super) fn sentence(url: &str, error: &QdrantError) -> String {
    let status = match error {
        QdrantError::ResponseError { status }
        | QdrantError::ResourceExhaustedError { status, .. } => status,
        QdrantError::ConversionError(why) => return format!("at the Qdrant server {url}, {why}"),
        other => return format!("the Qdrant server {url} failed: {other}"),
    };
    let said = status.message();
    // The client says so of a first connection.
    let is_unconnected = said.starts_with("Failed to connect");
    match status.code() {
        Code::Internal if is_unconnected => {
            format!("the Qdrant server {url} cannot be reached; start it, or correct the address")
        }
        Code::Unauthenticated | Code::PermissionDenied => format!(
            "the Qdrant server {url} refuses the API key ({said}); set QDRANT_API_KEY to one that may read and \
             write"
        ),
        Code::Unavailable => format!(
            "the Qdrant server {url} cannot be reached ({said}); start it, or correct the address"
        ),
        Code::DeadlineExceeded | Code::Cancelled => {
            format!("the Qdrant server {url} did not answer in time ({said})")
        }
        code => format!("the Qdrant server {url} failed: {said} ({code:?})"),
    }
}

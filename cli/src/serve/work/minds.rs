//! The models that runs of the service think with: each is opened once and shared.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use gpak_kernel::{
    journal::Journal,
    model::Model,
    run::{Driver, Nobody},
};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::{Failure, USAGE},
    home::Home,
    minds::Selves,
    serve::problem::{Answered, Problem},
    settings::Settings,
    wire,
};

/// The models that were opened.
pub struct Minds {
    home: Home,
    journal: Arc<dyn Journal>,
    default: String,
    open: Mutex<HashMap<String, Arc<OnceCell<Mind>>>>,
}

/// A model, and what creates runs for it.
#[derive(Clone)]
pub struct Mind {
    /// The model.
    pub model: Arc<dyn Model>,
    /// Its selves, if it has two.
    pub selves: Option<Selves>,
    /// Knows the tools that come with gpak, and so whether a run is possible.
    pub creator: Arc<Driver>,
}

impl Minds {
    /// With the one that is used where none is named.
    pub fn new(home: Home, journal: Arc<dyn Journal>, mind: wire::Mind) -> Result<Self, Failure> {
        let default = mind.model.profile().id();
        let minds = Self {
            home,
            journal,
            default,
            open: Mutex::default(),
        };
        minds.add(mind)?;
        Ok(minds)
    }

    /// One more that was opened already. Gives its name.
    pub fn add(&self, mind: wire::Mind) -> Result<String, Failure> {
        let id = mind.model.profile().id();
        let opened = self.mind(mind)?;
        let cell = Arc::new(OnceCell::new_with(Some(opened)));
        self.lock().insert(id.clone(), cell);
        Ok(id)
    }

    /// The name of the one that is used where none is named.
    pub fn default_id(&self) -> &str {
        &self.default
    }

    /// The model that a client names, or the default one. A client cannot have a file opened by its path.
    pub async fn get(&self, id: Option<&str>) -> Answered<Mind> {
        let id = id.unwrap_or(&self.default);
        let is_known = self.lock().contains_key(id);
        let by_path = id.starts_with("scripted/") || id.starts_with("embedded//");
        if by_path && !is_known {
            return Err(Problem::missing(format!("there is no model `{id}` here"))
                .help("GET /api/v1/models lists those there are"));
        }
        self.open(id).await.map_err(|why| match why.code {
            USAGE => {
                Problem::missing(why.to_string()).help("GET /api/v1/models lists those there are")
            }
            _ => why.into(),
        })
    }

    /// The model of that id, as a run of before had it.
    pub async fn open(&self, id: &str) -> Result<Mind, Failure> {
        let cell = self.lock().entry(id.to_owned()).or_default().clone();
        let opened = cell
            .get_or_try_init(|| async {
                let settings = Settings::read(&self.home, std::path::Path::new("/"))?;
                let stop = CancellationToken::new();
                let mind = wire::mind(&self.home, &settings, Some(id), &stop).await?;
                self.mind(mind)
            })
            .await;
        if opened.is_err() {
            // So that wrong names do not pile up.
            self.lock().retain(|_, cell| cell.initialized());
        }
        opened.cloned()
    }

    fn mind(&self, opened: wire::Mind) -> Result<Mind, Failure> {
        let wire::Mind { model, selves, .. } = opened;
        let (home, journal) = (&self.home, self.journal.clone());
        let (nobody, stop) = (Arc::new(Nobody), CancellationToken::new());
        let creator = wire::driver_of_none_on(journal, home, model.clone(), nobody, stop)?;
        Ok(Mind {
            model,
            selves,
            creator: Arc::new(creator),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<OnceCell<Mind>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

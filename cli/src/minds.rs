//! A mind of two selves, as the settings name them.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use gpak_kernel::{
    identity::{Limits, Mind, Policy, Rules},
    model::{Model, ModelError, ModelProfile, resilience::Late},
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::Failure,
    home::Home,
    settings::{Origin, Setting, Settings},
    wire,
};

/// How long a start waits for the core self. A run can begin without it.
const CONNECT: Duration = Duration::from_secs(5);

/// What the settings say of the two selves.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MindSaid {
    /// The active self, as `provider/name`; the default embedded model where nothing is said.
    pub active: Option<String>,
    /// The core self.
    pub core: Option<String>,
    /// How they share the work; `cascade` where nothing is said.
    #[serde(deserialize_with = "policy")]
    pub policy: Option<Policy>,
    /// Labels of what the core self is never sent, unless it is on this machine, too: `tool:mail_*`.
    pub private: Vec<String>,
    /// Entropy of the choice of a tool, in nats, from which on the core self is asked for a second opinion.
    pub doubt: Option<f32>,
    /// Mean entropy of a call, in nats a token, from which on likewise.
    pub entropy: Option<f32>,
}

fn policy<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Policy>, D::Error> {
    let text = String::deserialize(d)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl MindSaid {
    /// Each setting that is given, by name, as TOML.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let quoted = |text: &String| format!("{text:?}");
        let private =
            (!self.private.is_empty()).then(|| serde_json::json!(self.private).to_string());
        let given = [
            ("active", self.active.as_ref().map(quoted)),
            ("core", self.core.as_ref().map(quoted)),
            ("private", private),
            ("doubt", self.doubt.map(|doubt| doubt.to_string())),
            ("entropy", self.entropy.map(|entropy| entropy.to_string())),
        ];
        let given = given.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// The policy, if a mind of two is asked for: by the id that an earlier run had, or, where no model is named
/// in a more particular place, by the settings.
pub fn asked(settings: &Settings, id: Option<&str>) -> Result<Option<Policy>, Failure> {
    let Setting {
        value: said,
        origin,
    } = &settings.policy;
    if let Some(id) = id {
        // A run goes on as it was, unless it is told otherwise.
        return Ok(Mind::policy_of(id).map(|before| match origin {
            Origin::Flag => said.unwrap_or(before),
            _ => before,
        }));
    }
    let named = matches!(settings.model.origin, Origin::Flag | Origin::Variable(_));
    if *origin == Origin::Flag && (named || settings.mind.value.core.is_none()) {
        return Err(Failure::usage(
            "a policy is for two selves, and here is one model",
        )
        .help(
            "name both in the settings, as in `mind = { active = \"embedded\", core = \"openai/NAME\" }`, and \
             leave --model out",
        ));
    }
    let two = settings.mind.value.core.is_some() && !named;
    Ok(two.then(|| said.unwrap_or_default()))
}

/// The two selves of a mind, each alone.
#[derive(Clone)]
pub struct Selves {
    /// The active self.
    pub active: Arc<dyn Model>,
    /// The core self.
    pub core: Arc<dyn Model>,
}

/// A mind of two, opened.
pub struct Two {
    /// Both as one model.
    pub mind: Arc<dyn Model>,
    /// Each alone.
    pub selves: Selves,
}

/// The two selves as one model, and each alone. What need not be there yet is connected to when it is first asked.
pub fn open<'a>(
    home: &'a Home,
    settings: &'a Settings,
    policy: Policy,
    stop: &'a CancellationToken,
) -> BoxFuture<'a, Result<Two, Failure>> {
    Box::pin(async move {
        let said = &settings.mind.value;
        let Some(core) = &said.core else {
            return Err(
                Failure::usage("the settings name no core self (any more)").help(
                    "`mind.core` in the settings names it; `--model` goes on with one model alone",
                ),
            );
        };
        let active = said.active.as_deref().unwrap_or("embedded");
        let (active, core) = match policy {
            Policy::CloudOnly => {
                let core = connect(home, settings, core, stop).await?;
                (late(home, settings, active, core.profile()), core)
            }
            Policy::LocalOnly | Policy::LocalFirst => {
                let active = connect(home, settings, active, stop).await?;
                let core = late(home, settings, core, active.profile());
                (active, core)
            }
            Policy::CloudFirst | Policy::Cascade => {
                let active = connect(home, settings, active, stop).await?;
                let reached = tokio::time::timeout(CONNECT, connect(home, settings, core, stop));
                let core = match reached.await {
                    Ok(Ok(reached)) => reached,
                    other => {
                        let why = match other {
                            Ok(Err(why)) => why.to_string(),
                            _ => format!("no answer within {} s", CONNECT.as_secs()),
                        };
                        eprintln!(
                            "gpak: the core self {core} cannot be reached now, and is asked again when it is \
                             needed: {why}"
                        );
                        late(home, settings, core, active.profile())
                    }
                };
                (active, core)
            }
        };
        let rules = Rules {
            policy,
            limits: Limits {
                doubt: said.doubt,
                entropy: said.entropy,
                ..Limits::default()
            },
            private: said.private.clone(),
        };
        Ok(Two {
            mind: Arc::new(Mind::new(active.clone(), core.clone(), rules)),
            selves: Selves { active, core },
        })
    })
}

async fn connect(
    home: &Home,
    settings: &Settings,
    id: &str,
    stop: &CancellationToken,
) -> Result<Arc<dyn Model>, Failure> {
    if Mind::policy_of(id).is_some() {
        return Err(Failure::usage(format!(
            "`{id}` is no self: it is a mind of two"
        )));
    }
    Ok(wire::mind(home, settings, Some(id), stop).await?.model)
}

/// A self that is connected to later. Until then it is taken for one on another machine, and no larger than
/// the one that is here.
fn late(home: &Home, settings: &Settings, id: &str, here: &ModelProfile) -> Arc<dyn Model> {
    let (provider, name) = id.split_once('/').unwrap_or((id, id));
    let assumed = ModelProfile {
        provider: provider.to_owned(),
        name: name.to_owned(),
        window: here.window,
        native_tools: true,
        local: false,
        price: None,
    };
    let (home, settings, id) = (home.clone(), settings.clone(), id.to_owned());
    Arc::new(Late::new(assumed, move || {
        let (home, settings, id) = (home.clone(), settings.clone(), id.clone());
        Box::pin(async move {
            let stop = CancellationToken::new();
            let connected = connect(&home, &settings, &id, &stop).await;
            connected.map_err(|why| ModelError::Unreachable {
                message: why.to_string(),
            })
        })
    }))
}

//! The Berkeley Function Calling data: does a model call the right function with the right arguments?
//!
//! Two categories: in `one tool` there is a single function, in `several tools` the right one is to be
//! chosen. The data (Apache-2.0) comes out of the wheel of the Python package `bfcl-eval`; the rules of
//! judgement are those of its `ast_checker`, see [`judge`].

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use gpak_kernel::{
    label::Label,
    model::{
        Message, Model, ModelError, Reply, Request, Sampling,
        catalogue::{CatalogueError, Network, Watch, fetch_members},
    },
};
use serde::Serialize;

pub mod cases;
pub mod judge;

use cases::{Case, Category};

const PACKAGE: &str = "bfcl-eval";
const VERSION: &str = "2026.3.23";
/// Tokens that a call may take.
const MAX_TOKENS: u32 = 512;
const INSTRUCTIONS: &str = "Answer the user by calling one function. Take each argument from the user's words, \
    in the form that its description asks for. Leave out optional arguments that the user says nothing about.";

/// Why the data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BfclError {
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] CatalogueError),
    /// It is not what was expected.
    #[error(
        "the function calling data in {path} is damaged ({reason}); remove that folder and try again"
    )]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The model cannot be asked.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Brings the data into `cache`, unless it is there, and gives its folder.
///
/// # Errors
/// [`BfclError::Fetch`] with what pip said.
pub fn fetch(cache: &Path, network: &Network, watch: &mut dyn Watch) -> Result<PathBuf, BfclError> {
    let dir = cache.join(format!("{PACKAGE}-{VERSION}"));
    let members = Category::ALL.iter().flat_map(|category| category.members());
    let members: Vec<String> = members
        .filter(|member| !dir.join(member).is_file())
        .collect();
    if !members.is_empty() {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        fetch_members(network, PACKAGE, VERSION, &members, &dir, watch)?;
    }
    Ok(dir)
}

/// A case and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// The name of the case.
    pub id: String,
    /// Whether the reply is one call of a known function whose arguments its schema accepts.
    pub valid: bool,
    /// Why the reply is wrong, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complaint: Option<String>,
    /// Tokens that were replied.
    pub tokens: u64,
    /// Milliseconds that it took.
    pub ms: u64,
}

/// What came of the cases of one category.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// Which.
    pub category: Category,
    /// Right calls in a hundred.
    pub right_percent: f64,
    /// Calls in a hundred that their schema accepts.
    pub valid_percent: f64,
    /// Mean of the seconds of a case.
    pub seconds: f64,
    /// Each case.
    pub cases: Vec<Judged>,
}

/// What came of all categories.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `provider/name` of the model.
    pub model: String,
    /// By category.
    pub scores: Vec<Score>,
}

/// Asks the model the first `count` cases of each category. `heard` is told of each as it is judged.
///
/// # Errors
/// [`BfclError::Data`], or [`BfclError::Model`] where asking on makes no sense.
pub async fn run(
    model: &dyn Model,
    dir: &Path,
    count: usize,
    mut heard: impl FnMut(Category, &Judged),
) -> Result<Report, BfclError> {
    let mut scores = Vec::new();
    for category in Category::ALL {
        let mut judged = Vec::new();
        for case in cases::load(dir, category)?.iter().take(count) {
            let one = ask(model, case).await?;
            heard(category, &one);
            judged.push(one);
        }
        scores.push(Score::of(category, judged));
    }
    Ok(Report {
        model: model.profile().id(),
        scores,
    })
}

async fn ask(model: &dyn Model, case: &Case) -> Result<Judged, ModelError> {
    let begun = Instant::now();
    let reply = model.reply(&request(case), &mut ()).await;
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let judged = |valid, complaint, tokens| Judged {
        id: case.id.clone(),
        valid,
        complaint,
        tokens,
        ms,
    };
    match reply {
        Ok(reply) => {
            let (valid, complaint) = verdict(case, &reply);
            Ok(judged(valid, complaint, reply.usage.output))
        }
        Err(ModelError::Malformed { message }) => Ok(judged(false, Some(message), 0)),
        Err(error @ (ModelError::ContextOverflow { .. } | ModelError::Refused { .. })) => {
            Ok(judged(false, Some(error.to_string()), 0))
        }
        Err(error) => Err(error),
    }
}

fn request(case: &Case) -> Request {
    let messages = vec![
        Message::System {
            text: INSTRUCTIONS.to_owned(),
        },
        Message::User {
            text: case.question.clone(),
            label: Label::User,
        },
    ];
    let sampling = Sampling {
        max_tokens: MAX_TOKENS,
        ..Sampling::default()
    };
    Request {
        messages,
        tools: Arc::from(case.tools()),
        barred: Vec::new(),
        known: Default::default(),
        sampling,
    }
}

/// Whether the reply is valid, and what is wrong with it.
fn verdict(case: &Case, reply: &Reply) -> (bool, Option<String>) {
    let [call] = reply.calls.as_slice() else {
        return (
            false,
            Some(format!("it made {} calls, not one", reply.calls.len())),
        );
    };
    let Some(function) = case
        .functions
        .iter()
        .find(|function| function.tool.name == call.name)
    else {
        return (false, Some(format!("there is no function {}", call.name)));
    };
    let valid = jsonschema::is_valid(&function.tool.input, &call.args);
    if function.name != case.expected {
        return (
            valid,
            Some(format!(
                "it called {}, not {}",
                function.name, case.expected
            )),
        );
    }
    (
        valid,
        judge::judge(&function.raw, &call.args, &case.answer).err(),
    )
}

impl Score {
    fn of(category: Category, cases: Vec<Judged>) -> Self {
        let count = cases.len().max(1) as f64;
        let percent =
            |test: fn(&&Judged) -> bool| 100.0 * cases.iter().filter(test).count() as f64 / count;
        Self {
            category,
            right_percent: percent(|one| one.complaint.is_none()),
            valid_percent: percent(|one| one.valid),
            seconds: cases.iter().map(|one| one.ms as f64 / 1000.0).sum::<f64>() / count,
            cases,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.model)?;
        writeln!(
            f,
            "{:<14} {:>6} {:>8} {:>8} {:>8}",
            "functions", "cases", "right", "valid", "seconds"
        )?;
        for score in &self.scores {
            let (title, cases) = (score.category.title(), score.cases.len());
            let (right, valid) = (score.right_percent, score.valid_percent);
            writeln!(
                f,
                "{title:<14} {cases:>6} {right:>6.1} % {valid:>6.1} % {:>8.2}",
                score.seconds
            )?;
        }
        for one in self.scores.iter().flat_map(|score| &score.cases) {
            if let Some(complaint) = &one.complaint {
                writeln!(f, "wrong: {}: {complaint}", one.id)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

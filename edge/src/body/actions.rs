//! What the mind can do with a body: intents, as tools of the kernel.
//!
//! None of them takes a speed but the greatest. Each waits until the pilot says how it ended, and gives
//! what the sensors measured, not what was asked for. A call that is dropped is cancelled: the body stops.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use gpak_kernel::tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{
    intent::{Ended, Event, Goal, Intent, Measured, Whom},
    perception::side,
};

/// What is asked of the thread that flies the body.
#[derive(Debug)]
pub enum Order {
    /// An intent; the answer comes when it ended. If nobody waits for it any more it is cancelled.
    Do(Intent, oneshot::Sender<Measured>),
    /// Words to say; the answer is who may have heard them.
    Say(String, oneshot::Sender<Result<Said, String>>),
    /// What is around, in words.
    Look(oneshot::Sender<String>),
}

/// How far the loudspeaker is heard.
pub const EARSHOT_M: f32 = 4.0;

/// Who may have heard what was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// How far the nearest person in sight is.
    pub person_m: Option<f32>,
    /// What was heard last, and in which direction of the body.
    pub voice: Option<(String, Option<f32>)>,
}

/// Who moved less than that did not move.
const STILL_M: f32 = 0.05;

/// How many orders may wait.
pub const WAITING: usize = 8;

/// Where orders are given.
#[derive(Clone, Debug)]
pub struct Helm {
    orders: mpsc::Sender<Order>,
    limits: Limits,
}

/// What the mind may ask for at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How fast.
    pub speed_mps: f32,
    /// For how long.
    pub within: Duration,
}

impl Helm {
    /// Of a body to which these orders go.
    pub fn new(orders: mpsc::Sender<Order>, limits: Limits) -> Self {
        Self { orders, limits }
    }

    /// The tools.
    pub fn tools(&self) -> Vec<Arc<dyn Tool>> {
        specs()
            .into_iter()
            .map(|spec| -> Arc<dyn Tool> {
                Arc::new(Action {
                    spec,
                    helm: self.clone(),
                })
            })
            .collect()
    }

    async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Result<T, ToolError> {
        let gone = || ToolError::Fatal("the body is gone: its pilot has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    /// Does something, and says how it went.
    ///
    /// # Errors
    ///
    /// It was not possible; or there is no body any more.
    async fn carry_out(&self, intent: Intent) -> Result<Measured, ToolError> {
        let measured = self.ask(|answer| Order::Do(intent, answer)).await?;
        match measured.ended {
            Ended::Impossible(_) => Err(ToolError::Rejected(measured.to_string())),
            _ => Ok(measured),
        }
    }
}

/// What every motion may be bound by.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Asked {
    max_speed_mps: Option<f32>,
    within_s: Option<f32>,
}

struct Action {
    spec: ToolSpec,
    helm: Helm,
}

#[derive(Deserialize)]
struct Point {
    x_m: f32,
    y_m: f32,
}

#[derive(Deserialize)]
struct Approach {
    #[serde(default)]
    whom: Option<Whom>,
    #[serde(default)]
    stop_at_m: Option<f32>,
}

#[derive(Deserialize)]
struct Path {
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Turn {
    to_deg: f32,
}

#[derive(Deserialize)]
struct WaitFor {
    what: Event,
}

#[derive(Deserialize)]
struct Say {
    text: String,
}

fn read<T: for<'a> Deserialize<'a>>(args: &Value) -> Result<T, ToolError> {
    T::deserialize(args).map_err(|why| ToolError::Rejected(format!("these arguments: {why}")))
}

/// What a call of that name is for.
///
/// # Errors
///
/// Its arguments are not those of the tool.
pub fn goal(name: &str, args: &Value) -> Result<Goal, ToolError> {
    Ok(match name {
        "go_to" => {
            let Point { x_m, y_m } = read(args)?;
            Goal::GoTo { x_m, y_m }
        }
        "follow_path" => {
            let path: Path = read(args)?;
            let points = path.points.iter().map(|point| (point.x_m, point.y_m));
            Goal::FollowPath(points.collect())
        }
        "approach" => {
            let approach: Approach = read(args)?;
            Goal::Approach {
                whom: approach.whom.unwrap_or(Whom::Voice),
                stop_at_m: approach.stop_at_m.unwrap_or(1.2).clamp(0.8, 5.0),
            }
        }
        "turn" => {
            let Turn { to_deg } = read(args)?;
            Goal::Turn {
                to_rad: to_deg.to_radians(),
            }
        }
        "wait_for" => {
            let WaitFor { what } = read(args)?;
            Goal::WaitFor(what)
        }
        _ => Goal::Stop,
    })
}

/// A goal with the bounds that its arguments say, and those of the body.
///
/// # Errors
///
/// The arguments are no bounds.
pub fn intent(goal: Goal, args: &Value, limits: Limits) -> Result<Intent, ToolError> {
    let bounds: Asked = read(args)?;
    let most = limits.within.as_secs_f32();
    let within = bounds
        .within_s
        .map_or(most, |within| within.clamp(1.0, most));
    let speed = bounds.max_speed_mps.unwrap_or(f32::MAX);
    Ok(Intent {
        goal,
        max_speed_mps: speed.clamp(0.05, limits.speed_mps.max(0.05)),
        within: Duration::from_secs_f32(within),
    })
}

#[async_trait]
impl Tool for Action {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let args = &call.args;
        match self.spec.name.as_str() {
            "say" => return self.say(read(args)?).await,
            "look" => {
                let seen = self.helm.ask(Order::Look).await?;
                return Ok(ToolOutput::text(seen));
            }
            _ => {}
        }
        let intent = intent(goal(&self.spec.name, args)?, args, self.helm.limits)?;
        let measured = self.helm.carry_out(intent).await?;
        Ok(ToolOutput {
            text: measured.to_string(),
            data: serde_json::to_value(&measured).ok(),
            goes_on: measured.ended != Ended::Done,
            idle: self.is_of_place() && measured.moved_m < STILL_M,
            ..ToolOutput::default()
        })
    }
}

impl Action {
    /// Whether it ends in a place: where it moved the body not at all, that was there before.
    fn is_of_place(&self) -> bool {
        matches!(
            self.spec.name.as_str(),
            "approach" | "go_to" | "follow_path"
        )
    }

    async fn say(&self, Say { text }: Say) -> Result<ToolOutput, ToolError> {
        let words = text.clone();
        let said = self.helm.ask(|answer| Order::Say(words, answer)).await?;
        let Said { person_m, voice } = said.map_err(ToolError::Rejected)?;
        if let Some(range) = person_m.filter(|range| *range <= EARSHOT_M) {
            // Small models say it over and over unless they are told what this means for the task.
            let heard = format!(
                "said {text:?}; heard by a person {range:.1} m away. That is done: if the task asks for nothing \
                 more, finish now and say so"
            );
            return Ok(ToolOutput::text(heard));
        }
        // It is an error to the mind: a task that is about words to somebody is not done by it.
        let nobody = format!("{text:?} was heard by nobody: a voice carries {EARSHOT_M:.0} m");
        Err(ToolError::Rejected(match (person_m, voice) {
            (Some(range), _) => format!(
                "{nobody}, and the nearest person in sight is {range:.1} m away; call `approach` with \
                 {{\"whom\": \"person\"}}, then `say` it again"
            ),
            (None, Some((words, direction))) => format!(
                "{nobody}, and no person is in sight. The voice that said {words:?} is farther away{}; call \
                 `approach` with {{\"whom\": \"voice\"}}, then `say` it again",
                direction.map_or(String::new(), |bearing| format!(" ({})", side(bearing)))
            ),
            (None, None) => format!(
                "{nobody}, no person is in sight, and no voice was heard yet; call `wait_for` with \
                 {{\"what\": \"voice\"}} first"
            ),
        }))
    }
}

/// All but the words are idempotent: made twice they end where made once. Words said twice hurt nobody.
///
/// Who looks or waits twice may find something else: these observe. And nobody who wants the body to stand is
/// ever told that they said so before.
fn specs() -> Vec<ToolSpec> {
    let seconds =
        || json!({"type": "number", "minimum": 1, "description": "Give up after so many seconds."});
    let speed =
        || json!({"type": "number", "minimum": 0.05, "description": "Never faster, in m/s."});
    let metres = |what: &str| json!({"type": "number", "description": what});
    vec![
        spec(
            "approach",
            "Go up to a person and stop before them: the one whose voice was heard last (`voice`), or the nearest in sight (`person`). It finds the way by itself.",
            json!({
                "whom": {"type": "string", "enum": ["voice", "person"]},
                "stop_at_m": metres("How far from them to stop [1.2]."),
            }),
            &["whom"],
            Effect::Idempotent,
        ),
        spec(
            "say",
            "Say words aloud through the loudspeaker to a person within 4 m. If nobody is so near, nobody hears them, and it is an error: `approach` them first.",
            json!({"text": {"type": "string", "minLength": 1, "maxLength": 500, "description": "The words."}}),
            &["text"],
            Effect::Idempotent,
        ),
        spec(
            "wait_for",
            "Stand and wait until somebody speaks (`voice`), a person comes into sight (`person`), or nothing holds the body back any more (`clear`).",
            json!({
                "what": {"type": "string", "enum": ["voice", "person", "clear"]},
                "within_s": seconds(),
            }),
            &["what"],
            Effect::Idempotent,
        ),
        spec(
            "look",
            "Say what is around: where the body is, what is how near in each direction, who is in sight, what was heard last.",
            json!({}),
            &[],
            Effect::Pure,
        ),
        spec(
            "go_to",
            "Go to a place on the map, in metres. It finds the way by itself, and stops when somebody speaks.",
            json!({
                "x_m": metres("Along the map's x."),
                "y_m": metres("Along the map's y."),
                "max_speed_mps": speed(),
                "within_s": seconds(),
            }),
            &["x_m", "y_m"],
            Effect::Idempotent,
        ),
        spec(
            "follow_path",
            "Go to several places on the map, one after the other.",
            json!({
                "points": {
                    "type": "array", "minItems": 1, "maxItems": 50,
                    "items": {
                        "type": "object",
                        "properties": {"x_m": {"type": "number"}, "y_m": {"type": "number"}},
                        "required": ["x_m", "y_m"],
                        "additionalProperties": false,
                    },
                },
                "max_speed_mps": speed(),
                "within_s": seconds(),
            }),
            &["points"],
            Effect::Idempotent,
        ),
        spec(
            "turn",
            "Turn on the spot until the body looks in a direction of the map.",
            json!({"to_deg": metres("The direction, from the map's x, counter-clockwise, in degrees.")}),
            &["to_deg"],
            Effect::Idempotent,
        ),
        spec("stop", "Stand still.", json!({}), &[], Effect::Idempotent),
    ]
}

fn spec(
    name: &str,
    description: &str,
    properties: Value,
    required: &[&str],
    effect: Effect,
) -> ToolSpec {
    ToolSpec {
        observes: matches!(name, "look" | "wait_for" | "stop"),
        ..ToolSpec::taking(name, description, properties, required, effect)
    }
}

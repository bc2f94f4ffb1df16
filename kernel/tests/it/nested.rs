//! Calls that tools make of other tools are a part of their run: of its journal, and of its budget.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gpak_kernel::{
    event::{Event, PauseReason},
    model::{CallId, scripted::Line},
    run::{Clock, Ended, Machine, nested},
    tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::world::{World, spec, task, yes};

/// Looks by another tool, as often as it is asked to.
struct Looks(ToolSpec);

impl Looks {
    fn tool() -> Arc<dyn Tool> {
        Arc::new(Self(spec("looks", Effect::Pure, false, None)))
    }
}

#[async_trait]
impl Tool for Looks {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, call: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let mut seen = String::new();
        for what in call.args["what"].as_str().unwrap().split(' ') {
            seen += &nested::call("look", json!({"what": what})).await?.text;
        }
        Ok(ToolOutput::text(seen))
    }
}

/// Every look at it is a second later than the one before.
struct Seconds(Mutex<Timestamp>);

impl Clock for Seconds {
    fn now(&self) -> Timestamp {
        let mut now = self.0.lock().unwrap();
        *now += SignedDuration::from_secs(1);
        *now
    }
}

fn looks(what: &str) -> Line {
    Line::call("looks", json!({"what": what}))
}

fn finish() -> Line {
    Line::call("finish", json!({"answer": "ok"}))
}

#[tokio::test]
async fn the_time_of_nested_calls_is_charged_and_they_are_no_steps() {
    let mut spent = Vec::new();
    for what in ["a", "a b c"] {
        let mut world = World::new(vec![looks(what), finish()]).with([Looks::tool()]);
        world.driver.clock = Arc::new(Seconds(Mutex::new(Timestamp::UNIX_EPOCH)));
        world.run(task(yes(), false)).await;
        let by = CallId { reply: 1, index: 0 };
        let nested = world.events().await.into_iter().filter(
            |event| matches!(event, Event::NestedCalled { by: asking, .. } if *asking == by),
        );
        assert_eq!(nested.count(), what.split(' ').count());
        spent.push(Machine::fold(&world.entries().await).state().spent);
    }
    assert_eq!([spent[0].steps, spent[1].steps], [2, 2]);
    assert_eq!(spent[1].wall_ms, spent[0].wall_ms + 2000);
}

#[tokio::test]
async fn a_nested_call_that_does_not_end_uses_up_the_time_of_its_run() {
    let world = World::new(vec![looks("hang"), finish()]).with([Looks::tool()]);
    let mut spec = task(yes(), false);
    spec.budget.wall_ms = 3000;
    world.create(spec).await;
    let paused = world.drive(false).await;
    let of_time = matches!(paused, Ended::Paused(PauseReason::Budget { .. }));
    assert!(of_time, "{paused:?}");
    assert_eq!(world.done(), ["look hang"]);
}

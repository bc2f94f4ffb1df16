//! The ways that a small model is shown do what they say.

use gpak_kernel::model::step::blocks::{Way, ways};
use serde_json::json;

use crate::script::limited;

/// What each step of a way comes to, in a workspace with its files.
async fn outputs(way: &Way) -> Vec<String> {
    let scripts = limited(Default::default());
    for (path, content) in &way.files {
        let path = scripts.bench.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let mut outputs = Vec::new();
    for (number, step) in (1..).zip(&way.steps) {
        let output = match (&step.js, &step.sh) {
            (Some(script), _) => scripts.told(number, script).await,
            (_, Some(command)) => {
                let args = json!({"command": command});
                scripts.bench.call(number, "run_command", args).await
            }
            _ => panic!("a step of {:?} has no program", way.task),
        };
        outputs.push(output);
    }
    outputs
}

#[tokio::test]
async fn what_a_way_says_came_of_its_programs_is_what_comes_of_them() {
    let mut wrong = Vec::new();
    for way in ways() {
        let says: Vec<&str> = way.steps.iter().map(|s| s.output.trim_end()).collect();
        let is = outputs(way).await;
        if is.iter().map(|output| output.trim_end()).ne(says) {
            wrong.push(json!({"task": way.task, "outputs": is}));
        }
    }
    assert!(wrong.is_empty(), "{}", json!(wrong));
}

use gpak_kernel::tool::{Control, Effect, ToolError, Toolbox};
use gpak_tools::builtin::{self, Options};
use serde_json::json;

use crate::bench::Bench;

#[test]
fn all_tools_fit_into_one_toolbox_and_say_what_they_do_to_the_world() {
    let toolbox = Toolbox::new(builtin::all(&Options::new("/nowhere"))).unwrap();
    let said: Vec<_> = toolbox
        .specs()
        .into_iter()
        .map(|spec| {
            assert_eq!(spec.input["type"], "object", "{}", spec.name);
            assert_eq!(spec.input["additionalProperties"], false, "{}", spec.name);
            (spec.name, spec.effect, spec.resumable, spec.control)
        })
        .collect();
    let expected = [
        ("list_files", Effect::Pure, false, None),
        ("read_file", Effect::Pure, false, None),
        ("search_files", Effect::Pure, false, None),
        ("write_file", Effect::Reversible, true, None),
        ("edit_file", Effect::Reversible, true, None),
        ("move_file", Effect::Reversible, true, None),
        ("delete_file", Effect::Reversible, true, None),
        ("run_command", Effect::Irreversible, false, None),
        ("update_plan", Effect::Pure, false, Some(Control::Plan)),
        ("ask_user", Effect::Pure, false, Some(Control::Ask)),
        ("finish", Effect::Pure, false, Some(Control::Finish)),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(name, a, b, c)| (name.to_owned(), a, b, c))
        .collect();
    assert_eq!(said, expected);
}

#[tokio::test]
async fn control_tools_are_left_to_the_machine() {
    let bench = Bench::new();
    let made = bench.make(1, "finish", json!({"answer": "42"})).await;
    assert!(matches!(made, Err(ToolError::Fatal(_))), "{made:?}");
}

#[tokio::test]
async fn a_workspace_that_is_gone_stops_the_run_and_says_what_to_do() {
    let bench = Bench::new();
    std::fs::remove_dir_all(bench.path("")).unwrap();
    for (tool, args) in [
        ("list_files", json!({})),
        ("write_file", json!({"path": "a", "content": ""})),
        ("run_command", json!({"command": "true"})),
    ] {
        let made = bench.make(1, tool, args).await;
        assert!(
            matches!(&made, Err(ToolError::Fatal(m)) if m.contains("work")),
            "{tool}: {made:?}"
        );
    }
}

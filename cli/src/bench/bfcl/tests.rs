//! Loading, asking and judging, on two cases of our own and on the real data.

use async_trait::async_trait;
use gpak_kernel::model::{
    Deltas, ModelProfile, Price, ToolCall, Usage,
    catalogue::{Quiet, testkit},
};
use serde_json::{Value, json};

use super::*;

/// Makes the call that it was told to make.
struct Caller(ModelProfile, Vec<Result<ToolCall, ModelError>>);

#[async_trait]
impl Model for Caller {
    fn profile(&self) -> &ModelProfile {
        &self.0
    }

    async fn reply(&self, request: &Request, _: &mut dyn Deltas) -> Result<Reply, ModelError> {
        let wanted = request.tools.len() - 1;
        let call = self.1[wanted].clone()?;
        Ok(Reply {
            calls: vec![call],
            usage: Usage {
                output: 7,
                ..Usage::default()
            },
            ..Reply::default()
        })
    }
}

fn caller(calls: Vec<Result<ToolCall, ModelError>>) -> Caller {
    let price: Option<Price> = None;
    let profile = ModelProfile {
        provider: "test".into(),
        name: "caller".into(),
        window: 8,
        native_tools: true,
        local: true,
        price,
    };
    Caller(profile, calls)
}

fn call(name: &str, args: Value) -> Result<ToolCall, ModelError> {
    Ok(ToolCall {
        name: name.into(),
        args,
    })
}

/// A category of one case with one function, and one of one case with two.
fn data(dir: &Path) {
    let area = json!({"name": "shape.area", "description": "Area.", "parameters": {"type": "dict", "required": ["w"], "properties": {
        "w": {"type": "float", "description": "Width."},
        "unit": {"type": "string", "enum": ["cm", "m"]},
        "tags": {"type": "array", "items": {"type": "string"}, "enum": ["big", "small"]},
        "corner": {"type": "tuple", "items": {"type": "integer"}}}}});
    let volume = json!({"name": "shape.volume", "description": "Volume.", "parameters": {"type": "dict", "required": [], "properties": {}}});
    let truth =
        json!([{"shape.area": {"w": [2.0], "unit": ["", "cm"], "tags": [""], "corner": [""]}}]);
    for (category, functions) in Category::ALL
        .into_iter()
        .zip([json!([area]), json!([area, volume])])
    {
        let [questions, answers] = category.members().map(|member| dir.join(member));
        std::fs::create_dir_all(answers.parent().unwrap()).unwrap();
        let question = json!({"id": "a", "question": [[{"role": "user", "content": "Area of 2?"}]], "function": functions});
        std::fs::write(questions, format!("{question}\n")).unwrap();
        std::fs::write(
            answers,
            format!("{}\n", json!({"id": "a", "ground_truth": truth})),
        )
        .unwrap();
    }
}

#[test]
fn a_function_becomes_a_tool_with_a_sound_schema() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let case = cases::load(dir.path(), Category::OneTool)
        .unwrap()
        .remove(0);
    assert_eq!(case.question, "Area of 2?");
    let tool = &case.functions[0].tool;
    assert_eq!(tool.name, "shape_area");
    assert_eq!(tool.input["properties"]["w"]["type"], "number");
    assert_eq!(
        tool.input["properties"]["corner"],
        json!({"type": "array", "items": {"type": "integer"}})
    );
    assert_eq!(
        tool.input["properties"]["tags"]["items"],
        json!({"type": "string", "enum": ["big", "small"]})
    );
    assert_eq!(tool.input["additionalProperties"], false);
}

#[tokio::test]
async fn right_and_wrong_calls_are_counted_by_category() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let model = caller(vec![
        call("shape_area", json!({"w": 2, "unit": "CM."})),
        call("shape_volume", json!({})),
    ]);
    let mut heard = 0;
    let report = run(&model, dir.path(), 100, |_, _| heard += 1)
        .await
        .unwrap();
    assert_eq!((heard, report.model.as_str()), (2, "test/caller"));
    let [one, several] = report.scores.as_slice() else {
        panic!()
    };
    assert_eq!(
        (one.right_percent, one.valid_percent),
        (100.0, 0.0),
        "right in the data's eyes, but `CM.` is no choice"
    );
    assert_eq!((several.right_percent, several.valid_percent), (0.0, 100.0));
    assert!(
        report
            .to_string()
            .contains("wrong: a: it called shape.volume, not shape.area"),
        "{report}"
    );
}

#[tokio::test]
async fn a_malformed_reply_is_wrong_and_an_unusable_model_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    data(dir.path());
    let malformed = || {
        Err(ModelError::Malformed {
            message: "no JSON".into(),
        })
    };
    let report = run(
        &caller(vec![malformed(), malformed()]),
        dir.path(),
        1,
        |_, _| (),
    )
    .await
    .unwrap();
    assert_eq!(
        report.scores[0].cases[0].complaint.as_deref(),
        Some("no JSON")
    );
    let unusable = || {
        Err(ModelError::Unusable {
            message: "it is gone".into(),
        })
    };
    assert!(
        run(
            &caller(vec![unusable(), unusable()]),
            dir.path(),
            1,
            |_, _| ()
        )
        .await
        .is_err()
    );
}

/// The real data, fetched once.
fn real() -> PathBuf {
    fetch(&testkit::models_dir(), &Network::default(), &mut Quiet).unwrap()
}

#[test]
fn the_real_data_loads_and_its_own_answers_are_right() {
    let dir = real();
    for (category, count) in Category::ALL.into_iter().zip([400, 200]) {
        let cases = cases::load(&dir, category).unwrap();
        assert_eq!(cases.len(), count);
        for case in &cases {
            let function = case
                .functions
                .iter()
                .find(|function| function.name == case.expected)
                .unwrap();
            assert!(
                jsonschema::validator_for(&function.tool.input).is_ok(),
                "{}",
                case.id
            );
            assert!(
                judge::judge(&function.raw, &json!({}), &case.answer).is_err()
                    || case.answer.values().all(may_lack),
                "{}",
                case.id
            );
            let args: Value = case
                .answer
                .iter()
                .filter_map(|(name, values)| Some((name.clone(), first(values)?)))
                .collect();
            let verdict = judge::judge(&function.raw, &args, &case.answer);
            assert_eq!(verdict, Ok(()), "{}: {args}", case.id);
        }
    }
}

fn may_lack(values: &Value) -> bool {
    values.as_array().unwrap().contains(&json!(""))
}

/// The first accepted value; in objects each member is a list of accepted ones too.
fn first(values: &Value) -> Option<Value> {
    values
        .as_array()?
        .iter()
        .find(|value| **value != json!(""))
        .map(settled)
}

fn settled(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter_map(|(key, values)| Some((key.clone(), first(values)?)))
            .collect(),
        Value::Array(items) => items.iter().map(settled).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_rules_are_those_of_the_data() {
    let parameters = json!({"type": "dict", "required": ["n"], "properties": {
        "n": {"type": "integer"}, "x": {"type": "float"}, "s": {"type": "string"}, "b": {"type": "boolean"},
        "l": {"type": "array", "items": {"type": "string"}}, "d": {"type": "dict"},
        "ds": {"type": "array", "items": {"type": "dict"}}}});
    let answer = json!({"n": [3, 4], "x": ["", 2.0], "s": ["", "New York, NY", "NYC"], "b": ["", true], "l": ["", ["a b", "c"]],
        "d": ["", {"k": ["v", ""], "m": [1]}], "ds": ["", [{"k": ["v"]}]]});
    let right = |args: Value| judge::judge(&parameters, &args, answer.as_object().unwrap()).is_ok();
    for args in [
        json!({"n": 3}),
        json!({"n": 4, "x": 2, "s": "new york ny", "b": true}),
        json!({"n": 3, "x": 2.0, "l": ["A-B", "c"]}),
        json!({"n": 3, "d": {"m": 1}}),
        json!({"n": 3, "d": {"k": "V.", "m": 1}, "ds": [{"k": "v"}]}),
    ] {
        assert!(right(args.clone()), "{args}");
    }
    for args in [
        json!({}),
        json!({"n": 5}),
        json!({"n": 3.0}),
        json!({"n": "3"}),
        json!({"n": 3, "other": 1}),
        json!({"n": 3, "x": "2"}),
        json!({"n": 3, "s": "New York"}),
        json!({"n": 3, "b": "true"}),
        json!({"n": 3, "l": ["c", "a b"]}),
        json!({"n": 3, "d": {"k": "v"}}),
        json!({"n": 3, "d": {"m": 1, "z": 1}}),
        json!({"n": 3, "ds": [{"k": "v"}, {"k": "v"}]}),
        json!("{\"n\": 3}"),
    ] {
        assert!(!right(args.clone()), "{args}");
    }
}

wit_bindgen::generate!({ world: "pure-tool", path: "wit" });

use gpak::tool::types::Effect;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Input {
    text: String,
}

#[derive(Serialize)]
struct Output {
    words: usize,
}

struct Component;

export!(Component);

impl Guest for Component {
    fn describe() -> Vec<ToolSpec> {
        vec![ToolSpec {
            name: "my_tool".to_owned(),
            description: "Counts the words of a text.".to_owned(),
            input_schema: r#"{
                "type": "object",
                "required": ["text"],
                "additionalProperties": false,
                "properties": {"text": {"type": "string"}}
            }"#
            .to_owned(),
            output_schema: None,
            effect: Effect::Pure,
            can_compensate: false,
            resumable: false,
        }]
    }

    fn invoke(call: Call) -> Result<String, Error> {
        let input: Input = serde_json::from_str(&call.input)
            .map_err(|why| Error::InvalidInput(why.to_string()))?;
        let output = run(&input).map_err(Error::InvalidInput)?;
        serde_json::to_string(&output).map_err(|why| Error::Failed(why.to_string()))
    }
}

/// The tool; its error is for the model: what was wrong, and what would be right.
fn run(input: &Input) -> Result<Output, String> {
    match input.text.split_whitespace().count() {
        0 => Err("there are no words in the text".to_owned()),
        words => Ok(Output { words }),
    }
}

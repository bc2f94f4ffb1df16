//! Converts between units, by the exact factors where there are such.

mod units;

wit_bindgen::generate!({ world: "pure-tool", path: "wit" });

use gpak::tool::types::Effect;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Input {
    value: f64,
    from: String,
    to: String,
}

#[derive(Serialize)]
struct Output {
    value: f64,
    unit: String,
}

struct Component;

export!(Component);

impl Guest for Component {
    fn describe() -> Vec<ToolSpec> {
        vec![ToolSpec {
            name: "convert_units".to_owned(),
            description: format!("Converts a value from a unit to another. {}.", units::list()),
            input_schema: r#"{
                "type": "object",
                "required": ["value", "from", "to"],
                "additionalProperties": false,
                "properties": {
                    "value": {"type": "number"},
                    "from": {"type": "string"},
                    "to": {"type": "string"}
                }
            }"#
            .to_owned(),
            output_schema: Some(
                r#"{
                    "type": "object",
                    "required": ["value", "unit"],
                    "properties": {"value": {"type": "number"}, "unit": {"type": "string"}}
                }"#
                .to_owned(),
            ),
            effect: Effect::Pure,
            can_compensate: false,
            resumable: false,
        }]
    }

    fn invoke(call: Call) -> Result<String, Error> {
        let input: Input = serde_json::from_str(&call.input)
            .map_err(|why| Error::InvalidInput(why.to_string()))?;
        let value =
            units::convert(input.value, &input.from, &input.to).map_err(Error::InvalidInput)?;
        let unit = input.to;
        serde_json::to_string(&Output { value, unit }).map_err(|why| Error::Failed(why.to_string()))
    }
}

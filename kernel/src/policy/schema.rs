//! Checks arguments against a tool's schema and says, for a model, what to mend.

use serde_json::Value;

/// How many mistakes one message names.
const SHOWN: usize = 4;

pub(super) struct Schema {
    validator: Result<jsonschema::Validator, String>,
    hint: String,
}

impl Schema {
    pub(super) fn compile(schema: &Value) -> Self {
        Self {
            validator: jsonschema::validator_for(schema).map_err(|e| e.to_string()),
            hint: hint(schema),
        }
    }

    /// Err says what is wrong with `args`, and what is right.
    pub(super) fn check(&self, args: &Value) -> Result<(), String> {
        let validator = match &self.validator {
            Ok(validator) => validator,
            Err(why) => return Err(format!("the tool's own schema is broken ({why})")),
        };
        if let Value::String(text) = args {
            let why = match serde_json::from_str::<Value>(text) {
                Ok(_) => "they are a JSON string, not an object".to_owned(),
                Err(why) => format!("they are no JSON ({why})"),
            };
            return Err(format!(
                "its arguments must be a JSON object; {why}. It takes {}",
                self.hint
            ));
        }
        let mistakes: Vec<_> = validator
            .iter_errors(args)
            .take(SHOWN)
            .map(|error| {
                let at = error.instance_path().to_string();
                let at = if at.is_empty() {
                    String::new()
                } else {
                    format!(" (at {at})")
                };
                format!("{error}{at}")
            })
            .collect();
        if mistakes.is_empty() {
            return Ok(());
        }
        Err(format!("{}. It takes {}", mistakes.join("; "), self.hint))
    }
}

/// The arguments a schema takes, in a line: `{"path": string, "depth"?: integer}`.
fn hint(schema: &Value) -> String {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| {
        required.is_some_and(|names| names.iter().any(|one| one.as_str() == Some(name)))
    };
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return "{}".to_owned();
    };
    let one = |(name, schema): (&String, &Value)| {
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or("any");
        let mark = if is_required(name) { "" } else { "?" };
        format!("\"{name}\"{mark}: {kind}")
    };
    let all: Vec<_> = properties.iter().map(one).collect();
    format!("{{{}}}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(args: Value) -> Result<(), String> {
        Schema::compile(&json!({
            "type": "object",
            "properties": {"path": {"type": "string"}, "depth": {"type": "integer"}},
            "required": ["path"],
            "additionalProperties": false
        }))
        .check(&args)
    }

    #[test]
    fn a_refusal_says_what_was_wrong_and_what_is_right() {
        assert_eq!(check(json!({"path": "a", "depth": 2})), Ok(()));
        let missing = check(json!({"depth": "two"})).unwrap_err();
        for part in [
            "\"path\" is a required property",
            "/depth",
            "\"depth\"?: integer",
        ] {
            assert!(missing.contains(part), "{missing}");
        }
    }

    #[test]
    fn text_that_is_no_json_is_refused_with_the_place_of_the_mistake() {
        let broken = check(json!("{\"path\": ")).unwrap_err();
        assert!(broken.contains("no JSON (EOF"), "{broken}");
    }
}

//! JSON Schemas that somebody else wrote.

use serde_json::{Map, Value};

/// Bytes of a schema, and how many parts it may have once its references are followed.
const BYTES: usize = 64 * 1024;
const PARTS: usize = 20_000;

/// Reads the text of a schema. The error follows "the input schema of NAME".
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    if text.len() > BYTES {
        return Err(format!("has {} bytes; {BYTES} are allowed", text.len()));
    }
    let schema: Value = serde_json::from_str(text).map_err(|why| format!("is no JSON: {why}"))?;
    check(&schema)?;
    Ok(schema)
}

/// Whether this is a schema that can be used safely.
pub(crate) fn check(schema: &Value) -> Result<(), String> {
    if !schema.is_object() {
        return Err("is no JSON object".to_owned());
    }
    Size {
        root: schema,
        parts: 0,
        following: Vec::new(),
    }
    .add(schema)?;
    jsonschema::meta::validate(schema).map_err(|why| format!("is no schema: {why}"))?;
    jsonschema::validator_for(schema).map_err(|why| format!("is no schema: {why}"))?;
    Ok(())
}

/// Whether `value` is what `schema` says; the error says what is wrong.
pub(crate) fn holds(schema: &Value, value: &Value) -> Result<(), String> {
    let validator = jsonschema::validator_for(schema).map_err(|why| why.to_string())?;
    validator.validate(value).map_err(|why| {
        let at = why.instance_path().to_string();
        if at.is_empty() {
            why.to_string()
        } else {
            format!("{why} (at {at})")
        }
    })
}

/// Counts a schema as its validator sees it: a part that is referred to a hundred times is there a hundred
/// times. Twenty definitions that each name the next twice would be a million.
struct Size<'a> {
    root: &'a Value,
    parts: usize,
    following: Vec<&'a str>,
}

impl<'a> Size<'a> {
    fn add(&mut self, value: &'a Value) -> Result<(), String> {
        self.parts += 1;
        if self.parts > PARTS {
            return Err(format!(
                "has more than {PARTS} parts with all its references followed"
            ));
        }
        match value {
            Value::Object(object) => self.add_object(object),
            Value::Array(items) => items.iter().try_for_each(|item| self.add(item)),
            _ => Ok(()),
        }
    }

    fn add_object(&mut self, object: &'a Map<String, Value>) -> Result<(), String> {
        for (name, value) in object {
            self.add(value)?;
            let refers = matches!(name.as_str(), "$ref" | "$dynamicRef");
            let Some(target) = value.as_str().filter(|_| refers) else {
                continue;
            };
            let Some(pointer) = target.strip_prefix('#') else {
                return Err(format!(
                    "refers to {target}, which is elsewhere; write it out under $defs"
                ));
            };
            if self.following.contains(&target) {
                continue;
            }
            // What refers to nothing is told by the validator.
            if let Some(part) = self.root.pointer(pointer) {
                self.following.push(target);
                self.add(part)?;
                self.following.pop();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_that_blows_up_is_refused() {
        let mut defs = Map::new();
        for at in 0..40 {
            let next = format!("#/$defs/d{}", at + 1);
            defs.insert(
                format!("d{at}"),
                json!({"allOf": [{"$ref": next}, {"$ref": next}]}),
            );
        }
        defs.insert("d40".to_owned(), json!({"type": "object"}));
        let bomb = json!({"type": "object", "$ref": "#/$defs/d0", "$defs": defs});
        let why = check(&bomb).unwrap_err();
        assert!(why.contains("more than"), "{why}");
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_fine_and_one_that_refers_elsewhere_is_not() {
        let tree = json!({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}});
        assert_eq!(check(&tree), Ok(()));
        let elsewhere = json!({"type": "object", "$ref": "https://example.com/schema.json"});
        assert!(check(&elsewhere).unwrap_err().contains("elsewhere"));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for text in [
            "",
            "3",
            "[]",
            "{\"type\": \"thing\"}",
            "{\"properties\": 3}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

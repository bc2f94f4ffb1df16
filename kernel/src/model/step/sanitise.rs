//! Brings tools' schemas, whoever wrote them, into the part of JSON Schema that constraint compilers
//! know. What is dropped here only widens what a model may write; the gate checks the real schema.

use serde_json::{Map, Value, json};

/// References and nesting that are followed. Deeper, anything goes.
const MAX_DEPTH: u32 = 16;

/// The schema of a tool's arguments: an object with these members and no others. A schema that names
/// no members at all allows any.
pub(super) fn arguments(input: &Value) -> Value {
    let clean = Sanitiser { root: input }.schema(input, 0);
    let is_object = clean.get("type") == Some(&json!("object")) || clean.get("anyOf").is_some();
    if !is_object {
        return json!({"type": "object"});
    }
    let mut clean = clean;
    if let Some(object) = clean.as_object_mut()
        && object.contains_key("properties")
    {
        object.insert("additionalProperties".into(), false.into());
    }
    clean
}

struct Sanitiser<'a> {
    /// Where references point into.
    root: &'a Value,
}

impl Sanitiser<'_> {
    fn schema(&self, schema: &Value, depth: u32) -> Value {
        let Some(object) = schema.as_object().filter(|_| depth < MAX_DEPTH) else {
            return json!({});
        };
        if let Some(target) = object.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|p| self.root.pointer(p));
            return target.map_or(json!({}), |t| self.schema(t, depth + 1));
        }
        if let Some(choices) = choices(object) {
            return self.any_of(choices, depth);
        }
        if let Some(parts) = object.get("allOf").and_then(Value::as_array) {
            return self.schema(&merged(object, parts), depth + 1);
        }
        let mut kinds = kinds(object);
        if object.get("nullable") == Some(&Value::Bool(true)) && !kinds.is_empty() {
            kinds.push("null");
        }
        if let Some(literals) = literals(object, &kinds) {
            return json!({"enum": literals});
        }
        match kinds.as_slice() {
            [] => json!({}),
            [kind] => self.of_kind(kind, object, depth),
            several => {
                let each = several.iter().map(|kind| self.of_kind(kind, object, depth));
                json!({"anyOf": each.collect::<Vec<_>>()})
            }
        }
    }

    fn any_of(&self, choices: &[Value], depth: u32) -> Value {
        let clean: Vec<Value> = choices.iter().map(|c| self.schema(c, depth + 1)).collect();
        if clean
            .iter()
            .any(|c| c.as_object().is_none_or(Map::is_empty))
        {
            return json!({});
        }
        json!({"anyOf": clean})
    }

    fn of_kind(&self, kind: &str, object: &Map<String, Value>, depth: u32) -> Value {
        let mut clean = Map::new();
        clean.insert("type".into(), kind.into());
        match kind {
            "string" => string(object, &mut clean),
            "integer" | "number" => number(object, &mut clean),
            "array" => self.array(object, &mut clean, depth),
            "object" => self.object(object, &mut clean, depth),
            _ => {}
        }
        Value::Object(clean)
    }

    fn array(&self, object: &Map<String, Value>, clean: &mut Map<String, Value>, depth: u32) {
        let (fixed, items) = match object.get("items") {
            Some(Value::Array(fixed)) => (Some(fixed), None),
            items => (object.get("prefixItems").and_then(Value::as_array), items),
        };
        if let Some(fixed) = fixed.filter(|f| !f.is_empty()) {
            let fixed = fixed.iter().map(|item| self.schema(item, depth + 1));
            clean.insert("prefixItems".into(), fixed.collect());
        }
        match items {
            Some(Value::Bool(false)) => {
                clean.insert("items".into(), false.into());
            }
            Some(items) => {
                clean.insert("items".into(), self.schema(items, depth + 1));
            }
            None => {}
        }
        bounds(object, clean, "minItems", "maxItems");
    }

    fn object(&self, object: &Map<String, Value>, clean: &mut Map<String, Value>, depth: u32) {
        let members = object.get("properties").and_then(Value::as_object);
        let others = object.get("additionalProperties");
        if let Some(members) = members {
            let tidy = |(name, schema): (&String, &Value)| {
                let schema = self.schema(schema, depth + 1);
                (name.clone(), schema)
            };
            let required = object.get("required").and_then(Value::as_array);
            let required = required.into_iter().flatten();
            let known = |name: &&Value| name.as_str().is_some_and(|n| members.contains_key(n));
            clean.insert(
                "properties".into(),
                members.iter().map(tidy).collect::<Map<_, _>>().into(),
            );
            clean.insert("required".into(), required.filter(known).cloned().collect());
        }
        match others {
            Some(schema @ Value::Object(_)) => {
                let schema = self.schema(schema, depth + 1);
                clean.insert("additionalProperties".into(), schema);
            }
            Some(Value::Bool(true)) => {}
            // A model that is shown members should write those and not make up others.
            _ if members.is_some_and(|m| !m.is_empty()) || others.is_some() => {
                clean.insert("additionalProperties".into(), false.into());
            }
            _ => {}
        }
    }
}

/// The alternatives of a schema. Where a schema also has members of its own, the alternatives only
/// say which of them go together, and are left to the gate.
fn choices(object: &Map<String, Value>) -> Option<&[Value]> {
    if object.contains_key("properties") {
        return None;
    }
    let list = object.get("anyOf").or_else(|| object.get("oneOf"))?;
    list.as_array()
        .map(Vec::as_slice)
        .filter(|list| !list.is_empty())
}

/// The parts of an `allOf` as one schema. Members are joined; of the rest the last word counts.
fn merged(object: &Map<String, Value>, parts: &[Value]) -> Value {
    let mut all = object.clone();
    all.shift_remove("allOf");
    for (key, value) in parts.iter().filter_map(Value::as_object).flatten() {
        match (all.get_mut(key), value) {
            (Some(Value::Object(ours)), Value::Object(theirs)) => {
                ours.extend(theirs.clone());
            }
            (Some(Value::Array(ours)), Value::Array(theirs)) if key == "required" => {
                ours.extend(theirs.iter().cloned());
            }
            _ => {
                all.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(all)
}

/// The types a schema allows, by their proper names. Nothing means any.
fn kinds(object: &Map<String, Value>) -> Vec<&'static str> {
    let mut kinds: Vec<&'static str> = Vec::new();
    let named: Vec<&Value> = match object.get("type") {
        Some(Value::Array(several)) => several.iter().collect(),
        Some(one) => vec![one],
        None if object.contains_key("properties") => return vec!["object"],
        None if object.contains_key("items") => return vec!["array"],
        None => return kinds,
    };
    for name in named {
        match name.as_str().and_then(kind) {
            Some(kind) if !kinds.contains(&kind) => kinds.push(kind),
            Some(_) => {}
            None => return Vec::new(),
        }
    }
    kinds
}

/// A type's proper name. Tool authors write what their language calls it.
fn kind(name: &str) -> Option<&'static str> {
    let generic = name.split(['<', '[']).next().unwrap_or(name);
    let array = name.ends_with("[]");
    Some(match generic.trim().to_ascii_lowercase().as_str() {
        _ if array => "array",
        "string" | "str" | "char" | "text" => "string",
        "integer" | "int" | "long" | "short" | "byte" | "bigint" => "integer",
        "number" | "float" | "double" | "decimal" => "number",
        "boolean" | "bool" => "boolean",
        "array" | "list" | "tuple" | "set" | "arraylist" | "queue" | "stack" => "array",
        "object" | "dict" | "map" | "hashmap" | "hashtable" => "object",
        "null" | "none" | "nonetype" => "null",
        _ => return None,
    })
}

/// The literal values a schema allows, as far as they are of an allowed type.
fn literals(object: &Map<String, Value>, kinds: &[&str]) -> Option<Vec<Value>> {
    let listed = match (object.get("const"), object.get("enum")) {
        (Some(one), _) => std::slice::from_ref(one),
        (None, Some(Value::Array(several))) => several.as_slice(),
        _ => return None,
    };
    let fits = |value: &&Value| kinds.is_empty() || kinds.iter().any(|kind| is_a(value, kind));
    let fitting: Vec<Value> = listed.iter().filter(fits).cloned().collect();
    Some(fitting).filter(|list| !list.is_empty())
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => value.is_null(),
    }
}

fn string(object: &Map<String, Value>, clean: &mut Map<String, Value>) {
    const FORMATS: [&str; 7] = ["date-time", "date", "time", "email", "uuid", "ipv4", "ipv6"];
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    // Lookaround and references to groups are beyond regular languages.
    let regular = |p: &&str| {
        !["(?=", "(?!", "(?<", "\\1", "\\2"]
            .iter()
            .any(|b| p.contains(b))
    };
    if let Some(pattern) = text("pattern").filter(regular) {
        clean.insert("pattern".into(), pattern.into());
    } else if let Some(format) = text("format").filter(|f| FORMATS.contains(f)) {
        clean.insert("format".into(), format.into());
    } else {
        bounds(object, clean, "minLength", "maxLength");
    }
}

fn number(object: &Map<String, Value>, clean: &mut Map<String, Value>) {
    for key in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] {
        if let Some(bound) = object.get(key).filter(|bound| bound.is_number()) {
            clean.insert(key.into(), bound.clone());
        }
    }
    let bound = |key: &str| clean.get(key).and_then(Value::as_f64);
    let low = bound("minimum").or(bound("exclusiveMinimum"));
    let high = bound("maximum").or(bound("exclusiveMaximum"));
    if matches!((low, high), (Some(low), Some(high)) if low > high) {
        clean.retain(|key, _| key == "type");
    }
}

/// A lower and an upper bound of a length, unless they contradict each other.
fn bounds(object: &Map<String, Value>, clean: &mut Map<String, Value>, low: &str, high: &str) {
    let bound = |key: &str| object.get(key).and_then(Value::as_u64);
    let (least, most) = (bound(low), bound(high));
    if matches!((least, most), (Some(least), Some(most)) if least > most) {
        return;
    }
    for (key, bound) in [(low, least), (high, most)] {
        if let Some(bound) = bound {
            clean.insert(key.into(), bound.into());
        }
    }
}

//! The cases: a question, the functions there are, and the calls that are right.

use std::path::Path;

use gpak_kernel::tool::{Effect, ToolSpec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::BfclError;

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// There is one function, and it fits.
    OneTool,
    /// There are several functions, and one fits.
    SeveralTools,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::OneTool, Self::SeveralTools];

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::OneTool => "one tool",
            Self::SeveralTools => "several tools",
        }
    }

    /// The files of the questions and of the answers.
    pub(super) fn members(self) -> [String; 2] {
        let name = match self {
            Self::OneTool => "simple_python",
            Self::SeveralTools => "multiple",
        };
        ["", "possible_answer/"].map(|folder| format!("bfcl_eval/data/{folder}BFCL_v4_{name}.json"))
    }
}

/// A question.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub id: String,
    /// What the user says.
    pub question: String,
    /// What can be called.
    pub functions: Vec<Function>,
    /// The function that is to be called.
    pub expected: String,
    /// The values that are right, by argument: a list of which one must be met; `""` in it means that
    /// the argument may be left out.
    pub answer: Map<String, Value>,
}

/// A function, as the data has it and as a tool.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name in the data; it may have dots.
    pub name: String,
    /// Its `parameters` in the data.
    pub raw: Value,
    /// The same for a model.
    pub tool: ToolSpec,
}

impl Case {
    /// The functions as tools.
    pub fn tools(&self) -> Vec<ToolSpec> {
        self.functions
            .iter()
            .map(|function| function.tool.clone())
            .collect()
    }
}

#[derive(Deserialize)]
struct RawCase {
    id: String,
    question: Vec<Vec<RawMessage>>,
    function: Vec<RawFunction>,
}

#[derive(Deserialize)]
struct RawMessage {
    content: String,
}

#[derive(Deserialize)]
struct RawFunction {
    name: String,
    description: String,
    parameters: Value,
}

#[derive(Deserialize)]
struct RawAnswer {
    id: String,
    ground_truth: Vec<Map<String, Value>>,
}

/// Reads the cases of a category.
///
/// # Errors
/// [`BfclError::Data`] if they are not what was expected.
pub fn load(dir: &Path, category: Category) -> Result<Vec<Case>, BfclError> {
    let [questions, answers] = category.members().map(|member| dir.join(member));
    let damaged = |reason: String| BfclError::Data {
        path: dir.to_path_buf(),
        reason,
    };
    let (cases, truths): (Vec<RawCase>, Vec<RawAnswer>) = (lines(&questions)?, lines(&answers)?);
    if cases.len() != truths.len() || cases.is_empty() {
        return Err(damaged(format!(
            "{} questions and {} answers",
            cases.len(),
            truths.len()
        )));
    }
    let pairs = cases.into_iter().zip(truths);
    pairs
        .map(|(case, truth)| case.with(truth).map_err(damaged))
        .collect()
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, BfclError> {
    let damaged = |reason: String| BfclError::Data {
        path: path.to_path_buf(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| damaged(error.to_string()))?;
    let parsed = text
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| damaged(error.to_string())));
    parsed.collect()
}

impl RawCase {
    fn with(self, truth: RawAnswer) -> Result<Case, String> {
        let id = self.id;
        let (expected, answer) = match truth
            .ground_truth
            .into_iter()
            .next()
            .map(|one| one.into_iter().next())
        {
            Some(Some((name, Value::Object(answer)))) if truth.id == id => (name, answer),
            _ => return Err(format!("{id} has no answer")),
        };
        let messages = self
            .question
            .into_iter()
            .flatten()
            .map(|message| message.content);
        let question = messages.collect::<Vec<_>>().join("\n");
        let functions = self.function.into_iter().map(RawFunction::ready).collect();
        Ok(Case {
            id,
            question,
            functions,
            expected,
            answer,
        })
    }
}

impl RawFunction {
    fn ready(self) -> Function {
        let tool = ToolSpec::new(
            self.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"),
            self.description,
            schema(&self.parameters),
            Effect::Pure,
        );
        Function {
            name: self.name,
            raw: self.parameters,
            tool,
        }
    }
}

/// The data's own notion of types as JSON Schema.
fn schema(raw: &Value) -> Value {
    let Some(raw) = raw.as_object() else {
        return json!({});
    };
    let kind = raw
        .get("type")
        .and_then(Value::as_str)
        .map_or("string", json_type);
    let mut schema = Map::new();
    schema.insert("type".into(), kind.into());
    for key in ["description", "default", "minimum", "maximum"] {
        if let Some(value) = raw.get(key) {
            schema.insert(key.into(), value.clone());
        }
    }
    if let Some(items) = raw.get("items") {
        schema.insert("items".into(), self::schema(items));
    }
    add_enum(&mut schema, kind, raw);
    add_properties(&mut schema, raw);
    Value::Object(schema)
}

fn json_type(name: &str) -> &'static str {
    match name {
        "dict" | "object" => "object",
        "array" | "tuple" | "list" => "array",
        "integer" => "integer",
        "float" | "number" | "double" => "number",
        "boolean" | "bool" => "boolean",
        // As in the data's own mapping, `any` is a text.
        _ => "string",
    }
}

/// Takes an `enum` over, to the items of an array where it is meant for them; one that no value of the
/// type can meet is a slip in the data.
fn add_enum(schema: &mut Map<String, Value>, kind: &str, raw: &Map<String, Value>) {
    let Some(choices) = raw.get("enum").and_then(Value::as_array) else {
        return;
    };
    let item = schema
        .get("items")
        .and_then(|items| items.get("type"))
        .and_then(Value::as_str);
    let of_items = kind == "array" && choices.iter().all(|choice| !choice.is_array());
    let of = if of_items {
        item.unwrap_or("string")
    } else {
        kind
    };
    if !choices
        .iter()
        .all(|choice| jsonschema::is_valid(&json!({"type": of}), choice))
    {
        return;
    }
    if !of_items {
        schema.insert("enum".into(), choices.clone().into());
    } else if let Some(items) = schema.get_mut("items").and_then(Value::as_object_mut) {
        items.insert("enum".into(), choices.clone().into());
    }
}

fn add_properties(schema: &mut Map<String, Value>, raw: &Map<String, Value>) {
    let Some(properties) = raw.get("properties").and_then(Value::as_object) else {
        return;
    };
    let required = raw
        .get("required")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let is_known = |name: &Value| {
        name.as_str()
            .is_some_and(|name| properties.contains_key(name))
    };
    let required: Vec<Value> = required.into_iter().filter(is_known).collect();
    let properties: Map<_, _> = properties
        .iter()
        .map(|(name, raw)| (name.clone(), self::schema(raw)))
        .collect();
    schema.insert("properties".into(), properties.into());
    schema.insert("required".into(), required.into());
    schema.insert("additionalProperties".into(), false.into());
}

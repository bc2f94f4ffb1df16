//! Elicitation: a server asks the user for values, by a form that it describes in JSON Schema.
//!
//! Each value is a question of its own to the person, with its default. A server asks while a call of
//! its own is under way; what the person says goes to the server and not to the model.

use gpak_kernel::{
    model::CallId,
    run::{Answer, Waiting},
    tool::Call,
};
use rmcp::model::{ElicitResult, ElicitationAction, ElicitationSchema};
use serde_json::{Map, Value, json};

use super::{ServerName, Shared};
use crate::schema;

/// Values of one form.
const FIELDS: usize = 20;
/// How often a value is asked for again that is none.
const TRIES: u32 = 3;
/// Declines a form.
const DECLINE: &str = "!no";

/// A form to fill in.
pub(super) struct Form {
    message: String,
    schema: Value,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    schema: Value,
    is_required: bool,
}

/// What became of a form.
#[derive(Debug, PartialEq)]
pub(super) enum Filled {
    /// These are the values.
    With(Map<String, Value>),
    /// The person does not want to.
    Declined,
    /// Nobody answered.
    Cancelled,
}

impl Form {
    /// The form that a server describes so. The error tells the server what is wrong with it.
    pub(super) fn new(message: &str, asked: &ElicitationSchema) -> Result<Self, String> {
        let schema = serde_json::to_value(asked).map_err(|why| why.to_string())?;
        schema::check(&schema).map_err(|why| format!("the requested schema {why}"))?;
        let in_order = asked.property_order.iter().flatten();
        let mut names: Vec<&String> = in_order.collect();
        let rest = asked.properties.keys().filter(|name| !names.contains(name));
        let rest: Vec<_> = rest.collect();
        names.extend(rest);
        if names.len() > FIELDS {
            return Err(format!("a form has {FIELDS} values at most"));
        }
        let field = |name: &String| {
            let required = asked.required.as_ref();
            Some(Field {
                name: name.clone(),
                schema: schema.get("properties")?.get(name)?.clone(),
                is_required: required.is_some_and(|required| required.contains(name)),
            })
        };
        Ok(Self {
            message: message.to_owned(),
            fields: names.into_iter().filter_map(field).collect(),
            schema,
        })
    }

    /// Has it filled in: by the person, or with its defaults where the user said that nothing be asked and
    /// these are enough.
    pub(super) async fn fill(&self, server: &ServerName, shared: &Shared) -> Filled {
        let _turn = shared.turn.lock().await;
        if shared.yes
            && let Some(values) = self.defaults()
        {
            return Filled::With(values);
        }
        let ask = async |text: String| {
            let call = Call {
                id: CallId { reply: 0, index: 0 },
                name: server.to_string(),
                args: json!({}),
                attempt: 1,
            };
            match shared
                .person()
                .ask(&Waiting::Question { call, text }, None)
                .await
            {
                Some(Answer::Text(text)) => Some(text.trim().to_owned()),
                _ => None,
            }
        };
        let head = format!("The MCP server `{server}` asks: {}", self.message);
        if self.fields.is_empty() {
            let answer = ask(format!("{head}\nAgree? yes or no")).await;
            return match answer.map(|answer| answer.to_lowercase()).as_deref() {
                Some("y" | "yes") => Filled::With(Map::new()),
                Some(_) => Filled::Declined,
                None => Filled::Cancelled,
            };
        }
        let mut values = Map::new();
        for (number, field) in self.fields.iter().enumerate() {
            let mut question = match number {
                0 => format!("{head}\n({DECLINE} declines; what you say goes to that server)\n"),
                _ => String::new(),
            };
            question += &field.question();
            let mut tries = 0;
            let value = loop {
                let Some(answer) = ask(question).await else {
                    return Filled::Cancelled;
                };
                if answer == DECLINE {
                    return Filled::Declined;
                }
                match field.read(&answer) {
                    Ok(value) => break value,
                    Err(_) if tries == TRIES => return Filled::Cancelled,
                    Err(why) => question = format!("{why}. {}", field.question()),
                }
                tries += 1;
            };
            if let Some(value) = value {
                values.insert(field.name.clone(), value);
            }
        }
        Filled::With(values)
    }

    /// The values of a form that needs no more than its defaults.
    fn defaults(&self) -> Option<Map<String, Value>> {
        let mut values = Map::new();
        for field in &self.fields {
            match field.schema.get("default") {
                Some(default) => {
                    values.insert(field.name.clone(), default.clone());
                }
                None if field.is_required => return None,
                None => {}
            }
        }
        let whole = Value::Object(values);
        schema::holds(&self.schema, &whole).ok()?;
        match whole {
            Value::Object(values) => Some(values),
            _ => None,
        }
    }
}

impl Field {
    /// `colour, Your favourite: red, green or blue [red]`.
    fn question(&self) -> String {
        let text = |name: &str| self.schema.get(name).and_then(Value::as_str);
        let mut question = text("title").unwrap_or(&self.name).to_owned();
        if let Some(description) = text("description") {
            question += &format!(" ({description})");
        }
        let choices = self.choices();
        if !choices.is_empty() {
            let shown = choices.iter().map(|(value, title)| match title == value {
                true => value.clone(),
                false => format!("{value} ({title})"),
            });
            let several = if self.is_list() {
                ", several with commas between"
            } else {
                ""
            };
            question += &format!(": one of {}{several}", shown.collect::<Vec<_>>().join(", "));
        } else {
            match text("type") {
                Some("boolean") => question += ": yes or no",
                Some("integer") => question += ": a whole number",
                Some("number") => question += ": a number",
                _ => {}
            }
        }
        match self.schema.get("default") {
            Some(Value::String(default)) => question += &format!(" [{default}]"),
            Some(default) => question += &format!(" [{default}]"),
            None if !self.is_required => question += " [nothing]",
            None => {}
        }
        question
    }

    fn is_list(&self) -> bool {
        self.schema.get("type").and_then(Value::as_str) == Some("array")
    }

    /// The values it can have, each with its title; none if it can have any.
    fn choices(&self) -> Vec<(String, String)> {
        let of = self.schema.get("items").unwrap_or(&self.schema);
        let texts = |name: &str| {
            let texts = of.get(name).and_then(Value::as_array).into_iter().flatten();
            texts.filter_map(Value::as_str).map(str::to_owned)
        };
        let mut titles = texts("enumNames");
        let mut choices: Vec<_> = texts("enum")
            .map(|value| (value.clone(), titles.next().unwrap_or(value)))
            .collect();
        for name in ["oneOf", "anyOf"] {
            let each = of.get(name).and_then(Value::as_array).into_iter().flatten();
            choices.extend(each.filter_map(|one| {
                let value = one.get("const")?.as_str()?.to_owned();
                let title = one.get("title").and_then(Value::as_str).unwrap_or(&value);
                Some((value.clone(), title.to_owned()))
            }));
        }
        choices
    }

    /// The value that an answer means; None if the value is left out. The error tells the person why it
    /// means none.
    fn read(&self, answer: &str) -> Result<Option<Value>, String> {
        if answer.is_empty() {
            return match self.schema.get("default") {
                Some(default) => Ok(Some(default.clone())),
                None if self.is_required => Err("An answer is needed".to_owned()),
                None => Ok(None),
            };
        }
        let choice = |answer: &str| {
            let answer = answer.trim();
            let is = |(value, title): &&(String, String)| {
                value == answer || title.eq_ignore_ascii_case(answer)
            };
            let choices = self.choices();
            match choices.iter().find(is) {
                Some((value, _)) => value.clone(),
                None => answer.to_owned(),
            }
        };
        let value = match self.schema.get("type").and_then(Value::as_str) {
            Some("boolean") => match answer.to_lowercase().as_str() {
                "y" | "yes" | "true" => Value::Bool(true),
                "n" | "no" | "false" => Value::Bool(false),
                _ => return Err("That is neither yes nor no".to_owned()),
            },
            Some("integer" | "number") => match serde_json::from_str(answer) {
                Ok(value @ Value::Number(_)) => value,
                _ => return Err("That is no number".to_owned()),
            },
            Some("array") => answer.split(',').map(choice).collect(),
            _ => Value::String(choice(answer)),
        };
        schema::holds(&self.schema, &value).map_err(|why| format!("That will not do: {why}"))?;
        Ok(Some(value))
    }
}

impl Filled {
    /// A line for the model and the journal; the values are none of the model's business.
    pub(super) fn told(&self, message: &str) -> String {
        let how = match self {
            Self::With(_) => "answered",
            Self::Declined => "declined",
            Self::Cancelled => "nobody answered",
        };
        let message: String = message.chars().take(200).collect();
        format!("The server asked the user \"{message}\": {how}.")
    }
}

impl From<Filled> for ElicitResult {
    fn from(filled: Filled) -> Self {
        match filled {
            Filled::With(values) => {
                Self::new(ElicitationAction::Accept).with_content(Value::Object(values))
            }
            Filled::Declined => Self::new(ElicitationAction::Decline),
            Filled::Cancelled => Self::new(ElicitationAction::Cancel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(properties: Value, required: Value) -> Form {
        let schema = json!({"type": "object", "properties": properties, "required": required});
        Form::new("who?", &serde_json::from_value(schema).unwrap()).unwrap()
    }

    fn field(schema: Value) -> Field {
        Field {
            name: "it".to_owned(),
            schema,
            is_required: true,
        }
    }

    #[test]
    fn an_answer_is_read_as_what_the_field_is() {
        let colour = json!({"type": "string", "oneOf": [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}]});
        let several = json!({"type": "array", "items": {"type": "string", "enum": ["a", "b"]}});
        for (schema, answer, is) in [
            (json!({"type": "string"}), "Ada", json!("Ada")),
            (json!({"type": "integer"}), "42", json!(42)),
            (json!({"type": "number"}), "1.5", json!(1.5)),
            (json!({"type": "boolean"}), "Yes", json!(true)),
            (json!({"type": "string", "default": "x"}), "", json!("x")),
            (colour.clone(), "green", json!("g")),
            (several.clone(), "a, b", json!(["a", "b"])),
        ] {
            assert_eq!(field(schema).read(answer), Ok(Some(is)), "{answer}");
        }
        for (schema, answer) in [
            (json!({"type": "string"}), ""),
            (json!({"type": "integer"}), "4.5"),
            (json!({"type": "integer", "maximum": 3}), "4"),
            (json!({"type": "boolean"}), "perhaps"),
            (colour, "blue"),
            (several, "a, c"),
        ] {
            assert!(field(schema).read(answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn defaults_fill_a_form_only_where_they_are_enough() {
        let name = json!({"type": "string", "default": "Ada"});
        let age = json!({"type": "integer"});
        let properties = json!({"name": name, "age": age});
        let filled = form(properties.clone(), json!(["name"])).defaults();
        assert_eq!(filled.map(Value::Object), Some(json!({"name": "Ada"})));
        assert_eq!(form(properties, json!(["age"])).defaults(), None);
    }
}

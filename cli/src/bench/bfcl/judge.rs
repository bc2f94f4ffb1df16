//! Whether a call is right: the rules of `bfcl_eval.eval_checker.ast_eval.ast_checker` for Python
//! functions, oddities included, so that figures can be compared with published ones.
//!
//! In short: every required argument is there and none is unknown; a value has the declared type (an
//! integer will do for a float), or the type of an accepted value; it equals one of the accepted values,
//! texts compared without case, blanks and `,./-_*^`.

use serde_json::{Map, Value};

/// The types that Python would see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Int,
    Float,
    Bool,
    List,
    Dict,
    None,
}

type Verdict = Result<(), String>;

/// Judges the arguments of a call of the right function.
///
/// # Errors
/// What is wrong with the call.
pub fn judge(parameters: &Value, args: &Value, answer: &Map<String, Value>) -> Verdict {
    let args = args.as_object().ok_or("the arguments are no object")?;
    let properties = parameters
        .get("properties")
        .and_then(Value::as_object)
        .ok_or("no properties")?;
    let required = parameters
        .get("required")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    for name in required.iter().filter_map(Value::as_str) {
        if !args.contains_key(name) {
            return Err(format!("{name} is missing"));
        }
    }
    for (name, value) in args {
        let (Some(details), Some(accepted)) = (properties.get(name), answer.get(name)) else {
            return Err(format!("{name} is not expected"));
        };
        judge_value(details, value, list(accepted))
            .map_err(|reason| format!("{name}: {reason}"))?;
    }
    for (name, accepted) in answer {
        if !args.contains_key(name) && !may_be_left_out(accepted) {
            return Err(format!("{name} was left out"));
        }
    }
    Ok(())
}

fn judge_value(details: &Value, value: &Value, accepted: &[Value]) -> Verdict {
    let declared = details.get("type").and_then(Value::as_str).unwrap_or("any");
    let expected = declared_type(declared);
    let nested = match declared {
        "array" | "tuple" => details
            .pointer("/items/type")
            .and_then(Value::as_str)
            .map(declared_type),
        _ => None,
    };
    let value = &match (declared, type_of(value), value.as_f64()) {
        ("float", Type::Int, Some(number)) => Value::from(number),
        _ => value.clone(),
    };
    if !check_type(value, accepted, expected, nested)? {
        match (expected, nested) {
            (Type::Dict, _) => return check_dict(value, accepted),
            (Type::List, Some(Type::Dict)) => return check_dicts(value, accepted),
            (Type::Text, _) => return check_text(value, accepted),
            (Type::List, _) => return check_list(value, accepted),
            _ => {}
        }
    }
    if accepted.iter().any(|one| equal(one, value)) {
        Ok(())
    } else {
        Err(not_accepted(value, accepted))
    }
}

/// Whether the value's type will do; `Ok(true)` says that it is to be compared as it stands, because the
/// accepted values are of another type than the declared one.
fn check_type(
    value: &Value,
    accepted: &[Value],
    expected: Type,
    nested: Option<Type>,
) -> Result<bool, String> {
    let accepted_type = accepted.iter().find(|one| !is_blank(one)).map(type_of);
    let differs = accepted_type.is_some_and(|one| one != expected);
    if type_of(value) == expected {
        let Some(nested) = nested else {
            return Ok(differs);
        };
        // An accepted value that is no list (`""`) lets any list through here.
        let fits = |one: &Value| match one {
            Value::Array(items) => list(value)
                .iter()
                .all(|item| check_type(item, items, nested, None).is_ok()),
            _ => true,
        };
        if accepted.iter().any(fits) {
            return Ok(differs);
        }
    }
    if accepted_type == Some(type_of(value)) {
        return Ok(true);
    }
    Err(format!("{value} has the wrong type"))
}

fn check_text(value: &Value, accepted: &[Value]) -> Verdict {
    let value = plain(value);
    let found = accepted
        .iter()
        .filter(|one| one.is_string())
        .any(|one| plain(one) == value);
    if found {
        Ok(())
    } else {
        Err(not_accepted(&value, accepted))
    }
}

fn check_list(value: &Value, accepted: &[Value]) -> Verdict {
    let items: Vec<Value> = list(value).iter().map(plain).collect();
    let same = |one: &Value| {
        let wanted = list(one);
        wanted.len() == items.len()
            && wanted
                .iter()
                .map(plain)
                .zip(&items)
                .all(|(a, b)| equal(&a, b))
    };
    // An empty text is an empty list to Python's loop.
    let found = accepted
        .iter()
        .any(|one| (one.is_array() || is_blank(one)) && same(one));
    if found {
        Ok(())
    } else {
        Err(not_accepted(value, accepted))
    }
}

fn check_dict(value: &Value, accepted: &[Value]) -> Verdict {
    let value = value
        .as_object()
        .ok_or_else(|| format!("{value} is no object"))?;
    let mut verdict = Err("no object is accepted".to_owned());
    for wanted in accepted.iter().filter(|one| !is_blank(one)) {
        verdict = match wanted.as_object() {
            Some(wanted) => check_one_dict(value, wanted),
            None => Err("no object is accepted".to_owned()),
        };
        if verdict.is_ok() {
            break;
        }
    }
    verdict
}

fn check_one_dict(value: &Map<String, Value>, wanted: &Map<String, Value>) -> Verdict {
    for (key, value) in value {
        let choices = wanted
            .get(key)
            .ok_or_else(|| format!("{key} is not expected"))?;
        let value = plain(value);
        if !list(choices).iter().any(|one| equal(&plain(one), &value)) {
            return Err(format!("{key}: {}", not_accepted(&value, list(choices))));
        }
    }
    match wanted
        .iter()
        .find(|(key, choices)| !value.contains_key(*key) && !may_be_left_out(choices))
    {
        Some((key, _)) => Err(format!("{key} is missing")),
        None => Ok(()),
    }
}

fn check_dicts(value: &Value, accepted: &[Value]) -> Verdict {
    let items = list(value);
    let mut verdict = Err("no list is accepted".to_owned());
    for wanted in accepted.iter().map(list) {
        if wanted.len() != items.len() {
            verdict = Err(format!("it has {} items", items.len()));
            continue;
        }
        let mut pairs = items.iter().zip(wanted);
        verdict = pairs.try_for_each(|(item, one)| check_dict(item, std::slice::from_ref(one)));
        if verdict.is_ok() {
            break;
        }
    }
    verdict
}

fn declared_type(name: &str) -> Type {
    match name {
        "integer" => Type::Int,
        "float" => Type::Float,
        "boolean" => Type::Bool,
        "array" | "tuple" => Type::List,
        "dict" => Type::Dict,
        _ => Type::Text,
    }
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::None,
        Value::Bool(_) => Type::Bool,
        Value::Number(number) if number.is_f64() => Type::Float,
        Value::Number(_) => Type::Int,
        Value::String(_) => Type::Text,
        Value::Array(_) => Type::List,
        Value::Object(_) => Type::Dict,
    }
}

/// A text without what does not count; anything else as it is.
fn plain(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let text = text.replace([' ', ',', '.', '/', '-', '_', '*', '^'], "");
            text.to_lowercase().replace('\'', "\"").into()
        }
        other => other.clone(),
    }
}

/// Python's `==`: `1`, `1.0` and `True` are one.
fn equal(a: &Value, b: &Value) -> bool {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_bool().map(f64::from));
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        },
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_blank(value: &Value) -> bool {
    value.as_str() == Some("")
}

fn may_be_left_out(accepted: &Value) -> bool {
    list(accepted).iter().any(is_blank)
}

fn not_accepted(value: &Value, accepted: &[Value]) -> String {
    let accepted: Vec<String> = accepted.iter().map(Value::to_string).collect();
    format!("{value} is none of {}", accepted.join(", "))
}

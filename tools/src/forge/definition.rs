//! A tool as a small model writes it: a function in JavaScript, and calls of it with what they give.
//!
//! ```text
//! // Doubles a number.
//! function double(n) {
//!   if (typeof n !== "number") throw new Error("n must be a number")
//!   return n * 2
//! }
//! // examples
//! double(2) => 4
//! // bad input
//! double("two") => error
//! ```
//!
//! The name and the arguments of the tool are those of the function, and what kind of value an argument is, the
//! examples show. A model that is held to [`pattern`] cannot leave out the check of the input, nor the
//! examples.

use serde_json::{Map, Value, json};

use super::making::{Args, Shown};

/// What is below the function, and says that calls come.
const EXAMPLES: &str = "// examples";
/// And calls of bad input.
const BAD_INPUT: &str = "// bad input";
/// What a call of bad input gives.
const ERROR: &str = "error";
/// The function that the interpreter calls.
const INVOKE: &str = "invoke";

/// The form of a definition, as a regular expression: of those that JSON Schema and constraint compilers both
/// know.
pub(super) fn pattern() -> String {
    const NAME: &str = "[a-z][a-z0-9_]{2,39}";
    const WORD: &str = "[a-z][A-Za-z0-9_]{0,30}";
    const TEXT: &str = r#""(?:[^"\\\n]|\\["\\/bfnrt])*""#;
    const NUMBER: &str = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?";
    let scalar = format!("(?:{TEXT}|{NUMBER}|true|false|null)");
    let list = |of: &str| format!(r"\[(?:{of}(?:, ?{of})*)?\]");
    let object = |of: &str| format!(r"\{{(?:{TEXT}: ?{of}(?:, ?{TEXT}: ?{of})*)?\}}");
    let flat = format!("(?:{scalar}|{}|{})", list(&scalar), object(&scalar));
    let value = format!("(?:{scalar}|{}|{})", list(&flat), object(&flat));
    let call = format!(r"{NAME}\({value}(?:, ?{value})*\) => ");
    // A condition has no block in it: the check is one line. What is indented belongs to the function. The more
    // examples a small model writes, the likelier it is that it got one of them wrong.
    format!(
        "^// [^\\n]{{8,200}}\\n\
         function {NAME}\\({WORD}(?:, {WORD})*\\) \\{{\\n\
         [ ]{{2}}if \\([^\\n;{{]+\\) throw new Error\\([^\\n]+\\);?\\n\
         (?:(?:[ \\t][^\\n]*)?\\n)+\
         \\}}\\n\
         {EXAMPLES}\\n(?:{call}{value}\\n){{1,2}}\
         {BAD_INPUT}\\n{call}{ERROR}(?:\\n{call}{ERROR})?$"
    )
}

/// The tool that a definition says.
///
/// # Errors
/// What is wrong with it, for the model.
pub(super) fn read(text: &str) -> Result<Args, String> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = lines.iter().position(|line| line.starts_with("function "));
    let begins = begins.ok_or("there is no line that begins with `function NAME(ARGUMENTS) {`")?;
    let ends = lines.iter().position(|line| line.trim_end() == "}");
    let ends = ends.filter(|ends| *ends > begins);
    let ends = ends.ok_or("the function has no end: a line with } and nothing else")?;
    let (name, arguments) = lines
        .get(begins)
        .and_then(|line| signature(line))
        .ok_or("the function has no name and arguments, as in `function double(n) {`")?;
    if name == INVOKE {
        return Err(format!(
            "{INVOKE} says nothing; name the function after what it does"
        ));
    }
    let about = lines
        .iter()
        .take(begins)
        .map(|line| line.trim_start_matches('/').trim());
    let description = about.collect::<Vec<_>>().join(" ");
    let calls = lines.iter().skip(ends + 1).map(|line| line.trim());
    let calls = calls.filter(|line| !line.is_empty() && !line.starts_with("//"));
    let examples = calls.map(|line| example(line, &name, &arguments));
    let examples = examples.collect::<Result<Vec<_>, _>>()?;
    let function = lines.get(..=ends).unwrap_or_default().join("\n");
    let passed: Vec<_> = arguments.iter().map(|one| format!("input.{one}")).collect();
    Ok(Args {
        description: match description.trim() {
            "" => name.replace('_', " "),
            about => about.to_owned(),
        },
        input_schema: schema(&arguments, &examples),
        source: format!(
            "{function}\nfunction {INVOKE}(input) {{ return {name}({}) }}",
            passed.join(", ")
        ),
        name,
        examples,
        needs: None,
    })
}

/// The name and the arguments of `function double(n) {`.
fn signature(line: &str) -> Option<(String, Vec<String>)> {
    let (name, rest) = line.strip_prefix("function ")?.split_once('(')?;
    let (arguments, _) = rest.split_once(')')?;
    let arguments: Vec<_> = arguments
        .split(',')
        .map(|one| one.trim().to_owned())
        .collect();
    let is_word = |word: &String| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    arguments
        .iter()
        .all(is_word)
        .then(|| (name.trim().to_owned(), arguments))
}

/// The example that `double(2) => 4` is.
fn example(line: &str, name: &str, arguments: &[String]) -> Result<Shown, String> {
    let wrong = |why: &str| format!("the example `{line}` {why}; one looks like `{name}(…) => …`");
    let (called, rest) = line.split_once('(').ok_or_else(|| wrong("calls nothing"))?;
    if called != name {
        return Err(wrong(&format!(
            "calls {called}, and the function is {name}"
        )));
    }
    // A text may have what stands between a call and what it gives.
    let mut cuts = rest.match_indices(") => ").filter_map(|(at, arrow)| {
        let (given, output) = (rest.get(..at)?, rest.get(at + arrow.len()..)?.trim());
        let given: Vec<Value> = serde_json::from_str(&format!("[{given}]")).ok()?;
        let output = match output {
            ERROR => None,
            output => Some(serde_json::from_str(output).ok()?),
        };
        Some((at, given, output))
    });
    let (at, given, output) = cuts
        .next()
        .ok_or_else(|| wrong("gives no JSON to the function, or expects none"))?;
    if given.len() > arguments.len() {
        return Err(wrong(&format!(
            "gives {} arguments of {}",
            given.len(),
            arguments.len()
        )));
    }
    let input: Map<String, Value> = arguments.iter().cloned().zip(given).collect();
    Ok(Shown {
        input: input.into(),
        error: output.is_none(),
        output,
        called: Some(format!("{name}({})", rest.get(..at).unwrap_or_default())),
    })
}

/// The schema of the arguments that good input has: each is required that all examples give.
fn schema(arguments: &[String], examples: &[Shown]) -> Value {
    let good: Vec<_> = examples.iter().filter(|example| !example.error).collect();
    let given = |name: &str| {
        good.iter()
            .filter_map(|example| example.input.get(name))
            .collect::<Vec<_>>()
    };
    let properties: Map<String, Value> = arguments
        .iter()
        .map(|name| (name.clone(), kind(&given(name))))
        .collect();
    let required: Vec<_> = arguments
        .iter()
        .filter(|name| given(name).len() == good.len())
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// What kind of value these are; anything, where they differ.
fn kind(values: &[&Value]) -> Value {
    let name = |value: &Value| match value {
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => "null",
    };
    match values.split_first() {
        Some((first, rest)) if rest.iter().all(|value| name(value) == name(first)) => {
            json!({"type": name(first)})
        }
        _ => json!({}),
    }
}

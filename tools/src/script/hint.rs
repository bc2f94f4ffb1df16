//! What may have been meant by a program that failed: the mistakes that small models make again and again.

/// The functions that a program finds, beside those of JavaScript and node.
const FUNCTIONS: &str =
    "list, read, lines, csv, replace, replaceAll, write, append, move, copy, remove, exists, print";

/// A hint for an error with that message, if there is one.
pub(super) fn of(message: &str, script: &str) -> Option<String> {
    if let Some(name) = message
        .strip_prefix("ReferenceError: ")
        .and_then(|rest| rest.strip_suffix(" is not defined"))
    {
        return Some(match is_declared(script, name) {
            true => format!(
                "\n{name} is known only inside the loop or function that declares it: keep what is needed of it \
                 in a variable that is declared before."
            ),
            false => format!("\nThe functions there are: {FUNCTIONS}."),
        });
    }
    let is_syntax = message.starts_with("SyntaxError");
    if let Some(path) = parsed_as_json(script).filter(|_| is_syntax) {
        return Some(format!(
            "\n{path} is no JSON. A text like it is changed by replace({path:?}, before, after), and read by lines."
        ));
    }
    if is_syntax && script.lines().any(is_python) {
        return Some(
            "\nThis is Python, and a program is JavaScript: a file is changed by replace or write."
                .to_owned(),
        );
    }
    (is_syntax && message.contains("variable name expected")).then(|| {
        "\nA word of the language (new, class, default, …) cannot be the name of a variable."
            .to_owned()
    })
}

/// The file that a program reads as JSON though its name says that it is none.
fn parsed_as_json(script: &str) -> Option<&str> {
    let path = script
        .split_once("JSON.parse(read(\"")?
        .1
        .split('"')
        .next()?;
    let others = [
        ".toml", ".yaml", ".yml", ".ini", ".py", ".js", ".md", ".txt",
    ];
    others
        .iter()
        .any(|ending| path.ends_with(ending))
        .then_some(path)
}

/// Whether a name is declared anywhere in a program.
fn is_declared(script: &str, name: &str) -> bool {
    let declares = |before: &str, after: &str| {
        ["let", "const", "var", "function"]
            .iter()
            .any(|word| before.trim_end().ends_with(word))
            || after.trim_start().starts_with("=>")
    };
    script.match_indices(name).any(|(at, _)| {
        declares(
            script.get(..at).unwrap_or_default(),
            script.get(at + name.len()..).unwrap_or_default(),
        )
    })
}

/// A line that only Python has: the place where a program goes was taken for a file.
fn is_python(line: &str) -> bool {
    let line = line.trim_end();
    let opens = ["def ", "class ", "if ", "for "];
    line.ends_with(':') && opens.iter().any(|word| line.starts_with(word))
        || line.starts_with("from ") && line.contains(" import ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_out_of_its_loop_is_told_from_one_that_is_nowhere() {
        let script = "for (const row of csv('a')) {}\nprint(row.x)";
        let hint = of("ReferenceError: row is not defined", script).unwrap();
        assert!(hint.contains("only inside the loop"), "{hint}");
        let hint = of("ReferenceError: grep is not defined", "grep('x')").unwrap();
        assert!(hint.contains("list, read, lines"), "{hint}");
        assert_eq!(of("TypeError: not a function", script), None);
    }

    #[test]
    fn python_is_told_from_other_mistakes() {
        let hint = of("SyntaxError: x", "def half(x):\n    return x").unwrap();
        assert!(hint.contains("Python"), "{hint}");
        assert_eq!(of("SyntaxError: x", "let a = ;"), None);
    }

    #[test]
    fn a_file_that_is_no_json_is_told_from_one_that_is_broken() {
        let hint = of("SyntaxError: x", "JSON.parse(read(\"a/b.toml\")).c").unwrap();
        assert!(hint.contains("a/b.toml is no JSON"), "{hint}");
        assert_eq!(of("SyntaxError: x", "JSON.parse(read(\"b.json\"))"), None);
    }
}

//! Brings a script as a model writes it into the form that the interpreter runs, line by line.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex};

/// `import … from "…"`, which only modules have.
#[allow(clippy::unwrap_used, reason = "a pattern that is written here is one")]
static IMPORT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?m)^([ \t]*)import\s+(?:(\*\s+as\s+)?(\w+)|(\{[^}\n]*\}))\s+from\s+(["'][^"'\n]*["'])[ \t]*;?"#)
        .unwrap()
});

/// `const lines = lines("…")`: what is declared hides the function that it is to come from.
#[allow(clippy::unwrap_used, reason = "a pattern that is written here is one")]
static OWN_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(?:const|let|var)\s+(?:csv\s*=\s*(csv)|exists\s*=\s*(exists)|lines\s*=\s*(lines)|list\s*=\s*(list)|read\s*=\s*(read))\(").unwrap()
});

/// `print("total: 4")`, `print(12)`: a number that is in the script itself.
#[allow(clippy::unwrap_used, reason = "a pattern that is written here is one")]
static TOLD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"^(?:print|console\.log)\((?:"[^"\n]*\d[^"\n]*"|'[^'\n]*\d[^'\n]*'|`[^`$]*\d[^`$]*`|\d[\d.]*)\);?$"#,
    )
    .unwrap()
});

/// Whether a script does nothing but print numbers that are in it: then nobody has counted anything.
pub(super) fn only_tells(script: &str) -> bool {
    let lines = script.lines().map(str::trim);
    let mut lines = lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .peekable();
    lines.peek().is_some() && lines.all(|line| TOLD.is_match(line))
}

/// A script as the interpreter can run it. No line moves.
pub(super) fn runnable(script: &str) -> Cow<'_, str> {
    match required(script) {
        Cow::Borrowed(script) => named(script),
        Cow::Owned(script) => Cow::Owned(named(&script).into_owned()),
    }
}

/// With functions told from the variables that are named after them.
fn named(script: &str) -> Cow<'_, str> {
    OWN_NAME.replace_all(script, |own: &Captures<'_>| {
        let name = own
            .iter()
            .skip(1)
            .flatten()
            .next()
            .map_or("", |name| name.as_str());
        let declared = own.get(0).map_or("", |all| all.as_str());
        let before = declared
            .strip_suffix(&format!("{name}("))
            .unwrap_or(declared);
        format!("{before}globalThis.{name}(")
    })
}

/// With imports made calls of `require`.
fn required(script: &str) -> Cow<'_, str> {
    IMPORT.replace_all(script, |import: &Captures<'_>| {
        let part = |number| import.get(number).map_or("", |part| part.as_str());
        let names = match part(4) {
            "" => part(3).to_owned(),
            names => names.replace(" as ", ": "),
        };
        format!("{}const {names} = require({});", part(1), part(5))
    })
}

/// The same in a function of its own, for a script that returns a value.
pub(super) fn in_a_function(script: &str) -> String {
    format!("(async () => {{ {script}\n}})()")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_only_prints_its_own_numbers_is_told_from_one_that_counts() {
        for told in [
            "print(`denied: 4`)",
            "// count\nprint(\"4 lines\");\n",
            "console.log(12.5)",
        ] {
            assert!(only_tells(told), "{told}");
        }
        for other in [
            "",
            "print('done')",
            "print(3 * 4)",
            "print(`${1 + 1} lines`)",
            "print(lines('a1').length)",
            "const n = 4\nprint(4)",
        ] {
            assert!(!only_tells(other), "{other}");
        }
    }

    #[test]
    fn imports_become_calls_of_require_on_the_same_line() {
        let script = "import fs from 'fs';\nimport * as path from \"node:path\"\nimport { readFileSync as read, existsSync } from 'fs'\nlet x = 1;";
        assert_eq!(
            runnable(script),
            "const fs = require('fs');\nconst path = require(\"node:path\");\nconst { readFileSync: read, existsSync } = require('fs');\nlet x = 1;"
        );
        assert_eq!(
            runnable("// import it from there"),
            "// import it from there"
        );
    }

    #[test]
    fn a_variable_may_be_named_after_the_function_it_comes_from() {
        assert_eq!(
            runnable("import fs from 'fs';\nfor (const p of list()) { const lines = lines(p); }"),
            "const fs = require('fs');\nfor (const p of list()) { const lines = globalThis.lines(p); }"
        );
        assert_eq!(
            runnable("const lines = list('a');"),
            "const lines = list('a');"
        );
    }
}

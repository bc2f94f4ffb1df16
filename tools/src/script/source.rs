//! Brings a script as a model writes it into the form that the interpreter runs, line by line.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex};

/// `import … from "…"`, which only modules have.
#[allow(clippy::unwrap_used, reason = "a pattern that is written here is one")]
static IMPORT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?m)^([ \t]*)import\s+(?:(\*\s+as\s+)?(\w+)|(\{[^}\n]*\}))\s+from\s+(["'][^"'\n]*["'])[ \t]*;?"#)
        .unwrap()
});

/// The script with its imports made calls of `require`. No line moves.
pub(super) fn runnable(script: &str) -> Cow<'_, str> {
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
}

//! Whether two tries came to the same: what several draws of one model agree on is right more often than the
//! likeliest of them (self-consistency, Wang et al. 2022, arXiv 2203.11171).
//!
//! Tries that changed files agree if they changed the same; those that changed nothing, if they answer the same.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Try;
use crate::event::CallOutcome;

/// Of the words of the shorter of two answers, so many in a hundred are in the other one, if they say the same.
const SHARED: usize = 80;

/// The first of the ways that came to the same, if any two did.
pub(super) fn first(tries: &[&Try<'_>], compared: &[(u32, &CallOutcome)]) -> Option<u32> {
    let came_to = tries.iter().filter_map(|one| {
        let (_, changed) = compared.iter().find(|(way, _)| *way == one.way)?;
        Some((one.way, *changed, one.answer?))
    });
    let came_to: Vec<_> = came_to.collect();
    let mut ways = came_to.iter().enumerate();
    let found = ways.find(|(at, (_, changed, answer))| {
        let mut later = came_to.iter().skip(at + 1);
        later.any(|(_, changed_too, answered)| {
            changed.is_done()
                && changed == changed_too
                && (has_changes(changed) || say_the_same(answer, answered))
        })
    });
    found.map(|(_, (way, ..))| *way)
}

/// Whether a comparison found anything changed.
fn has_changes(outcome: &CallOutcome) -> bool {
    let CallOutcome::Done { output } = outcome else {
        return false;
    };
    let changes = output.data.as_ref().and_then(|data| data.get("changes"));
    changes
        .and_then(Value::as_u64)
        .is_some_and(|changes| changes > 0)
}

/// Whether two answers have the same numbers, and nearly all words of the shorter one are in the other.
fn say_the_same(one: &str, other: &str) -> bool {
    let (one, other) = (words(one), words(other));
    let numbers = |words: &BTreeSet<String>| -> BTreeSet<String> {
        let has_digit = |word: &&String| word.contains(|c: char| c.is_ascii_digit());
        words.iter().filter(has_digit).cloned().collect()
    };
    let shorter = one.len().min(other.len());
    let shared = one.intersection(&other).count();
    shorter > 0 && numbers(&one) == numbers(&other) && shared * 100 >= shorter * SHARED
}

/// The words of a text: what is between blanks, without the marks around it.
fn words(text: &str) -> BTreeSet<String> {
    let words = text.split_whitespace().map(|word| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.to_lowercase()
    });
    words.filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tool::ToolOutput;

    #[test]
    fn answers_that_say_the_same_in_other_words_agree() {
        for (one, other, agree) in [
            ("8080", "The port is `8080`.", true),
            ("Anna Weber", "It was Anna Weber who signed.", true),
            ("There are 12 lines.", "There are 13 lines.", false),
            ("12", "There are 12 lines in 3 files.", false),
            ("Yes.", "No.", false),
            ("", "", false),
        ] {
            assert_eq!(say_the_same(one, other), agree, "{one:?} {other:?}");
            assert_eq!(say_the_same(other, one), agree, "{other:?} {one:?}");
        }
    }

    #[test]
    fn those_that_changed_the_same_agree_whatever_they_say() {
        let outcome = |text: &str, changes: u32| CallOutcome::Done {
            output: ToolOutput {
                data: Some(json!({ "changes": changes })),
                ..ToolOutput::text(text.to_owned())
            },
        };
        let tried = |way, answer| Try {
            way,
            answer: Some(answer),
            said: answer,
        };
        let tries = [tried(1, "I did it."), tried(2, "5"), tried(3, "Done now.")];
        let tries: Vec<_> = tries.iter().collect();
        let (nothing, one, other) = (outcome("nothing", 0), outcome("+a", 1), outcome("+b", 1));
        let agreed = |a, b, c| first(&tries, &[(1, a), (2, b), (3, c)]);
        assert_eq!(agreed(&one, &other, &other), Some(2));
        assert_eq!(agreed(&other, &one, &other), Some(1));
        assert_eq!(agreed(&nothing, &one, &other), None);
        let differ = agreed(&nothing, &nothing, &other);
        assert_eq!(differ, None, "the answers differ");
        let first = first(&tries, &[(1, &one)]);
        assert_eq!(first, None, "the others are not compared");
    }
}

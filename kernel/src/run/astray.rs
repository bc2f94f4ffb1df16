//! Calls by which a small model goes astray, as far as the words of its task tell: it takes another file than the one
//! that it was given, or writes down what it was only asked.

use std::collections::BTreeSet;

use super::{
    file_names::{self, last},
    state::State,
    unfinished::had_to_do_with,
};
use crate::{event::Setup, model::ToolCall};

/// How those begin who want something changed, made or run.
const CHANGES: &str = "\
add adjust append apply build bump chang clean clear collect comment convert cop correct creat cut delet \
disabl doubl drop edit empty enabl execut extract fill fix format gather generat increas insert instead into \
join keep leave lower mak mark merg mov must need new note pack produc put rais record reduc remov renam \
repair replac rewrit run sav set should sort split stor swap switch tidy translat turn uncomment updat writ \
wrong";
/// Words of those who want to know something.
const ASKS: &str = "what which who whom whose where when why how tell find count say";

/// What is wrong with a call, if it goes astray. A model that was told so once, and makes such a call again, has
/// its way: the words may be wrong.
pub(super) fn told(state: &State, call: &ToolCall) -> Option<String> {
    if !is_led(state) || state.progress.was_led_back {
        return None;
    }
    let (setup, task) = (state.setup.as_ref()?, &state.spec.as_ref()?.task);
    let texts = call.args.as_object()?.values();
    let program: Vec<&str> = texts.filter_map(|text| text.as_str()).collect();
    let program = program.join("\n");
    let mistaken = mistaken(task, &program, &setup.repository.files)
        .filter(|(named, _)| !had_to_do_with(state, last(named)));
    mistaken.map(|(named, taken)| {
        format!(
            "this reads {taken}, and the task is about {named}. Nothing was done. Write all of it anew, over {named}."
        )
    })
}

/// Whether a run's calls may change anything: not where a small model was only asked something. One that was kept from
/// a change, and makes it again, has its way, too.
pub(super) fn may_change(state: &State) -> bool {
    let task = state.spec.as_ref().map(|spec| spec.task.as_str());
    state.progress.was_withheld || !is_led(state) || !task.is_some_and(only_asks)
}

/// Whether the model is one that goes astray, and the task the only thing that is asked.
fn is_led(state: &State) -> bool {
    let is_small = |setup: &Setup| !setup.model.native_tools;
    state.setup.as_ref().is_some_and(is_small) && !state.is_conversation()
}

/// A file that is there and that the task names, and one that a program takes in its place: one with a name like it, or
/// one of which the task does not speak.
fn mistaken<'a>(task: &'a str, program: &'a str, files: &str) -> Option<(&'a str, &'a str)> {
    let there: BTreeSet<&str> = file_names::in_text(files).map(last).collect();
    let is_there = |path: &&str| there.contains(last(path));
    let named: Vec<&str> = file_names::in_task(task).filter(is_there).collect();
    let taken: Vec<&str> = file_names::in_text(program).filter(is_there).collect();
    let is_named = |path: &str| named.iter().any(|named| last(named) == last(path));
    if taken.iter().any(|path| is_named(path)) {
        return None;
    }
    let mut unasked = taken.into_iter().filter(|path| !task.contains(last(path)));
    unasked.find_map(|taken| Some((meant(task, &named, taken)?, taken)))
}

/// The file among those that a task names in whose place another one is taken. None if that one may well be meant.
fn meant<'a>(task: &str, named: &[&'a str], taken: &str) -> Option<&'a str> {
    let like = |named: &&&str| are_alike(last(named), last(taken));
    let unspoken = || named.first().filter(|_| !is_spoken_of(task, taken));
    named.iter().find(like).or_else(unspoken).copied()
}

/// Whether a task has a word for a file: the beginning of the name of a folder that it is in, or of its own.
fn is_spoken_of(task: &str, path: &str) -> bool {
    const BEGINNING: usize = 4;
    let task = task.to_lowercase();
    let path = path.to_lowercase();
    let mut names = path.split('/').filter_map(|name| name.split('.').next());
    names.any(|name| {
        let beginning: String = name.chars().take(BEGINNING).collect();
        !beginning.is_empty() && task.contains(&beginning)
    })
}

/// `costs.csv` and `costs-2022.csv`; not `a.md` and `b.md`, or `a.md` and `a.txt`.
fn are_alike(one: &str, other: &str) -> bool {
    const COMMON: usize = 4;
    let (Some((one, kind)), Some((other, other_kind))) =
        (one.rsplit_once('.'), other.rsplit_once('.'))
    else {
        return false;
    };
    let common = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    kind == other_kind && (one.contains(other) || other.contains(one) || common.count() >= COMMON)
}

/// Whether a task wants to know something, and no more.
fn only_asks(task: &str) -> bool {
    let words = task.split(|c: char| !c.is_alphanumeric());
    let words: Vec<String> = words.map(str::to_lowercase).collect();
    let asks = |word: &String| ASKS.split(' ').any(|one| one == word);
    let wants = |word: &String| CHANGES.split(' ').any(|stem| word.starts_with(stem));
    (task.contains('?') || words.iter().any(asks)) && !words.iter().any(wants)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = "members.csv 3 lines\nmembers-2022.csv 9 lines\nold/report.md\nnotes.md";

    #[test]
    fn a_file_with_a_name_like_the_one_that_was_given_is_a_mistake() {
        let task = "How many of members.csv live in Leeds?";
        for (program, is) in [
            ("csv(\"members-2022.csv\").length", true),
            ("csv(\"members.csv\").length", false),
            (
                "const old = csv(\"members-2022.csv\"), all = csv('members.csv')",
                false,
            ),
            ("read(\"notes.md\")", true),
            ("read(\"old/report.md\")", true),
            ("list().length", false),
            ("csv(\"members-2023.csv\").length", false),
        ] {
            assert_eq!(mistaken(task, program, FILES).is_some(), is, "{program}");
        }
        let spoken = "Add what the note says, and the old reports, to members.csv.";
        for program in ["read(\"notes.md\")", "read(\"old/report.md\")"] {
            assert_eq!(mistaken(spoken, program, FILES), None, "{program}");
        }
        let both = "Which rows of members.csv are not in members-2022.csv?";
        assert_eq!(mistaken(both, "csv(\"members-2022.csv\")", FILES), None);
        assert_eq!(
            mistaken("How many members?", "csv(\"members-2022.csv\")", FILES),
            None
        );
    }

    #[test]
    fn names_are_alike_if_one_is_in_the_other_or_they_begin_alike() {
        assert!(are_alike("quiz.csv", "quiz-7a.csv"));
        assert!(are_alike("stock-north.csv", "stock-south.csv"));
        assert!(!are_alike("a.md", "b.md"));
        assert!(!are_alike("notes.md", "notes.txt"));
    }

    #[test]
    fn a_question_is_told_from_what_is_to_be_done() {
        for asks in [
            "How many lines has a.txt?",
            "The treasurer asks what our choir spent on catering in May 2024, all in all. I only want the total.",
            "Tell me the file that mentions cardamom.",
        ] {
            assert!(only_asks(asks), "{asks}");
        }
        for other in [
            "Work out the mean of points, and save just that number in mean.txt.",
            "What is the port? It should be 8080 in app.toml.",
            "Find the typo and fix it.",
            "Write how many there are to n.txt",
            "The answer is 4.",
        ] {
            assert!(!only_asks(other), "{other}");
        }
    }
}

//! Asks the person at the terminal.

use std::io::{BufRead, IsTerminal, Write};

use async_trait::async_trait;
use gpak_kernel::{
    event::Decision,
    model::ToolCall,
    run::{Answer, Human, Waiting},
};
use indicatif::ProgressBar;

use crate::show;

/// The person at the terminal.
pub struct Terminal {
    /// Taken away while a question is on the screen.
    pub spinner: ProgressBar,
}

/// Whether somebody can be asked: both ends are a terminal.
pub fn is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

#[async_trait]
impl Human for Terminal {
    async fn ask(&self, waiting: &Waiting, preview: Option<&str>) -> Option<Answer> {
        let question = question(waiting, preview)?;
        let ask = match waiting {
            Waiting::Question { .. } | Waiting::Message => ask_text,
            Waiting::InDoubt { .. } => ask_what_became,
            _ => ask_leave,
        };
        let spinner = self.spinner.clone();
        let asking = tokio::task::spawn_blocking(move || {
            spinner.disable_steady_tick();
            spinner.suspend(|| ask(&question))
        });
        asking.await.ok()?
    }
}

fn question(waiting: &Waiting, preview: Option<&str>) -> Option<String> {
    let in_short = |call: &gpak_kernel::tool::Call| {
        show::call(&ToolCall {
            name: call.name.clone(),
            args: call.args.clone(),
        })
    };
    Some(match waiting {
        Waiting::Approval { call, reason } => {
            let preview = preview.map(|preview| format!("{}\n", preview.trim_end()));
            format!(
                "\n{}\n{}{reason}. Do it? [y]es, [a]lways in this run, [n]o, or say what to do instead: ",
                in_short(call),
                preview.unwrap_or_default()
            )
        }
        Waiting::InDoubt { call } => format!(
            "\n{}\ngpak was stopped while this was running. Was it done? \
             [d]one, [r]un it again, [n]either: ",
            in_short(call)
        ),
        Waiting::Question { text, .. } => format!("\n{text}\n> "),
        Waiting::Message => "\n> ".to_owned(),
        Waiting::Driver(_) => return None,
    })
}

/// Asks for a yes or a no. What is neither is a no.
pub async fn confirm(question: String) -> bool {
    let asking = tokio::task::spawn_blocking(move || read_line(&question));
    let answer = asking.await.ok().flatten().unwrap_or_default();
    matches!(answer.to_lowercase().as_str(), "y" | "yes")
}

/// A line; None at the end of input.
fn read_line(prompt: &str) -> Option<String> {
    let mut error = std::io::stderr();
    // If the terminal is gone there is nobody to read the prompt, and the read below says so.
    let _ = error
        .write_all(prompt.as_bytes())
        .and_then(|()| error.flush());
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim().to_owned()),
    }
}

fn ask_text(prompt: &str) -> Option<Answer> {
    read_line(prompt).map(Answer::Text)
}

fn ask_leave(prompt: &str) -> Option<Answer> {
    ask_decision(prompt, "y, a, n, or a sentence: ", |word| match word {
        "y" | "yes" => Some(Decision::Allow),
        "a" | "always" => Some(Decision::AllowForRun),
        "n" | "no" => Some(Decision::Deny),
        _ => None,
    })
}

fn ask_what_became(prompt: &str) -> Option<Answer> {
    ask_decision(prompt, "d, r, n, or a sentence: ", |word| match word {
        "d" | "done" => Some(Decision::WasDone),
        "r" | "run" => Some(Decision::Allow),
        "n" | "neither" => Some(Decision::Deny),
        _ => None,
    })
}

/// A word that decides, or a sentence: then it is not done, and the model is told the sentence.
fn ask_decision(
    prompt: &str,
    again: &str,
    decide: impl Fn(&str) -> Option<Decision>,
) -> Option<Answer> {
    let mut line = read_line(prompt)?;
    while line.is_empty() {
        line = read_line(again)?;
    }
    Some(match decide(&line.to_lowercase()) {
        Some(decision) => Answer::Decision(decision, String::new()),
        None => Answer::Decision(Decision::Deny, line),
    })
}

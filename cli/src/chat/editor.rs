//! Where lines come from: an editor at a terminal, or standard input.
//!
//! A thread of its own reads them, as reading blocks. A question that nobody waits for any more is taken
//! back: the editor lets go of the terminal.

use std::{
    borrow::Cow,
    io::BufRead,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use reedline::{
    Color, EditCommand, FileBackedHistory, KeyCode, KeyModifiers, Prompt, PromptEditMode,
    PromptHistorySearch, Reedline, ReedlineEvent, Signal, ValidationResult, Validator,
    default_emacs_keybindings,
};
use tokio::sync::oneshot;

use crate::{
    failure::{Failure, file},
    show,
};

/// Lines that are remembered.
const REMEMBERED: usize = 2000;

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A line, or several.
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the end of standard input.
    End,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A message or a command. This stands above the prompt.
    Message(String),
    /// A short answer to this, beginning with what can be changed.
    Answer(String, String),
}

/// Reads lines, one question at a time.
pub struct Lines {
    asks: mpsc::Sender<(Ask, oneshot::Sender<Heard>)>,
    taken_back: Arc<AtomicBool>,
    /// Locked while the editor has the terminal.
    held: Arc<Mutex<()>>,
}

impl Lines {
    /// From an editor at the terminal, with the history in that file.
    pub fn terminal(history: PathBuf) -> Result<Self, Failure> {
        let taken_back = Arc::new(AtomicBool::new(false));
        let mut editor = Editor::new(history, &taken_back)?;
        let held = Arc::new(Mutex::new(()));
        let terminal = held.clone();
        let mut lines = Self::of(taken_back, move |ask| {
            let _held = terminal.lock().unwrap_or_else(PoisonError::into_inner);
            editor.read(ask)
        });
        lines.held = held;
        Ok(lines)
    }

    /// Waits until the terminal is as it was, where a question was taken back just now.
    pub fn let_go(&self) {
        drop(self.held.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// From standard input, a message a line.
    pub fn standard_input() -> Self {
        Self::of(Arc::default(), |_| {
            let mut line = String::new();
            match std::io::stdin().lock().read_line(&mut line) {
                Ok(0) | Err(_) => Heard::End,
                Ok(_) => Heard::Line(line.trim_end_matches(['\n', '\r']).to_owned()),
            }
        })
    }

    fn of(
        taken_back: Arc<AtomicBool>,
        mut read: impl FnMut(Ask) -> Heard + Send + 'static,
    ) -> Self {
        let (asks, asked) = mpsc::channel::<(Ask, oneshot::Sender<Heard>)>();
        let left = taken_back.clone();
        std::thread::spawn(move || {
            while let Ok((ask, reply)) = asked.recv() {
                // What was taken back before is over; what is from here on ends the reading.
                left.store(false, Ordering::SeqCst);
                if !reply.is_closed() {
                    // Whoever asked may have gone meanwhile.
                    let _ = reply.send(read(ask));
                }
            }
        });
        Self {
            asks,
            taken_back,
            held: Arc::default(),
        }
    }

    /// Asks. Dropped, the question is taken back.
    pub async fn ask(&self, ask: Ask) -> Heard {
        struct TakeBack<'a>(&'a AtomicBool, bool);
        impl Drop for TakeBack<'_> {
            fn drop(&mut self) {
                self.0.store(self.1, Ordering::SeqCst);
            }
        }
        let (reply, replied) = oneshot::channel();
        let mut waiting = TakeBack(&self.taken_back, true);
        if self.asks.send((ask, reply)).is_err() {
            return Heard::End;
        }
        let heard = replied.await;
        waiting.1 = false;
        heard.unwrap_or(Heard::End)
    }
}

struct Editor {
    messages: Reedline,
    answers: Reedline,
}

impl Editor {
    fn new(history: PathBuf, taken_back: &Arc<AtomicBool>) -> Result<Self, Failure> {
        if let Some(folder) = history.parent() {
            std::fs::create_dir_all(folder).map_err(file(folder))?;
        }
        let remembered = FileBackedHistory::with_file(REMEMBERED, history.clone())
            .map_err(|why| Failure::new(format!("{}: {why}", history.display())))?;
        let mut keys = default_emacs_keybindings();
        let new_line = ReedlineEvent::Edit(vec![EditCommand::InsertNewline]);
        keys.add_binding(KeyModifiers::CONTROL, KeyCode::Char('j'), new_line);
        let colour = show::colour();
        let messages = Reedline::create()
            .with_history(Box::new(remembered))
            .with_validator(Box::new(GoesOn))
            .with_edit_mode(Box::new(reedline::Emacs::new(keys)))
            .with_ansi_colors(colour)
            .with_break_signal(taken_back.clone())
            .use_bracketed_paste(true);
        let answers = Reedline::create()
            .with_ansi_colors(colour)
            .with_break_signal(taken_back.clone())
            .use_bracketed_paste(true);
        Ok(Self { messages, answers })
    }

    fn read(&mut self, ask: Ask) -> Heard {
        let signal = match ask {
            Ask::Message(above) => {
                let signal = self.messages.read_line(&Line {
                    above: format!("{above}\n"),
                    mark: "› ".to_owned(),
                });
                // What cannot be remembered is not worth stopping for.
                let _ = self.messages.sync_history();
                signal
            }
            Ask::Answer(question, draft) => {
                self.answers
                    .run_edit_commands(&[EditCommand::Clear, EditCommand::InsertString(draft)]);
                self.answers.read_line(&Line {
                    above: String::new(),
                    mark: question,
                })
            }
        };
        match signal {
            Ok(Signal::Success(line)) => Heard::Line(joined(&line)),
            Ok(Signal::CtrlC) => Heard::Interrupt,
            _ => Heard::End,
        }
    }
}

/// A line that ends with a backslash goes on.
struct GoesOn;

impl Validator for GoesOn {
    fn validate(&self, line: &str) -> ValidationResult {
        if line.ends_with('\\') {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Complete
        }
    }
}

/// The lines without the backslashes that joined them.
fn joined(text: &str) -> String {
    text.replace("\\\n", "\n")
}

/// A prompt: what is known above, a mark before what is typed.
struct Line {
    above: String,
    mark: String,
}

impl Prompt for Line {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        self.above.as_str().into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        self.mark.as_str().into()
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        "· ".into()
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        format!("(search: {}) › ", search.term).into()
    }

    fn get_prompt_color(&self) -> Color {
        Color::DarkGray
    }

    fn get_indicator_color(&self) -> Color {
        Color::Green
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_at_the_end_of_a_line_joins_it_to_the_next() {
        assert!(matches!(
            GoesOn.validate("a\\"),
            ValidationResult::Incomplete
        ));
        assert!(matches!(
            GoesOn.validate("a\\\nb"),
            ValidationResult::Complete
        ));
        assert_eq!(joined("a\\\nb \\n"), "a\nb \\n");
    }
}
